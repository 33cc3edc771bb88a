"""What an attack trains without looking at its victim is trained once in a store, and copied for every other victim."""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import suppress
from pathlib import Path

from ipr.attacks.config import AttackConfig
from ipr.data.images import ImageData
from ipr.files import aside_of, read_regular, write_atomically
from ipr.terminal.console import Console
from ipr.training.checkpoints import epochs_in, latest
from ipr.workflows.request import identity_of

ALIKE = "training.sha256"
"""Beside a checkpoint: what determines that training. Trainings that say the same are the same."""

LONGEST = 100
"""Bytes of it."""


def found_before(
    config: AttackConfig, data: ImageData, own: ImageData, epochs: int, checkpoint: Path, metrics: Path
) -> bool:
    """Copies a finished training that is determined by the same, and its curve, from another attack of the store.

    The training is one that nothing of the victim goes into but its architecture: `Fit` with `alone`. So it is the same
    for victims of every scheme. Where there is none, this one is marked, so that a later attack finds it.

    Args:
        config: the request, `with_lengths`.
        data: the victim's images.
        own: the attacker's.
        epochs: of the training.
        checkpoint: where the training keeps its own, `ATTACK/checkpoints/NAME/last.ckpt`.
        metrics: where it keeps its curve, in the attack's folder.

    Returns:
        Whether one was copied; never where there is a checkpoint already.
    """
    digest = _digest(config, data, own)
    checkpoint.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(checkpoint.with_name(ALIKE), digest + "\n")
    if checkpoint.exists():
        return False
    folder = metrics.parent
    inside = checkpoint.relative_to(folder)
    for marked in sorted(folder.parent.glob(f"{config.attack.name}-*/{inside.with_name(ALIKE)}")):
        there = marked.with_name(checkpoint.name)
        curve = folder.parent / marked.relative_to(folder.parent).parts[0] / metrics.name
        if there != checkpoint and _says(marked, digest) and _copied(there, curve, epochs, checkpoint, metrics):
            Console(stderr=True).say(f"found: trained before, whatever the victim, in {curve.parent}")
            return True
    return False


def _digest(config: AttackConfig, data: ImageData, own: ImageData) -> str:
    """Of everything that such a training depends on: all of the request but the scheme, its start and its seed."""
    of_victim = identity_of(config, data)
    determined = {name: of_victim[name] for name in ("model", "dataset", "optimizer", "trainer")}
    del determined["trainer"]["max_epochs"]  # the victim's; the attack has its own
    images = [own.fingerprint, own.train_labels.numel()]
    if config.transfer is not None:
        images += [config.transfer.part, config.transfer.validation]
    determined |= {"attack": config.attack.identity(), "seed": config.attack_seed, "images": images}
    return hashlib.sha256(json.dumps(determined, sort_keys=True).encode()).hexdigest()


def _says(marked: Path, digest: str) -> bool:
    """Whether a mark is of the same training; what is no plain file, or cannot be read, is of none."""
    with suppress(OSError, ValueError):
        return read_regular(marked, LONGEST, follow=False)[0].decode().strip() == digest
    return False


def _copied(there: Path, curve: Path, epochs: int, checkpoint: Path, metrics: Path) -> bool:
    """Copies a training that is finished; one that is not, or that goes away meanwhile, is left, and trained anew."""
    if not (there.is_file() and curve.is_file()):
        return False
    newest = latest(there)
    if newest != there or epochs_in(newest) != epochs:
        return False
    with suppress(FileNotFoundError):
        _copy(curve, metrics)
        _copy(there, checkpoint)
        return True
    return False


def _copy(file: Path, place: Path) -> None:
    """All of it at once: a copy that is half there would be gone on from."""
    aside = aside_of(place)
    shutil.copyfile(file, aside)
    aside.replace(place)
