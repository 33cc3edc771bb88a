"""A dispute as plain JSON values, as a page of Markdown, and as a table in a terminal. No secret is in any of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from ipr.files import write_atomically
from ipr.judging.dispute import Standing, told
from ipr.judging.judgement import Judgement
from ipr.reports.documents import write_document
from ipr.workflows.dispute import Dispute

SCHEMA_VERSION = 1

HEADER = ("claim", "kind", "judged", "registered", "standing")


def dispute_facts(found: Dispute) -> dict[str, Any]:
    """Everything but the date and the versions of the software; docs/verdicts.md explains every field."""
    settlement, first = found.settlement, found.judgements[0]
    winner = settlement.winner
    return {
        "schema_version": SCHEMA_VERSION,
        "outcome": settlement.outcome,
        "says": settlement.says,
        "stands": None if winner is None else winner.fingerprint,
        "suspect": asdict(first.suspect),
        "data": asdict(first.data),
        "rule": asdict(first.rule),
        "claims": [_claim(*both) for both in zip(settlement.standings, found.judgements, strict=True)],
        "tried": first.tried,
        "seed": first.seed,
    }


def _claim(standing: Standing, judgement: Judgement) -> dict[str, Any]:
    party = standing.party
    return {
        "name": party.name,
        "owner": party.owner,
        "kind": party.kind,
        "fingerprint": party.fingerprint,
        "commitment": judgement.commitment.digest,
        "decision": party.outcome,
        "registered": None if party.moment is None else party.moment.isoformat(),
        "standing": standing.word,
        "because": standing.because,
        "conditions": [asdict(condition) for condition in judgement.decision.conditions],
    }


def _markdown(facts: Mapping[str, Any]) -> str:
    """What stands, the claims in a table, why, and what of each did not hold. Names are a stranger's: shown as text."""
    suspect = facts["suspect"]
    lines = [f"# {_text(facts['says'])}", ""]
    lines += [f"Suspect: {_text(suspect['sha256'] or suspect['url'])}. Judged {_text(facts['date'])}.", ""]
    lines += [f"| {' | '.join((*HEADER, 'fingerprint'))} |", "|" + "---|" * (len(HEADER) + 1)]
    for one in facts["claims"]:
        cells = [one["name"], one["kind"], one["decision"], one["registered"] or "-", one["standing"]]
        lines.append(f"| {' | '.join(map(_text, [*cells, one['fingerprint']]))} |")
    lines.append("")
    for one in facts["claims"]:
        lines.append(f"- {_text(one['because'])}")
        failing = [each for each in one["conditions"] if each["required"] and each["holds"] is not True]
        lines += [f"  - {_text(each['name'])}: {_text(each['says'])}" for each in failing]
    return "\n".join(lines) + "\n"


def _text(text: str) -> str:
    """A text without meaning to Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>|#&!~])", r"\\\1", text)


def dispute_table(found: Dispute) -> Table:
    """The claims, a row each. Names may be a stranger's, so no markup."""
    table = Table(title="claims", title_justify="left")
    for name in HEADER:
        table.add_column(name, overflow="fold")
    for one in found.settlement.standings:
        party = one.party
        when = "-" if party.moment is None else told(party.moment).removeprefix("dated ")
        table.add_row(*map(Text, (party.name, party.kind, party.outcome, when, one.word)))
    return table


def write_dispute(found: Dispute, out: Path | None, runs: Path) -> Path:
    """Writes `dispute.json` and a page of it, `dispute.md`; what is there already, and the same, is left as it is.

    Args:
        found: what to tell.
        out: the folder; None for one below `runs` that is named by suspect and content.
        runs: the folder of runs.

    Returns:
        The folder.

    Raises:
        InputError: another dispute is there, or the folder cannot be written.
    """
    who = found.judgements[0].suspect.sha256 or "answers"
    path, dated = write_document(dispute_facts(found), "dispute.json", out, runs / "disputes", who[:12])
    write_atomically(path.with_suffix(".md"), _markdown(dated))
    return path.parent
