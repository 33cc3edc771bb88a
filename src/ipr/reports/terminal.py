"""What a person sees at the end of a command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from ipr.claims.base import Claim
from ipr.judging.binomial import power_of_ten
from ipr.judging.decision import INCONCLUSIVE, VERIFIED, Decision
from ipr.judging.fidelity import percent
from ipr.judging.judgement import Judgement
from ipr.judging.redraw import is_keyless
from ipr.judging.verdict import Verdict
from ipr.store.record import Record
from ipr.workflows.attack_rows import AttackRow
from ipr.workflows.embedding_checks import Check, failed

CONSISTENT = "consistent with the claim"
"""What a run says of itself at its end; who it belongs to is decided by `ipr verify`."""

KEYLESS = "yes: follows from the run's seed, fit for research only"
"""What is said of a claim whose secrets anybody can draw (`is_keyless`)."""


PAPER = (
    "rule=paper is Definition 1 alone, which whoever holds these weights can satisfy; rule=sound reckons with forgers"
)
"""What `verified` by the paper's rule is worth."""


def run_table(record: Record, verdict: Verdict | None, checks: Sequence[Check]) -> Table:
    """A run's outcome: from its verdict where there is one just made, else from its record.

    Args:
        record: of the run.
        verdict: see `Run`.
        checks: see `Run`; a run of which one failed is consistent with nothing.
    """
    title = f"{record.scheme}, {record.model} ({record.norm}, width {record.width:g}), {record.dataset}"
    if verdict is not None:
        table = verdict_table(verdict, title, fidelity=False)  # it would be compared with itself
        table.add_row(CONSISTENT, _answer(not failed(checks)))
        return table
    table = _table(title)
    _accuracies(table, record.accuracy_without, record.accuracy_genuine)
    if record.scheme == "baseline":
        return table
    if record.accuracy_forged_mean is not None:
        best, passing = record.accuracy_forged_max, record.forged_passing
        _forged(table, record.forged, record.accuracy_forged_mean, best, passing)
    if record.bits_total is not None:
        table.add_row("signature", f"{record.bits_agreeing} of {record.bits_total} bits")
    _evidence(table, record.p_value_log10 or 0.0, record.correlation)
    _triggers(table, record.trigger_accuracy, record.trigger_accuracy_passport)
    table.add_row(CONSISTENT, _answer(not failed(checks)))
    return table


def before_and_after(before: float, record: Record) -> str:
    """How accurate a network was before it was protected, and what became of it."""
    given, passport = percent(record.accuracy_without), percent(record.accuracy_genuine)
    return f"{'accuracy:':<18}{percent(before)} before, {given} as it is given away, {passport} with the passport"


def check_lines(checks: Sequence[Check]) -> list[Text]:
    """Whether an embedding succeeded, a line for each check: red where it failed, and what to change."""
    lines = []
    for check in checks:
        told = f"{check.name + ':':<18}{check.status}: {check.says}"
        told += f". To change: {check.remedy}" if check.remedy else ""
        lines.append(Text(told, style="red" if check.holds is False else ""))
    return lines


def verdict_table(verdict: Verdict, title: str = "verdict", *, fidelity: bool = True) -> Table:
    """A verdict, with the bits of each layer and the text that was read.

    Args:
        verdict: what was measured.
        title: of the table.
        fidelity: whether to tell if it holds, which means something where the claim declared a target before.
    """
    table, reached, reading = _table(title), verdict.fidelity, verdict.reading
    _accuracies(table, verdict.accuracy_without, reached.accuracy if verdict.passported else None)
    if fidelity:
        outcome = "holds" if reached.holds else "fails"
        table.add_row("fidelity", f"{outcome} (target {percent(reached.target)}, within {percent(reached.threshold)})")
    if forged := verdict.accuracy_forged:
        _forged(table, len(forged), verdict.forged_mean, max(forged), verdict.forged_passing)
    if not reading.images:
        for name, agreeing in reading.agreeing.items():
            table.add_row(f"signature in {name}", f"{agreeing} of {reading.total[name]} {reading.unit}")
        table.add_row("signature", f"{sum(reading.agreeing.values())} of {sum(reading.total.values())} {reading.unit}")
    if reading.text:
        table.add_row("text read back", ascii(reading.text)[1:-1])
    _evidence(table, reading.p_value_log10, reading.correlation)
    _triggers(table, verdict.trigger_accuracy, verdict.trigger_accuracy_passport)
    return table


def finding_table(judgement: Judgement) -> Table:
    """What was measured in a suspect's weights, or in its answers."""
    if judgement.verdict is not None:
        return verdict_table(judgement.verdict)
    table, found = _table("verdict"), judgement.evidence.trigger_set
    assert found is not None
    if judgement.accuracy is not None:
        table.add_row("accuracy", percent(judgement.accuracy))
    table.add_row("trigger set", f"{sum(found.agreeing.values())} of {sum(found.total.values())} images")
    _evidence(table, found.p_value_log10, None)
    table.add_row("images asked", str(judgement.suspect.queries))
    return table


def decision_table(decision: Decision) -> Table:
    """The conditions of a decision, a row each."""
    table = Table(title=f"conditions (rule={decision.rule})", title_justify="left")
    for name in ("condition", "", "holds", "what is compared"):
        table.add_column(name, overflow="fold")
    for one in decision.conditions:
        holds = {True: "yes", False: "no", None: "not shown"}[one.holds]
        status = f" ({one.value})" if isinstance(one.value, str) else ""
        table.add_row(one.name, "required" if one.required else "reported", holds, one.says + status)
    return table


def reasons(decision: Decision) -> list[str]:
    """Why a claim is not verified, or what is missing, and how to get it, a sentence each; where it is verified by the
    paper's rule what that is worth, and else nothing.
    """
    if decision.outcome == VERIFIED:
        return [PAPER] if decision.rule == "paper" else []
    lines = []
    if decision.outcome == INCONCLUSIVE:
        lines.append("What was measured does not contradict the claim, and a forger could show as much. Missing:")
    for one in decision.deciding:
        lines.append(f"{one.name}: {one.says}." + (f" To show it: {one.remedy}." if one.remedy else ""))
    return lines


def claim_table(claim: Claim) -> Table:
    """What of a claim may be shown: no bit, no text, no pixel of it. Its names may be a stranger's, so no markup."""
    table = _table("claim")
    rows = {"kind": claim.kind, "owner": claim.owner or "-", "architecture": _architecture(claim.architecture)}
    for name, tensor in claim.tensors().items():
        rows[name] = f"{' x '.join(map(str, tensor.shape))} {str(tensor.dtype).removeprefix('torch.')}"
    if claim.says_of_signature:
        rows["signature"] = claim.says_of_signature
    if claim.images is not None:
        rows["images"] = claim.images.says
    rows["drawn from a seed"] = ", ".join(claim.origin.seeds) or "-" if claim.origin else "not known"
    rows["keyless"] = KEYLESS if is_keyless(claim) else "no"
    limits = claim.thresholds
    rows["target accuracy"] = percent(limits.target_accuracy)
    rows["fidelity within"] = percent(limits.fidelity)
    rows["chance of a guess, at most"] = f"{limits.p_value:.3g}"
    for name, value in rows.items():
        table.add_row(Text(name), Text(value))
    return table


def _architecture(architecture: Mapping[str, Any]) -> str:
    flat = {**architecture.get("model", {}), **{n: v for n, v in architecture.items() if n != "model"}}
    shown = [f"{name}={value}" for name, value in flat.items() if isinstance(value, str | int | float)]
    return " ".join(shown) or "-"


def attack_table(rows: Sequence[AttackRow]) -> Table:
    """An attack, a row per point; at most forty."""
    first = rows[0]
    title = f"{first.attack} on {first.scheme}, {first.model} ({first.norm}, width {first.width:g}), {first.dataset}"
    succeeded = sum(row.attack_succeeded for row in rows)
    if first.transfer and first.fidelity_kept is None:  # another task
        title += f" to {first.transfer}"
    elif first.transfer:
        shared = f"{first.shared_images} of {first.attacker_images}"
        title += f" with images of {first.transfer}, of which {shared} are the victim's"
    table = Table(title=f"{title}: succeeded at {succeeded} of {len(rows)} points", title_justify="left")
    mark = f"bits ({first.bits_total})" if first.bits_total is not None else "trigger set"
    names = ["point", "accuracy", "before", mark, "fidelity", "mark read", "succeeded"]
    freed = any(row.bits_freed is not None for row in rows)
    for name in [*names, *(["freed bits"] if freed else [])]:
        table.add_column(name, justify="left" if name == "point" else "right")
    for row in rows[:40]:
        table.add_row(
            row.point or "-",
            percent(row.accuracy_after),
            percent(row.accuracy_before),
            percent(row.trigger_accuracy) if row.bits_total is None else str(row.bits_agreeing),
            {None: "other task", True: "kept", False: "lost"}[row.fidelity_kept],
            _answer(row.mark_read),
            _answer(row.attack_succeeded),
            *([str(row.bits_freed)] if freed else []),
        )
    if len(rows) > 40:
        table.caption = f"{len(rows) - 40} more points in rows.jsonl"
    return table


def _evidence(table: Table, p_value_log10: float, correlation: float | None) -> None:
    if correlation is not None:
        table.add_row("correlation", f"{correlation:.3f}")
    table.add_row("chance of a guess", power_of_ten(p_value_log10))


def _triggers(table: Table, accuracy: float | None, with_passport: float | None) -> None:
    if accuracy is not None:
        table.add_row("trigger set" if with_passport is None else "trigger set, no passport", percent(accuracy))
    if with_passport is not None:
        table.add_row("trigger set, genuine passport", percent(with_passport))


def _answer(truth: bool | None) -> str:
    return "yes" if truth else "no"


def _table(title: str) -> Table:
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column()
    table.add_column(justify="right")
    return table


def _accuracies(table: Table, without: float, genuine: float | None) -> None:
    table.add_row("accuracy" if genuine is None else "accuracy, no passport", percent(without))
    if genuine is not None:
        table.add_row("accuracy, genuine passport", percent(genuine))


def _forged(table: Table, count: int | None, mean: float, best: float | None, passing: int | None) -> None:
    told = f"{percent(mean)} (best {percent(best)}; {passing} keep fidelity)"
    table.add_row(f"accuracy, {count} forged passports", told)
