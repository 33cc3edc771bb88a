"""What `ipr reproduce`, `ipr report`, `ipr status` and `ipr gc` can be asked for."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from ipr.config.schema import MISSING, PathsConfig
from ipr.studies.scale import Scale


@dataclass
class FilterConfig:
    """Which runs, or cells of a study: all that agree with everything that is given, with one of several values where
    they stand with commas between.
    """

    scheme: str | None = None  # e.g. passport_v2, or passport_v1,passport_v2
    model: str | None = None  # e.g. alexnet
    norm: str | None = None  # bn | gn
    dataset: str | None = None  # e.g. cifar10
    width: str | None = None  # model.width
    seed: str | None = None  # e.g. 0, or 0,1,2
    attack: str | None = None  # e.g. prune


CHOSEN_BY = tuple(field.name for field in fields(FilterConfig))
"""Keys that choose among runs, or among the cells of a study."""


@dataclass
class ReproduceConfig:
    """`ipr reproduce`."""

    where: FilterConfig = field(default_factory=FilterConfig)  # written without this word: scheme=NAME
    study: str = MISSING  # all, or names of experiments/ with commas between, or a file like them
    scale: Scale = MISSING  # a size of conf/scale; by default the one that the study is made for
    images: str | None = None  # a folder that holds cifar10/train/<class>/<image>, cifar100/..., caltech101/...
    download: bool = False  # let torchvision fetch what is missing
    dry: bool = False  # list the cells and their state, run nothing
    paths: PathsConfig = MISSING  # folders


@dataclass
class ListConfig:
    """`ipr list`."""

    where: FilterConfig = field(default_factory=FilterConfig)  # written without this word: scheme=NAME
    kind: str | None = None  # train | attack | exhibit
    state: str | None = None  # done | running | stopped | failed
    tag: str | None = None  # only runs that carry this tag
    paths: PathsConfig = MISSING  # folders


@dataclass
class ReportConfig:
    """`ipr report`."""

    where: FilterConfig = field(default_factory=FilterConfig)  # written without this word: scheme=NAME
    paths: PathsConfig = MISSING  # folders
    study: str | None = None  # all, or names with commas between: what `ipr reproduce` ran, or is running
    scale: Scale | None = None  # only at this scale
    tag: str | None = None  # without a study: only runs that carry this tag
    out: str | None = None  # a folder for tables, figures and page; by default <paths.runs>/report/<what is reported>


@dataclass
class StatusConfig:
    """`ipr status`."""

    paths: PathsConfig = MISSING  # folders
    study: str | None = None  # all, names with commas between, or a file; by default what was planned
    scale: Scale | None = None  # only at this scale
    cells: bool = False  # list cells that are done, too
    out: str | None = None  # a file for programs (JSON)


@dataclass
class GcConfig:
    """`ipr gc`."""

    paths: PathsConfig = MISSING  # folders
    remove: str | None = None  # classes with commas between: leftovers, checkpoints, jobs; null lists
