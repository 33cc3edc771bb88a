"""The files that come with the package: configurations and studies. Found without Hydra."""

from __future__ import annotations

from pathlib import Path

import ipr


def shipped(folder: str) -> Path:
    """`conf` or `experiments`: inside the installed package, or at the top of a checkout."""
    package = Path(ipr.__file__).parent
    inside = package / folder
    return inside if inside.is_dir() else package.parents[1] / folder


def studies() -> dict[str, Path]:
    """The studies of `experiments/` by name: tables of the paper, its figures, and others."""
    first = ("table_", "figure_")
    found = {path.stem: path for path in shipped("experiments").glob("*.yaml")}
    return dict(sorted(found.items(), key=lambda one: ([not one[0].startswith(kind) for kind in first], one[0])))
