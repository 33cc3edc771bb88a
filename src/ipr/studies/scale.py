"""How large a study is run: `conf/scale/*.yaml`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class ModelScale:
    """How one architecture is run: `set` beside the scale's, other seeds, and only these attacks (null: all)."""

    set: dict[str, Any] = field(default_factory=dict)
    seeds: list[int] | None = None
    attacks: list[str] | None = None
    transfer: bool = True


@dataclass
class DataScale:
    """What stands for a data set of the paper.

    Attributes:
        name: of `dataset=`.
        limit_train, limit_test: images, class-balanced; null for all.
        victims: whether victims are trained on it, or networks are only tuned to it.
    """

    name: str
    limit_train: int | None = None
    limit_test: int | None = None
    victims: bool = True


@dataclass
class Scale:
    """A size.

    Attributes:
        what: in one line.
        seeds: repetitions.
        choose: Hydra groups, e.g. `optimizer: published`.
        set: keys, e.g. `trainer.max_epochs: 10`.
        norms: scheme -> bn or gn, where it is not the scheme's own; a sweep that names norms has those.
        models: only these architectures, and how.
        datasets: what stands for the paper's data sets; those that are missing are passed over.
        attacks, exhibits: settings by name.
        energies: values of passport.energy for passport schemes; [] for the default.
    """

    what: str
    seeds: list[int]
    models: dict[str, ModelScale]
    datasets: dict[str, DataScale]
    choose: dict[str, str] = field(default_factory=dict)
    set: dict[str, Any] = field(default_factory=dict)
    norms: dict[str, str] = field(default_factory=dict)
    attacks: dict[str, dict[str, Any]] = field(default_factory=dict)
    exhibits: dict[str, dict[str, Any]] = field(default_factory=dict)
    energies: list[float | None] = field(default_factory=list)
    name: str = ""  # set by scale=NAME
