import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file

from ipr.data.cache import load_images
from ipr.data.sources import DatasetRequest
from ipr.data.stored import Written, read_stored, write_stored
from ipr.errors import InputError


def tensors(count=5):
    pixels = np.arange(count * 12, dtype=np.uint8).reshape(count, 2, 2, 3)
    labels = np.arange(count, dtype=np.int64)
    return {
        "labels": Written("I64", (count,), [labels[:2], labels[2:]]),
        "pixels": Written("U8", (count, 2, 2, 3), (pixels[i : i + 2] for i in range(0, count, 2))),
    }


def test_it_is_safetensors_and_is_mapped(tmp_path):
    path = tmp_path / "a.safetensors"
    write_stored(path, tensors(), "x" * 40, lambda: "about")
    found, about = read_stored(path)
    others = load_file(path)
    assert about == "about"
    for name, dtype in (("labels", torch.int64), ("pixels", torch.uint8)):
        assert found[name].dtype == dtype
        assert torch.equal(found[name], others[name])
    assert found["pixels"].flatten().tolist() == list(range(60))
    assert str(path) in Path("/proc/self/maps").read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == [path.name]


def test_a_file_of_no_elements(tmp_path):
    write_stored(tmp_path / "a", tensors(0), "", lambda: "")
    assert read_stored(tmp_path / "a")[0]["pixels"].shape == (0, 2, 2, 3)


@pytest.mark.parametrize("size", [0, 5, 8, 50, 300, -1])
def test_half_a_file_is_none(tmp_path, size):
    path = tmp_path / "a.safetensors"
    write_stored(path, tensors(), "", lambda: "")
    os.truncate(path, size if size >= 0 else path.stat().st_size - 1)
    with pytest.raises(SafetensorError):
        read_stored(path)


def test_what_does_not_hold_leaves_nothing(tmp_path):
    path, labels = tmp_path / "a.safetensors", Written("I64", (3,), [np.arange(2)])
    with pytest.raises(ValueError, match="labels has another number of elements"):
        write_stored(path, {"labels": labels}, "", lambda: "")
    with pytest.raises(ValueError, match="longer than was said"):
        write_stored(path, tensors(), "", lambda: "x" * 100)

    def refused():
        raise InputError("a", "b", "c", "d")

    closed = []

    def blocks():
        try:
            yield np.zeros(3, np.uint8)
            yield np.zeros(3, np.uint8)
        finally:
            closed.append(True)

    for shape, about, error in (((6,), refused, InputError), ((3,), lambda: "", ValueError)):
        with pytest.raises(error):
            write_stored(path, {"pixels": Written("U8", shape, blocks())}, "", about)
    assert closed == [True, True]
    assert os.listdir(tmp_path) == []


CHILD = """
import os, signal, sys
from pathlib import Path
import ipr.data.image_folder as sources
from ipr.data.cache import load_images
from ipr.data.sources import DatasetRequest

root, cache, read, count = sys.argv[1], Path(sys.argv[2]), sources.read_picture, [0]

def dying(*about, **more):
    count[0] += 1
    if count[0] > 150:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(*about, **more)

sources.read_picture = dying
load_images(DatasetRequest("image_folder", root, 8, download=False, data_folder=cache), cache)
"""


@pytest.fixture
def folder(tmp_path):
    noise = np.random.default_rng(0)
    for part, label, number in ((p, c, n) for p, k in (("train", 100), ("test", 20)) for c in "ab" for n in range(k)):
        path = tmp_path / "images" / part / label / f"{number}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    return tmp_path / "images"


def load(folder, cache, **how):
    return load_images(DatasetRequest("image_folder", str(folder), 8, download=False, data_folder=cache), cache, **how)


@pytest.mark.system
def test_a_process_that_is_killed_while_it_decodes_leaves_nothing_that_counts(folder, tmp_path):
    killed = tmp_path / "killed"
    ran = subprocess.run([sys.executable, "-c", CHILD, str(folder), str(killed)], check=False, timeout=120)
    assert ran.returncode == -signal.SIGKILL
    assert not list(killed.glob("*.safetensors"))
    assert len(left := list(killed.glob(".*.safetensors.*"))) == 1
    other = killed / ".other.safetensors.0123456789abcdef"
    other.touch()
    again, whole = load(folder, killed, checked=True), load(folder, tmp_path / "whole")
    assert again.fingerprint == whole.fingerprint
    assert torch.equal(again.train_pixels, whole.train_pixels)
    assert not left[0].exists()
    assert other.exists()  # which another process may be writing


@pytest.mark.system
def test_several_processes_at_once_decode_once(folder, tmp_path):
    """One writes; the others wait for it and find what it has made."""
    cache = tmp_path / "cache"
    child = (
        CHILD.replace("count[0] > 150", "False") + "print(count[0])" + "\nprint(len(list(cache.glob('*.safetensors'))))"
    )
    command = [sys.executable, "-c", child, str(folder), str(cache)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [one.communicate(timeout=120)[0].split() for one in running]
    assert sorted(said) == [["0", "1"], ["240", "1"]]


def test_blocks_are_put_together_in_order(folder, tmp_path):
    """More images than a block holds, decoded by several threads."""
    data = load(folder, tmp_path / "cache")
    assert data.train_labels.tolist() == [0] * 100 + [1] * 100
    for pixels, part in ((data.train_pixels, "train"), (data.test_pixels, "test")):
        files = [path for label in "ab" for path in sorted((folder / part / label).iterdir(), key=lambda p: p.name)]
        wanted = np.stack([np.asarray(Image.open(path)) for path in files])
        assert np.array_equal(pixels.numpy(), wanted)


def test_a_disk_without_room_is_told_before_anything_is_decoded(folder, tmp_path, monkeypatch):
    import shutil
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 1000))
    monkeypatch.setattr("ipr.data.image_folder.read_picture", lambda *about: pytest.fail("decoded"))
    with pytest.raises(InputError, match=r"paths\.cache=.*has no room for the decoded images \(0\.0 GB needed"):
        load(folder, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.safetensors"))


def test_an_older_cached_file_is_found(folder, tmp_path):
    """As safetensors' own writer lays it out."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    first = load(folder, tmp_path)
    (cached,) = tmp_path.glob("*.safetensors")
    with safe_open(cached, "pt") as stored:
        about = stored.metadata()
    content = {name: tensor.clone() for name, tensor in load_file(cached).items()}
    cached.unlink()
    save_file(content, cached, about)
    written = cached.stat().st_mtime_ns
    again = load(folder, tmp_path, checked=True)
    assert cached.stat().st_mtime_ns == written
    assert again.fingerprint == first.fingerprint
    assert json.loads(about["facts"])["classes"] == ["a", "b"]
