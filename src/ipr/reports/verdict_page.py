"""`verdict.json` as one HTML page that needs no other file and no network, and can be printed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ipr.files import write_atomically
from ipr.judging.binomial import power_of_ten
from ipr.judging.fidelity import percent
from ipr.judging.judgement import Judgement
from ipr.reports.documents import write_document
from ipr.reports.evidence import evidence_bars
from ipr.reports.templates import asset, template
from ipr.reports.verdict import verdict_facts
from ipr.reports.verdict_words import TERMS, because, day_of, headline, meaning_of


def _html(facts: Mapping[str, Any]) -> str:
    """The outcome in a sentence, whose claim it is and when it was dated, the evidence as bars, then conditions,
    numbers, hashes, terms, and how to judge again; all text is escaped.
    """
    return template("verdict.html.jinja").render(
        facts=facts,
        style=Markup(asset("verdict.css")),  # noqa: S704 our own file
        conditions=[
            {
                **one,
                "value": _shown(one["name"], one["value"]),
                "threshold": _shown(one["name"], one["threshold"]),
                "meaning": meaning_of(one["name"]),
            }
            for one in facts["conditions"]
        ],
        headline=headline(facts),
        because=because(facts),
        bars=evidence_bars(facts),
        terms=TERMS,
        day=day_of,
        holds={True: "yes", False: "no", None: "not shown"},
        percent=percent,
        power_of_ten=lambda log10: "0" if log10 is None else power_of_ten(log10),
    )


def _shown(name: str, value: float | str | None) -> str:
    """A condition's value: a probability by its logarithm, another number as a percentage."""
    if value is None or isinstance(value, str):
        return value or "-"
    probability = name in ("signature", "trigger set") or name.startswith("witness ")
    return power_of_ten(value) if probability else percent(value)


def write_verdict(judgement: Judgement, out: Path | None, runs: Path) -> Path:
    """Writes `verdict.json` and a page of it; what is there already, and the same, is left as it is.

    Args:
        judgement: what to tell.
        out: the folder; None for one below `runs` that is named by suspect, claim and content.
        runs: the folder of runs.

    Returns:
        The folder.

    Raises:
        InputError: another verdict is there, or the folder cannot be written.
    """
    suspect = judgement.suspect
    who = suspect.sha256 or hashlib.sha256((suspect.url or "").encode()).hexdigest()
    name = f"{who[:12]}-{judgement.claim.fingerprint()[:12]}"
    path, dated = write_document(verdict_facts(judgement), "verdict.json", out, runs / "verdicts", name)
    write_atomically(path.with_suffix(".html"), _html(dated))
    return path.parent
