import threading

import pytest
import torch

from ipr.data.module import Batches, ImageDataModule
from ipr.data.prefetch import AHEAD, ahead, fits
from ipr.data.rows import Rows
from ipr.data.share import Share
from ipr.errors import InputError

CPU = torch.device("cpu")
CUDA = pytest.param(
    torch.device("cuda"), marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
)


def test_batches_follow_the_order_and_leave_the_rest_out():
    pixels = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1)
    batches = Batches(pixels, torch.arange(10), torch.tensor([9, 8, 7, 6, 5, 4, 3, 2, 1, 0]), 4)
    assert len(batches) == 2
    got = [(p.flatten().tolist(), y.tolist()) for p, y in batches]
    assert got == [([9, 8, 7, 6], [9, 8, 7, 6]), ([5, 4, 3, 2], [5, 4, 3, 2])]


@pytest.mark.parametrize("size", [0, -3, 1438])
def test_impossible_batch_sizes_are_refused(digits, size):
    with pytest.raises(
        InputError, match=rf"optimizer.batch_size={size}: there are 1437 training images; give 1 to 1437"
    ):
        ImageDataModule(digits, batch_size=size, crop_padding=0, flip=False, seed=0)


@pytest.fixture
def images():
    """Pixels and labels that tell which image they are of, and an order of some."""
    pixels = torch.arange(300)[:, None, None, None].expand(-1, 4, 4, 3).to(torch.uint8).contiguous()
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))[:250]
    return pixels, torch.arange(300), order


@pytest.mark.parametrize("device", [CPU, CUDA])
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("share", [Share(), Share(1, 2)])
def test_what_is_copied_ahead_are_the_same_batches_in_order(images, device, lazy, share):
    pixels, labels, order = images
    if lazy:
        pixels, labels = Rows(pixels, torch.arange(300).flip(0)), labels.flip(0)
    batches = Batches(pixels, labels, order, 16, share)
    wanted = [(p.clone(), y.clone()) for p, y in batches]
    assert len(wanted) == len(batches) == 15
    own = [share.of(chosen) for chosen in order[: 15 * 16].split(16)]
    got = [(p.to("cpu"), y.to("cpu")) for p, y in ahead(pixels, labels, own, device)]
    for (p, y), (q, z), chosen in zip(wanted, got, own, strict=True):
        assert torch.equal(p, q)
        assert torch.equal(y, z)
        assert y.tolist() == labels[chosen].tolist()
        assert torch.equal(p[:, 0, 0, 0], (299 - labels.flip(0)[chosen] if lazy else chosen).to(torch.uint8))


@pytest.mark.parametrize("device", [CPU, CUDA])
def test_a_batch_that_is_kept_is_not_written_over(images, device):
    pixels, labels, order = images
    kept = list(ahead(pixels, labels, order.split(10), device))
    assert torch.equal(torch.cat([y for _, y in kept]).cpu(), order)
    assert torch.equal(torch.cat([p[:, 0, 0, 0] for p, _ in kept]).cpu(), order.to(torch.uint8))


def test_only_a_few_batches_are_on_their_way_and_none_once_nobody_asks(images):
    pixels, labels, order = images
    asked, before = [], threading.active_count()
    coming = ahead(pixels, labels, (asked.append(1) or chosen for chosen in order.split(5)), CPU)
    next(coming)
    next(coming)
    assert len(asked) == AHEAD + 2
    coming.close()
    assert threading.active_count() == before


def test_an_image_that_is_not_there_is_an_error_of_whoever_trains(images):
    pixels, labels, _ = images
    for wrong in (300, -1):
        with pytest.raises(IndexError, match="300 rows"):
            next(ahead(pixels, labels, [torch.tensor([0, wrong])], CPU))


def test_what_fits_a_gpu_is_half_of_what_is_free_there(images, monkeypatch):
    pixels, _, _ = images
    for free, fit in ((2 * pixels.nbytes, True), (2 * pixels.nbytes - 1, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10**12))
        assert fits(pixels, torch.device("cuda", 0)) is fit
        assert fits(Rows(pixels, torch.arange(300)), torch.device("cuda", 0)) is fit
        assert fits(pixels, CPU)
