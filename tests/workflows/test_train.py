import csv
import json
import os
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from ipr.errors import InputError
from ipr.judging.claim_kinds import load_claim
from ipr.models import build_model
from ipr.store.record import load_record
from ipr.workflows.attack import attack
from ipr.workflows.request import identity_of, key_of
from ipr.workflows.train import train
from sweeps import SECONDS, command, until

SCHEMES = ["baseline", "passport_v1", "passport_v2", "passport_v3"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_run_folder_holds_what_it_should(request_for, scheme, trained):
    run = trained(request_for(f"scheme={scheme}"))
    names = {path.name for path in run.folder.path.iterdir()} - {".lease"}
    expected = {"config.yaml", "record.json", "metrics.csv", "public.safetensors", "checkpoints"}
    assert names == expected | ({"claim"} if scheme != "baseline" else set())
    record = load_record(run.folder.record)
    assert record == run.record
    assert record.scheme == scheme
    assert (record.train_images, record.test_images, record.epochs) == (128, 40, 2)
    rows = _rows(run.folder.metrics)
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert [row["step"] for row in rows] == ["4", "8"]
    if scheme == "baseline":
        assert record.mark_read is record.consistent is None
        return
    assert stat.S_IMODE(run.folder.claim.stat().st_mode) == 0o700
    claim = load_claim(run.folder.claim)
    assert claim.thresholds.target_accuracy == record.accuracy_genuine
    assert (claim.triggers is not None) == (scheme == "passport_v3") == (record.trigger_accuracy is not None)
    assert record.bits_total == 224
    assert record.forged == 3


@pytest.mark.parametrize("scheme", SCHEMES)
def test_public_weights_are_the_plain_architectures(request_for, scheme, trained):
    run = trained(request_for(f"scheme={scheme}"))
    weights = load_file(run.folder.weights)
    plain = build_model(
        "alexnet", norm=run.record.norm, width=0.25, channels_in=1, image_size=8, num_classes=10
    ).state_dict()
    missing = (
        {f"norm{i}.{part}" for i in (3, 4, 5) for part in ("weight", "bias")} if scheme == "passport_v1" else set()
    )
    assert set(weights) == set(plain) - missing
    assert all(weights[name].shape == plain[name].shape for name in weights)


def test_the_same_request_is_found_and_not_computed_again(request_for):
    first = train(request_for())
    stamps = {p: p.stat().st_mtime_ns for p in first.folder.path.rglob("*") if p.is_file() and p.name != ".lease"}
    again = train(request_for())
    assert (first.found, again.found) == (False, True)
    assert again.record == first.record
    assert stamps == {p: p.stat().st_mtime_ns for p in stamps}


@pytest.mark.slow
def test_what_does_not_change_the_result_does_not_change_the_run(request_for, tmp_path, trained):
    trained(request_for())
    for same in (
        "logger.project=other",
        "trainer.progress_bar=true",
        "dataset.download=true",
        f"paths.data={tmp_path}",
    ):
        assert train(request_for(same)).found, same
    for other in ("seed=1", "scheme.signature=x", "passport.key=k", "passport.energy=1", "optimizer.lr=0.2",
                  "scheme.alternation=alternate", "dataset.limit_test=39"):  # fmt: skip
        run = train(request_for(other, "trainer.max_epochs=1"))
        assert not run.found, other


def test_other_tags_are_added_to_a_found_run(request_for):
    train(request_for("tags=[one]"))
    again = train(request_for("tags=[two]"))
    assert again.found
    assert again.record.tags == "one two"
    assert load_record(again.folder.record).tags == "one two"


def test_other_judging_judges_again_and_trains_nothing(request_for, trained):
    first = trained(request_for())
    weights = first.folder.weights.stat().st_mtime_ns
    again = train(request_for("verification.forged=5"))
    assert not again.found
    assert again.record.forged == 5
    assert again.record.accuracy_genuine == first.record.accuracy_genuine
    assert again.record.train_seconds == first.record.train_seconds
    assert first.folder.weights.stat().st_mtime_ns == weights


def test_the_same_seed_gives_the_same_weights_and_another_does_not(request_for):
    runs = [train(request_for("scheme=passport_v3", f"paths.runs={name}", f"seed={seed}"))
            for name, seed in (("a", 0), ("b", 0), ("c", 1))]  # fmt: skip
    one, same, other = (load_file(run.folder.weights) for run in runs)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["conv1.weight"], other["conv1.weight"])
    assert runs[0].folder.key == runs[1].folder.key != runs[2].folder.key
    fingerprints = [load_claim(run.folder.claim).fingerprint() for run in runs]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_without_the_key_the_seed_does_not_give_the_secrets(request_for, trained):
    open_run, keyed = (trained(request_for("scheme=passport_v3", *k)) for k in ([], ["passport.key=only mine"]))
    one, two = (load_claim(run.folder.claim).tensors() for run in (open_run, keyed))
    assert all(not torch.equal(one[name], two[name]) for name in one)


def test_feature_map_passports_train_their_plain_network_first_and_once(request_for):
    first = train(request_for("scheme=passport_v1", "passport=shuffled"))
    (baseline,) = first.folder.path.parent.glob("baseline-*")
    stamp = (baseline / "public.safetensors").stat().st_mtime_ns
    train(request_for("scheme=passport_v1", "passport=image"))
    assert train(request_for("scheme=baseline")).found
    assert len(list(first.folder.path.parent.glob("baseline-*"))) == 1
    assert (baseline / "public.safetensors").stat().st_mtime_ns == stamp
    train(request_for("scheme=passport_v2", "passport=shuffled", "model.norm=gn"))
    assert len(list(first.folder.path.parent.glob("baseline-*"))) == 2  # group norm's


def _command(*arguments):
    return [sys.executable, "-c", "from ipr.cli import main; main()", "train", *arguments]


TINY = (
    "model.width=0.25", "dataset.image_size=8", "dataset.limit_train=640", "dataset.limit_test=40", "logger=csv",
    "trainer.progress_bar=false", "trainer.accelerator=cpu", "verification.forged=3", "passport=random",
    "scheme=passport_v3", "trainer.checkpoint_seconds=0",
)  # fmt: skip


def _environment(cache):
    return os.environ | {"IPR_CACHE": str(cache), "OMP_NUM_THREADS": "1"}


def _completed(cache, *arguments):
    done = subprocess.run(_command(*arguments), env=_environment(cache), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.system
def test_a_killed_run_resumes_to_the_same_bits(cache):
    """SIGKILL after some epoch, then the same command: equal weights, equal record but for times."""
    request = [*TINY, "trainer.max_epochs=12"]
    _completed(cache, *request, "paths.runs=whole")
    with subprocess.Popen(_command(*request, "paths.runs=broken"), env=_environment(cache)) as process:
        while not list(Path("broken").glob("train/*/checkpoints/last.ckpt")):
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    (broken,) = Path("broken").glob("train/*")
    whole = Path("whole") / "train" / broken.name
    assert not (broken / "record.json").exists()
    assert 0 < len(_rows(broken / "metrics.csv")) < 12
    _completed(cache, *request, "paths.runs=broken")
    one, two = (load_file(folder / "public.safetensors") for folder in (whole, broken))
    assert all(torch.equal(one[name], two[name]) for name in one)
    timeless = {"train_seconds": 0, "judge_seconds": 0, "finished": ""}
    records = [replace(load_record(folder / "record.json"), **timeless) for folder in (whole, broken)]
    assert records[0] == records[1]
    assert [row["epoch"] for row in _rows(broken / "metrics.csv")] == [str(e) for e in range(12)]


@pytest.mark.system
def test_an_interrupted_run_says_so_and_exits_130(cache, monkeypatch):
    monkeypatch.setenv("IPR_CACHE", str(cache))
    with command("train", *TINY, "trainer.max_epochs=40000", "paths.runs=stopped") as process:
        until(lambda: list(Path("stopped").glob("train/*/checkpoints/last.ckpt")))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert "the same command goes on where this one stopped" in err
    assert "Traceback" not in err


@pytest.mark.system
def test_two_processes_that_ask_for_one_run_train_it_once(cache):
    request = [*TINY, "trainer.max_epochs=3", "paths.runs=shared"]
    both = [
        subprocess.Popen(
            _command(*request), env=_environment(cache), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    printed = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    assert sorted(out.rpartition("shared")[0].rsplit("\n", 1)[-1] for out, _ in printed) == ["found: ", "made: "]
    assert len(list(Path("shared").glob("train/*"))) == 1


SIGNATURE, KEY = "the secret of the owner", "a key that nobody knows"


@pytest.mark.system
def test_no_secret_leaves_the_claim_folder(request_for, monkeypatch):
    """Signature, key, passport, patch means, bits and trigger images are in no other file, W&B's included."""
    monkeypatch.setenv("WANDB_SILENT", "true")
    secret = (f"scheme.signature={SIGNATURE}", f"passport.key={KEY}")
    run = train(request_for("scheme=passport_v3", "logger=wandb", *secret))
    assert list(run.folder.path.glob("wandb/offline-run-*/*.wandb"))
    claim = load_claim(run.folder.claim)
    secrets = {"signature": SIGNATURE.encode(), "key": KEY.encode()}
    for name, tensor in claim.tensors().items():
        if name != "trigger_set/labels":
            secrets[name] = tensor.numpy().tobytes()[8:56]
    searched = 0
    for path in run.folder.path.rglob("*"):
        if path.is_file() and not path.is_symlink() and run.folder.claim not in path.parents:
            content, searched = path.read_bytes(), searched + 1
            for name, secret in secrets.items():
                assert secret not in content, f"{name} is in {path.relative_to(run.folder.path)}"
    assert searched >= 6
    shown = yaml.safe_load(run.folder.config.read_text())
    assert shown["scheme"]["signature"] == shown["passport"]["key"] == "<hidden>"
    inside = b"".join(path.read_bytes() for path in run.folder.claim.iterdir())
    assert all(secrets[name] in inside for name in claim.tensors() if name in secrets)  # the search can find them


def test_fewer_channels_than_there_are_carry_a_bit(request_for, data):
    made = train(request_for("scheme=passport_v2", "scheme.bits=60"))
    assert made.record.bits_total == 60
    claim = load_claim(made.folder.claim)
    assert (claim.marks().numel(), sum(bits.numel() for bits in claim.signature.values())) == (60, 224)
    everywhere = request_for("scheme=passport_v2")
    assert "bits" not in identity_of(everywhere, data)["scheme"]  # the names of runs made before stay
    assert key_of(everywhere, data) != made.folder.key
    with pytest.raises(InputError, match=r"scheme.bits=225: is not from 1 to 224"):
        train(request_for("scheme=passport_v2", "scheme.bits=225"))


def test_the_checkpoint_holds_the_public_state_only(request_for, trained):
    run = trained(request_for("scheme=passport_v3"))
    saved = torch.load(run.folder.checkpoint, weights_only=True)
    assert {name.removeprefix("network.") for name in saved["state_dict"]} == set(load_file(run.folder.weights))


def test_records_are_plain_json(request_for, trained):
    row = json.loads(trained(request_for()).folder.record.read_text())
    assert all(value is None or isinstance(value, str | int | float | bool) for value in row.values())


def test_v1_takes_a_trigger_set_on_request(request_for, tmp_path, trained):
    """From a folder here, as Adi et al. publish theirs."""
    from PIL import Image

    for number in range(1, 6):
        Image.new("L", (20, 30), 50 * number).save(tmp_path / f"{number}.png")
    (tmp_path / "labels.txt").write_text("3\n1\n4\n1\n5\n")
    folder = ("trigger_set=folder", f"trigger_set.root={tmp_path}", "scheme.embed_trigger_set=true")
    run = train(request_for("scheme=passport_v1", *folder))
    assert load_claim(run.folder.claim).triggers.labels.tolist() == [3, 1, 4, 1, 5]
    assert 5 * run.record.trigger_accuracy_passport in (pytest.approx(count) for count in range(6))
    assert trained(request_for("scheme=passport_v1")).record.trigger_accuracy is None


def test_an_attack_in_double_precision_is_judged_like_any_other(request_for):
    wanted = ("scheme=uchida", "attack=finetune", "attack_epochs=1", "trainer.precision=64-true")
    (row,) = attack(request_for(*wanted, command="attack")).rows
    assert row.bits_total == 256


def test_mixed_precision_reads_every_bit_too(request_for):
    run = train(request_for("trainer.precision=bf16-mixed", "trainer.max_epochs=8"))
    assert run.record.bits_agreeing == run.record.bits_total
    assert all(weight.dtype != torch.bfloat16 for weight in load_file(run.folder.weights).values())
