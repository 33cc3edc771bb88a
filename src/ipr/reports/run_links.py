"""The runs behind a section, and which of their files a reader may want to see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ipr.reports.section import RunLink
from ipr.reports.subjects import subject_of
from ipr.store.folder import RunFolder

FILES = {"record": "record.json", "points": "rows.jsonl", "curves": "metrics.csv", "request": "config.yaml"}
"""What a run may keep: how a page calls it -> its name in the run's folder."""


def run_links(runs: Path, named: Iterable[tuple[str, Mapping[str, Any]]]) -> list[RunLink]:
    """A link for each run, once, that is there; ordered by name.

    Args:
        runs: the folder of runs.
        named: of each run `<kind>/<key>`, and what it is about (`subject_of`).
    """
    links = {}
    for name, facts in named:
        folder = RunFolder(runs / name)
        if folder.path.is_dir():
            there = {word: file for word, file in FILES.items() if (folder.path / file).exists()}
            links[name] = RunLink(name, subject_of([facts]), there)
    return [links[name] for name in sorted(links)]
