"""A run by its name: what it was asked for, and the run itself, for an attack or an exhibit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ipr.config.registry import load
from ipr.config.rounding import ROUNDING
from ipr.config.schema import ModelConfig, SchemeConfig
from ipr.errors import InputError
from ipr.schemes.passport import PassportSchemeConfig
from ipr.store.survey import Found, find_folders, find_run
from ipr.terminal.spelling import closest
from ipr.workflows.request import BOUND

if TYPE_CHECKING:
    from ipr.attacks.config import AttackConfig
    from ipr.workflows.train import Run

Config = TypeVar("Config", bound="AttackConfig")

OWN = ("dataset", "model", "scheme", "passport", "trigger_set", "optimizer", "seed", "init", "owner")
"""What a run is: with `run` nothing of it can be asked for."""

ELSEWHERE = ("dataset.root", "dataset.download", "trigger_set.root")
"""But where its images lie now may be said."""

HOW_LONG = ("max_epochs", "precision", "memory_format", "compile")
"""Of the trainer, what is part of a run."""

LATER: Mapping[str, Any] = {"limit_train_batches": None, **ROUNDING}
"""And what older runs do not say: how far epochs were cut short, and how numbers were rounded."""


def as_run(config: Config, typed: Collection[str]) -> Config:
    """The configuration of a command with the run that it names in the place of what the groups chose.

    Args:
        config: as composed; one that names no run is given back.
        typed: keys that were given, e.g. `scheme` or `trainer.accelerator`: of verification they count, not the run's.

    Raises:
        InputError: there is no such finished run, or something was asked for that the run itself says.
    """
    if config.run is None:
        return config
    for key in typed:
        first = key.partition(".")[0]
        of_trainer = key in {f"trainer.{name}" for name in (*HOW_LONG, *LATER)}
        if (first in OWN or of_trainer) and key not in ELSEWHERE:
            raise InputError(key, "...", f"is what run={config.run} says itself", f"leave {key} out, or run")
    folder = _folder(config)
    asked = folder.asked
    try:
        sections = ("dataset", "model", "passport", "trigger_set", "optimizer", "verification")
        parts: dict[str, Any] = {name: _filled(config, asked, name, typed) for name in sections}
        parts["scheme"] = _scheme_of(asked["scheme"])
        trainer = {name: asked["trainer"][name] for name in HOW_LONG}
        trainer |= {name: asked["trainer"].get(name, usual) for name, usual in LATER.items()}
        parts["trainer"] = replace(config.trainer, **trainer)
        return replace(config, **parts, init=asked.get("init"), seed=asked["seed"], owner=asked.get("owner", ""))
    except (KeyError, TypeError, AttributeError) as error:
        remedy = "train it again by the same command"
        raise InputError("run", folder.config, f"is damaged ({error})", remedy) from error


def _scheme_of(asked: Mapping[str, Any]) -> SchemeConfig:
    """The scheme that a run's configuration names; older ones say of a bound signature that it is "bound"."""
    kind: type[SchemeConfig] = load("scheme", asked["name"]).Config
    if issubclass(kind, PassportSchemeConfig) and "bound" not in asked:
        bound = asked["signature"] == BOUND
        asked = {**asked, "bound": bound, "signature": None if bound else asked["signature"]}
    return kind(**asked)


def _filled(config: AttackConfig, asked: Mapping[str, Any], section: str, typed: Collection[str]) -> Any:
    """A section as the run has it; of what it does not say, and of what was typed, as composed."""
    composed, there = getattr(config, section), asked[section]
    names = [field.name for field in fields(composed) if field.name in there and f"{section}.{field.name}" not in typed]
    return replace(composed, **{name: there[name] for name in names})


def _folder(config: AttackConfig) -> Found:
    runs, name = Path(config.paths.runs), str(config.run)
    folder = Found(find_run(name, runs))
    if not folder.record.exists():
        there = [one.key for one in find_folders(runs) if one.kind == "train" and one.finished]
        beginnings = {key[: len(name)]: key for key in reversed(there)}
        near = beginnings.get(closest(name, beginnings) or "")
        remedy = f"did you mean {near}?" if near else "`ipr list` shows those there are"
        raise InputError("run", name, "is no finished training", remedy)
    return folder


def named_run(config: AttackConfig) -> Run:
    """The finished run that a configuration names; its secrets are in its claim, and are not asked for.

    Raises:
        InputError: there is none, or the configuration is not what it was asked for (`as_run`).
    """
    from ipr.store.folder import RunFolder
    from ipr.store.record import load_record
    from ipr.workflows.train import Run

    folder = _folder(config)
    mine = {"model": asdict(config.model), "scheme": asdict(config.scheme), "seed": config.seed}
    model, scheme = ModelConfig(**folder.asked["model"]), _scheme_of(folder.asked["scheme"])
    there = {**folder.asked, "model": asdict(model), "scheme": asdict(scheme)}  # older ones say less
    for name, value in mine.items():
        if value != there.get(name):
            remedy = "make the configuration by ipr.configuration('attack', 'run=...')"
            raise InputError("run", config.run, f"was made with another {name}", remedy)
    return Run(RunFolder(folder.path), load_record(folder.record), found=True, verdict=None)
