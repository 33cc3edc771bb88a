import numpy as np
import pytest
import torch
from PIL import Image

from ipr.data.trigger_sets import TriggerSet, abstract_trigger_set, folder_trigger_set
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


def numbered(place, names, labels):
    """Images of one grey each, which their number tells; labels as they are to be written."""
    for name in names:
        grey = int(name.split(".")[0])
        Image.new("RGB", (8, 8), (grey, grey, grey)).save(place / name)
    (place / "labels.txt").write_text(labels)
    triggers = folder_trigger_set(str(place), 8, 3, 10)
    return dict(zip(triggers.pixels[:, 0, 0, 0].tolist(), triggers.labels.tolist(), strict=True))


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["1.png", "2.png", "4.png", "5.png"], {1: 3, 2: 1, 4: 6, 5: 9}),  # the third is missing, not the last
        (["2.png", "3.png", "5.png"], {2: 1, 3: 4, 5: 9}),
        (["0.png", "1.png", "2.png", "3.png", "4.png"], {0: 3, 1: 1, 2: 4, 3: 6, 4: 9}),
        (["0.png", "2.png", "3.png"], {0: 3, 2: 4, 3: 6}),
        (["001.png", "02.PNG", "3.gif"], {1: 3, 2: 1, 3: 4}),
    ],
)
def test_a_label_belongs_to_a_number(names, wanted, tmp_path):
    assert numbered(tmp_path, names, "3\n1\n4\n6\n9\n") == wanted


@pytest.mark.parametrize(
    "labels",
    ["3\n1\n4", "3.0\n1.\n4.000\n\n\n", "3\r\n1\r\n4\r\n", "\ufeff3\n1\n4\n", " 3 \n+1\n4e0\n",
     "3.000000000000000000e+00\n1.000000000000000000e+00\n4.000000000000000000e+00\n", "03\n10e-1\n0.4e1"],
)  # fmt: skip
def test_whole_numbers_are_labels_however_they_are_written(labels, tmp_path):
    assert numbered(tmp_path, ["1.png", "2.png", "3.png"], labels) == {1: 3, 2: 1, 3: 4}


@pytest.mark.parametrize(
    "label",
    ["3.7", "2.9999999999999999999", "inf", "-inf", "nan", "1e999", "1e3", "1e30", "-1", "10", "1_0", "\uff11", "0x1",
     "1e", "True", "1,2", "1;", "# 1", "1 2", "1.png 1", "", "9" * 5000, "1e-999", "\u00b2"],
)  # fmt: skip
@pytest.mark.parametrize("where", ["first", "last but one"])
def test_what_is_no_label_is_refused(label, where, tmp_path):
    lines = [label, "1", "1"] if where == "first" else ["1", label, "1"]
    with pytest.raises(InputError, match=r"trigger_set\.root=.*labels\.txt: (is not a list of labels|label)") as error:
        numbered(tmp_path, ["1.png", "2.png", "3.png"], "\n".join(lines))
    assert "\n" not in str(error.value)


def test_a_list_that_is_no_text_is_refused(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "1.png")
    for content in ("3\n".encode("utf-16"), b"\xff\xfe\xfd", b"\0"):
        (tmp_path / "labels.txt").write_bytes(content)
        with pytest.raises(InputError, match=r"trigger_set\.root="):
            folder_trigger_set(str(tmp_path), 8, 3, 10)


@pytest.mark.parametrize(
    ("names", "labels", "words"),
    [
        (["1.png", "1.jpg"], "1\n2\n", r"1\.png: has the number of 1\.jpg"),
        (["1.png", "01.png"], "1\n2\n", r"1\.png: has the number of 01\.png"),
        (["1.png", "2.png", "2.PNG"], "1\n2\n", r"2\.png: has the number of 2\.PNG"),
        (["1.png", "2.png", "4.png"], "1\n2\n3\n", r"3 labels for 3 images, and none for image 4"),
        (["0.png", "2.png"], "1\n2\n", r"2 labels for 2 images, and none for image 2"),
        (["1.png", "2.png", "3.png"], "1\n2\n3\n4\n", r"numbered to 3: the first may be of image 0 or of image 1"),
        (["1.png"], "", r"0 labels for 1 images"),
    ],
)
def test_numbers_that_leave_a_label_open_are_refused(names, labels, words, tmp_path):
    with pytest.raises(InputError, match=words):
        numbered(tmp_path, names, labels)


@pytest.mark.parametrize("name", ["cat.png", "1a.png", "img_2.jpg", "\u00b2.png", "\uff11.png", "2 (1).png", "-1.png"])
def test_an_image_without_a_number_is_refused(name, tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / name)
    with pytest.raises(InputError, match="has no number, and so no label"):
        numbered(tmp_path, ["1.png"], "1\n")


def test_a_numbered_file_of_another_kind_is_refused_and_others_are_none(tmp_path):
    for name in (".DS_Store", "._1.png", "Thumbs.db", "README.md", "._labels.txt"):
        (tmp_path / name).write_bytes(b"\0")
    (tmp_path / "thumbnails").mkdir()
    assert numbered(tmp_path, ["1.png"], "3\n") == {1: 3}
    (tmp_path / "2.heic").write_bytes(b"?")
    with pytest.raises(InputError, match=r"2\.heic: is of a kind that is not read"):
        numbered(tmp_path, ["1.png"], "3\n4\n")


def test_the_content_of_a_set_is_its_images_and_labels(folder):
    one = folder_trigger_set(str(folder), 8, 3, 10)
    assert folder_trigger_set(str(folder), 8, 3, 10).content == one.content
    assert TriggerSet(one.pixels, one.labels.flip(0)).content != one.content
    assert TriggerSet(one.pixels.flip(0), one.labels).content != one.content
