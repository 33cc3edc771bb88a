"""A calibration as Markdown: wrong claims by kind, and what follows for the threshold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ipr.files import write_atomically
from ipr.judging.binomial import power_of_ten
from ipr.judging.calibration import Calibration, FalseClaimRate, MissedClaims
from ipr.judging.calibration_file import calibration_facts, seal_calibration
from ipr.judging.fidelity import percent
from ipr.reports.documents import write_document

HEADER = (
    "wrong claim",
    "by",
    "suspect",
    "dated",
    "judged",
    "consistent",
    "verified",
    "keep fidelity",
    "best accuracy",
    "smallest p",
    "most read",
)


def calibration_markdown(calibration: Calibration) -> str:
    """Tables of wrong claims and of missed ones, the networks' answers, and a line for each sort of evidence."""
    lines = [f"| {' | '.join(HEADER)} |", "|" + "---|" * len(HEADER)]
    for one in calibration.wrong:
        lines.append(
            f"| {one.kind} | {one.evidence} | {one.suspects} | {'yes' if one.dated else 'no'} | {one.judged} | "
            f"{one.consistent} | {one.verified} | {one.faithful} | "
            f"{percent(one.best_accuracy)} | {power_of_ten(one.smallest_p_log10)} | "
            f"{one.most_agreeing} of {one.total} |"
        )
    lines.append("")
    if (null := calibration.null) is not None:
        lines.append(
            f"- {len(null.agreeing)} independent networks give {min(null.agreeing)} to {max(null.agreeing)} of the "
            f"{null.total} trigger images their label, a guess {null.total / null.choices:.0f}; with 99 % none of them "
            f"gives more than {percent(null.rate)}."
        )
    lines += [_rate(rate) for rate in calibration.rates]
    if calibration.missed:
        lines += ["", *_missed(calibration.missed)]
    return "\n".join(lines)


def _missed(missed: Sequence[MissedClaims]) -> list[str]:
    names = ("changed copies", "by", "judged", "missed", "95 % limits", "accuracy", "fewest read")
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    for one in missed:
        limits = f"{percent(one.lower)}, {percent(one.upper)}"
        lines.append(
            f"| {one.change} | {one.evidence} | {one.judged} | {one.missed} | {limits} | {percent(one.accuracy)} | "
            f"{one.fewest_agreeing} of {one.total} |"
        )
    return lines


def _rate(rate: FalseClaimRate) -> str:
    text = (
        f"- By {rate.evidence}: of {rate.judged} wrong claims that could be dated {rate.verified} verified; with 95 % "
        f"the rate is at least {_share(rate.lower)}, and with 95 % at most {_share(rate.upper)}. "
    )
    if rate.threshold_log10 is None:
        return f"{text}To show a rate below {_share(rate.asked)} takes at least {rate.needed} wrong claims."
    if rate.threshold_log10 == 0:
        return f"{text}It is below {_share(rate.asked)} at every threshold of the p-value."
    return f"{text}It is below {_share(rate.asked)} at a threshold below {power_of_ten(rate.threshold_log10)}."


def _share(rate: float) -> str:
    return f"{100 * rate:.3f} %"  # rates of a tenth of a per cent are told apart


def write_calibration(calibration: Calibration, out: Path | None, runs: Path, judge: Ed25519PrivateKey) -> Path:
    """Writes `calibration.json`, the judge's seal on it, and its table as `calibration.md`.

    Args:
        calibration: what to tell.
        out: the folder; None for one below `runs` that is named by claim and content.
        runs: the folder of runs.
        judge: the judge's own key.

    Returns:
        The JSON file.

    Raises:
        InputError: another calibration is there, or one that another judge sealed, or the folder cannot be written.
    """
    name = f"{calibration.claim_kind}-{calibration.claim[:12]}"
    path, _ = write_document(calibration_facts(calibration), "calibration.json", out, runs / "calibration", name)
    seal_calibration(path, judge)
    write_atomically(path.with_suffix(".md"), calibration_markdown(calibration) + "\n")
    return path
