"""A captured step is the step: same numbers, whatever is counted, drawn or alternated in it."""

import csv

import pytest
import torch
from safetensors.torch import load_file

from ipr.errors import InputError
from ipr.schemes.captured import WARM, CapturedStep
from ipr.schemes.means import EpochMeans
from ipr.workflows.train import train

KINDS = {
    "baseline": ["scheme=baseline"],
    "v1": ["scheme=passport_v1", "scheme.embed_trigger_set=true", "trigger_set.size=12"],
    "v2": ["scheme=passport_v2"],
    "v2-alternate": ["scheme=passport_v2", "scheme.alternation=alternate"],
    "v2-bn": ["scheme=passport_v2", "model.norm=bn", "passport.energy=30", "passport.step_energy=3"],
    "v2-bn-alternate": ["scheme=passport_v2", "model.norm=bn", "scheme.alternation=alternate"],
    "v3": ["scheme=passport_v3", "trigger_set.size=12"],
    "chip": ["scheme=chip"],
    "steganographic-alternate": ["scheme=steganographic", "scheme.alternation=alternate"],
    "seal": ["scheme=seal"],
    "uchida": ["scheme=uchida"],
    "trigger_set": ["scheme=trigger_set", "trigger_set.size=12"],
    "greedy_residuals": ["scheme=greedy_residuals"],
    "neuralmark": ["scheme=neuralmark"],
    "ewe": ["scheme=ewe", "trigger_set.size=8"],
}


def curves(run):
    """The rows of a run's epochs, without the clock."""
    with run.folder.metrics.open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in ("v1", "v2") else pytest.mark.slow) for kind in KINDS]
)
@pytest.mark.parametrize("precision", ["32-true", pytest.param("bf16-mixed", marks=pytest.mark.slow)])
def test_a_captured_training_has_the_bits_of_one_that_is_not(kind, precision, request_for, tmp_path):
    runs = [
        train(
            request_for(
                *KINDS[kind], f"trainer.precision={precision}", f"trainer.capture={capture}",
                f"paths.runs={tmp_path / capture}",
            )
        )
        for capture in ("false", "true")
    ]  # fmt: skip
    assert runs[0].folder.key == runs[1].folder.key  # the same numbers, so the same run
    assert [run.record.capture for run in runs] == [False, True]
    plain, captured = (load_file(run.folder.weights) for run in runs)
    assert plain.keys() == captured.keys()
    for name in plain:
        assert torch.equal(plain[name], captured[name]), name
    assert curves(runs[0]) == curves(runs[1])


@pytest.mark.parametrize("halves", [("true", "false"), ("false", "true")])
@pytest.mark.sampled(2)
def test_a_training_goes_on_captured_or_not(halves, request_for, tmp_path, monkeypatch):
    """Its checkpoints are the same: the rate is a number in them, and the triggers go on where they were."""
    from ipr.training.metrics import MetricsFile

    asked = [*KINDS["v3"], "trainer.max_epochs=3"]
    whole = train(request_for(*asked, f"paths.runs={tmp_path / 'whole'}"))
    plain = MetricsFile.on_train_epoch_start

    def stop(self, trainer, module):
        if trainer.current_epoch == 2:
            raise KeyboardInterrupt
        plain(self, trainer, module)

    with monkeypatch.context() as patched:
        patched.setattr(MetricsFile, "on_train_epoch_start", stop)
        with pytest.raises(KeyboardInterrupt):
            train(request_for(*asked, f"paths.runs={tmp_path / 'half'}", f"trainer.capture={halves[0]}"))
    gone_on = train(request_for(*asked, f"paths.runs={tmp_path / 'half'}", f"trainer.capture={halves[1]}"))
    one, two = (load_file(run.folder.weights) for run in (whole, gone_on))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["trainer.precision=64-true"], r"^trainer\.capture=True: cannot be had with trainer\.precision=64-true"),
        (["trainer.devices=2"], r"^trainer\.capture=True: cannot be had in a training of several processes"),
    ],
)
def test_what_cannot_be_captured_is_refused(given, message, request_for):
    with pytest.raises(InputError, match=message):
        train(request_for("trainer.capture=true", *given))


class Graphs:
    """Stands in for CUDA: a recorded step runs again on whatever lies in its images and labels by then."""

    def __init__(self, monkeypatch):
        self.recorded = []
        monkeypatch.setattr(CapturedStep, "_on_the_side", lambda step, x, y: step._step(x, y))
        monkeypatch.setattr(CapturedStep, "_graph_of", lambda step, x, y: self.graph_of(step, x, y))

    def graph_of(self, step, x, y):
        """Records without computing: what the host counts is counted, as while a graph is recorded."""
        self.recorded.append((x, y))
        step.tally["answers"] += y.numel()

        def replay():
            before = dict(step.tally)
            step._step(x, y)
            step.tally.clear()  # a graph adds to nothing on the host
            step.tally.update(before)

        return replay


def test_each_kind_of_step_is_recorded_once_after_it_has_run(monkeypatch):
    graphs = Graphs(monkeypatch)
    weight = torch.nn.Parameter(torch.zeros(2))
    means = EpochMeans()
    seen = []

    def loss(x, y):
        seen.append((x.clone(), y.clone()))
        means.count(torch.eye(2)[y], y)
        return ((weight - x.mean()) ** 2).sum()

    optimizer = torch.optim.SGD([weight], 0.1)
    step = CapturedStep(loss, optimizer, None, 5, means.tally, graphs=True)
    batches = [(torch.full((4, 1, 1, 1), float(i)), torch.tensor([0, 1, 1, 0])) for i in range(WARM + 4)]
    last = (torch.full((3, 1, 1, 1), 9.0), torch.tensor([0, 1, 1]))
    for x, y in [*batches, last, *batches]:
        step(x, y)
    assert len(graphs.recorded) == 1  # the smaller last batch has run as it is
    assert [x.mean().item() for x, _ in seen] == [*range(WARM + 4), 9.0, *range(WARM + 4)]
    assert means.tally["answers"] == 4 * 2 * (WARM + 4) + 3
    assert means.answers() == (4 * 2 * (WARM + 4) + 3, 4 * 2 * (WARM + 4) + 3)
    assert step.number == 5 + 2 * (WARM + 4) + 1
    for kind in ("one", "other"):
        for x, y in batches:
            step(x, y, kind)
    assert len(graphs.recorded) == 3
