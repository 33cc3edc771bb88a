"""What no study needs of a folder of runs: found, with the reason; removed is only what can be made again at once.

Run folders are listed and never removed: what names a run is known to whoever makes it (`workflows.request`), and
not here.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import ENOTDIR
from pathlib import Path

from ipr.config.shipped import studies
from ipr.files import ASIDE
from ipr.store.cell_run import cells_folder
from ipr.store.irreplaceable import irreplaceable
from ipr.store.lease import BEAT, Lease, Owner, held
from ipr.store.survey import Found, find_folders
from ipr.studies.planned import Plan

CLASSES = ("leftovers", "checkpoints", "jobs")
"""What can be removed: what killed processes left half-written, and what is said of cells that no study has;
checkpoints of finished runs; what a sweep that was killed had sent to a queue."""

RUNS = "runs"
"""The class of what is only listed: runs that no study needs."""

LEFT = re.compile(rf"{ASIDE.pattern}|\.(.+)\.\d+(\.old)?|(.+)\.part")
"""How what is being written is named until it is renamed into place; once, it was named by its process."""

REMOVED = ".removed"
"""Where what is being removed lies, below the folder of runs: a kill leaves it where nobody looks for runs."""

BUSY = "a process works on it"


@dataclass(frozen=True)
class Item:
    """Something that nobody needs.

    Attributes:
        kind: which of `CLASSES`, or `RUNS`.
        path: a file or folder.
        size: bytes.
        reason: why nobody needs it, in a line.
        lease: the folder of the lease that whoever works on it would have; None where there is none.
    """

    kind: str
    path: Path
    size: int
    reason: str
    lease: Path | None = None


@dataclass(frozen=True)
class Kept:
    """Something that no study needs and that stays all the same, with the reason."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Unneeded:
    """What was found; `kept` is what would be in `items` but for its reason."""

    items: Sequence[Item]
    kept: Sequence[Kept]


def find_unneeded(runs: Path, plans: Sequence[Plan]) -> Unneeded:
    """All that no study needs. Links are not followed, and what is behind them is not touched.

    Args:
        runs: the folder of runs.
        plans: all its plans.
    """
    folders, items, kept = list(find_folders(runs)), list[Item](), list[Kept]()
    named = named_by(plans, folders)
    for folder in folders:
        needed = folder.name in named
        if folder.held:
            kept += [] if needed else [Kept(folder.path, BUSY)]
            continue
        inside = list(_inside(folder))
        items += [one for one in inside if isinstance(one, Item)]
        kept += [one for one in inside if isinstance(one, Kept)]
        if not needed and (reason := _precious(folder)):
            kept.append(Kept(folder.path, reason))
        elif not needed:
            reason = "no study needs it" if folder.finished else "no study needs it, and it is not finished"
            items.append(Item(RUNS, folder.path, size_of(folder.path), reason, folder.path / ".lease"))
    items += [*_cells(runs, plans), *_jobs(runs), *_other_leftovers(runs)]
    removable = []
    for item in items:  # the one place that all of them pass
        if reason := _why_kept(item):
            kept.append(Kept(item.path, reason))
        else:
            removable.append(item)
    return Unneeded(sorted(removable, key=lambda item: ((*CLASSES, RUNS).index(item.kind), item.path)), kept)


def named_by(plans: Iterable[Plan], folders: Sequence[Found]) -> set[str]:
    """`<kind>/<key>` of what studies need: the runs of their cells, what these say that they were made from, what
    carries the tag of a study, and every baseline, as passports are made from them and schemes compared with them.
    """
    plans = list(plans)
    tags = {*studies(), *(plan.name for plan in plans)}
    needed = {cell.run for plan in plans for cell in plan.cells}
    needed |= {one.name for one in folders if one.tags & tags or one.key.startswith("baseline-")}
    for _ in range(2):  # an exhibit is shown on an attack, which has a victim
        used = {key for one in folders if one.name in needed for key in one.uses}
        needed |= {one.name for one in folders if one.key in used}
    return needed


def _why_kept(item: Item) -> str:
    """Why something stays, whatever class it is of; "" where it may go."""
    if item.lease is not None and item.lease.is_symlink():
        return f"{item.lease.name} is a link; what it points to is not touched"
    return irreplaceable(item.path)


OWN = {
    ("passport", "key"): "passport.key is set: its claim cannot be made again without it",
    ("scheme", "signature"): "scheme.signature is set: its claim cannot be made again without it",
    ("trigger_set", "root"): "its trigger images are an owner's own",
}
"""What an owner has given, so that nothing else gives a run's claim again."""


def _precious(folder: Found) -> str:
    for (group, name), reason in OWN.items():
        part = folder.asked.get(group)
        if isinstance(part, dict) and part.get(name) is not None and (name == "key" or folder.claim.exists()):
            return reason
    if folder.claim.exists() and not folder.asked:
        return "it holds a claim, and its config.yaml cannot be read: passport.key may be set"
    return ""


def _inside(folder: Found) -> Iterator[Item | Kept]:
    """In a run folder that nobody works on: what was left half-written, and checkpoints of what is finished."""
    lease = folder.path / ".lease"
    for path in _asides(folder.path):
        if path.name.startswith(".claim.") and not folder.claim.exists():
            yield Kept(path, "a claim, and there is no other; rename it to `claim` or remove it by hand")
        else:
            yield Item("leftovers", path, size_of(path), "half-written by a process that is gone", lease)
    for path in _checkpoints(folder):
        yield Item("checkpoints", path, size_of(path), "its run is finished", lease)


def _checkpoints(folder: Found) -> Iterator[Path]:
    place = folder.path / "checkpoints"
    if not folder.finished or place.is_symlink() or not place.is_dir():
        return
    if folder.kind == "train" and not folder.weights.exists():
        return
    for path in sorted(place.iterdir()) if folder.kind == "attack" else [place]:
        if path.name != "finetune":  # exhibits look into it
            yield path


def _asides(run: Path) -> Iterator[Path]:
    """In a run folder, but for what belongs to others."""
    for folder, names, files in os.walk(run):
        aside = sorted(name for name in names if LEFT.fullmatch(name))
        for name in [*aside, *sorted(name for name in files if LEFT.fullmatch(name))]:
            yield Path(folder) / name
        names[:] = [name for name in names if name not in (*aside, ".lease", "wandb")]


def _subfolders(folder: Path) -> list[Path]:
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _cells(runs: Path, plans: Iterable[Plan]) -> Iterator[Item]:
    """What is said of cells that no study has any more."""
    named = {(plan.scale, cell.name) for plan in plans for cell in plan.cells}
    for place in _subfolders(runs / "studies"):
        cells = cells_folder(place)
        if not (place.is_symlink() or cells.is_symlink()):
            for path in sorted(cells.glob("*.json")):
                if (place.name, path.stem) not in named and not LEFT.fullmatch(path.name):
                    yield Item("leftovers", path, size_of(path), f"no study at scale={place.name} has this cell")
            for path in sorted(cells.glob("*.lease")):  # of an earlier version
                if not path.is_symlink() and not held(path):
                    yield Item("leftovers", path, size_of(path), "cells have no leases any more")


def _jobs(runs: Path) -> Iterator[Item]:
    """Arguments, secrets included, and logs of sweeps that were killed while they waited for a queue."""
    for path in _subfolders(runs / "jobs"):
        lease = path / ".lease"
        if path.is_symlink() or held(lease):
            continue
        sent, returned = len(list(path.glob("*_submitted.pkl"))), len(list(path.glob("*_0_result.pkl")))
        reason = "the sweep that waited for these jobs is gone, and they have ended"
        if returned < sent:
            reason = f"the sweep that waited for these jobs is gone; {sent - returned} of {sent} may still be queued"
        yield Item("jobs", path, size_of(path), reason, lease)


def _other_leftovers(runs: Path) -> Iterator[Item]:
    """Beside plans, cells and reports, for which there are no leases; and what a killed removal left."""
    found: dict[Path, tuple[int, int, int]] = {}
    for place in (runs, runs / "studies", runs / "report"):
        for folder, names, files in os.walk(place) if not place.is_symlink() else ():
            for name in files:
                path = Path(folder) / name
                if LEFT.fullmatch(name):
                    found[path] = _state(path)
            names[:] = [] if place == runs else [name for name in names if not name.endswith(".lease")]
    if found:
        time.sleep(1)  # to write one takes far less: what is still there, as it was, is nobody's
    for path, state in found.items():
        if _state(path) == state:
            yield Item("leftovers", path, state[2], "half-written by a process that is gone")
    for path in _subfolders(runs / REMOVED):
        yield Item("leftovers", path, size_of(path), "was being removed")


def _state(path: Path) -> tuple[int, int, int]:
    try:
        found = path.lstat()
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links count as themselves."""
    places = [path]
    if path.is_dir() and not path.is_symlink():
        places += [Path(folder) / name for folder, _, files in os.walk(path) for name in files]
        places = places[1:]
    return sum(_state(place)[2] for place in places)


def remove(runs: Path, items: Iterable[Item], tell: Callable[[Item, str], None]) -> None:
    """Removes things, each whole: it is renamed aside while nobody works on it, and only then taken apart.

    Args:
        runs: the folder of runs.
        items: what.
        tell: is told of each, and why it was left; "" where it was removed.
    """
    for item in items:
        try:
            with _alone(item):
                if reason := _why_kept(item):  # a commitment may be new
                    tell(item, reason)
                    continue
                gone = _set_aside(runs, item.path)
            if gone is not None:
                shutil.rmtree(gone)
            tell(item, "")
        except BlockingIOError:
            tell(item, BUSY)
        except FileNotFoundError:  # another has removed it
            continue
        except OSError as error:
            tell(item, error.strerror or str(error))
    with suppress(OSError):
        (runs / REMOVED).rmdir()


def _set_aside(runs: Path, path: Path) -> Path | None:
    if path.parent == runs / REMOVED:
        return path
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return None
    if (runs / REMOVED).is_symlink():
        raise NotADirectoryError(ENOTDIR, "a link is in the way", str(runs / REMOVED))
    (runs / REMOVED).mkdir(mode=0o700, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=runs / REMOVED))
    try:
        path.rename(aside / path.name)
    except OSError:
        aside.rmdir()
        raise
    return aside


@contextmanager
def _alone(item: Item) -> Iterator[None]:
    """Has the lease inside, so that nobody begins to work on what is being renamed.

    Raises:
        BlockingIOError: somebody has it.
    """
    lease = item.lease
    if lease is None or lease.is_symlink():  # nothing is removed where it is one
        yield
        return
    if held(lease):
        raise BlockingIOError

    def refuse(owner: Owner | None) -> None:
        if held(lease):
            raise BlockingIOError

    if not lease.parent.is_dir():
        raise FileNotFoundError(lease.parent)
    # That a process of another machine is silent was seen already, by the clock of the file server; to be sure, it is
    # watched for as long as three signs of life would take.
    with Lease(lease, refuse, stale=3 * BEAT):
        yield
