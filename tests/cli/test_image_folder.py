"""A folder of images as a stranger would give it, from the command line."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from one_line import assert_one_line


def folder(root, parts=("train", "test"), classes=("cat", "dog"), ending="png"):
    for p, part in enumerate(parts):
        for c, label in enumerate(classes):
            for number in range(4):
                path = Path(root, part, label, f"{number}.{ending}")
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 8), (60 * p + 5, 90 * c, 50 * number)).save(path)


@pytest.fixture
def asked(tiny):
    """A training of a folder `photos`."""
    plain = [argument for argument in tiny if not argument.startswith(("dataset.limit", "optimizer.batch_size"))]
    return ("train", *plain, "optimizer.batch_size=4", "scheme=baseline", "dataset=image_folder", "dataset.root=photos")


def test_capitals_endings_and_hidden_folders(ipr, asked):
    """All 16 images, two classes, said once; and found again from another place."""
    folder("photos", ("Train", "Test"), ending="gif")
    folder("photos", ("Train/.ipynb_checkpoints", "__MACOSX"))
    outcome = ipr(*asked)
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("photos: 2 classes, 8 training and 8 test images (cat 4 + 4, dog 4 + 4)") == 1
    (run,) = Path("runs/train").iterdir()
    Path("photos").rename("moved")
    again = ipr(*asked, "dataset.root=moved")
    assert again.code == 0
    assert again.err.count("moved: 2 classes, ") == 1
    assert list(Path("runs/train").iterdir()) == [run]


def test_what_cannot_be_meant_is_one_line_and_leaves_nothing(ipr, asked):
    folder("photos", classes=("cat",))
    assert_one_line(ipr(*asked), "dataset.root=photos", "one class alone, cat")
    shutil.rmtree("photos")
    folder("photos", ("",), ("training", "testing"))
    assert_one_line(ipr(*asked), "dataset.root=photos", "training: parts of a data set")
    assert not Path("runs").exists()
