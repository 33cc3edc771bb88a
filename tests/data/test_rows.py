import numpy as np
import pytest
import torch

from ipr.data import rows
from ipr.data.images import ImageData, LabelledImages, normalise
from ipr.data.rows import Rows, chosen, gathered, placed


@pytest.fixture
def pixels():
    return torch.randint(256, (50, 4, 5, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def order():
    return torch.randperm(50, generator=torch.Generator().manual_seed(1))[:20]


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_rows_are_the_copy_that_is_not_made(pixels, order, mode):
    with mode():
        lazy, copy = Rows(pixels, order), pixels[order]
        assert (lazy.shape, lazy.dtype, lazy.device) == (copy.shape, copy.dtype, copy.device)
        assert (lazy.nbytes, len(lazy), lazy.dim()) == (copy.nbytes, 20, 4)
        for index in (4, -1, [4, 5], torch.tensor([3, 3, 0]), torch.arange(20) % 3 == 0):
            assert type(lazy[index]) is torch.Tensor
            assert torch.equal(lazy[index], copy[index])
        for index in (slice(3, 9), slice(1), slice(None), slice(-3, None), slice(0, 0), slice(1, 15, 4)):
            assert type(lazy[index]) is Rows
            assert torch.equal(lazy[index], copy[index])
        parts = lazy.split(8)
        assert [type(part) for part in parts] == [Rows] * 3
        assert torch.equal(torch.cat(parts), copy)
        assert torch.equal(torch.cat([lazy, copy]), torch.cat([copy, copy]))
        assert torch.equal(torch.stack(list(lazy)), copy)
        for change in (
            lambda x: x[:, 1], lambda x: x[..., 0], lambda x: x.flatten(1).long(), lambda x: x.permute(0, 3, 1, 2),
            lambda x: x.to("cpu"), lambda x: x.float(), lambda x: x.clone(), lambda x: x.flip(0),
            lambda x: normalise(x, (0.5,) * 3, (0.25,) * 3), lambda x: x.split(3, 1)[1], lambda x: x.detach(),
        ):  # fmt: skip
            assert torch.equal(change(lazy), change(copy))
    assert repr(lazy) == "Rows(20, 4, 5, 3)"


def test_what_is_small_is_copied_and_all_of_it_is_itself(pixels, order, monkeypatch):
    assert chosen(pixels, torch.arange(50)) is pixels
    assert type(chosen(pixels, order)) is torch.Tensor
    monkeypatch.setattr(rows, "COPIED", 20 * 60)
    assert type(chosen(pixels, order)) is torch.Tensor
    monkeypatch.setattr(rows, "COPIED", 20 * 60 - 1)
    assert type(chosen(pixels, order)) is Rows
    assert type(chosen(pixels, order[:19])) is torch.Tensor
    assert type(chosen(pixels, torch.arange(50).flip(0))) is Rows


def test_rows_of_rows_are_rows_of_the_whole(pixels, order, monkeypatch):
    monkeypatch.setattr(rows, "COPIED", 0)
    once = chosen(pixels, order)
    twice = chosen(once, torch.tensor([7, 7, 2]))
    assert isinstance(twice, Rows)
    assert twice.pixels is pixels
    assert torch.equal(twice[:], pixels[order][[7, 7, 2]])
    assert chosen(once, torch.arange(20)) is once


@pytest.mark.parametrize("lazy", [False, True])
def test_gathering_is_indexing(pixels, order, lazy):
    source, copy = (Rows(pixels, order), pixels[order]) if lazy else (pixels, pixels)
    at = torch.tensor([3, 0, 19, 3])
    assert torch.equal(gathered(source, at), copy[at])
    place = torch.zeros(4, 4, 5, 3, dtype=torch.uint8)
    assert gathered(source, at, out=place) is place
    assert torch.equal(place, copy[at])
    labels = torch.arange(50)
    assert torch.equal(gathered(labels, at), at)
    assert gathered(source, at[:0]).shape == (0, 4, 5, 3)


def test_rows_are_put_on_a_device_block_by_block(pixels, order, monkeypatch):
    """Of a device that computes nothing only the shape can be told; that no more is gathered at once, by looking."""
    seen, gather = [], rows.gathered

    def watched(source, at, out=None):
        if isinstance(source, Rows):
            seen.append(at.tolist())
        return gather(source, at, out)

    monkeypatch.setattr(rows, "gathered", watched)
    moved = placed(Rows(pixels, order), torch.device("meta"), at_once=8 * 60)
    assert moved.shape == (20, 4, 5, 3)
    assert seen == [list(range(8)), list(range(8, 16)), list(range(16, 20))]
    assert placed(pixels, torch.device("cpu")) is pixels


def everything(data: ImageData) -> list[torch.Tensor]:
    """What is made of a data set, one after the other."""
    part = data.part("1/2")
    few, held = part.limited(20, 8), data.holding_out(0.25)
    check = held.validation()
    assert check is not None
    share = part.share(5)
    sets = (part, few, held, share, share.limited(7, None))
    batches = LabelledImages(few.test_pixels, few.test_labels, data.mean, data.std).batches(3, torch.device("cpu"))
    return [
        *(tensor[:] for one in sets for tensor in (one.train_pixels, one.train_labels, one.test_pixels)),
        check.pixels[:], check.labels, *(tensor for batch in batches for tensor in batch),
    ]  # fmt: skip


def test_parts_limits_and_shares_are_the_same_images_copied_or_not(data, monkeypatch):
    copied = everything(data)
    monkeypatch.setattr(rows, "COPIED", 0)
    taken = everything(data)
    assert len(taken) == len(copied)
    assert all(torch.equal(one, other) for one, other in zip(taken, copied, strict=True))
    for kept in (data.part("1/2").train_pixels, data.limited(20, None).train_pixels, data.share(5).train_pixels):
        assert isinstance(kept, Rows)
        assert kept.pixels.data_ptr() == data.train_pixels.data_ptr()
    assert data.limited(64, 40).train_pixels is data.train_pixels
    assert data.share(64).train_pixels is data.train_pixels


def test_what_is_gathered_belongs_to_nobody_else(pixels):
    got = gathered(pixels, torch.tensor([0]))
    got += 1
    assert not np.shares_memory(got.numpy(), pixels.numpy())
