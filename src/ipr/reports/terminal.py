"""What a person sees at the end of a command."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from ipr.runs.attack import AttackRow
from ipr.runs.record import Record
from ipr.verification.verdict import Verdict


def percent(fraction: float | None) -> str:
    """A fraction as a percentage with two decimals; a dash for nothing."""
    return "-" if fraction is None else f"{100 * fraction:.2f} %"


def run_table(record: Record, verdict: Verdict | None) -> Table:
    """A run's outcome: from its verdict where there is one just made, else from its record."""
    title = f"{record.scheme}, {record.model} ({record.norm}, width {record.width:g}), {record.dataset}"
    if verdict is not None:
        return verdict_table(verdict, title)
    table = _table(title)
    if record.scheme == "baseline":
        table.add_row("accuracy", percent(record.accuracy_without))
        return table
    table.add_row("accuracy, no passport", percent(record.accuracy_without))
    table.add_row("accuracy, genuine passport", percent(record.accuracy_genuine))
    table.add_row(
        f"accuracy, {record.forged} forged passports",
        _forged(record.accuracy_forged_mean, record.accuracy_forged_max, record.forged_passing),
    )
    table.add_row("signature", f"{record.bits_agreeing} of {record.bits_total} bits")
    table.add_row("chance of a guess", power_of_ten(record.p_value_log10 or 0.0))
    if record.trigger_accuracy is not None:
        table.add_row("trigger set, no passport", percent(record.trigger_accuracy))
        table.add_row("trigger set, genuine passport", percent(record.trigger_accuracy_passport))
    table.add_row("ownership", "verified" if record.verified else "not verified")
    return table


def verdict_table(verdict: Verdict, title: str = "verdict") -> Table:
    """A verdict, with the bits of each layer and the text that was read."""
    table, fidelity, reading = _table(title), verdict.fidelity, verdict.reading
    table.add_row("accuracy, no passport", percent(verdict.accuracy_without))
    outcome = "holds" if fidelity.holds else "fails"
    table.add_row("accuracy, genuine passport", percent(fidelity.accuracy))
    table.add_row("fidelity", f"{outcome} (target {percent(fidelity.target)}, within {percent(fidelity.threshold)})")
    if verdict.accuracy_forged:
        table.add_row(
            f"accuracy, {len(verdict.accuracy_forged)} forged passports",
            _forged(verdict.forged_mean, max(verdict.accuracy_forged), verdict.forged_passing),
        )
    for name, agreeing in reading.agreeing.items():
        table.add_row(f"signature in {name}", f"{agreeing} of {reading.total[name]} bits")
    table.add_row("signature", f"{sum(reading.agreeing.values())} of {sum(reading.total.values())} bits")
    if reading.text:
        table.add_row("text read back", ascii(reading.text)[1:-1])
    table.add_row("chance of a guess", power_of_ten(reading.p_value_log10))
    if verdict.trigger_accuracy is not None:
        table.add_row("trigger set, no passport", percent(verdict.trigger_accuracy))
        table.add_row("trigger set, genuine passport", percent(verdict.trigger_accuracy_passport))
    table.add_row("ownership", "verified" if verdict.verified else "not verified")
    return table


def attack_table(rows: Sequence[AttackRow]) -> Table:
    """An attack, a row per point; at most forty."""
    first = rows[0]
    title = f"{first.attack} on {first.scheme}, {first.model} ({first.norm}, width {first.width:g}), {first.dataset}"
    succeeded = sum(row.attack_succeeded for row in rows)
    title += f" to {first.transfer}" if first.transfer else ""
    table = Table(title=f"{title}: succeeded at {succeeded} of {len(rows)} points", title_justify="left")
    names = ["point", "accuracy", "before", f"bits ({first.bits_total})", "fidelity", "verified", "succeeded"]
    freed = any(row.bits_freed is not None for row in rows)
    for name in [*names, *(["freed bits"] if freed else [])]:
        table.add_column(name, justify="left" if name == "point" else "right")
    for row in rows[:40]:
        table.add_row(
            row.point or "-",
            percent(row.accuracy_after),
            percent(row.accuracy_before),
            str(row.bits_agreeing),
            {None: "other task", True: "kept", False: "lost"}[row.fidelity_kept],
            "yes" if row.verified else "no",
            "yes" if row.attack_succeeded else "no",
            *([str(row.bits_freed)] if freed else []),
        )
    if len(rows) > 40:
        table.caption = f"{len(rows) - 40} more points in rows.jsonl"
    return table


def power_of_ten(log10: float) -> str:
    """A probability by its logarithm, however small."""
    return f"10^{log10:.1f}" if log10 < -3 else f"{10**log10:.3g}"


def _table(title: str) -> Table:
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column()
    table.add_column(justify="right")
    return table


def _forged(mean: float | None, largest: float | None, passing: int | None) -> str:
    return f"{percent(mean)} (best {percent(largest)}; {passing} keep fidelity)"
