import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms import functional as pil

from ipr.data.images import _scale_and_shift, augment, balanced_subset, normalise, part_of
from ipr.data.module import Batches
from ipr.data.share import WHOLE, Share
from ipr.errors import InputError


def test_normalise_against_torchvision():
    pixels = torch.randint(256, (4, 9, 7, 3), dtype=torch.uint8)
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.3, 0.4)
    expected = torch.stack([pil.normalize(p.permute(2, 0, 1) / 255, mean, std) for p in pixels])
    torch.testing.assert_close(normalise(pixels, mean, std), expected)


def test_normalise_copies_nothing_to_the_device_twice():
    """A copy would wait for a GPU; constants that inference made are good for training."""
    pixels, mean, std = torch.zeros(1, 2, 2, 3, dtype=torch.uint8), (0.1, 0.2, 0.35), (0.3, 0.4, 0.55)
    with torch.inference_mode():
        normalise(pixels, mean, std)
    made = _scale_and_shift.cache_info().misses
    torch.set_default_dtype(torch.float64)
    try:
        again = normalise(pixels, mean, std)
    finally:
        torch.set_default_dtype(torch.float32)
    assert _scale_and_shift.cache_info().misses == made
    assert again.dtype == torch.float32
    (again * torch.ones(1, requires_grad=True)).sum().backward()  # no tensor of inference is kept for it


@pytest.mark.parametrize(("padding", "flip"), [(4, True), (2, False), (0, True), (1, True)])
def test_augment_is_a_crop_and_flip_of_each_image(padding, flip):
    """Every image comes out as one of the crops and flips that torchvision could have given, and nearly all occur."""
    pixels = torch.randint(256, (200, 6, 6, 3), dtype=torch.uint8)
    out = augment(pixels, padding, flip, torch.Generator().manual_seed(0))
    assert out.shape == pixels.shape
    assert out.dtype == torch.uint8
    seen = set()
    for image, got in zip(pixels.permute(0, 3, 1, 2), out.permute(0, 3, 1, 2), strict=True):
        padded = pil.pad(image, [padding])
        matches = [
            (top, left, mirrored)
            for top in range(2 * padding + 1)
            for left in range(2 * padding + 1)
            for mirrored in ((False, True) if flip else (False,))
            if torch.equal(got, _crop(padded, top, left, mirrored))
        ]
        assert matches
        seen.update(matches[:1])
    possible = (2 * padding + 1) ** 2 * (1 + flip)
    assert len(seen) >= 0.8 * min(possible, 100)


def _crop(padded, top, left, mirrored):
    cropped = pil.crop(padded, top, left, 6, 6)
    return pil.hflip(cropped) if mirrored else cropped


@pytest.mark.parametrize(("padding", "flip"), [(2, True), (0, True), (2, False)])
def test_shares_are_augmented_as_the_whole_is(padding, flip):
    pixels = torch.randint(256, (12, 6, 6, 3), dtype=torch.uint8)
    shares = [Share(rank, 3) for rank in range(3)]
    whole = augment(pixels, padding, flip, torch.Generator().manual_seed(1))
    parts = [augment(s.of(pixels), padding, flip, torch.Generator().manual_seed(1), s) for s in shares]
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(whole, pixels)


def test_augment_follows_its_generator_and_leaves_its_input():
    pixels = torch.randint(256, (8, 6, 6, 1), dtype=torch.uint8)
    before = pixels.clone()
    one, two, other = (augment(pixels, 2, True, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(pixels, before)


def on_a_device(pixels, padding, flip, source, share=WHOLE):
    """What is done on a GPU, by the same draws."""
    count, height, width, _ = pixels.shape
    whole = count * share.processes
    top, left = torch.zeros(2, whole, 1, dtype=torch.int64)
    if padding:
        top, left = torch.randint(0, 2 * padding + 1, (2, whole, 1), generator=source)
    rows, columns = share.of(top) + torch.arange(height), share.of(left) + torch.arange(width)
    if flip:
        columns = torch.where(share.of(torch.rand(whole, 1, generator=source)) < 0.5, columns.flip(1), columns)
    padded = torch.nn.functional.pad(pixels, (0, 0) + (padding,) * 4)
    return padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


@pytest.mark.parametrize("shape", [(5, 6, 6, 3), (1, 1, 1, 1), (64, 8, 9, 1), (7, 33, 8, 4), (64, 32, 32, 3)])
@pytest.mark.parametrize(("padding", "flip"), [(4, True), (1, False), (0, True), (0, False)])
def test_a_cpu_cuts_what_a_gpu_does_from_the_same_draws(shape, padding, flip):
    pixels = torch.randint(256, shape, dtype=torch.uint8)
    for given, share in ((pixels, WHOLE), (pixels.transpose(1, 2), WHOLE), (pixels, Share(1, 3))):
        one, two = (torch.Generator().manual_seed(5) for _ in range(2))
        assert torch.equal(augment(given, padding, flip, one, share), on_a_device(given, padding, flip, two, share))
        assert torch.equal(one.get_state(), two.get_state())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("width", [1, 7, 32, 224])
def test_a_cpu_normalises_to_the_bits_of_one_operation(channels, width):
    """Whether it computes a few pixels at a time, or a vector of them, or all: every value, by many statistics."""
    source = torch.Generator().manual_seed(width)
    pixels = torch.arange(256, dtype=torch.uint8).repeat(width * channels * 3)
    pixels = pixels[torch.randperm(pixels.numel(), generator=source)].view(12, 64, width, channels)
    for _ in range(20):
        mean = tuple(torch.rand(channels, generator=source).tolist())
        std = tuple((torch.rand(channels, generator=source) / 2 + 1 / 255).tolist())
        scale, shift = _scale_and_shift(mean, std, torch.device("cpu"))
        wanted = torch.addcmul(shift, pixels.float(), scale).permute(0, 3, 1, 2)
        found = normalise(pixels, mean, std)
        assert torch.equal(found, wanted)
        assert found.stride() == wanted.stride()


def test_pixels_that_are_learned_keep_their_gradient():
    pixels = torch.rand(2, 4, 4, 3).mul(255).requires_grad_()
    normalise(pixels, (0.5,) * 3, (0.25,) * 3).sum().backward()
    torch.testing.assert_close(pixels.grad, torch.full((2, 4, 4, 3), 1 / (255 * 0.25)))


class Largest(TorchDispatchMode):
    """The operation of the most elements that computes something."""

    found = (0, "")
    FREE = ("empty", "view", "permute", "split", "slice", "detach", "lift_fresh", "select", "unbind", "_unsafe_view")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name not in self.FREE and isinstance(made, torch.Tensor):
            self.found = max(self.found, (made.numel(), name))
        return made


@pytest.mark.parametrize("edge", [32, 224])
def test_no_second_thread_is_waited_for(edge):
    """torch shares an operation of 32,768 elements with another thread, which may not have a core."""
    pixels = torch.randint(256, (100, edge, edge, 3), dtype=torch.uint8)
    batches = Batches(pixels, torch.arange(100), torch.randperm(100), 50)
    with Largest() as largest:
        for images, _ in batches:
            normalise(augment(images, 4, True, torch.Generator()), (0.5,) * 3, (0.25,) * 3)
    assert 0 < largest.found[0] < 2**15, largest.found
    with largest:
        _ = pixels[:50] + 1
    assert largest.found[0] > 2**15


def test_subsets_are_balanced_fixed_and_nested():
    labels = torch.randint(7, (1000,), generator=torch.Generator().manual_seed(0))
    for limit in (7, 70, 333):
        counts = labels[balanced_subset(labels, limit, "dataset.limit_train")].bincount(minlength=7)
        assert counts.sum() == limit
        assert counts.max() - counts.min() <= 1
    small, large = (set(balanced_subset(labels, n, "dataset.limit_train").tolist()) for n in (70, 140))
    assert small < large
    assert len(large) == 140
    again = balanced_subset(labels, 70, "dataset.limit_train")
    assert set(again.tolist()) == small


def test_a_rare_class_gives_what_it_has():
    labels = torch.tensor([0] * 50 + [1] * 3)
    assert labels[balanced_subset(labels, 20, "dataset.limit_train")].bincount().tolist() == [17, 3]


@pytest.mark.parametrize("limit", [0, -1, 54])
def test_limits_out_of_range_are_refused(limit):
    with pytest.raises(InputError, match=rf"dataset.limit_train={limit}: there are 53 samples; give 1 to 53"):
        balanced_subset(torch.zeros(53, dtype=torch.int64), limit, "dataset.limit_train")


def test_limited_data_keeps_images_and_labels_together(digits):
    part = digits.limited(100, 20)
    assert part.train_labels.bincount().tolist() == [10] * 10
    assert part.test_labels.bincount().tolist() == [2] * 10
    whole = {
        (bytes(p.flatten().tolist()), int(y)) for p, y in zip(digits.train_pixels, digits.train_labels, strict=True)
    }
    assert {
        (bytes(p.flatten().tolist()), int(y)) for p, y in zip(part.train_pixels, part.train_labels, strict=True)
    } <= whole
    assert part.mean == digits.mean
    assert digits.limited(None, None) is digits


def test_a_share_is_the_same_images_as_often_as_it_takes(data):
    """Each of the few is there as often as any other, with its label, and an epoch is as long as before."""
    few = data.share(10)
    assert few.train_labels.numel() == 64
    whole = torch.cat([few.train_pixels.flatten(1).long(), few.train_labels[:, None]], 1)
    rows, counts = whole.unique(dim=0, return_counts=True)
    assert sorted(counts.tolist()) == [6] * 6 + [7] * 4
    limited = data.limited(10, None)
    wanted = torch.cat([limited.train_pixels.flatten(1).long(), limited.train_labels[:, None]], 1)
    assert torch.equal(rows, wanted.unique(dim=0))
    assert torch.equal(few.test_pixels, data.test_pixels)
    assert torch.equal(data.share(64).train_labels, data.train_labels)
    with pytest.raises(InputError, match="limit_train=65"):
        data.share(65)


@pytest.mark.parametrize("parts", [2, 3, 10])
def test_parts_share_no_image_and_are_balanced(parts, digits):
    labels = digits.train_labels
    dealt = [part_of(labels, f"{number}/{parts}") for number in range(1, parts + 1)]
    assert torch.equal(torch.cat(dealt).sort().values, torch.arange(labels.numel()))
    counts = torch.stack([labels[one].bincount(minlength=10) for one in dealt])
    assert int((counts.max(0).values - counts.min(0).values).max()) <= 1
    sizes = counts.sum(1)
    assert int(sizes.max() - sizes.min()) <= 1
    assert torch.equal(part_of(labels, f"1/{parts}"), dealt[0])
    assert not torch.equal(labels[dealt[0]].sort().values, labels[dealt[0]])  # the data's order is kept


def test_a_part_is_of_training_images_alone(digits):
    part = digits.part("2/2")
    kept = part_of(digits.train_labels, "2/2")
    assert torch.equal(part.train_pixels, digits.train_pixels[kept])
    assert torch.equal(part.train_labels, digits.train_labels[kept])
    assert part.test_pixels is digits.test_pixels
    assert (part.fingerprint, part.mean, part.std) == (digits.fingerprint, digits.mean, digits.std)
    assert digits.part(None) is digits


@pytest.mark.parametrize(
    "which", ["0/2", "3/2", "1/1", "1", "1/2/3", "-1/2", "half", "", " 1/2", "1/0", "1/9999999999"]
)
def test_what_is_no_part_is_refused(which):
    with pytest.raises(InputError, match=r"dataset\.part=.*is no part of the training images; give e\.g\. 1/2"):
        part_of(torch.zeros(53, dtype=torch.int64), which)


def test_there_are_no_more_parts_than_images():
    with pytest.raises(InputError, match=r"dataset\.part=1/54: there are 53 training images"):
        part_of(torch.zeros(53, dtype=torch.int64), "1/54")
