"""What no study of a folder of runs needs: found, with the reason, and removed so that a kill leaves no half of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import ENOTDIR
from pathlib import Path
from typing import Any

from ipr.config.rounding import ROUNDING, named_format
from ipr.files import ASIDE
from ipr.store.cell_state import lease_of, words_folder
from ipr.store.irreplaceable import irreplaceable
from ipr.store.lease import BEAT, Lease, Owner, held
from ipr.store.survey import Found, find_folders
from ipr.studies.found import Planned

CLASSES = ("leftovers", "checkpoints", "words", "jobs", "runs")
"""What can be removed: what killed processes left half-written; checkpoints of finished runs; words of cells that no
study has; what a sweep that was killed had sent to a queue; runs that no study needs."""

LEFT = re.compile(rf"{ASIDE.pattern}|\.(.+)\.\d+(\.old)?|(.+)\.part")
"""How what is being written is named until it is renamed into place; once, it was named by its process."""

REMOVED = ".removed"
"""Where what is being removed lies, below the folder of runs: a kill leaves it where nobody looks for runs."""

SETTING: Mapping[str, tuple[tuple[str, ...], bool]] = {
    "dataset": (("root", "download"), False),
    "optimizer": (("name",), False),
    "model": (("name", "norm", "width"), True),
    "trainer": (("max_epochs", "precision", "memory_format", "compile", *ROUNDING), True),
}
"""Groups -> keys that tell baselines apart (True), or all but those (False): as `runs.request.identity_of` has them."""


BUSY = "a process works on it"

Work = tuple[str, ...]
"""What a run is, as far as a cell tells: kind, scheme, model, dataset, seed, attack, exhibit."""


@dataclass(frozen=True)
class Item:
    """Something that nobody needs.

    Attributes:
        kind: which of `CLASSES`.
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
class Garbage:
    """What was found; `kept` is what would be in `items` but for its reason."""

    items: Sequence[Item]
    kept: Sequence[Kept]


def needs(
    folders: Sequence[Found], busy: Collection[str], planned: Iterable[Planned], sweeps: Sequence[str]
) -> dict[str, str]:
    """Which runs are needed: `<kind>/<key>` -> by what.

    Needed is what a cell of a plan came to, what carries the tag of a study that is swept by tag, and what a process
    works on; and, of all these, the victim of an attack, what an exhibit shows, and the baseline of the same setting.
    Of a cell that is not done, and of a run that is being made, whatever it may start from is needed. As long as one
    that is needed tells nothing of itself, all are.

    Args:
        folders: all runs.
        busy: names of those that a process works on.
        planned: all plans.
        sweeps: the tags.
    """
    needed: dict[str, str] = {}
    may_be_read: dict[Work, str] = {}
    for plan in planned:
        for cell in plan.cells:
            why = f"{plan.name} at scale={plan.scale}"
            if cell.word is not None and cell.word.run:
                needed.setdefault(cell.word.run, why)
                continue
            dataset = plan.datasets.get(cell.about["dataset"], cell.about["dataset"])
            for work in _read_by({**cell.about, "dataset": dataset}):
                may_be_read.setdefault(work, f"{cell.name} of {why} is not done")
    for name in busy:
        needed.setdefault(name, BUSY)
    for folder in folders:
        if folder.name in busy:
            for work in _read_by(_about(folder)):
                may_be_read.setdefault(work, f"{folder.name} is being made")
    speechless = [folder.name for folder in folders if folder.name in needed and not (folder.asked or folder.uses)]
    mute = next((name for name in speechless if name in busy or not name.startswith("train/")), None)
    index: dict[Work | str, list[Found]] = {}
    for folder in folders:
        work = _work(folder.kind, _about(folder))
        if why := may_be_read.get(work, ""):
            needed.setdefault(folder.name, why)
        elif tags := sorted(folder.tags.intersection(sweeps)):
            needed.setdefault(folder.name, f"its tag is {tags[0]}")
        elif mute:
            needed.setdefault(folder.name, f"{mute} does not say what it needs")
        for key in (folder.key, work):
            index.setdefault(key, []).append(folder)
        if _about(folder).get("scheme") == "baseline" and folder.kind == "train":
            index.setdefault(_setting(folder.asked), []).append(folder)
    reached = [folder for folder in folders if folder.name in needed]
    while reached:
        folder = reached.pop()
        keys: list[Work | str] = [*folder.uses, _setting(folder.asked)]
        if folder.kind != "train" and not folder.uses:  # it has only begun, or cannot be read
            keys += _read_by(_about(folder))
        for used in (found for key in keys for found in index.get(key, [])):
            if used.name not in needed:
                needed[used.name] = f"{folder.name} was made from it"
                reached.append(used)
    return needed


def _read_by(about: Mapping[str, Any]) -> list[Work]:
    """The run itself, the attack before an exhibit, the training before both, and the baseline before that."""
    training = {name: about.get(name) for name in ("scheme", "model", "dataset", "seed")}
    attack, exhibit = about.get("attack"), about.get("exhibit")
    works = [_work("train", training), _work("train", training | {"scheme": "baseline"})]
    if attack:
        works.append(_work("attack", training | {"attack": attack}))
    if exhibit:
        works.append(_work("exhibit", {**training, "attack": attack, "exhibit": exhibit}))
    return works


def _work(kind: str, about: Mapping[str, Any]) -> Work:
    return kind, *(str(about.get(name)) for name in ("scheme", "model", "dataset", "seed", "attack", "exhibit"))


def _about(folder: Found) -> dict[str, Any]:
    """What a run is, by its `config.yaml`: a victim's also says what it was trained for, which it is not."""
    says = {"train": 3, "attack": 4, "exhibit": 5}[folder.kind]
    chosen = {group: folder.asked.get(group) for group in ("scheme", "model", "dataset", "attack", "exhibit")[:says]}
    names = {
        group: str(found["name"]) for group, found in chosen.items() if isinstance(found, dict) and "name" in found
    }
    return {**names, "seed": str(folder.asked.get("seed"))}


def _setting(asked: Mapping[str, Any]) -> str:
    """What a run and its baseline have in common."""
    parts = {name: value if isinstance(value, dict) else {} for name, value in asked.items() if name in SETTING}
    kept = {
        name: {key: value for key, value in parts.get(name, {}).items() if (key in keys) == included}
        for name, (keys, included) in SETTING.items()
    }
    of_trainer = kept["trainer"]
    if "memory_format" in of_trainer:
        of_trainer["memory_format"] = named_format(of_trainer["memory_format"])
    kept["trainer"] = {key: value for key, value in of_trainer.items() if (key, value) not in ROUNDING.items()}
    return json.dumps([kept, asked.get("seed")], sort_keys=True, default=str)


def find_garbage(runs: Path, planned: Sequence[Planned], sweeps: Sequence[str]) -> Garbage:
    """All that no study needs. Links are not followed, and what is behind them is not touched.

    Args:
        runs: the folder of runs.
        planned: all its plans.
        sweeps: tags of studies that are swept by tag.
    """
    folders, items, kept = list(find_folders(runs)), list[Item](), list[Kept]()
    busy = frozenset(folder.name for folder in folders if folder.held)
    needed = needs(folders, busy, planned, sweeps)
    for folder in folders:
        lease = folder.path / ".lease"
        if folder.name in busy:
            if needed[folder.name] == BUSY:
                kept.append(Kept(folder.path, BUSY))
            continue
        for path in _asides(folder.path):
            if path.name.startswith(".claim.") and not folder.claim.exists():
                kept.append(Kept(path, "a claim, and there is no other; rename it to `claim` or remove it by hand"))
            else:
                items.append(Item("leftovers", path, size_of(path), "half-written by a process that is gone", lease))
        for path, reason in _checkpoints(folder):
            items.append(Item("checkpoints", path, size_of(path), reason, lease))
        if folder.name in needed:
            continue
        if reason := _precious(folder):
            kept.append(Kept(folder.path, reason))
        else:
            reason = "no study needs it" if folder.finished else "no study needs it, and it is not finished"
            items.append(Item("runs", folder.path, size_of(folder.path), reason, lease))
    items += _unneeded_words(runs, planned)
    items += _jobs(runs)
    items += _other_leftovers(runs)
    removable = []
    for item in items:  # the one place that all of them pass
        if reason := _why_kept(item):
            kept.append(Kept(item.path, reason))
        else:
            removable.append(item)
    return Garbage(sorted(removable, key=lambda item: (CLASSES.index(item.kind), item.path)), kept)


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


def _checkpoints(folder: Found) -> Iterator[tuple[Path, str]]:
    place = folder.path / "checkpoints"
    if not folder.finished or place.is_symlink() or not place.is_dir():
        return
    if folder.kind == "train" and not folder.weights.exists():
        return
    for path in sorted(place.iterdir()) if folder.kind == "attack" else [place]:
        if path.name != "finetune":  # exhibits look into it
            yield path, "its run is finished"


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


def _unneeded_words(runs: Path, planned: Iterable[Planned]) -> Iterator[Item]:
    named: dict[str, set[str]] = {}
    for plan in planned:
        named.setdefault(plan.scale, set()).update(cell.name for cell in plan.cells)
    for studies in _subfolders(runs / "studies"):
        words = words_folder(studies)
        if studies.is_symlink() or words.is_symlink() or not words.is_dir():
            continue
        for path in sorted(words.iterdir()):
            if path.suffix not in (".json", ".lease") or path.stem in named.get(studies.name, set()):
                continue
            lease = lease_of(studies, path.stem)
            if not path.name.startswith(".") and not held(lease):
                yield Item("words", path, size_of(path), f"no study at scale={studies.name} has this cell", lease)


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
    """Beside plans, words and reports, for which there are no leases; and what a killed removal left."""
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
    if item.kind == "words":  # a cell that begins now writes another; and to take the lease would leave one behind
        yield
        return

    def refuse(owner: Owner | None) -> None:
        if held(lease):
            raise BlockingIOError

    if not lease.parent.is_dir():
        raise FileNotFoundError(lease.parent)
    # That a process of another machine is silent was seen already, by the clock of the file server; to be sure, it is
    # watched for as long as three signs of life would take.
    with Lease(lease, refuse, stale=3 * BEAT):
        yield
