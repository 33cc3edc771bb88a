"""Curves on images that are held out, trainings that are cut short, and loggers beside W&B."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from safetensors.torch import load_file

import ipr.workflows.train as training
from ipr.data.module import Batches
from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.judging.claim_kinds import load_claim
from ipr.judging.verdict import judge
from ipr.reports.runs import write_report
from ipr.reports.trainings import records_frame, tables
from ipr.schemes.start import load_suspect
from ipr.store.record import cut_of, find_records
from ipr.tracking.loggers import LoggerTracker, check_installed
from ipr.training.metrics import read_metrics
from ipr.training.validation import measured
from ipr.workflows.attack import attack
from ipr.workflows.calibrate import check_whole
from ipr.workflows.exhibit import exhibit
from ipr.workflows.request import identity_of, key_of, with_limit
from ipr.workflows.train import train


def steps(run):
    return [int(row["step"]) for row in read_metrics(run.folder.metrics)]


# images that are held out


def test_a_share_of_every_class_is_held_out_and_the_same_at_each_call(digits):
    held = digits.holding_out(0.1)
    assert held.held_out.numel() == round(0.1 * 1437)
    assert torch.equal(held.held_out, digits.holding_out(0.1).held_out)
    assert torch.equal(torch.cat([held.held_out, held.trained_on]).sort().values, torch.arange(1437))
    counts = held.train_labels[held.held_out].bincount(minlength=10)
    wanted = digits.train_labels.bincount() * 0.1
    assert (counts - wanted).abs().max() <= 1
    images = held.validation()
    assert torch.equal(images.labels, digits.train_labels[held.held_out])
    assert torch.equal(held.train_pixels, digits.train_pixels)  # what secrets are drawn from
    assert digits.holding_out(0) is digits
    assert digits.validation() is None
    for other in (held.limited(100, None), held.part("1/2"), held.share(100)):
        assert other.held_out is None  # positions of other images
    assert held.limited(None, 40).held_out is held.held_out


@pytest.mark.parametrize("share", [1e-9, 0.9999])
def test_no_image_or_all_of_them_cannot_be_held_out(share, digits):
    with pytest.raises(InputError, match=r"dataset\.validation=.*give e\.g\. 0\.1"):
        digits.holding_out(share)


@pytest.mark.parametrize("share", ["nan", "-0.1", "1", "inf"])
def test_what_is_no_share_is_refused_and_leaves_nothing_behind(share, request_for):
    with pytest.raises(InputError, match=r"dataset\.validation="):
        train(request_for(f"dataset.validation={share}"))
    assert not Path("runs").exists()


def test_nothing_that_is_held_out_is_trained_on(request_for, monkeypatch):
    seen = []
    iterate = Batches.__iter__
    monkeypatch.setattr(Batches, "__iter__", lambda self: (seen.append(self.order) or b for b in iterate(self)))
    config = request_for("dataset.validation=0.25", "scheme=baseline")
    run = train(config)
    held = open_images(config.dataset, config.paths).held_out
    assert held.numel() == 32
    trained = torch.cat(seen).unique()
    assert not torch.isin(trained, held).any()
    assert trained.numel() == 96 == run.record.train_images


def test_it_is_off_by_default_and_part_of_the_key(request_for):
    plain, held = request_for(), request_for("dataset.validation=0.1")
    data = open_images(plain.dataset, plain.paths)
    assert "validation" not in identity_of(plain, data)["dataset"]  # runs that are there are found
    assert "limit_train_batches" not in identity_of(plain, data)["trainer"]
    assert key_of(plain, data) != key_of(held, data.holding_out(0.1))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("scheme", ["baseline", "passport_v1", "passport_v3", "uchida", "zhang_noise"])
def test_the_last_epoch_of_the_curves_is_what_the_judge_finds_in_the_file(scheme, request_for):
    config = request_for(f"scheme={scheme}", "dataset.validation=0.25", "trigger_set.size=8",
                         "trainer.precision=64-true" if scheme == "passport_v1" else "seed=0")  # fmt: skip
    run = train(config)
    data = open_images(config.dataset, config.paths)
    suspect = load_suspect(config.model, data, run.folder.weights)
    claim = load_claim(run.folder.claim) if scheme != "baseline" else None
    images = data.validation()
    told = {k: float(v) for k, v in read_metrics(run.folder.metrics)[-1].items() if k.startswith("validation/")}
    assert told == pytest.approx(measured(suspect, claim, images), abs=1e-5)
    wanted = {"validation/accuracy"}
    if scheme.startswith("passport"):
        wanted |= {f"validation/{name}" for name in ("accuracy_passport", "bits", "margin", "margin_min")}
        verdict = judge(suspect, claim, images, forged=0)
        assert told["validation/accuracy_passport"] == pytest.approx(verdict.fidelity.accuracy)
        assert told["validation/bits"] == pytest.approx(verdict.reading.agreement)
        assert (told["validation/margin_min"] > 0) == (verdict.reading.agreement == 1)
        assert told["validation/margin_min"] <= told["validation/margin"]
    wanted |= {"validation/bits"} if scheme == "uchida" else set()
    wanted |= {"validation/triggers"} if scheme in ("passport_v3", "zhang_noise") else set()
    assert told.keys() == wanted


def test_looking_on_changes_nothing_of_the_training(request_for, monkeypatch):
    config = request_for("dataset.validation=0.25", "scheme=passport_v2")
    watched = train(config)
    monkeypatch.setattr(training, "validation_of", lambda *_: None)
    alone = train(replace(config, paths=replace(config.paths, runs="other")))
    assert "validation/accuracy" in read_metrics(watched.folder.metrics)[0]
    assert "validation/accuracy" not in read_metrics(alone.folder.metrics)[0]
    mine, others = load_file(watched.folder.weights), load_file(alone.folder.weights)
    assert all(torch.equal(mine[name], others[name]) for name in mine)


def test_secrets_are_those_of_the_run_without(request_for):
    held = train(request_for("scheme=zhang_content", "trigger_set.size=8", "dataset.validation=0.25"))
    whole = train(request_for("scheme=zhang_content", "trigger_set.size=8"))
    mine, others = load_claim(held.folder.claim), load_claim(whole.folder.claim)
    assert all(torch.equal(mine.tensors()[name], tensor) for name, tensor in others.tensors().items())
    assert mine.origin == others.origin  # a judge draws them again


def test_the_learning_rate_of_every_epoch_is_logged(request_for):
    config = request_for("trainer.max_epochs=3")
    rates = [float(row["learning_rate"]) for row in read_metrics(train(config).folder.metrics)]
    asked = config.optimizer
    assert rates == pytest.approx([asked.lr * asked.rate_factor((4 * epoch + 0.5) / 12) for epoch in range(3)])


# epochs that are cut short


def test_cut_epochs_have_a_key_a_tag_and_tables_of_their_own(request_for, trained):
    whole = trained(request_for("scheme=baseline"))
    cut = train(request_for("scheme=baseline", "trainer.limit_train_batches=1"))
    half = train(request_for("scheme=baseline", "trainer.limit_train_batches=0.5"))
    assert (steps(whole), steps(cut), steps(half)) == ([4, 8], [1, 2], [2, 4])
    assert len({run.folder.key for run in (whole, cut, half)}) == 3
    assert [cut_of(run.record.tags) for run in (whole, cut, half)] == ["", "limited-1", "limited-0.5"]
    assert train(request_for("scheme=baseline", "trainer.limit_train_batches=1")).found
    assert not train(request_for("model.norm=gn", "trainer.limit_train_batches=1")).found
    frame = records_frame(find_records(Path("runs")))
    assert sorted(setting["cut"] for setting, _ in tables(frame)) == ["", "limited-0.5", "limited-1"]
    v2 = frame[frame["scheme"] == "passport_v2"].iloc[0]
    assert v2["gain"] != v2["gain"]  # group norm: no baseline is cut alike
    table = write_report(Path("runs"), None, Path("all")).table
    assert "2 epochs of few batches (limited-1), optimizer" in table
    assert "2 epochs, optimizer" in table
    only = write_report(Path("runs"), "limited-1", Path("cut")).table
    assert "2 epochs, optimizer" not in only
    assert "few batches" in str(cut.checks[0].remedy)  # that is why it failed


@pytest.mark.slow
def test_attacks_with_cut_epochs_stand_apart_too(request_for):
    rows = []
    for limit in ("null", "1"):
        asked = request_for("scheme=passport_v1", "attack=finetune", "attack.epochs=1",
                            f"trainer.limit_train_batches={limit}", command="attack")  # fmt: skip
        rows += attack(asked).rows
    assert [cut_of(row.tags) for row in rows] == ["", "limited-1"]
    assert rows[0].victim != rows[1].victim
    (metrics,) = Path("runs/attack").glob(f"{rows[1].key}/metrics-finetune.csv")
    assert [row["step"] for row in read_metrics(metrics)] == ["1"]
    text = write_report(Path("runs"), None, Path("all")).table
    assert "2 epochs of few batches (limited-1), 1 seed" in text


@pytest.mark.sampled(3)
@pytest.mark.parametrize("limit", ["0", "-1", "2.5", "nan", "inf", "0.01"])
def test_what_is_no_number_of_batches_is_refused_and_leaves_nothing_behind(limit, request_for):
    with pytest.raises(InputError, match=r"^trainer\.limit_train_batches="):
        train(request_for(f"trainer.limit_train_batches={limit}"))
    assert not Path("runs").exists()


@pytest.mark.parametrize("changed", ["trainer.limit_train_batches=1", "trainer.fast_dev_run=true"])
def test_a_calibration_asks_whole_trainings_only(changed, request_for):
    check_whole(request_for().trainer)
    with pytest.raises(InputError, match=changed.split("=")[0]):
        check_whole(request_for(changed).trainer)


def test_a_tag_is_given_once(request_for):
    config = with_limit(with_limit(request_for("trainer.limit_train_batches=3", "tags=[mine]")))
    assert config.tags == ["mine", "limited-3"]
    assert cut_of("mine limited-company limited- unlimited-3") == ""


# trying a request


@pytest.fixture
def asides(tmp_path, monkeypatch):
    """Where temporary folders are made."""
    place = tmp_path / "asides"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def test_a_try_leaves_nothing_that_is_found(request_for, asides):
    run = train(request_for("trainer.fast_dev_run=true", "passport.key=mine", "logger=wandb"))
    assert (run.record.epochs, cut_of(run.record.tags)) == (1, "limited-1")
    assert not run.folder.path.exists()
    assert not Path("runs").exists()
    assert not list(asides.glob("ipr-*"))
    assert not list(Path().rglob("*wandb*"))
    assert not train(request_for("passport.key=mine")).found


def test_a_try_of_an_attack_leaves_nothing_either(request_for, asides):
    asked = request_for("trainer.fast_dev_run=2", "attack=finetune", command="attack")
    assert attack(asked).rows[0].attack_epochs == 1
    assert not Path("runs").exists()
    assert not list(asides.glob("ipr-*"))


def test_a_try_that_fails_leaves_nothing_and_says_why(request_for, asides):
    with pytest.raises(InputError, match=r"optimizer\.batch_size=1000"):
        train(request_for("trainer.fast_dev_run=true", "optimizer.batch_size=1000"))
    assert not Path("runs").exists()
    assert not list(asides.glob("ipr-*"))


@pytest.mark.parametrize("value", ["-1", "maybe", "0.5", "null"])
def test_what_is_no_try_is_refused(value, request_for):
    with pytest.raises(InputError, match=r"^trainer\.fast_dev_run=.*give true"):
        train(request_for(f"trainer.fast_dev_run={value}"))


def test_what_needs_a_kept_or_a_trained_run_cannot_be_tried(request_for):
    with pytest.raises(InputError, match=r"^trainer\.fast_dev_run=True: scheme=frontier_stitching .*trigger_set"):
        train(request_for("trainer.fast_dev_run=true", "scheme=frontier_stitching"))
    assert not Path("runs").exists()
    with pytest.raises(InputError, match=r"^trainer\.fast_dev_run=True: is for ipr train and ipr attack"):
        exhibit(request_for("trainer.fast_dev_run=true", "exhibit=distributions", command="exhibit"))


# loggers of Lightning's own


@pytest.mark.parametrize("name", ["mlflow", "tensorboard"])
def test_a_logger_that_is_not_installed_is_said_in_one_line_before_anything_is_made(name, request_for, monkeypatch):
    monkeypatch.setattr("ipr.tracking.loggers.find_spec", lambda package: None)
    with pytest.raises(InputError, match=rf"^logger={name}: the package {name} is not installed; pip install {name}"):
        train(request_for(f"logger={name}"))
    assert not Path("runs").exists()
    check_installed(request_for(f"logger={name}", "logger.mode=disabled").logger)


@pytest.mark.parametrize("wrong", ["logger.name=comet", "logger.mode=loud"])
def test_a_logger_that_there_is_not_leaves_nothing_behind(wrong, request_for):
    with pytest.raises(InputError, match=rf"^{wrong}: .*choose"):
        train(request_for(wrong))
    assert not Path("runs").exists()


def test_a_logger_is_told_curves_points_and_what_came_of_it(tmp_path):
    said = []
    facts = {"seed": 1, "optimizer": {"lr": 0.1}, "scheme": {"signature": "<hidden>"}}
    tracker = LoggerTracker(lambda: CSVLogger(tmp_path, name="", version="here"), facts, said.append)
    tracker.epoch({"epoch": 0, "train/loss": 2.0, "learning_rate": 0.1})
    tracker.epoch({"epoch": 1, "train/loss": 1.0, "learning_rate": 0.2}, training="rate-0.1")
    tracker.point({"point": "rate=0.1", "accuracy_after": 0.5, "mark_read": True, "transfer": None})
    tracker.summary({"consistent": False, "scheme": "passport_v2", "p_value": 0.25})
    tracker.table("points", [{"a": 1}])
    tracker.finish(0)
    rows = read_metrics(tmp_path / "here" / "metrics.csv")
    found = {(row["step"], k): float(v) for row in rows for k, v in row.items() if k != "step" and v}
    assert found == {
        ("0", "train/loss"): 2.0, ("0", "learning_rate"): 0.1, ("1", "rate-0.1/train/loss"): 1.0,
        ("1", "rate-0.1/learning_rate"): 0.2, ("0", "point/accuracy_after"): 0.5, ("0", "point/mark_read"): 1.0,
        ("0", "summary/consistent"): 0.0, ("0", "summary/p_value"): 0.25,
    }  # fmt: skip
    assert "optimizer.lr: 0.1" in (tmp_path / "here" / "hparams.yaml").read_text()
    assert said == []


def test_a_logger_that_fails_is_said_once_and_ends_no_run(tmp_path):
    said = []

    class Full(CSVLogger):
        def log_metrics(self, metrics, step=None):
            raise OSError("no room\nat all")

    tracker = LoggerTracker(lambda: Full(tmp_path), {}, said.append)
    for epoch in range(3):
        tracker.epoch({"epoch": epoch, "train/loss": 2.0})
    tracker.finish(1)
    assert said == ["logging failed (no room) and stops here; the run itself goes on and is recorded in its folder"]

    def refused():
        raise ConnectionError

    LoggerTracker(refused, {}, said.append).summary({"a": 1})
    assert "ConnectionError" in said[1]
    assert len(said) == 2


def test_tensorboard_is_told_of_a_run_and_of_no_secret(request_for):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = train(request_for("logger=tensorboard", "scheme.signature=hush", "passport.key=a key of mine"))
    folder = run.folder.path / "tensorboard"
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    told = [event.value for event in events.Scalars("train/loss")]
    assert told == pytest.approx([float(row["train/loss"]) for row in read_metrics(run.folder.metrics)])
    assert events.Scalars("summary/accuracy_genuine")[0].value == pytest.approx(run.record.accuracy_genuine)
    for path in folder.iterdir():
        assert not any(secret in path.read_bytes() for secret in (b"hush", b"a key of mine"))


@pytest.mark.filterwarnings("ignore")  # of MLflow's own
def test_mlflow_is_told_of_a_run_and_of_no_secret(request_for):
    mlflow = pytest.importorskip("mlflow")
    run = train(request_for("logger=mlflow", "scheme.signature=hush", "passport.key=a key of mine"))
    client = mlflow.MlflowClient(f"sqlite:///{Path('runs/mlflow.db').resolve()}")
    (experiment,) = client.search_experiments(filter_string="name = 'ipr'")
    (told,) = client.search_runs([experiment.experiment_id])
    assert (told.info.run_name, told.info.status) == (run.folder.key, "FINISHED")
    assert told.data.metrics["summary/accuracy_genuine"] == run.record.accuracy_genuine
    assert len(client.get_metric_history(told.info.run_id, "train/loss")) == 2
    assert not any(s in Path("runs/mlflow.db").read_bytes() for s in (b"hush", b"a key of mine"))
