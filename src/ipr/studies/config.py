"""What `ipr reproduce`, `ipr report`, `ipr status` and `ipr gc` can be asked for."""

from __future__ import annotations

from dataclasses import dataclass

from ipr.runs.config import MISSING, PathsConfig
from ipr.studies.scale import Scale


@dataclass
class ReproduceConfig:
    """`ipr reproduce`."""

    study: str = MISSING  # all, or names of experiments/ with commas between, or a file like them
    scale: Scale = MISSING  # smoke | cpu | paper
    images: str | None = None  # a folder that holds cifar10/train/<class>/<image>, cifar100/..., caltech101/...
    download: bool = False  # let torchvision fetch what is missing
    dry: bool = False  # list the cells and their state, run nothing
    paths: PathsConfig = MISSING


@dataclass
class ReportConfig:
    """`ipr report`."""

    paths: PathsConfig = MISSING
    study: str | None = None  # all, or names with commas between: what `ipr reproduce` ran, or is running
    scale: Scale | None = None  # only at this scale
    tag: str | None = None  # without a study: only runs that carry this tag
    out: str | None = None  # a folder for tables, figures and page; by default <paths.runs>/report/<what is reported>


@dataclass
class StatusConfig:
    """`ipr status`."""

    paths: PathsConfig = MISSING
    study: str | None = None  # all, names with commas between, or a file; by default what was planned, and sweeps
    scale: Scale | None = None  # only at this scale
    cells: bool = False  # list cells that are done, too
    out: str | None = None  # a file for programs (JSON)


@dataclass
class GcConfig:
    """`ipr gc`."""

    paths: PathsConfig = MISSING
    remove: str | None = None  # classes with commas between: leftovers, checkpoints, words, jobs, runs; null lists
