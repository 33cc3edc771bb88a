"""What no study needs of a folder of runs: found, with the reason; removed is only what can be made again at once.

Run folders are listed and never removed: what names a run is known to whoever makes it (`workflows.request`), and
not here.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ipr.config.shipped import studies
from ipr.files import ASIDE, aside_of
from ipr.store.cell_run import cells_folder
from ipr.store.irreplaceable import irreplaceable
from ipr.store.lease import BEAT, Lease, Owner, held
from ipr.store.survey import Found, find_folders
from ipr.studies.planned import Plan

CLASSES = ("leftovers", "checkpoints", "jobs")
"""What can be removed: what killed processes left half-written, and what is said of cells that no study has;
checkpoints of finished runs; what a sweep that was killed had sent to a queue."""

RUNS, KEPT = "runs", "kept"
"""What is only listed: runs that no study needs, and what no study needs and must stay all the same."""

LEFT = re.compile(rf"{ASIDE.pattern}|\.(.+)\.\d+(\.old)?|(.+)\.part")
"""How what is being written is named until it is renamed into place; once, it was named by its process."""

BUSY = "a process works on it"


@dataclass(frozen=True)
class Item:
    """Something that nobody needs.

    Attributes:
        kind: which of `CLASSES`, or `RUNS` or `KEPT`.
        path: a file or folder.
        size: bytes.
        reason: why nobody needs it, or why it stays, in a line.
        lease: the folder of the lease that whoever works on it would have; None where there is none.
    """

    kind: str
    path: Path
    size: int
    reason: str
    lease: Path | None = None


def find_unneeded(runs: Path, plans: Sequence[Plan]) -> list[Item]:
    """All that no study needs of a folder of runs with these plans, by kind. Links are not followed, and what is behind
    them is not touched.
    """
    folders = list(find_folders(runs))
    named, items = named_by(plans, folders), list[Item]()
    for folder in folders:
        lease, held_now = folder.path / ".lease", folder.held
        if not held_now:
            items += _inside(folder, lease)
        if folder.name not in named:
            why, size = BUSY if held_now else _precious(folder), size_of(folder.path)
            reason = "no study needs it" if folder.finished else "no study needs it, and it is not finished"
            items.append(Item(KEPT if why else RUNS, folder.path, size, why or reason, lease))
    items += [*_cells(runs, plans), *_jobs(runs), *_other_leftovers(runs)]
    # the one place that all of them pass
    items = [replace(item, kind=KEPT, reason=why) if (why := _why_kept(item)) else item for item in items]
    return sorted(items, key=lambda item: ((*CLASSES, RUNS, KEPT).index(item.kind), item.path))


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


def _inside(folder: Found, lease: Path) -> Iterator[Item]:
    """In a run folder that nobody works on: what was left half-written, and checkpoints of what is finished."""
    for path in _asides(folder.path):
        kind, reason = "leftovers", "half-written by a process that is gone"
        if path.name.startswith(".claim.") and not folder.claim.exists():
            kind, reason = KEPT, "a claim, and there is no other; rename it to `claim` or remove it by hand"
        yield Item(kind, path, size_of(path), reason, lease)
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
    for path in (runs / "jobs").glob(".*"):  # of a removal that was killed
        if LEFT.fullmatch(path.name):
            yield Item("leftovers", path, size_of(path), "was being removed")
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
    """Beside plans, cells and reports, for which there are no leases."""
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


def _state(path: Path) -> tuple[int, int, int]:
    try:
        found = path.lstat()
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links count as themselves."""
    if path.is_symlink() or not path.is_dir():
        return _state(path)[2]
    return sum(_state(Path(folder) / name)[2] for folder, _, files in os.walk(path) for name in files)


def remove(items: Iterable[Item], tell: Callable[[Item, str], None]) -> None:
    """Removes things, each whole: a folder is renamed aside while nobody works on it, and only then taken apart.

    Args:
        items: what.
        tell: is told of each, and why it was left; "" where it was removed.
    """
    for item in items:
        try:
            with _alone(item):
                if reason := _why_kept(item):  # a commitment may be new
                    tell(item, reason)
                    continue
                aside = _aside(item.path)
            if aside is not None:
                shutil.rmtree(aside)
            tell(item, "")
        except BlockingIOError:
            tell(item, BUSY)
        except FileNotFoundError:  # another has removed it
            continue
        except OSError as error:
            tell(item, error.strerror or str(error))


def _aside(path: Path) -> Path | None:
    """A folder under the name of what is half-written, so that a removal that is killed leaves a leftover; a file is
    removed at once.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return None
    return path if LEFT.fullmatch(path.name) else path.rename(aside_of(path))


@contextmanager
def _alone(item: Item) -> Iterator[None]:
    """Has the lease inside, so that nobody begins to work on what is renamed; BlockingIOError where somebody has it."""
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
