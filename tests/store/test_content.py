"""A run is named by what is read, not by where it lies."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.judging.claim_kinds import load_claim
from ipr.store.folder import short_key
from ipr.workflows.export import export
from ipr.workflows.request import key_of
from ipr.workflows.train import train


def triggers(place, labels=(3, 1, 4, 1), greys=(50, 100, 150, 200)):
    place.mkdir(parents=True, exist_ok=True)
    for number, grey in enumerate(greys, 1):
        Image.new("L", (8, 8), grey).save(place / f"{number}.png")
    (place / "labels.txt").write_text("\n".join(map(str, labels)))
    return place


@pytest.fixture
def key(request_for, tmp_path):
    """The key of a request with a folder of trigger images."""

    def keyed(place, *more, scheme="trigger_set"):
        asked = request_for(f"scheme={scheme}", "trigger_set=folder", f"trigger_set.root={place}", *more)
        return key_of(asked, open_images(asked.dataset, asked.paths))

    return keyed


@pytest.mark.parametrize("scheme", ["trigger_set", "passport_v3"])
@pytest.mark.sampled(2)
def test_a_run_with_a_trigger_folder_is_named_by_what_the_folder_holds(scheme, key, tmp_path, monkeypatch):
    first = key(triggers(tmp_path / "one"), scheme=scheme)
    shutil.copytree(tmp_path / "one", tmp_path / "two" / "pics")
    (tmp_path / "two" / "pics" / "labels.txt").rename(tmp_path / "two" / "labels-cifar.txt")
    assert key(tmp_path / "two", scheme=scheme) == first
    assert key("one", scheme=scheme) == first  # a relative path
    assert key(tmp_path / "one", "trigger_set.size=7", scheme=scheme) == first  # which a folder does not heed
    assert key(triggers(tmp_path / "labels", labels=(3, 1, 4, 2)), scheme=scheme) != first
    assert key(triggers(tmp_path / "images", greys=(50, 100, 150, 201)), scheme=scheme) != first
    assert key(triggers(tmp_path / "order", (1, 3, 4, 1), (100, 50, 150, 200)), scheme=scheme) != first
    assert key(tmp_path / "one", "trigger_set.per_step=1", scheme=scheme) != first


def test_a_run_with_a_drawn_trigger_set_heeds_no_folder_and_keeps_its_name(request_for):
    """As it was when runs were named by the path."""
    asked = [
        request_for("scheme=trigger_set", "trigger_set.per_step=2", *more)
        for more in ((), ("trigger_set.root=anywhere",))
    ]
    keys = {key_of(one, open_images(one.dataset, one.paths)) for one in asked}
    assert {short_key(key) for key in keys} == {"trigger_set-alexnet-bn-digits-ada0d48358fd"}


def test_changed_labels_are_another_run_that_embeds_them(request_for, tmp_path):
    place = triggers(tmp_path / "mine")
    asked = request_for("scheme=trigger_set", "trigger_set=folder", f"trigger_set.root={place}", "trainer.max_epochs=1")
    first = train(asked)
    assert load_claim(first.folder.claim).labels.tolist() == [3, 1, 4, 1]
    triggers(place, labels=(5, 9, 2, 6))
    second = train(asked)
    assert load_claim(second.folder.claim).labels.tolist() == [5, 9, 2, 6]
    place.rename(tmp_path / "moved")
    again = train(replace(asked, trigger_set=replace(asked.trigger_set, root=str(tmp_path / "moved"))))
    assert (again.found, again.folder) == (True, second.folder)


def test_a_trigger_folder_that_changes_meanwhile_is_refused(request_for, tmp_path, monkeypatch):
    import ipr.workflows.train as training

    place, make = triggers(tmp_path / "mine"), training.make_claim
    monkeypatch.setattr(training, "make_claim", lambda *about: triggers(place, labels=(0, 0, 0, 0)) and make(*about))
    asked = request_for("scheme=trigger_set", "trigger_set=folder", f"trigger_set.root={place}")
    with pytest.raises(InputError, match=r"trigger_set\.root=.*: was changed since the run was named"):
        train(asked)
    assert not list(Path("runs").glob("train/*/claim"))


def pictures(root, shade):
    for part, count in (("train", 4), ("test", 2)):
        for label in range(2):
            for number in range(count):
                path = root / part / str(label) / f"{number}.bmp"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 8), (100 * label, 20 * number, shade)).save(path)
    return root


SMALL = ("scheme=baseline", "dataset=image_folder", "dataset.limit_train=null", "dataset.limit_test=null",
         "optimizer.batch_size=4", "trainer.max_epochs=1")  # fmt: skip


def test_other_images_of_equal_number_are_not_a_runs_own(request_for, tmp_path):
    """An export would tell the mean of the wrong ones."""
    run = train(request_for(*SMALL, f"dataset.root={pictures(tmp_path / 'mine', 7)}"))
    assert export(run.folder.path, "safetensors").exists()
    pictures(tmp_path / "other", 8)
    with pytest.raises(InputError, match="holds other images than the run's"):
        export(run.folder.path, "torch", root=str(tmp_path / "other"))
    (tmp_path / "mine").rename(tmp_path / "moved")
    assert export(run.folder.path, "torch", root=str(tmp_path / "moved")).exists()


def test_a_limit_or_part_that_leaves_a_class_without_images_is_refused(request_for, tmp_path):
    for arguments, words in (
        (
            ("dataset.limit_train=9",),
            r"dataset\.limit_train=9: leaves 1 of 10 classes without a training image",
        ),
        (("dataset.limit_train=null", "dataset.part=1/1000"), r"dataset\.part=1/1000: leaves \d of 10 classes"),
    ):
        with pytest.raises(InputError, match=words):
            train(request_for(*arguments))
    assert not Path("runs").exists()
