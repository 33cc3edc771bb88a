"""Asks a time-stamping authority for a stamp (RFC 3161 over HTTP). Only the commitment's digest leaves the house."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from ipr.claims.commitment import load_commitment, opens
from ipr.claims.stamp import (
    FILE,
    LIMIT,
    Stamp,
    authority_certificates,
    check_stamp,
    nonce_of,
    read_stamp,
    request,
    stamped,
)
from ipr.errors import InputError
from ipr.files import write_atomically
from ipr.judging.claim_kinds import load_claim
from ipr.suspects.served.server import Clock, Server

TIMEOUT = 30.0
"""Seconds for the connection, and again for the whole answer."""


class Authority(Server):
    """A time-stamping authority. Asked once: whoever wants another attempt asks again."""

    field = "authority"
    wanted = "the address of a time-stamping authority (RFC 3161)"
    max_bytes = LIMIT
    if_longer = f"give {wanted}"


def stamp_once(folder: Path, authority: str | None, certificate: Path | None) -> tuple[str, Stamp]:
    """The digest of a claim's commitment, and its stamp: the one that is there, or a new one, stored there.

    Args:
        folder: the claim's.
        authority: as of `ask`; not asked if there is a stamp.
        certificate: what the stamp is checked against, as of `stamp.authority_certificates`; None if nothing is.

    Raises:
        InputError: there is no commitment to stamp, or it does not open; the stamp that is there is over something else
            or does not hold, and is left as it is; or as of `ask`, and nothing is written.
    """
    claim, commitment = load_claim(folder), load_commitment(folder)
    if commitment is None:
        raise InputError("claim", folder, "has no commitment to stamp", f"write: ipr claim commit claim={folder}")
    if not opens(commitment, claim):
        remedy = "restore the claim as it was committed to, thresholds included"
        raise InputError("claim", folder, "is not what its commitment opens to", remedy)
    digest = commitment.digest
    if read_stamp(folder) is None:
        if authority is None:
            raise InputError("authority", None, "must be given", f"give {Authority.wanted}")
        answer, found = ask(authority, digest, certificate)
        write_atomically(folder / FILE, answer, 0o600)
        return digest, found
    return digest, stamped(folder, digest, certificate)


def ask(
    url: str, digest: str, certificate: Path | None, *, timeout: float = TIMEOUT, clock: Clock = time
) -> tuple[bytes, Stamp]:
    """A new stamp over a digest, as it came, and what it says.

    Args:
        url: http(s)://HOST[:PORT][/PATH][?QUERY]; messages show it without the query, which may hold a key.
        digest: 64 hexadecimal digits.
        certificate: as of `stamp.authority_certificates`, read before anything is sent; None: signature and signer go
            unchecked, all else is checked.
        timeout: seconds for the connection, and again for the whole answer.
        clock: what waiting goes by.

    Raises:
        InputError: about `authority`: it is no address, cannot be reached, refuses, or answers with something else than
            a stamp over this digest and in answer to this question. About `authority_certificate`: it cannot be used.
    """
    address = _parsed(url)
    if certificate is not None:
        authority_certificates(certificate)
    base = Url(scheme=address.scheme, host=address.host, port=address.port)
    shown = f"{base}{address.path or ''}"
    headers = {"Accept": "application/timestamp-reply"}
    server = Authority(base, shown, headers, timeout=timeout, retries=0, rate=None, clock=clock)
    nonce = 2**62 + secrets.randbits(62)
    answer = server.post_bytes(address.request_uri, request(digest, nonce), "application/timestamp-query")
    remedy = "nothing was kept; ask again, or another authority"
    try:
        found = check_stamp(answer, digest, certificate)
        if nonce_of(answer) != nonce:
            raise InputError("claim", FILE, "is the answer to another question", remedy)
    except InputError as error:
        if error.field != "claim":
            raise
        raise InputError("authority", shown, f"its stamp {error.problem}", remedy) from error
    return answer, found


def _parsed(url: str) -> Url:
    remedy = f"give {Authority.wanted}: http(s)://HOST[:PORT][/PATH]"
    try:
        address = parse_url(url)
    except LocationParseError:
        raise InputError("authority", url, "is not an address", remedy) from None
    if address.auth is not None:
        raise InputError("authority", "<an address with a password>", "would show it", remedy)
    if address.scheme not in ("http", "https") or not address.host or address.fragment:
        raise InputError("authority", url, "is not an address of a server", remedy)
    return address
