import pytest
import torch

from ipr.data.module import Batches, ImageDataModule
from ipr.errors import InputError


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
