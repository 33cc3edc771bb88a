"""Which of several claims to one suspect stands: verified, nobody's copy, and dated first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time

from torch import Tensor

from ipr.errors import InputError

SHARED = 0.9
"""The share of marks from which two claims are one signature."""


@dataclass(frozen=True, eq=False)
class Party:
    """One who claims, and what the judge found.

    Attributes:
        name: what the party is called; of each party another one.
        owner: the name that the claim bears; "" for none. Whoever writes a claim chooses it.
        kind: of the claim.
        fingerprint: of the claim.
        outcome: of its decision: `verified`, `not verified` or `inconclusive`.
        moment: the latest moment at which its commitment was surely registered, with a time zone; None where it opens
            no commitment whose date the judge knows.
        marks: `Claim.marks`: (N,) bits as -1 and +1, or (N, ...) images with their labels.
    """

    name: str
    owner: str
    kind: str
    fingerprint: str
    outcome: str
    moment: datetime | None
    marks: Tensor


@dataclass(frozen=True, eq=False)
class Standing:
    """What becomes of a party.

    Attributes:
        party: which.
        word: `stands`, `copy`, `later`, `undated`, `tied`, or the outcome of one that is not verified.
        because: a sentence.
    """

    party: Party
    word: str
    because: str


@dataclass(frozen=True, eq=False)
class Settlement:
    """The outcome of a dispute.

    Attributes:
        outcome: `stands` (one claim does), `none` (no claim can) or `undecided` (several could, and no date decides).
        standings: of every party, in the order in which they were given.
        says: the outcome in a sentence.
    """

    outcome: str
    standings: Sequence[Standing]
    says: str

    @property
    def winner(self) -> Party | None:
        """The party whose claim stands."""
        return next((one.party for one in self.standings if one.word == "stands"), None)


def settle(parties: Sequence[Party]) -> Settlement:
    """Settles a dispute.

    Only a verified claim can stand, and not one that shares its marks with a claim dated before it, whether that one is
    verified or not: it is a copy. Of those that are left the one that is dated first stands. A claim without a date
    stands where it is alone, and never beside one with a date. Nothing but dates tells claims apart: neither names,
    nor how well the marks are read, nor the order in which they are given.

    Args:
        parties: two or more.

    Raises:
        InputError: they are fewer, or two of them bring the same claim.
    """
    _check(parties)
    originals = {one.name: _original(one, parties) for one in parties}
    able = [one for one in parties if one.outcome == "verified" and originals[one.name] is None]
    dated = [one for one in able if one.moment is not None]
    first = min((one.moment for one in dated if one.moment is not None), default=None)
    best = [one for one in able if one.moment == first]  # without a date at all: all of them
    standings = [_standing(one, originals[one.name], best) for one in parties]
    if not able:
        return Settlement("none", standings, "None of the claims stands.")
    if len(best) > 1:
        why = "registered at the same time" if dated else "verified, and none is dated"
        return Settlement("undecided", standings, f"Undecided: {_list(best)} are {why}. Only a date could decide.")
    alone = "" if dated else " No date speaks for it: it is the only one that can."
    return Settlement("stands", standings, f"{best[0].name} stands.{alone}")


def _check(parties: Sequence[Party]) -> None:
    if len(parties) < 2:
        raise InputError("claims", len(parties), "is no dispute", "give two claims or more")
    seen: dict[str, str] = {}
    for one in parties:
        if (other := seen.setdefault(one.fingerprint, one.name)) != one.name:
            problem = f"brings the same claim as {other}"
            raise InputError("claims", one.name, problem, "give every claim once")


def _original(party: Party, parties: Sequence[Party]) -> Party | None:
    """The first of those that were dated before a party and have its marks; None where it has marks of its own."""
    before = [one for one in parties if _precedes(one, party) and same_signature(one.marks, party.marks)]
    return min(before, key=_moment, default=None)


def _precedes(one: Party, other: Party) -> bool:
    return one.moment is not None and (other.moment is None or one.moment < other.moment)


def _moment(party: Party) -> datetime:
    assert party.moment is not None
    return party.moment


def same_signature(one: Tensor, other: Tensor) -> bool:
    """Whether two claims have marks in common that nobody chooses twice by chance: `SHARED` of them or more.

    Bits: as many agree, or as many disagree, for whoever flips channels of a network flips all bits of a copied claim.
    Beyond that at least half of what chance leaves must agree, as bits of a code with few ones (DeepMarks) agree in
    nine of ten between any two owners. Images: as many of the smaller set are in the other one with the same label, in
    whatever order. Claims with other numbers of bits, or with images of another size, have nothing in common here; a
    copy that was cut is therefore not found, and its date alone decides.

    Args:
        one: (N,) bits as -1 and +1, or (N, ...) images with their labels.
        other: likewise.
    """
    if one.dim() == 1 and one.shape == other.shape:
        mine, theirs = one > 0, other > 0
        agreeing = float((mine == theirs).double().mean())
        ones, others = float(mine.double().mean()), float(theirs.double().mean())
        chance = ones * others + (1 - ones) * (1 - others)
        return _beyond(agreeing, chance) or _beyond(1 - agreeing, 1 - chance)
    if one.dim() > 1 and one.shape[1:] == other.shape[1:]:
        first, second = ({row.cpu().numpy().tobytes() for row in marks} for marks in (one, other))
        return len(first & second) >= SHARED * min(len(first), len(second))
    return False


def _beyond(share: float, chance: float) -> bool:
    return share >= SHARED and share - chance >= (1 - chance) / 2


def _standing(party: Party, original: Party | None, best: Sequence[Party]) -> Standing:
    """The word and the sentence for one party; `best` are the first of those that can stand."""
    when = told(party.moment)
    if original is not None:
        as_well = "" if party.outcome == "verified" else f", and it is {party.outcome}"
        says = f"has the marks of {original.name}, who registered them first ({told(original.moment)}): a copy{as_well}"
        return Standing(party, "copy", f"{party.name} {says}.")
    if party.outcome != "verified":
        open_ = party.outcome == "inconclusive" and (not best or _precedes(party, best[0]))
        more = ": what it lacks may still be shown, and would decide otherwise" if open_ else ""
        return Standing(party, party.outcome, f"{party.name} is {party.outcome}, and {when}{more}.")
    if party not in best:
        word = "later" if party.moment is not None else "undated"
        return Standing(
            party, word, f"{party.name} is verified, and {when}; before it: {_list(best)}, {told(best[0].moment)}."
        )
    if len(best) > 1:
        return Standing(party, "tied", f"{party.name} is verified, and {when}.")
    return Standing(party, "stands", f"{party.name} is verified, has marks of its own, and is {when}.")


def _list(parties: Sequence[Party]) -> str:
    *others, last = [one.name for one in parties]
    return f"{', '.join(others)} and {last}" if others else last


def told(moment: datetime | None) -> str:
    """A moment in words; the end of a day as that day."""
    if moment is None:
        return "not dated"
    return f"dated {moment.date() if moment.timetz() == time.max.replace(tzinfo=UTC) else moment.isoformat()}"
