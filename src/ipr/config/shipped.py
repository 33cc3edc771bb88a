"""The files that come with the package: configurations and studies. Found without Hydra."""

from __future__ import annotations

from pathlib import Path

import ipr


def shipped(folder: str) -> Path:
    """`conf` or `experiments`: inside the installed package, or at the top of a checkout."""
    package = Path(ipr.__file__).parent
    inside = package / folder
    return inside if inside.is_dir() else package.parents[1] / folder


def sweeps() -> list[Path]:
    """The studies of `experiments/` that `ipr train` and `ipr attack` sweep over."""
    return [path for path in sorted(shipped("experiments").glob("*.yaml")) if path not in papers().values()]


def papers() -> dict[str, Path]:
    """The studies of `experiments/` that `ipr reproduce` knows: the paper's tables and figures, in its order."""
    found = [p for kind in ("table", "figure") for p in sorted(shipped("experiments").glob(f"{kind}_[0-9]*.yaml"))]
    return {path.stem: path for path in found}
