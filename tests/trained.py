"""What several tests begin with, made once a test run by whichever process asks first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from hashlib import sha256
from pathlib import Path

from filelock import FileLock

from ipr.config.schema import TrainConfig
from ipr.workflows.train import train


def made_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """A folder that a function fills, called by one process and waited for by the others; for reading alone."""
    done = folder.with_name(f"{folder.name}.done")
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if not done.exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            done.touch()
    return folder


def trained_once(place: Path, config: TrainConfig) -> Path:
    """A folder of runs that holds what a training leaves in an empty one: its run, and the baseline that it began with.

    Args:
        place: where such folders lie.
        config: what is asked for, of a training, an attack or an exhibit; where its runs and images lie makes no
            difference.
    """
    asked = [(field.name, getattr(config, field.name)) for field in fields(TrainConfig) if field.name != "paths"]
    name = f"{config.scheme.name}-{sha256(repr(asked).encode()).hexdigest()[:12]}"
    return made_once(place / name, lambda runs: train(replace(config, paths=replace(config.paths, runs=str(runs)))))
