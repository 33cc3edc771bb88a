"""Ten minutes on a GPU: is everything right there, and how fast is it?

    python benchmarks/gpu_check.py [--out runs/gpu] [--device cuda|cpu|emulated] [--quick] [--only A,B] [--seconds S]

Needs no network and no data set. What must be right is tried side by side; then speed is measured, one section after
the other. Each section is a process of its own, so that one that breaks the card's context breaks no other. A line says
PASS, FAIL, PART (its time was over) or SKIP of each; all numbers are in OUT/gpu.json, which is written anew after each
section. It ends inside its seconds: what there is no time for is skipped. `benchmarks/gpu_tables.py` makes the tables
of docs/results/gpu.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

SIDE_BY_SIDE = ("exact", "waits", "schemes", "watermarks", "attacks", "bits", "graphs", "processes")
CUT = "ended at its time; what there is of it stands here"

OTHERS = ("bits", "processes", "packed")
"""Sections that start processes of their own, in which no device is emulated."""

IN_TURN = ("card", "steps", "captured", "fast", "judging", "options", "packed", "compiled")


@dataclass
class Section:
    """A section that runs.

    Attributes:
        name: what it is.
        process: its process, which leads a group of its own.
        started: when.
        out: where it leaves what it found.
    """

    name: str
    process: subprocess.Popen[bytes]
    started: float
    out: Path


def start(name: str, out: Path, device: str, quick: bool) -> Section:
    """Starts a section."""
    (out / f"{name}.json").unlink(missing_ok=True)  # of another time
    words = [sys.executable, __file__, "--section", name, "--out", str(out), "--device", device]
    log = (out / f"{name}.log").open("wb")
    process = subprocess.Popen(
        [*words, *(["--quick"] if quick else [])], stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    return Section(name, process, time.monotonic(), out)


def end(section: Section, deadline: float) -> dict[str, Any]:
    """Waits for a section until the deadline, then ends it; what it started is ended in any case."""
    try:
        section.process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        section.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            section.process.wait(5)
    with suppress(ProcessLookupError):
        os.killpg(section.process.pid, signal.SIGKILL)  # what it started, too
    section.process.wait()
    seconds = round(time.monotonic() - section.started, 1)
    path = section.out / f"{section.name}.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        return found | {"seconds": seconds}
    log = (section.out / f"{section.name}.log").read_text(errors="replace")
    return {"values": {}, "problems": [f"did not end: {log[-600:]}"], "seconds": seconds}


def carry_out(name: str, out: Path, device: str, quick: bool) -> None:
    """Runs one section in this process and leaves what it found."""
    from gpu.checks import CHECKS
    from gpu.emulated import NAME, emulated, registered
    from gpu.setting import Found, Setting
    from gpu.speed import MEASURES

    if device == "emulated":
        registered()

    def stop(*_: object) -> None:
        raise SystemExit(CUT)

    found = Found()
    signal.signal(signal.SIGTERM, stop)
    try:
        with emulated() if device == "emulated" else nullcontext():
            (CHECKS | MEASURES)[name](Setting(NAME if device == "emulated" else device, quick), found)
    except BaseException as error:  # noqa: BLE001 (told as what was found)
        traceback.print_exc()
        found.problems.append(f"{type(error).__name__}: {str(error)[:400]}")
    aside = out / f"{name}.json.part"
    aside.write_text(json.dumps(asdict(found), indent=1, default=str))
    aside.replace(out / f"{name}.json")


def main(arguments: argparse.Namespace) -> int:
    """Runs what is asked for; returns the exit code: 1 where a section failed."""
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    chosen = arguments.only.split(",") if arguments.only else [*SIDE_BY_SIDE, *IN_TURN]
    deadline = time.monotonic() + arguments.seconds
    commit = arguments.commit or _commit()
    report: dict[str, Any] = {"device": arguments.device, "quick": arguments.quick, "commit": commit, "sections": {}}

    def tell(name: str, found: dict[str, Any]) -> None:
        report["sections"][name] = found
        cut = bool(found["problems"]) and all(CUT in problem for problem in found["problems"])
        word = "SKIP" if found.get("skipped") else "PART" if cut else "FAIL" if found["problems"] else "PASS"
        print(f"{word} {name} {found['seconds']} s", *found["problems"], sep="\n  ", flush=True)
        (out / "gpu.json").write_text(json.dumps(report, indent=1))

    for name in OTHERS if arguments.device == "emulated" else ():
        if name in chosen:
            chosen.remove(name)
            tell(name, {"values": {}, "problems": [], "seconds": 0, "skipped": True})
    asked = [name for name in SIDE_BY_SIDE if name in chosen]
    for group in [asked] if not arguments.in_turn else [[name] for name in asked]:
        running = [start(name, out, arguments.device, arguments.quick) for name in group]
        for section in running:
            tell(section.name, end(section, deadline))
    for name in [name for name in IN_TURN if name in chosen]:
        if deadline - time.monotonic() < 10:
            tell(name, {"values": {}, "problems": [], "seconds": 0, "skipped": True})
        else:
            tell(name, end(start(name, out, arguments.device, arguments.quick), deadline))
    return int(any(CUT not in problem for found in report["sections"].values() for problem in found["problems"]))


def _commit() -> str | None:
    """The commit of the working tree, where git knows it."""
    asked = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="where the numbers are kept")
    parser.add_argument("--device", choices=("cuda", "cpu", "emulated"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="all as small as it can be: tries the check itself")
    parser.add_argument(
        "--only", default="", help=f"sections, separated by commas: {', '.join(SIDE_BY_SIDE + IN_TURN)}"
    )
    parser.add_argument("--seconds", type=float, default=520, help="when it ends at the latest")
    parser.add_argument("--in-turn", action="store_true", help="also the checks one after the other")
    parser.add_argument("--commit", help="of what runs, where git does not know it")
    parser.add_argument("--section", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    wrong = [n for n in asked.only.split(",") if n and n not in SIDE_BY_SIDE + IN_TURN]
    if wrong:
        parser.error(f"--only={','.join(wrong)}: there is no such section")
    return asked


if __name__ == "__main__":
    given = parsed()
    if given.section:
        carry_out(given.section, given.out, given.device, given.quick)
    else:
        sys.exit(main(given))
