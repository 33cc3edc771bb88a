"""Whether a claim was committed to before the network became public."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from ipr.errors import InputError

IN_TIME = "opened, registered in time"
"""The one status that counts."""

LATE = "not registered before the release"

MISSING = ("none", "not registered", "no days given")
"""What can still be mended; every other status says that the commitment is no evidence for this claim."""

BY_HAND = "the judge's word"


@dataclass(frozen=True)
class Moment:
    """A day or a time, as it was written: somewhere from `first` to `last`, both in UTC.

    A day is all of its 24 hours, so that nothing on the day of a release is before it.
    """

    text: str
    first: datetime
    last: datetime

    def before(self, other: Moment) -> bool:
        """Whether it surely was earlier than the other."""
        return self.last < other.first


@dataclass(frozen=True)
class Registration:
    """What the judge knows from elsewhere: a time stamp, a register, a notary, a dated publication.

    Attributes:
        digest: the commitment's digest as it was registered, hexadecimal.
        registered: when, at the latest.
        released: when the network became public, at the earliest.
        by: who says when it was registered: `BY_HAND`, or the authority of a time stamp.
    """

    digest: str | None = None
    registered: Moment | None = None
    released: Moment | None = None
    by: str = BY_HAND


def read_registration(digest: str | None, registered: str | None, released: str | None) -> Registration:
    """A registration from what was typed.

    Raises:
        InputError: the digest is no SHA-256 in hexadecimal, or a moment is written neither as a day nor as a time.
    """
    if digest is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
        raise InputError("commitment.digest", digest, "is not 64 hexadecimal digits", "copy it from the register")
    return Registration(
        None if digest is None else digest.lower(),
        _moment("commitment.registered", registered),
        _moment("commitment.released", released),
    )


def moment_of(when: datetime) -> Moment:
    """A moment that is known to its second or better; `when` names its zone."""
    exact = when.astimezone(UTC)
    return Moment(exact.isoformat(), exact, exact)


def _moment(field: str, text: str | None) -> Moment | None:
    if text is None:
        return None
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            first = datetime.combine(date.fromisoformat(text), time(), UTC)
            return Moment(text, first, first + timedelta(days=1, microseconds=-1))
        if "T" not in text:
            raise ValueError(text)
        at = datetime.fromisoformat(text)
        at = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).astimezone(UTC)
        return Moment(text, at, at)
    except (ValueError, OverflowError):
        remedy = "write YYYY-MM-DD, or a time such as 2026-01-31T12:00:00Z"
        raise InputError(field, ascii(text)[1:-1], "is neither a day nor a time", remedy) from None


def commitment_status(digest: str | None, *, opens: bool, registration: Registration) -> str:
    """What became of a commitment, in words; `IN_TIME` if it counts.

    Args:
        digest: that of the commitment in the claim's folder; None where there is none.
        opens: whether it is one to this claim.
        registration: what the judge knows.
    """
    if digest is None:
        return "none"
    if not opens:
        return "does not open"
    if registration.digest is None:
        return "not registered"
    if registration.digest != digest:
        return "another digest"
    if registration.registered is None or registration.released is None:
        return "no days given"
    return IN_TIME if registration.registered.before(registration.released) else LATE
