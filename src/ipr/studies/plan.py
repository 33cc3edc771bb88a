"""From a study and a scale to cells: what each Hydra job is asked for."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from ipr.config.registry import entries
from ipr.config.schema import HIDDEN_KEYS
from ipr.config.secrets import masked, revealed, without_secret
from ipr.errors import InputError
from ipr.store.folder import secret_digest
from ipr.studies.scale import DataScale, ModelScale, Scale
from ipr.studies.settable import check_choices, check_set
from ipr.studies.study import Study, Sweep
from ipr.terminal.spelling import choose_among
from ipr.texts import check_name, written

DEFAULT_SCALE = "smoke"
"""Of a study that is made for no scale of its own."""

WAVES = ("baseline", "victim", "attack", "exhibit")
"""Cells of a wave need nothing of a later one: baselines give passports, victims are attacked, runs are shown."""


@dataclass(frozen=True)
class Cell:
    """One job.

    Attributes:
        about: what it is, by columns of results (scheme, model, dataset as in the paper, attack, seed, ...).
        choices: Hydra groups -> options.
        values: dotted keys -> values.
        changes: what a user set beside them, as written.
        name: readable, unique among different cells, the same for the same cell in several studies.

    Raises:
        InputError: a choice or a value, of the study or the scale, is more than a setting.
    """

    about: Mapping[str, Any]
    choices: Mapping[str, str]
    values: Mapping[str, Any]
    changes: Sequence[str] = ()
    name: str = field(default="")

    def __post_init__(self) -> None:
        check_choices("cell", self.choices)
        check_set("cell", self.values)
        facts = [str(self.about[key]) for key in NAMED if self.about.get(key) is not None]
        values = {key: secret_digest(str(v)) if key in HIDDEN_KEYS else v for key, v in self.values.items()}
        changes = [
            masked(change, lambda text: secret_digest(revealed("secret", text)) or "") for change in self.changes
        ]
        canonical = json.dumps([self.choices, values, *changes], sort_keys=True)
        digest = hashlib.sha256(canonical.encode()).hexdigest()[:8]
        object.__setattr__(self, "name", "-".join([*facts, f"s{self.about['seed']}", digest]))

    @property
    def wave(self) -> str:
        """Which of `WAVES` it belongs to."""
        return wave_of(self.about)

    @property
    def command(self) -> str:
        """How to run it alone; secrets are left out."""
        verb = self.wave if self.wave in ("attack", "exhibit") else "train"
        parts = [f"{group}={option}" for group, option in self.choices.items()]
        parts += [f"{k}={'<hidden>' if k in HIDDEN_KEYS else written(v)}" for k, v in self.values.items()]
        return " ".join(["ipr", verb, *map(shlex.quote, [*parts, *map(without_secret, self.changes)])])

    def node(self) -> dict[str, Any]:
        """The cell as a Hydra configuration to be merged into the root."""
        defaults: list[Any] = [{f"override /{group}": option} for group, option in self.choices.items()]
        node: dict[str, Any] = {"defaults": [*defaults, "_self_"]}
        for key, value in self.values.items():
            *parents, last = key.split(".")
            place = node
            for parent in parents:
                place = place.setdefault(parent, {})
            place[last] = value
        return node


def wave_of(about: Mapping[str, Any]) -> str:
    """Which of `WAVES` a cell belongs to, by what it says of itself."""
    if about.get("exhibit"):
        return "exhibit"
    if about.get("attack"):
        return "attack"
    return "baseline" if about["scheme"] == "baseline" else "victim"


NAMED = ("exhibit", "attack", "scheme", "model", "norm", "dataset", "transfer")


def plan(study: Study, scale: Scale, seeds: Sequence[int] | None = None) -> list[Cell]:
    """The cells of a study at a scale, each once, in the order in which they are to be run.

    Raises:
        InputError: the study asks for what cannot be.
    """
    if scale.name:  # one that is made in Python may have none
        check_name("scale.name", scale.name)
    _check_norms(scale.norms)
    cells: dict[str, Cell] = {}
    for sweep in study.sweeps:
        for cell in _cells(study, sweep, scale, seeds):
            cells.setdefault(cell.name, cell)
    return sorted(cells.values(), key=lambda cell: WAVES.index(cell.wave))


def _check_norms(norms: Mapping[str, Any]) -> None:
    for scheme, norm in norms.items():
        if scheme not in (known := entries("scheme")):
            raise InputError("scale.norms", scheme, "is no scheme", choose_among(scheme, known))
        if norm not in ("bn", "gn"):
            raise InputError("scale.norms", f"{scheme}: {norm}", "is unknown", "choose among: bn, gn")


def _cells(study: Study, sweep: Sweep, scale: Scale, seeds: Sequence[int] | None) -> Iterator[Cell]:
    if not sweep.scheme:
        raise InputError(f"{study.name} sweeps", None, "names no scheme", "give scheme: [...]")
    nothing: list[Any] = [None]
    axes: list[Sequence[Any]] = [
        *(sweep.scheme, sweep.model, sweep.dataset),
        *(axis or nothing for axis in (sweep.norm, sweep.attack, sweep.transfer, sweep.exhibit)),
    ]
    for name in (name for axis in axes for name in axis if name is not None):
        check_name(f"{study.name} sweeps", name)
    own_part = "transfer.part" in sweep.set
    for scheme, model, dataset, norm, attack, transfer, exhibit in product(*axes):
        size, images = scale.models.get(model), scale.datasets.get(dataset)
        target = scale.datasets.get(transfer) if transfer else None
        if size is None or images is None or not _is_run(size, images, dataset, attack, transfer, target, own_part):
            continue
        repeated = _seeds(seeds, size, scale, once=exhibit is not None or sweep.first_seed)
        energies: Sequence[Any] = scale.energies if scheme.startswith("passport_") and scale.energies else [()]
        for seed, energy in product(repeated, energies):
            choices = {"scheme": scheme, "model": model, "dataset": images.name, **scale.choose}
            values = {**scale.set, **size.set, **_limits("dataset", images), "seed": seed}
            if study.tags:
                values["tags"] = study.tags
            about = {"scheme": scheme, "model": model, "dataset": dataset, "seed": seed}
            if chosen_norm := norm or scale.norms.get(scheme):
                about["norm"] = values["model.norm"] = chosen_norm
            if energy != ():
                values["passport.energy"] = energy
            if attack:
                choices["attack"] = about["attack"] = attack
                values |= {f"attack.{key}": value for key, value in scale.attacks.get(attack, {}).items()}
            else:
                values.pop("attack_epochs", None)
            if target:
                choices["dataset@transfer"] = target.name
                values |= _limits("transfer", target)
                about["transfer"] = transfer
            if sweep.rival and attack:
                choices["attack@rival"] = about["rival"] = sweep.rival
            if exhibit:
                choices["exhibit"] = about["exhibit"] = exhibit
                values |= {f"exhibit.{key}": value for key, value in scale.exhibits.get(exhibit, {}).items()}
            values |= sweep.set
            if sweep.variant is not None:
                about["variant"] = sweep.variant
            if "passport.energy" in values:
                length = values["passport.energy"]
                about["energy"] = "as published" if length is None else length
            yield Cell(about, choices, values)


def _seeds(asked: Sequence[int] | None, size: ModelScale, scale: Scale, *, once: bool) -> Sequence[int]:
    """Those that are asked for, else the model's, else the scale's; `once`: the first of them."""
    found = asked if asked is not None else size.seeds if size.seeds is not None else scale.seeds
    return found[:1] if once else found


def _is_run(
    size: ModelScale,
    images: DataScale,
    dataset: str,
    attack: str | None,
    transfer: str | None,
    target: DataScale | None,
    own_part: bool,
) -> bool:
    """Whether a scale has such a cell: victims of these images, attacked so, with images of that data set, which is the
    victim's where the attacker has a part of his own.
    """
    tuned = transfer is None or ((transfer != dataset or own_part) and target is not None and size.transfer)
    return images.victims and tuned and (attack is None or size.attacks is None or attack in size.attacks)


def _limits(place: str, images: DataScale) -> dict[str, int]:
    limits = {f"{place}.limit_train": images.limit_train, f"{place}.limit_test": images.limit_test}
    return {key: value for key, value in limits.items() if value is not None}


def with_changes(cells: Sequence[Cell], changes: Sequence[str]) -> list[Cell]:
    """The cells with what a user set on the command line beside the scale, which is part of what they are."""
    return [replace(cell, changes=tuple(changes)) for cell in cells]
