"""Off the CPU, on the emulated device: what trains, attacks, shows and judges gives the CPU's bits; no step waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path

import lightning as L
import pytest
import torch
from safetensors.torch import load_file

from gpu.emulated import FILL, KERNEL, Counts, counting, emulated
from ipr.attacks.base import schemes_of
from ipr.config.registry import load_all
from ipr.judging.claim_kinds import load_claim
from ipr.schemes.base import abouts
from ipr.workflows import carrying_out as attacking
from ipr.workflows import train as training
from ipr.workflows.attack import attack
from ipr.workflows.exhibit import exhibit
from ipr.workflows.train import train
from ipr.workflows.verify import verify

SMALL = (
    "model.width=0.0625", "dataset.limit_train=64", "dataset.limit_test=20", "optimizer.batch_size=16",
    "trainer.max_epochs=1", "verification.forged=2",
)  # fmt: skip
LEARNED = ("model.width=0.25", "trainer.max_epochs=8", "scheme.epochs=1", "scheme.epsilon=0.1")
"""There is no frontier near the images of a network that has learned nothing."""

CLOCKS = {"seconds", "finished", "train_seconds", "judge_seconds", "share_of_training", "hardware", "device"}


def few(scheme: str) -> tuple[str, ...]:
    """What is small of a scheme."""
    if scheme == "deepsigns":
        return ("scheme.classes=2", "scheme.bits=4", "scheme.images=2")
    if scheme in schemes_of("key images", "fingerprint"):
        return ("trigger_set.size=4", "trigger_set.per_step=2", *(LEARNED if scheme == "frontier_stitching" else ()))
    if scheme == "neuralmark":
        return ("scheme.bits=16", "scheme.pooled=16", "scheme.rounds=2")
    return ("scheme.bits=8",) if scheme in ("uchida", "greedy_residuals") else ()


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Where runs are kept that several tests attack, show and judge."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def both(request_for, runs) -> Callable:
    """What a function makes of a request on the CPU, and on the emulated device."""

    def made(function, *asked: str, command: str = "train"):
        config = request_for(*small(asked), f"paths.runs={runs}/cpu", command=command)
        return function(config), there(function, config, runs)

    return made


def there(function, config, runs):
    """What a function makes of a request on the emulated device."""
    trainer, paths = replace(config.trainer, accelerator="gpu"), replace(config.paths, runs=f"{runs}/emulated")
    with emulated():
        return function(replace(config, trainer=trainer, paths=paths))


def small(asked: Sequence[str]) -> list[str]:
    """A request at the smallest size that it does not name itself."""
    given = {word.split("=")[0] for word in asked}
    return [*(word for word in SMALL if word.split("=")[0] not in given), *asked]


class MidEpoch(L.Callback):
    """Counts two steps in the middle of an epoch of four, with the fetching of their images."""

    def __init__(self) -> None:
        self.counts: Counts | None = None
        self.inside = ExitStack()

    def on_train_batch_start(self, trainer, module, batch, number):
        if number == 1:
            self.inside.close()
            self.counts = self.inside.enter_context(counting())
        if number == 3:
            self.inside.close()


@pytest.fixture
def mid_epoch(monkeypatch) -> MidEpoch:
    """Watches the training that comes."""
    watch, fit = MidEpoch(), training.fit

    def watched(*args, callbacks=(), **more):
        fit(*args, callbacks=[*callbacks, watch], **more)

    for module in (training, attacking):
        monkeypatch.setattr(module, "fit", watched)
    return watch


QUICK = ("baseline", "passport_v1", "passport_v3", "uchida")


@pytest.mark.parametrize(
    "scheme",
    [
        pytest.param(scheme, marks=() if scheme in QUICK else pytest.mark.slow)
        for scheme in abouts()
        if scheme not in schemes_of("fingerprint")  # which trains nothing but the baseline
    ],
)
def test_every_scheme_trains_to_the_bits_of_the_cpu_and_no_step_copies_or_waits(scheme, both, mid_epoch):
    here, there = both(train, f"scheme={scheme}", *few(scheme))
    counts = mid_epoch.counts
    assert counts.kernels > 100
    assert counts.copies == counts.waits == 0, counts
    assert counts.events[KERNEL, FILL, ""] == 0
    one, two = (load_file(run.folder.weights) for run in (here, there))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    same(here.record, there.record)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", schemes_of("fingerprint"))
def test_a_fingerprint_is_the_same_wherever_it_is_taken_and_read(scheme, both):
    here, there = both(train, f"scheme={scheme}", *few(scheme))
    same(here.record, there.record)
    assert load_claim(here.folder.claim).fingerprint() == load_claim(there.folder.claim).fingerprint()


def same(one: object, two: object) -> None:
    """Records, or rows, that differ in clocks alone."""
    for field in fields(one):
        if field.name not in CLOCKS:
            assert getattr(one, field.name) == getattr(two, field.name), field.name


@pytest.mark.slow
@pytest.mark.parametrize("asked", [("scheme=passport_v2",), ("scheme=uchida", "scheme.bits=8")], ids=str)
def test_deterministic_mode_launches_no_kernel_more(asked, request_for, runs, mid_epoch):
    """By itself it would fill every fresh tensor."""
    found = []
    for setting in ("true", "false"):
        there(train, request_for(*small((*asked, f"trainer.deterministic={setting}"))), f"{runs}/{setting}")
        found.append(mid_epoch.counts.kernels)
    assert found[0] == found[1]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["passport_v1", "passport_v3", "deepsigns"])
def test_mixed_precision_does_not_wait_either(scheme, request_for, runs, mid_epoch):
    run = there(train, request_for(*small((f"scheme={scheme}", *few(scheme), "trainer.precision=bf16-mixed"))), runs)
    assert mid_epoch.counts.copies == mid_epoch.counts.waits == 0, mid_epoch.counts
    assert all(one.dtype != torch.bfloat16 for one in load_file(run.folder.weights).values())


@pytest.mark.slow
def test_an_interrupted_training_goes_on_to_the_bits_of_one_that_was_left_alone(request_for, runs, monkeypatch, capsys):
    """On the device; and the CPU goes on with what was begun there."""
    config = request_for(*small(("scheme=passport_v3", "trainer.max_epochs=3", "dataset.flip=true")))

    class Interrupt(L.Callback):
        def on_train_epoch_start(self, trainer, module):
            if trainer.current_epoch == 1:
                raise KeyboardInterrupt

    def interrupted(folder):
        fit = training.fit
        with monkeypatch.context() as patch:
            patch.setattr(
                training, "fit", lambda *a, callbacks=(), **more: fit(*a, callbacks=[*callbacks, Interrupt()], **more)
            )
            with pytest.raises(KeyboardInterrupt):
                there(train, config, runs / folder)

    found = [there(train, config, runs / "whole")]
    interrupted("broken")
    capsys.readouterr()
    found.append(there(train, config, runs / "broken"))
    assert "1 of 3 epochs are done" in " ".join(capsys.readouterr().err.split())
    interrupted("moved")
    found.append(train(replace(config, paths=replace(config.paths, runs=f"{runs}/moved/emulated"))))
    whole, *others = (load_file(run.folder.weights) for run in found)
    for other in others:
        assert all(torch.equal(whole[name], other[name]) for name in whole)


LITTLE = {
    "epochs": "1", "iterations": "3", "rounds": "1", "passports": "2", "rates": "[0.5]", "dissimilarity": "[0.1,0.5]",
    "wrong": "[0.5]", "share": "[0.5]", "energies": "[3.0]", "noise": "1", "bits": "[8]", "images": "4",
    "first_epochs": "1", "networks": "2", "tries": "5", "slow_tries": "1", "samples": "100",
}  # fmt: skip


def attacks() -> list[tuple[str, ...]]:
    """Every attack on a scheme that it applies to; those that train, on V1 too; removals beside forged claims."""
    found = []
    for name, kind in load_all("attack").items():
        little = [f"attack.{field.name}={LITTLE[field.name]}" for field in fields(kind) if field.name in LITTLE]
        first = "passport_v2" if "passport_v2" in kind.schemes() else kind.schemes()[0]
        for scheme in (first, *(["passport_v1"] if name in ("fake2", "fake3", "finetune") else [])):
            turned = ("model=vit", "model.width=0.17") if name == "rotate" else ()  # of transformers alone
            found.append((f"scheme={scheme}", f"attack={name}", *little, *few(scheme), *turned))
    for rival, little in {"fake2": (), "fake2_signature": ("rival.dissimilarity=[0.1,0.5]",)}.items():
        for removal in ("prune", "finetune"):
            little_removal = "attack.rates=[0.5]" if removal == "prune" else "attack.epochs=1"
            asked = ("scheme=passport_v2", f"attack={removal}", little_removal, f"attack@rival={rival}")
            found.append((*asked, "rival.epochs=1", *little))
    other = ("dataset@transfer=digits_parity", "transfer.image_size=8", "transfer.limit_train=64")
    found.append(("scheme=trigger_set", "attack=finetune", "attack.epochs=1", *few("trigger_set"), *other))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("asked", attacks(), ids=lambda asked: " ".join(word for word in asked if "." not in word))
def test_every_attack_comes_to_what_it_does_on_the_cpu(asked, both):
    here, there = both(attack, *asked, command="attack")
    assert len(here.rows) == len(there.rows) > 0
    for one, two in zip(here.rows, there.rows, strict=True):
        same(one, two)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adversarial_finetune", "fine_prune", "label_smoothing", "unlearn_triggers", "wrk"])
def test_no_step_of_a_removal_copies_or_waits(name, both, mid_epoch):
    little = [f"attack.{field}={LITTLE[field]}" for field in ("epochs", "iterations", "images")
              if hasattr(load_all("attack")[name], field)]  # fmt: skip
    both(attack, "scheme=trigger_set", f"attack={name}", *little, *few("trigger_set"), command="attack")
    assert mid_epoch.counts.kernels > 100
    assert mid_epoch.counts.copies == mid_epoch.counts.waits == 0, mid_epoch.counts


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fake2_signature", "fake3"])
@pytest.mark.parametrize("scheme", ["passport_v1", "passport_v2"])
def test_no_step_of_searches_side_by_side_copies_or_waits(name, scheme, both, mid_epoch):
    both(attack, f"scheme={scheme}", f"attack={name}", "attack.epochs=1", "attack.dissimilarity=[0,0.3,1]",
         command="attack")  # fmt: skip
    assert mid_epoch.counts.kernels > 100
    assert mid_epoch.counts.copies == mid_epoch.counts.waits == 0, mid_epoch.counts


def exhibits() -> list[tuple[str, ...]]:
    """Every exhibit of the last scheme that it shows."""
    little = {"iterations": "2", "rounds": "1", "steps": "1", "batch_size": "4", "channels": "4"}
    return [
        (
            f"scheme={kind.schemes()[-1]}",
            f"exhibit={name}",
            *(f"exhibit.{field.name}={little[field.name]}" for field in fields(kind) if field.name in little),
            *few(kind.schemes()[-1]),
        )
        for name, kind in load_all("exhibit").items()
    ]


@pytest.mark.slow
@pytest.mark.parametrize("asked", exhibits(), ids=lambda asked: " ".join(asked[:2]))
def test_every_exhibit_shows_what_it_does_on_the_cpu(asked, both):
    here, there = both(exhibit, *asked, command="exhibit")
    assert here.arrays.keys() == there.arrays.keys()
    assert all(torch.equal(here.arrays[name], there.arrays[name]) for name in here.arrays)
    assert len(here.facts) == len(there.facts)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["passport_v1", "passport_v3", "deepsigns", "zhang_noise"])
def test_a_verdict_is_the_same_wherever_it_is_computed(scheme, both, request_for):
    """Of the weights as they are; of a copy whose channels are in another order, beside what was committed to."""
    run, _ = both(train, f"scheme={scheme}", *few(scheme))
    asked = [f"suspect={run.folder.weights}", f"claim={run.folder.claim}", "dataset.image_size=8",
             "dataset.limit_test=20", "forged=2"]  # fmt: skip
    here = judged(request_for, *asked, "accelerator=cpu")
    with emulated(), counting() as counts:
        there = judged(request_for, *asked, "accelerator=auto")
    assert counts.kernels > 0
    assert (here.verdict, here.decision, here.control) == (there.verdict, there.decision, there.control)
    assert here.evidence == there.evidence


def judged(request_for, *asked):
    from hydra import compose, initialize_config_dir

    from ipr.config.shipped import shipped
    from ipr.requests.compose import register, typed

    register("verify")
    with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
        return verify(typed(compose("verify", list(asked))))
