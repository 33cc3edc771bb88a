"""Time stamps on commitments (RFC 3161): an authority signs that a digest was there at a moment, and a judge checks it.

The commitment's digest is a SHA-256, and it is itself what is stamped (the message imprint; it is not hashed again), so
that anybody who knows the published digest can check a stamp without us:

    openssl ts -verify -digest DIGEST -in stamp.tsr -CAfile ROOT.pem

That command wants certificates which are valid today, or, with -attime, at another moment. Here they have to be valid
at the moment of the stamp, which stays evidence when they have expired since; what was not valid then is refused. No
list of revoked certificates is asked for: whoever holds an authority's stolen key can date back, so ask the authority
where much depends on it.

`rfc3161_client` checks the signature and the chain of certificates, through OpenSSL. What it leaves out is checked
here: the imprint's algorithm, that the signature names its certificate (RFC 5816), weak hashes and keys, moments to
come, parts of a second and accuracy (a stamp counts at the latest moment that it allows).
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import (
    BasicConstraints,
    Certificate,
    DuplicateExtension,
    ExtendedKeyUsage,
    ExtensionNotFound,
    InvalidVersion,
    UnsupportedGeneralNameType,
    load_der_x509_certificate,
    load_pem_x509_certificates,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from rfc3161_client import TimeStampResponse, VerificationError, VerifierBuilder, decode_timestamp_response

from ipr.claims.der import IDENTIFIER, INTEGER, OCTETS, SEQUENCE, Element, elements, encode
from ipr.claims.folder import read_beside
from ipr.errors import InputError

FILE = "stamp.tsr"
"""The stamp in a claim's folder: the authority's answer (TimeStampResp) as it came."""

LIMIT = 2**16
"""Bytes of a stamp at most; usual ones have 1,000 to 8,000."""

CERTIFICATE_LIMIT = 2**20
"""Bytes of a file of certificates at most."""

SKEW = timedelta(minutes=5)
"""How far a stamp may be ahead of the clock of whoever checks it."""

MIN_RSA_BITS = 2048

HASHES = {
    bytes.fromhex("608648016503040201"): "sha256",
    bytes.fromhex("608648016503040202"): "sha384",
    bytes.fromhex("608648016503040203"): "sha512",
}
"""Object identifier -> its hash: what may be signed. SHA-1 and MD5 may not: two contents with one hash can be made."""

SHA256 = next(iter(HASHES))
SHA256_NAME = "2.16.840.1.101.3.4.2.1"

CERTIFICATES = SIGNED = 0xA0
"""Tags, [0]: the certificates that come along, and in the part about a signer what is signed beside the content."""

TST_INFO = bytes.fromhex("2a864886f70d0109100104")
CONTENT_TYPE = bytes.fromhex("2a864886f70d010903")
SIGNING_CERTIFICATE = bytes.fromhex("2a864886f70d010910020c")
SIGNING_CERTIFICATE_V2 = bytes.fromhex("2a864886f70d010910022f")
"""Object identifiers: the content of a stamp, and the signed attributes that say what it is and who signed it."""

DAMAGE = (
    ValueError, TypeError, KeyError, IndexError, OverflowError,
    DuplicateExtension, InvalidVersion, UnsupportedAlgorithm, UnsupportedGeneralNameType,
)  # fmt: skip
"""What comes of reading damaged bytes, here, in `rfc3161_client` and in `cryptography`."""

REMEDY = "take another stamp with ipr claim stamp; this one proves no date"


@dataclass(frozen=True)
class Stamp:
    """What an authority says of a commitment.

    Attributes:
        time: the latest moment that it allows, its accuracy included; in UTC.
        authority: whom the certificate that signed it is made out to.
        policy: the object identifier of the rules that the authority follows.
        serial: the stamp's number at this authority.
    """

    time: datetime
    authority: str
    policy: str
    serial: int

    def __str__(self) -> str:
        return f"{self.time.isoformat()} by {self.authority} (policy {self.policy}, number {self.serial})"


def request(digest: str, nonce: int) -> bytes:
    """What an authority is asked (TimeStampReq, 69 bytes): to stamp this digest, and to send its certificate along.

    Args:
        digest: 64 hexadecimal digits, of SHA-256. The authority learns nothing else.
        nonce: a new random number in [2^62, 2^63): the answer repeats it, so that it cannot be an old one.
    """
    algorithm = encode(SEQUENCE, encode(IDENTIFIER, SHA256), b"\x05\x00")
    imprint = encode(SEQUENCE, algorithm, encode(OCTETS, bytes.fromhex(digest)))
    number = encode(INTEGER, nonce.to_bytes(8, "big"))
    return encode(SEQUENCE, encode(INTEGER, b"\x01"), imprint, number, b"\x01\x01\xff")


def read_stamp(folder: Path) -> bytes | None:
    """The stamp in a claim's folder, not looked at yet; None where there is none.

    Raises:
        InputError: it cannot be read, is no regular file, or too large.
    """
    return read_beside(folder, FILE, LIMIT, REMEDY)


def stamped(folder: Path, digest: str, certificate: Path | None) -> Stamp:
    """The stamp in a claim's folder, checked: it can be believed as far as the authority can.

    Args:
        folder: the claim's.
        digest: the commitment's, 64 hexadecimal digits.
        certificate: as of `check_stamp`.

    Raises:
        InputError: there is none, or as `check_stamp` says.
    """
    stamp = read_stamp(folder)
    if stamp is None:
        remedy = "the owner asks for one before the release: ipr claim stamp claim=CLAIM authority=URL"
        raise InputError("claim", folder, "holds no time stamp", remedy)
    try:
        return check_stamp(stamp, digest, certificate)
    except InputError as error:
        if error.field != "claim":
            raise
        raise InputError("claim", folder, f"{FILE} {error.problem}", error.remedy) from error


def check_stamp(stamp: bytes, digest: str, certificate: Path | None, now: datetime | None = None) -> Stamp:
    """What a stamp says, once everything about it holds. Needs no network.

    Args:
        stamp: an authority's answer.
        digest: what has to be stamped, 64 hexadecimal digits.
        certificate: as of `authority_certificates`; certificates between root and signer come in the stamp. None:
            signature and signer go unchecked, and all else is checked; anybody can have written such a stamp.
        now: the moment of the check; None for that of this machine.

    Raises:
        InputError: about `claim`: the stamp is damaged, refused, over something else or of a moment to come; it is not
            signed by whom it names, or no root of the judge's vouches for the signer at that moment, for stamping and
            nothing else. About `authority_certificate`: the file cannot be used.
    """
    roots = None if certificate is None else authority_certificates(certificate)
    with _refusing():
        response, found = _look(stamp, digest, now)
        if roots is not None:
            _check_vouched(response, digest, roots)
    return found


def nonce_of(stamp: bytes) -> int | None:
    """The number that a stamp repeats from its request; None for none.

    Raises:
        InputError: about `claim`: it is no time stamp.
    """
    with _refusing():
        return _decoded(stamp).tst_info.nonce


def authority_certificates(path: Path) -> list[Certificate]:
    """The roots that a judge trusts: one or more certificates of authorities that issue others, as PEM.

    Raises:
        InputError: about `authority_certificate`: the file cannot be read, or holds no such certificates.
    """
    remedy = "give the authority's root certificate as PEM, from the authority itself"

    def refused(problem: str) -> InputError:
        return InputError("authority_certificate", path, problem, remedy)

    try:
        if not path.is_file():  # a pipe would be waited for
            raise refused("is no file")
        with path.open("rb") as file:
            content = file.read(CERTIFICATE_LIMIT + 1)
        if len(content) > CERTIFICATE_LIMIT:
            raise refused(f"is larger than {CERTIFICATE_LIMIT} bytes")
        with _quietly():
            found = {one.public_bytes(Encoding.DER): one for one in load_pem_x509_certificates(content)}
            if not all(_issues(one) for one in found.values()):
                raise refused("holds a certificate of somebody who may not issue others")
    except InputError:
        raise
    except OSError as error:
        raise refused(f"cannot be read ({error.strerror or error})") from error
    except DAMAGE:
        raise refused("holds no certificate in PEM that can be read") from None
    return list(found.values())


def _refused(problem: str) -> InputError:
    """A stamp that is whole and counts for nothing."""
    return InputError("claim", FILE, problem, REMEDY)


@contextmanager
def _refusing() -> Iterator[None]:
    """Makes a refusal of what damaged bytes raise."""
    try:
        with _quietly():
            yield
    except InputError:
        raise
    except DAMAGE as error:
        raise InputError("claim", FILE, "is damaged, or no time stamp", REMEDY) from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what `cryptography` warns of in the certificates of others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _check_vouched(response: TimeStampResponse, digest: str, roots: list[Certificate]) -> None:
    """Refuses a signature that is not of this digest, or of a signer whom no root vouches for."""
    try:
        VerifierBuilder(roots=roots).build().verify(response, bytes.fromhex(digest))
    except VerificationError as error:
        why = re.search(r'Verify error: ([^"]*)"', str(error))
        raise _refused(f"is not vouched for ({why[1] if why else 'the signature is of something else'})") from None


def _issues(certificate: Certificate) -> bool:
    """Whether it may issue others."""
    try:
        return certificate.extensions.get_extension_for_class(BasicConstraints).value.ca
    except ExtensionNotFound:
        return False


def _decoded(stamp: bytes) -> TimeStampResponse:
    """An answer that grants a stamp."""
    response = decode_timestamp_response(_in_order(stamp))
    if response.status != 0:
        raise _refused(f"is no stamp but a refusal (status {response.status})")
    return response


def _in_order(stamp: bytes) -> bytes:
    """An answer with its certificates in the order of DER.

    `rfc3161_client` asks for it, `openssl ts` does not keep it, and no signature covers it.
    """
    (answer,) = elements(stamp)
    said = answer.parts()
    if len(said) == 1:  # a refusal
        return stamp
    status, token = said
    kind, wrapped = token.parts()
    (data,) = wrapped.parts()
    parts = [
        encode(CERTIFICATES, *sorted(each.encoded() for each in one.parts()))
        if one.tag == CERTIFICATES
        else one.encoded()
        for one in data.parts()
    ]
    content = encode(wrapped.tag, encode(data.tag, *parts))
    return encode(answer.tag, status.encoded(), encode(token.tag, kind.encoded(), content))


def _look(stamp: bytes, digest: str, now: datetime | None) -> tuple[TimeStampResponse, Stamp]:
    """A stamp, decoded, and what it says, where all holds that can be told without trusting anybody."""
    response = _decoded(stamp)
    info = response.tst_info
    if info.version != 1:
        raise _refused(f"is of version {info.version}, not 1")
    if info.message_imprint.hash_algorithm.dotted_string != SHA256_NAME:
        raise _refused("is not over a SHA-256 digest")
    if info.message_imprint.message != bytes.fromhex(digest):
        raise _refused("is over another digest")
    signer = _signer(response)
    _check_shell(response.time_stamp_token(), signer)
    time = _moment(response)
    if time > (now or datetime.now(UTC)) + SKEW:
        raise _refused(f"is of a moment to come ({time.isoformat()})")
    if info.accuracy is not None:
        near = info.accuracy
        time += timedelta(seconds=near.seconds or 0, milliseconds=near.millis or 0, microseconds=near.micros or 0)
    return response, Stamp(time, _shown(signer), info.policy.dotted_string, info.serial_number)


def _shown(signer: Certificate) -> str:
    """A name that somebody chose, fit for a line."""
    return "".join(c if c.isprintable() else " " for c in signer.subject.rfc4514_string())[:200]


def _signer(response: TimeStampResponse) -> Certificate:
    """The certificate that the signature is said to be of: one, in the stamp, for stamping alone."""
    certificates = [load_der_x509_certificate(content) for content in response.signed_data.certificates]
    for one in certificates:
        weak = one.signature_hash_algorithm is not None and one.signature_hash_algorithm.name not in HASHES.values()
        if weak and one.issuer != one.subject:  # nobody relies on a root's signature of itself
            raise _refused("has a certificate that is signed with a weak hash")
    (about,) = response.signed_data.signer_infos
    matching = [one for one in certificates if (one.issuer, one.serial_number) == (about.issuer, about.serial_number)]
    if len(matching) != 1:
        raise _refused(f"has {len(matching)} certificates of its signer, not one")
    (signer,) = matching
    key = signer.public_key()
    if isinstance(key, RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        raise _refused(f"is signed with an RSA key of {key.key_size} bits, fewer than {MIN_RSA_BITS}")
    if _issues(signer):
        raise _refused("is signed with a certificate that issues others")
    try:
        usage = signer.extensions.get_extension_for_class(ExtendedKeyUsage)
    except ExtensionNotFound:
        raise _refused("is signed with a certificate that is not for time stamps") from None
    if not usage.critical or list(usage.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
        raise _refused("is signed with a certificate that is not for time stamps alone")
    return signer


def _check_shell(token: bytes, signer: Certificate) -> None:
    """Refuses a signature that does not cover what the content is and who signs, or covers it with a weak hash.

    Without the signer's certificate among what is signed, another one of the same key could be put in its place.
    """
    (info,) = elements(token)  # ContentInfo
    data = info.parts()[1].parts()[0].parts()  # SignedData
    (about,) = data[-1].parts()  # SignerInfo
    parts = about.parts()
    if parts[2].parts()[0].content not in HASHES:
        raise _refused("is signed with a weak hash")
    if parts[3].tag != SIGNED:
        raise _refused("has nothing signed that names its signer")
    attributes = [attribute.parts() for attribute in parts[3].parts()]
    values = {kind.content: value.parts() for kind, value in attributes}
    if [value.content for value in values.get(CONTENT_TYPE, [])] != [TST_INFO]:
        raise _refused("is not signed as a time stamp")
    names = [*values.get(SIGNING_CERTIFICATE, []), *values.get(SIGNING_CERTIFICATE_V2, [])]
    if not names:
        raise _refused("has nothing signed that names its signer")
    whole = signer.public_bytes(Encoding.DER)
    for name in names:
        if not _is_of(name.parts()[0].parts()[0], whole, old=name in values.get(SIGNING_CERTIFICATE, [])):
            raise _refused("is signed by another certificate than it names")


def _is_of(name: Element, certificate: bytes, *, old: bool) -> bool:
    """Whether an ESSCertID (`old`: SHA-1, RFC 2634) or ESSCertIDv2 (RFC 5035) is of this certificate."""
    parts = name.parts()
    kind = "sha1" if old else "sha256"  # that of the second if it says nothing
    if not old and parts[0].tag == SEQUENCE:
        kind = HASHES[parts.pop(0).parts()[0].content]
    return parts[0] == Element(OCTETS, hashlib.new(kind, certificate).digest())


def _moment(response: TimeStampResponse) -> datetime:
    """When the stamp was made; a part of a second, which `rfc3161_client` drops, is rounded up."""
    data = elements(response.time_stamp_token())[0].parts()[1].parts()[0].parts()
    content = data[2].parts()[1].parts()[0].content
    written = elements(content)[0].parts()[4].content
    return response.tst_info.gen_time + timedelta(seconds=1 if b"." in written else 0)
