"""Whether a claim was committed to before the network became public."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from ipr.errors import InputError

IN_TIME = "opened, registered in time"
"""The one status that counts."""


@dataclass(frozen=True)
class Registration:
    """What the judge knows from elsewhere: a register, a notary, a dated publication.

    Attributes:
        digest: the commitment's digest as it was registered, hexadecimal.
        registered: when.
        released: when the network became public.
    """

    digest: str | None = None
    registered: date | None = None
    released: date | None = None


def read_registration(digest: str | None, registered: str | None, released: str | None) -> Registration:
    """A registration from what was typed.

    Raises:
        InputError: the digest is no SHA-256 in hexadecimal, or a day is not written as YYYY-MM-DD.
    """
    if digest is not None and (len(digest) != 64 or not set(digest.lower()) <= set("0123456789abcdef")):
        raise InputError("commitment.digest", digest, "is not 64 hexadecimal digits", "copy it from the register")
    return Registration(
        None if digest is None else digest.lower(),
        _day("commitment.registered", registered),
        _day("commitment.released", released),
    )


def _day(field: str, text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise InputError(field, text, "is not a day", "write YYYY-MM-DD") from None


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
    return IN_TIME if registration.registered <= registration.released else "registered after the release"
