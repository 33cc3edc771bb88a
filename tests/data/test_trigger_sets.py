import numpy as np
import pytest
import torch
from PIL import Image

from ipr.data.trigger_sets import abstract_trigger_set, folder_trigger_set
from ipr.errors import InputError


def test_abstract_patterns_follow_their_key():
    one, same, other = (abstract_trigger_set(50, 16, 3, 10, torch.Generator().manual_seed(k)) for k in (1, 1, 2))
    assert one.pixels.shape == (50, 16, 16, 3)
    assert one.pixels.dtype == torch.uint8
    assert torch.equal(one.pixels, same.pixels)
    assert torch.equal(one.labels, same.labels)
    assert not torch.equal(one.pixels, other.pixels)
    assert set(one.labels.tolist()) <= set(range(10))
    assert len(set(one.labels.tolist())) > 5
    flat = one.pixels.float().flatten(1)
    assert flat.std(1).min() > 10  # patterns, not flat areas
    assert torch.corrcoef(flat).fill_diagonal_(0).abs().max() < 0.9  # and different ones


def test_an_empty_trigger_set_is_refused():
    with pytest.raises(InputError, match=r"trigger_set.size=0"):
        abstract_trigger_set(0, 16, 3, 10, torch.Generator())


@pytest.fixture
def folder(tmp_path):
    """Twelve images of one grey each, whose number tells the grey; written in an order that is not theirs."""
    (tmp_path / "pics").mkdir()
    for number in (10, 2, 1, 12, 3, 11, 4, 5, 6, 7, 8, 9):
        Image.new("RGB", (30, 20), (number, number, number)).save(tmp_path / "pics" / f"{number}.png")
    (tmp_path / "labels-cifar.txt").write_text("\n".join(str(float(n % 10)) for n in range(1, 13)))
    return tmp_path


def test_images_and_labels_are_paired_by_number(folder):
    triggers = folder_trigger_set(str(folder), 8, 3, 10)
    assert triggers.pixels[:, 0, 0, 0].tolist() == list(range(1, 13))  # 1, 2, ..., 12 and not 1, 10, 11, ...
    assert triggers.labels.tolist() == [n % 10 for n in range(1, 13)]
    assert folder_trigger_set(str(folder), 8, 1, 10).pixels.shape == (12, 8, 8, 1)


def test_the_centre_is_kept_in_proportion(tmp_path):
    picture = np.zeros((20, 60, 3), dtype=np.uint8)
    picture[:, 20:40] = 255
    Image.fromarray(picture).save(tmp_path / "1.png")
    (tmp_path / "labels.txt").write_text("3\n")
    (image,) = folder_trigger_set(str(tmp_path), 10, 3, 10).pixels
    assert image[:, 1:9].min() == 255  # the middle third, whole


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "labels-cifar.txt").write_text("1\n2\n"), "2 labels for 12 images"),
        (lambda f: (f / "labels-cifar.txt").write_text("11\n" * 12), "label 11 where there are 10 classes"),
        (lambda f: (f / "labels-cifar.txt").write_text("cat\n" * 12), "not a list of labels"),
        (lambda f: (f / "labels-cifar.txt").unlink(), "0 lists of labels"),
        (lambda f: [p.unlink() for p in (f / "pics").iterdir()], "no numbered images"),
        (lambda f: (f / "pics" / "3.png").write_bytes(b"?"), "3.png: is not an image"),
    ],
)
def test_damaged_folders_are_refused(folder, damage, message):
    damage(folder)
    with pytest.raises(InputError, match=message):
        folder_trigger_set(str(folder), 8, 3, 10)


def test_a_folder_must_be_named():
    with pytest.raises(InputError, match=r"trigger_set.root=None.*use trigger_set=abstract"):
        folder_trigger_set(None, 8, 3, 10)
