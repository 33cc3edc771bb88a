"""Checkpoints that a kill, a full disk or a crash of the machine cannot take away: the last and the one before."""

from __future__ import annotations

import copy
import io
import pickle
import time
import zipfile
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from ipr.errors import InputError
from ipr.files import write_atomically
from ipr.terminal.console import Console


def before(checkpoint: Path) -> Path:
    """Where the checkpoint before the last one is."""
    return checkpoint.with_name("previous.ckpt")


class CheckpointFiles(TorchCheckpointIO):
    """Writes a checkpoint aside, and renames it when it is whole; keeps the one before.

    One that comes too soon after the last is held instead, as a copy where its tensors are, until a later one takes its
    place or `flush` writes it: on a GPU an epoch may take no longer than a file.

    Args:
        seconds: the least from one file to the next, and from the beginning to the first.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._held: tuple[dict[str, Any], Path] | None = None
        self._written = time.monotonic()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Writes a checkpoint, or holds a copy of it (`lightning.fabric.plugins.CheckpointIO`)."""
        if time.monotonic() - self._written < self.seconds:
            self._held = copy.deepcopy(checkpoint), Path(path)  # training goes on in the tensors themselves
        else:
            self._write(checkpoint, Path(path))

    def flush(self) -> None:
        """Writes what is held."""
        if self._held is not None:
            self._write(*self._held)

    def _write(self, checkpoint: dict[str, Any], place: Path) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # it may hold what will complete a claim
        write_atomically(place, content.getvalue(), former=before(place))
        self._held, self._written = None, time.monotonic()


class WriteHeld(L.Callback):
    """Has the last checkpoint written when a training ends, and when somebody stops it: Ctrl-C, SIGTERM, Slurm.

    Nothing is written where it ends by an error: another process may have taken it over.

    Args:
        files: writes it.
    """

    def __init__(self, files: CheckpointFiles) -> None:
        self.files = files

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes it."""
        self.files.flush()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Writes it where somebody stopped the training."""
        if isinstance(exception, KeyboardInterrupt | SystemExit):
            self.files.flush()


def latest(checkpoint: Path) -> Path | None:
    """The newest intact checkpoint; None where there is none, which is said if there are damaged ones."""
    for path in (checkpoint, before(checkpoint)):
        if path.exists():
            if (damage := _damage(path)) is None:
                return path
            what = f"{path} is damaged ({damage}); the training goes on from the state before it"
            Console(stderr=True).say(what)
    return None


def epochs_in(path: Path) -> int:
    """How many whole epochs are in an intact checkpoint."""
    return int(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["epoch"]) + 1


def check_checkpoint(path: Path) -> None:
    """Reads a checkpoint without executing anything in it.

    Raises:
        InputError: it is not there or damaged.
    """
    try:
        damage = _damage(path)
    except OSError as error:
        damage = error.strerror
    if damage is not None:
        raise InputError("checkpoint", path, f"cannot be read ({damage})", "delete its run; it is then made anew")


_DAMAGED = (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, ValueError, KeyError, TypeError, EOFError)


def _damage(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as parts:
            if (part := parts.testzip()) is not None:  # torch does not compare the sums that it writes
                return f"{part} has changed"
        torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    except _DAMAGED as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return None
