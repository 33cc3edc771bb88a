"""The record of a training: what was asked for, what a judge measured, and what it took."""

from __future__ import annotations

from typing import Any

from torch import nn

from ipr.config.schema import TrainConfig
from ipr.data.images import ImageData
from ipr.judging.verdict import Verdict
from ipr.machine.device import training_device
from ipr.passport.damped import step_energy_of
from ipr.store.record import Record
from ipr.training.numerics import layout
from ipr.workflows.request import facts_of, scheme_of


def record_of(
    config: TrainConfig,
    data: ImageData,
    key: str,
    suspect: nn.Module,
    plain_accuracy: float,
    verdict: Verdict | None,
    train_seconds: float,
    judge_seconds: float,
) -> Record:
    """The row of a finished training; `consistent` is left to the checks of the embedding, `init` to who read it.

    Args:
        config: the request.
        data: its images.
        key: the name of its folder.
        suspect: the network that was given away.
        plain_accuracy: what it reaches as it is, a fraction.
        verdict: of its claim; None for a baseline.
        train_seconds: what the training took, with that of the plain network it goes on from.
        judge_seconds: what the judging took.
    """
    passported = scheme_of(config).about.family == "passport"
    return Record(
        **facts_of(config),
        key=key,
        kind="train",
        train_images=data.trained_on.numel(),
        test_images=data.test_labels.numel(),
        optimizer=config.optimizer.name,
        init=None,
        epochs=config.trainer.max_epochs,
        passport=config.passport.name if passported else None,
        energy=config.passport.energy if passported else None,
        step_energy=step_energy_of(config.passport.energy, config.passport.step_energy) if passported else None,
        alternation=getattr(config.scheme, "alternation", None),
        parameters=sum(parameter.numel() for parameter in suspect.parameters()),
        accuracy_without=plain_accuracy,
        consistent=None,
        train_seconds=round(train_seconds, 3),
        judge_seconds=round(judge_seconds, 3),
        **_numerics(config, suspect),
        **_measured(verdict),
    )


def _numerics(config: TrainConfig, suspect: nn.Module) -> dict[str, Any]:
    asked = config.trainer
    named = ("precision", "compile", "deterministic", "tf32", "autotune", "capture")
    chosen = layout(asked.memory_format, suspect, training_device(asked.accelerator))
    return {name: getattr(asked, name) for name in named} | {"memory_format": chosen}


def _measured(verdict: Verdict | None) -> dict[str, Any]:
    """What the judge found; None for all that was not looked at."""
    with_passport = verdict if verdict and verdict.passported else None
    forged = verdict.accuracy_forged if verdict else ()
    reading = verdict.reading if verdict else None
    bits = reading if reading and not reading.images else None
    return {
        "accuracy_genuine": with_passport.fidelity.accuracy if with_passport else None,
        "accuracy_forged_mean": verdict.forged_mean if verdict and forged else None,
        "accuracy_forged_std": verdict.forged_std if verdict and len(forged) > 1 else None,
        "accuracy_forged_max": max(forged) if forged else None,
        "forged": len(forged) if with_passport else None,
        "forged_passing": with_passport.forged_passing if with_passport else None,
        "fidelity_holds": verdict.fidelity.holds if verdict else None,
        "fidelity_threshold": verdict.fidelity.threshold if verdict else None,
        "bits_total": sum(bits.total.values()) if bits else None,
        "bits_agreeing": sum(bits.agreeing.values()) if bits else None,
        "correlation": reading.correlation if reading else None,
        "p_value": reading.p_value if reading else None,
        "p_value_log10": reading.p_value_log10 if reading else None,
        "p_value_threshold": verdict.p_value_threshold if verdict else None,
        "trigger_accuracy": verdict.trigger_accuracy if verdict else None,
        "trigger_accuracy_passport": verdict.trigger_accuracy_passport if verdict else None,
        "mark_read": verdict.mark_read if verdict else None,
    }
