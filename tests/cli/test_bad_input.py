"""What a user sees who gets something wrong: one line with field, value and remedy, exit code 2, nothing lost."""

import os
from pathlib import Path

import pytest

from ipr.cli import COMMANDS
from ipr.cli.jobs import STORAGE, reporting
from one_line import assert_one_line


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trainer.max_epoch=5"], ["trainer.max_epoch", "did you mean max_epochs"]),
        (["++trainer.bogus=1"], ["trainer.bogus=1", "known here: max_epochs"]),
        (["+modle=alexnet"], ["modle", "alexnet"]),
        (["modle=alexnet"], ["modle", "did you mean model"]),
        (["++model.norn=bn"], ["model.norn=bn", "did you mean norm"]),
        (["trainer.max_epochs=five"], ["trainer.max_epochs", "five", "Integer"]),
        (["dataset.flip=7.5"], ["dataset.flip", "7.5"]),
        (["scheme=passport_v9"], ["scheme=passport_v9", "baseline, chip, dataset_inference"]),
        (["model=vgg"], ["model=vgg", "alexnet, resnet18, resnet50"]),
        (["study=nothing"], ["study=nothing", "ipr reproduce"]),
        (["scheme=baseline", "scheme.signature=mine"], ["scheme.signature"]),
        (["scheme.alternation=[a"], ["scheme.alternation=[a"]),
        (["scheme.alternation=both"], ["scheme.alternation=both", "choose joint or alternate"]),
        (["scheme=passport_v1", "scheme.layers=[conv9]"], ["scheme.layers", "conv9", "choose among: conv1"]),
        (["scheme.gamma_0=0"], ["scheme.gamma_0=0"]),
        (["optimizer.batch_size=0"], ["optimizer.batch_size=0", "must be at least 1"]),
        (["optimizer.batch_size=97"], ["optimizer.batch_size=97", "there are 96 training images"]),
        (["optimizer.lr=-1"], ["optimizer.lr=-1"]),
        (["trainer.max_epochs=0"], ["trainer.max_epochs=0"]),
        (["trainer.precision=16-mixed"], ["trainer.precision=16-mixed", "needs a GPU"]),
        (["trainer.precision=8"], ["trainer.precision=8", "bf16-mixed"]),
        (["trainer.accelerator=abacus"], ["trainer.accelerator=abacus", "auto, cpu"]),
        (["model.norm=ln"], ["model.norm=ln", "bn, gn"]),
        (["model.width=0"], ["model.width=0", "must be above 0"]),
        (["model.width=inf"], ["model.width=inf", "is no finite number", "give e.g. 0.25"]),
        (["model.width=nan"], ["model.width=nan", "is no finite number"]),
        (["model.width=-0.5"], ["model.width=-0.5", "must be above 0"]),
        (["model.width=17"], ["model.width=17", "must be at most 16"]),
        (["passport.energy=inf"], ["passport.energy=inf", "is no finite number", "null for as published"]),
        (["dataset.image_size=0"], ["dataset.image_size=0", "must be at least 8"]),
        (["dataset.image_size=-8"], ["dataset.image_size=-8"]),
        (["dataset.image_size=100000"], ["dataset.image_size=100000", "must be at most 512"]),
        (["dataset.limit_test=0"], ["dataset.limit_test=0", "must be at least 1"]),
        (["dataset.crop_padding=1000000000"], ["dataset.crop_padding=1000000000", "must be at most"]),
        (["optimizer.lr=inf"], ["optimizer.lr=inf"]),
        (["optimizer.clip_norm=nan"], ["optimizer.clip_norm=nan", "null for none"]),
        (["optimizer.weight_decay=-1"], ["optimizer.weight_decay=-1", "must not be negative"]),
        (["scheme=passport_v3", "trigger_set.size=-3"], ["trigger_set.size=-3"]),
        (["trainer.devices=0"], ["trainer.devices=0", "must be at least 1"]),
        (["seed=123456789012345678901234567890"], ["seed=", "97 bits"]),
        (["verification.p_value=nan"], ["verification.p_value=nan"]),
        (["scheme=uchida", "scheme.weight=inf"], ["scheme.weight=inf"]),
        (["scheme.gamma_regulariser=-inf"], ["scheme.gamma_regulariser=-inf"]),
        (["passport.energy=0"], ["passport.energy=0", "null for as published"]),
        (["passport=image", "passport.name=picture"], ["passport.name=picture", "random, image or shuffled"]),
        (["passport=shuffled", "passport.images=100"], ["passport.images=100", "at most 48"]),
        (["verification.forged=-1"], ["verification.forged=-1"]),
        (["verification.fidelity_threshold=3"], ["verification.fidelity_threshold=3", "0 to 1"]),
        (["dataset.limit_train=5000"], ["dataset.limit_train=5000", "there are 1437"]),
        (["dataset.part=3/2"], ["dataset.part=3/2", "give e.g. 1/2"]),
        (["dataset.part=1/2000"], ["dataset.part=1/2000", "there are 1437 training images"]),
        (["dataset.part=1/2", "dataset.limit_train=720"], ["dataset.limit_train=720", "there are 719"]),
        (["dataset.crop_padding=-1"], ["dataset.crop_padding=-1"]),
        (["dataset=cifar10"], ["dataset.root=None", "data/cifar10", "dataset.download=true"]),
        (["dataset=image_folder", "dataset.root=."], ["dataset.root=."]),
        (["scheme=passport_v3", "trigger_set=folder"], ["trigger_set.root=None", "trigger_set=abstract"]),
        (["scheme=passport_v3", "trigger_set.per_step=1000"], ["trigger_set.per_step=1000"]),
        (["logger.mode=loud", "logger=wandb"], ["logger.mode=loud", "offline"]),
        (["paths.cache=/dev/null"], ["paths.cache=/dev/null", "cannot be written"]),
        (["paths.runs=/dev/null"], ["paths.runs=/dev/null", "cannot be written"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_training_requests_that_cannot_be(ipr, tiny, arguments, words):
    rest = [a for a in tiny if not any(a.split("=")[0] == b.lstrip("+").split("=")[0] for b in arguments)]
    if any(argument.startswith("dataset=") for argument in arguments):
        rest = [a for a in rest if not a.startswith("dataset.")]
    assert_one_line(ipr("train", *rest, *arguments), *words)
    assert not list(Path().glob("runs/*/*/record.json"))


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "arguments",
    [
        ("attack", "attack=prune", "attack.rates=[0.5,nan]"),
        ("attack", "attack=rescale", "attack.factor=inf"),
        ("attack", "attack=quantise", "attack.bits=[8,0]"),
        ("attack", "attack=finetune", "attack.epochs=0"),
        ("attack", "attack=finetune", "attack_epochs=-1"),
        ("verify", "suspect=a", "claim=b", "rule.p_value=nan"),
        ("verify", "suspect=a", "claim=b", "endpoint.timeout_seconds=inf"),
        ("calibrate", "claim=b", "rate=nan"),
        ("exhibit", "exhibit=timing", "exhibit.rounds=0"),
        ("reproduce", "study=table_01", "scale.seeds=[1e400]"),
    ],
    ids=" ".join,
)
def test_numbers_that_cannot_be_are_refused_before_anything_is_written(ipr, arguments):
    assert_one_line(ipr(*arguments), arguments[-1].partition("=")[0])
    assert not Path("runs").exists()


def test_a_signature_too_long_is_refused_without_being_told(ipr, tiny):
    text = "a very long claim of ownership " * 3
    outcome = ipr("train", *tiny, f'scheme.signature="{text}"')
    assert_one_line(outcome, "scheme.signature=<93 characters>", "needs 744 bits", "hold 224", "28 bytes")
    assert "ownership" not in outcome.err


@pytest.mark.parametrize("arguments", [["trian"], ["attacks"]])
def test_unknown_commands(ipr, arguments):
    commands = ", ".join(COMMANDS)
    assert_one_line(ipr(*arguments), f"command={arguments[0]}", commands)


@pytest.mark.parametrize("number", STORAGE)
def test_what_a_disk_or_a_file_server_refuses_is_one_line(number, capsys):
    codes = []
    with reporting(codes):
        raise OSError(number, os.strerror(number), "runs/train/KEY/metrics.csv")
    assert codes == [2]
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"ipr: error: runs/train/KEY/metrics.csv: {os.strerror(number)}; ")
    assert "goes on where this one stopped" in line


def test_no_command_shows_how(ipr):
    outcome = ipr()
    assert outcome.code == 2
    assert "usage: ipr COMMAND" in outcome.out


def test_a_corrupt_claim_is_named_and_kept(ipr, tiny, run_of):
    folder = run_of(*tiny)
    (folder / "record.json").unlink()
    (folder / "claim" / "claim.json").write_text("{")
    assert_one_line(ipr("train", *tiny), "claim=", "is damaged", "restore it")
    assert (folder / "claim" / "claim.json").read_text() == "{"


def test_a_corrupt_record_is_named(ipr, tiny, run_folder, run_of):
    run_of(*tiny, "scheme=baseline")
    (run_folder("baseline") / "record.json").write_text("[]")
    assert_one_line(ipr("train", *tiny, "scheme=baseline"), "record=", "delete it")
    (run_folder("baseline") / "record.json").unlink()
    run_of(*tiny, "scheme=baseline")


def test_a_bad_job_of_a_sweep_lets_the_others_finish(ipr, tiny):
    rest = [a for a in tiny if not a.startswith("optimizer.batch_size")]
    outcome = ipr("train", "-m", *rest, "scheme=baseline", "optimizer.batch_size=0,32")
    assert outcome.code == 2
    assert outcome.err.count("ipr: error: optimizer.batch_size=0") == 1
    assert len(list(Path().glob("runs/train/baseline-*/record.json"))) == 1


def test_verify_needs_both_files(ipr, tiny):
    assert_one_line(ipr("verify"), "claim=???", "must be given")
    assert_one_line(ipr("verify", "suspect=a", "claim=nowhere"), "claim=nowhere", "cannot be read")


def test_report_without_runs(ipr):
    assert_one_line(ipr("report"), "no finished run")
    assert_one_line(ipr("report", "tag=nothing"), "tag=nothing", "train first")


def test_a_secret_among_the_arguments_is_not_printed(ipr, tiny):
    """Neither in the list of a sweep's jobs, nor when one fails."""
    outcome = ipr("train", "-m", *tiny, "scheme.signature=hush", "passport.key=hushed", "optimizer.lr=-1,0.01")
    assert outcome.code == 2
    assert "hush" not in outcome.err
    assert all("text read back" in line for line in outcome.out.splitlines() if "hush" in line)  # for its owner


def test_a_defect_is_told_from_a_verdict(monkeypatch, capsys):
    """Exit code 1 means `not verified`, so a crash must not use it."""
    codes = []
    with reporting(codes):
        raise ZeroDivisionError
    assert codes == [70]
    assert "ZeroDivisionError" in capsys.readouterr().err
