"""Trainings that do not look at the victim are done once, and are what they would be anew."""

import os
import shutil
from pathlib import Path

import pytest
import torch

from ipr.workflows.attack import attack


def carried_out(request_for, place, scheme, *more, name="from_scratch"):
    request = request_for(
        f"scheme={scheme}", f"attack={name}", "attack_epochs=2", f"paths.runs={place}", *more, command="attack"
    )
    return attack(request)


def state(run, training="from_scratch"):
    kept = run.folder.path / "checkpoints" / training / "last.ckpt"
    return torch.load(kept, weights_only=True)["state_dict"]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def reused(capsys):
    return "found: trained before" in capsys.readouterr().err


def test_a_second_victim_finds_the_networks_of_the_first(request_for, tmp_path, capsys):
    first = carried_out(request_for, tmp_path, "passport_v2")
    assert not reused(capsys)
    second = carried_out(request_for, tmp_path, "uchida")
    assert reused(capsys)
    anew = carried_out(request_for, tmp_path / "other", "uchida")
    assert not reused(capsys)
    assert same(state(first), state(second))
    assert same(state(second), state(anew))
    (found,), (trained,) = second.rows, anew.rows
    for field in ("accuracy_after", "bits_agreeing", "decision", "attack_epochs"):
        assert getattr(found, field) == getattr(trained, field)
    assert found.seconds >= first.rows[0].seconds > 0  # what it costs whoever trains it
    curve = "metrics-from_scratch.csv"
    assert (second.folder.path / curve).read_bytes() == (first.folder.path / curve).read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        "attack_seed=1",
        "attack.lr=0.05",
        "attack_epochs=1",
        "model.width=0.5",
        "optimizer.batch_size=64",
        "trainer.memory_format=contiguous",
        "dataset.limit_train=96",
    ],
)
def test_what_differs_in_anything_is_trained_anew(change, request_for, tmp_path, capsys):
    carried_out(request_for, tmp_path, "uchida")
    carried_out(request_for, tmp_path, "uchida", change)
    assert not reused(capsys)


@pytest.mark.parametrize(
    "harm", ["cut", "unfinished", "gone", "no curve", "not said", "a pipe", "no text", "a folder", "long"]
)
def test_what_is_not_whole_is_not_taken(harm, request_for, tmp_path, capsys):
    first = carried_out(request_for, tmp_path, "passport_v2")
    place = first.folder.path / "checkpoints" / "from_scratch"
    if harm == "cut":
        (place / "last.ckpt").write_bytes((place / "last.ckpt").read_bytes()[:1000])
    elif harm == "unfinished":
        kept = torch.load(place / "last.ckpt", weights_only=True)
        torch.save(kept | {"epoch": 0}, place / "last.ckpt")
    elif harm == "gone":
        shutil.rmtree(place)
    elif harm == "no curve":
        (first.folder.path / "metrics-from_scratch.csv").unlink()
    else:
        mark = place / "training.sha256"
        said = mark.read_text()
        mark.unlink()
        if harm == "a pipe":  # nobody writes into it
            os.mkfifo(mark)
        elif harm == "no text":
            mark.write_bytes(b"\xff\xfe")
        elif harm == "a folder":
            mark.mkdir()
        elif harm == "long":
            mark.write_text(said + " " * 1000)
    second = carried_out(request_for, tmp_path, "uchida")
    assert not reused(capsys)
    anew = carried_out(request_for, tmp_path / "other", "uchida")
    assert same(state(second), state(anew))


def test_every_network_of_a_false_claim_is_found(request_for, tmp_path, capsys):
    more = ("attack.networks=2", "attack.images=4", "attack.iterations=2")
    first = carried_out(request_for, tmp_path, "uchida", *more, name="false_claim")
    second = carried_out(request_for, tmp_path, "trigger_set", *more, name="false_claim")
    assert capsys.readouterr().err.count("found: trained before") == 2
    for training in ("reference-0", "reference-1"):
        assert same(state(first, training), state(second, training))
    assert not same(state(first, "reference-0"), state(first, "reference-1"))


def test_an_attack_that_looks_at_its_victim_is_not_shared(request_for, tmp_path, capsys):
    for scheme in ("passport_v2", "uchida"):
        carried_out(request_for, tmp_path, scheme, name="finetune")
    assert not reused(capsys)
    assert not list(Path(tmp_path).glob("attack/*/checkpoints/*/training.sha256"))
