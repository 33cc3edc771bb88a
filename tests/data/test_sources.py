import hashlib
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits

from ipr.data.cache import load_images
from ipr.data.census import Census, in_blocks
from ipr.data.sources import DatasetRequest
from ipr.errors import InputError


@pytest.fixture
def folder(tmp_path):
    """A small image folder of real files in several formats, sizes and modes."""
    noise = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 2)):
        for label in ("cat", "dog"):
            place = tmp_path / "images" / split / label
            place.mkdir(parents=True)
            for i in range(count):
                image = Image.fromarray(noise.integers(0, 256, (20 + i, 24, 3), dtype=np.uint8))
                suffix, mode = [("png", "RGB"), ("webp", "RGB"), ("png", "L"), ("png", "RGBA")][i % 4]
                image.convert(mode).save(place / f"{i}.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    return tmp_path / "images"


def load(tmp_path, name="image_folder", root=None, image_size=24, download=False):
    request = DatasetRequest(name, None if root is None else str(root), image_size, download, tmp_path / "data")
    return load_images(request, tmp_path / "cache")


def test_digits_are_scikit_learns(digits):
    raw = load_digits()
    assert digits.train_labels.numel() + digits.test_labels.numel() == 1797
    assert digits.train_pixels.shape[1:] == (8, 8, 1)
    originals = {
        (i / 16 * 255 + 0.5).astype(np.uint8).tobytes(): int(y) for i, y in zip(raw.images, raw.target, strict=True)
    }
    for pixels, labels in ((digits.train_pixels, digits.train_labels), (digits.test_pixels, digits.test_labels)):
        assert all(originals[p.numpy().tobytes()] == int(y) for p, y in zip(pixels, labels, strict=True))
    assert digits.test_labels.bincount().min() >= 34  # stratified


def test_digits_in_colour_are_the_digits_three_times(digits, tmp_path):
    colour = load(tmp_path, "digits_rgb", image_size=8)
    assert torch.equal(colour.train_pixels, digits.train_pixels.expand(-1, -1, -1, 3))
    assert torch.equal(colour.test_pixels, digits.test_pixels.expand(-1, -1, -1, 3))
    assert torch.equal(colour.train_labels, digits.train_labels)
    assert colour.mean == digits.mean * 3


def test_image_folder_pixels_are_the_files(folder, tmp_path):
    data = load(tmp_path, root=folder)
    assert data.classes == ("cat", "dog")
    assert data.train_labels.tolist() == [0] * 6 + [1] * 6
    first = Image.open(folder / "train" / "cat" / "0.png").resize((24, 24), Image.Resampling.BILINEAR)
    assert np.array_equal(data.train_pixels[0].numpy(), np.asarray(first))
    grey = data.train_pixels[2]
    assert torch.equal(grey[..., 0], grey[..., 2])  # L is read as RGB


def test_it_is_decoded_once_and_again_when_a_file_changes(folder, tmp_path):
    first = load(tmp_path, root=folder)
    (cached,) = (tmp_path / "cache").glob("*.safetensors")
    stamp = cached.stat().st_mtime_ns
    assert load(tmp_path, root=folder).fingerprint == first.fingerprint
    assert cached.stat().st_mtime_ns == stamp
    Image.new("RGB", (24, 24), "red").save(folder / "train" / "cat" / "0.png")
    changed = load(tmp_path, root=folder)
    assert changed.fingerprint != first.fingerprint
    assert changed.train_pixels[0].unique().tolist() == [0, 255]


def test_a_torn_cache_file_is_made_again(folder, tmp_path):
    first = load(tmp_path, root=folder)
    (cached,) = (tmp_path / "cache").glob("*.safetensors")
    torn = cached.read_bytes()[:100]
    cached.unlink()  # not in place: `first` is mapped from this file
    cached.write_bytes(torn)
    assert torch.equal(load(tmp_path, root=folder).train_pixels, first.train_pixels)


def test_known_sets_are_found_in_a_folder_of_folders(folder, tmp_path):
    (tmp_path / "data").mkdir()
    folder.rename(tmp_path / "data" / "cifar10")
    from_default = load(tmp_path, "cifar10")
    assert from_default.fingerprint == load(tmp_path, "cifar10", tmp_path / "data").fingerprint
    assert from_default.fingerprint == load(tmp_path, "cifar10", tmp_path / "data" / "cifar10").fingerprint


def test_a_folder_without_splits_is_split_by_class(folder, tmp_path):
    data = load(tmp_path, root=folder / "train")
    assert data.test_labels.tolist() == [0, 1]
    assert data.train_labels.bincount().tolist() == [5, 5]
    assert load(tmp_path / "again", root=folder / "train").fingerprint == data.fingerprint


def statistics(pixels):
    census, labels = Census(["a"], pixels.shape[1:]), torch.zeros(len(pixels), dtype=torch.int64)
    assert sum(len(block) for block in census.of(in_blocks(pixels), labels, counted=True)) == len(labels)
    return census.statistics


def test_channel_statistics_against_torch():
    pixels = torch.randint(256, (50, 5, 5, 3), dtype=torch.uint8)
    mean, std = statistics(pixels)
    scaled = pixels.double().flatten(0, 2) / 255
    assert mean == pytest.approx(scaled.mean(0).tolist())
    assert std == pytest.approx(scaled.std(0, correction=0).tolist())
    assert statistics(torch.zeros(1, 2, 2, 1, dtype=torch.uint8))[1] == [1 / 255]  # never divides by 0


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "caltech101", "image_folder"])
def test_nothing_there_says_where_it_looked_and_what_to_do(name, tmp_path):
    with pytest.raises(InputError) as error:
        load(tmp_path, name)
    text = str(error.value)
    assert str(tmp_path / "data" / name) in text
    assert "dataset.root" in text
    assert ("dataset.download=true" in text) == (name != "image_folder")
    assert "\n" not in text


def _no_class(folder):
    for path in (folder / "test" / "dog").iterdir():
        path.unlink()


def _not_an_image(folder):
    (folder / "train" / "dog" / "1.webp").write_bytes(b"not an image")


def _other_classes(folder):
    (folder / "test" / "dog").rename(folder / "test" / "wolf")


def _no_test(folder):
    (folder / "test").rename(folder.parent / "elsewhere")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_no_class, "not a usable image folder"),
        (_not_an_image, r"dog/1.webp: is not an image that can be read; mend or remove"),
        (_other_classes, r"different classes \(dog, wolf"),
        (_no_test, "no folder test"),
    ],
)
def test_unusable_folders_are_refused(folder, tmp_path, damage, message):
    damage(folder)
    with pytest.raises(InputError, match=message) as error:
        load(tmp_path, root=folder)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "cache").glob("*.safetensors"))


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(InputError, match=r"paths.cache=.*cannot be written"):
        load(tmp_path, "digits")


def test_a_cached_file_that_was_changed_is_refused_by_a_judge(tmp_path):
    """Labels rotated, one pixel, class names in another order, statistics: believed by a training, by no judge."""
    request = DatasetRequest("digits", None, 8, download=False, data_folder=tmp_path)
    data = load_images(request, tmp_path, checked=True)
    (cached,) = tmp_path.glob("*.safetensors")
    content = cached.read_bytes()
    tensors = load_file(cached)
    with safe_open(cached, "pt") as stored:
        facts = json.loads(stored.metadata()["facts"])

    def rewritten(tensors, facts):
        cached.unlink()
        save_file(tensors, cached, {"facts": json.dumps(facts)})

    pixel = tensors["test_pixels"].clone()
    pixel[3, 2, 1, 0] += 1
    for changed, about in (
        ({"test_labels": (tensors["test_labels"] + 1) % 10}, {}),
        ({"test_pixels": pixel}, {}),
        ({"train_labels": tensors["train_labels"].flip(0)}, {}),
        ({}, {"classes": facts["classes"][::-1]}),
        ({}, {"mean": [facts["mean"][0] + 1e-9]}),
        ({}, {"std": [1.0]}),
        ({}, {"fingerprint": "0" * 64}),
    ):
        rewritten(tensors | changed, facts | about)
        assert load_images(request, tmp_path).classes == tuple((facts | about)["classes"])
        words = r"paths\.cache=.*safetensors: .*they were changed; delete the file"
        with pytest.raises(InputError, match=words) as error:
            load_images(request, tmp_path, checked=True)
        assert str(cached) in str(error.value)
    cached.unlink()
    again = load_images(request, tmp_path, checked=True)
    assert cached.read_bytes() == content
    assert again.fingerprint == data.fingerprint


def test_the_fingerprint_is_sha_256_of_names_shapes_and_bytes(data):
    text = json.dumps(list(data.classes)).encode()
    for part in (data.train_pixels, data.train_labels, data.test_pixels, data.test_labels):
        text += str(tuple(part.shape)).encode() + part.numpy().tobytes()
    census = Census(data.classes, data.train_pixels.shape[1:])
    for pixels, labels in ((data.train_pixels, data.train_labels), (data.test_pixels, data.test_labels)):
        assert sum(len(block) for block in census.of(in_blocks(pixels), labels, counted=True)) == len(labels)
    assert census.fingerprint == hashlib.sha256(text).hexdigest()
