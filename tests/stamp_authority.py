"""Time-stamping authorities on this machine: certificates of every kind, stamps good and bad, a server on loopback."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import inference_server

OPENSSL = shutil.which("openssl")
SHA256 = bytes.fromhex("0609608648016503040201")
SHA1 = bytes.fromhex("06052b0e03021a")
SHA512 = bytes.fromhex("0609608648016503040203")
POLICY = bytes.fromhex("06042a030401")  # 1.2.3.4.1
STAMPING = (ExtendedKeyUsageOID.TIME_STAMPING,)
INFO_TYPE = "1.2.840.113549.1.9.16.1.4"


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True)
class Identity:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def issue(
    name: str,
    issuer: Identity | None = None,
    *,
    ca: bool = False,
    usages: Sequence[x509.ObjectIdentifier] | None = STAMPING,
    critical: bool = True,
    first: datetime | None = None,
    last: datetime | None = None,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
    serial: int | None = None,
    hash: hashes.HashAlgorithm | None = None,
    signs: bool = True,
    path_length: int | None = None,
) -> Identity:
    """A certificate, signed by itself without an issuer; `usages` None leaves the extension out."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(first or now() - timedelta(days=3650))
        .not_valid_after(last or now() + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca, path_length), critical=True)
        .add_extension(x509.KeyUsage(signs, False, False, False, False, ca, ca, False, False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if issuer:  # as authorities do: one may have several keys under one name
        own = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
        builder = builder.add_extension(own, critical=False)
    if usages is not None and not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=critical)
    signer = issuer.key if issuer else key
    return Identity(builder.sign(signer, hash or hashes.SHA256()), key)


def der(tag: int, *parts: bytes) -> bytes:
    """One element of DER."""
    body = b"".join(parts)
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag]) + (bytes([len(body)]) if len(body) < 128 else bytes([128 + len(size)]) + size) + body


def integer(value: int, tag: int = 2) -> bytes:
    return der(tag, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def info(
    imprint: bytes,
    *,
    hash: bytes = SHA256,
    time: datetime | bytes | None = None,
    accuracy: Sequence[int | None] | None = None,
    nonce: int | None = None,
    serial: int = 7,
    version: int = 1,
) -> bytes:
    """A TSTInfo. `accuracy`: seconds, milli- and microseconds."""
    time = time if isinstance(time, bytes) else (time or now()).strftime("%Y%m%d%H%M%SZ").encode()
    parts = [
        integer(version), POLICY, der(0x30, der(0x30, hash, b"\x05\x00"), der(4, imprint)), integer(serial),
        der(0x18, time),
    ]  # fmt: skip
    if accuracy is not None:
        tags = (2, 0x80, 0x81)
        parts.append(der(0x30, *(integer(v, t) for v, t in zip(accuracy, tags, strict=False) if v is not None)))
    if nonce is not None:
        parts.append(integer(nonce))
    return der(0x30, *parts)


def run(place: Path, *arguments: str) -> bytes:
    assert OPENSSL
    done = subprocess.run([OPENSSL, *arguments], cwd=place, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def signed(
    content: bytes, signer: Identity, place: Path, chain: Sequence[Identity] = (), *, also: Identity | None = None,
    kind: str = INFO_TYPE, hash: str = "sha256", options: Sequence[str] = ("-cades",),
) -> bytes:  # fmt: skip
    """A token: content signed as `openssl ts` would, by whomever; it refuses most of those that tests need."""
    (place / "content").write_bytes(content)
    (place / "chain.pem").write_bytes(b"".join(one.pem for one in chain))
    signers = []
    for number, one in enumerate([signer] if also is None else [signer, also]):
        (place / f"{number}.pem").write_bytes(one.pem)
        (place / f"{number}.key").write_bytes(one.key_pem)
        signers += ["-signer", f"{number}.pem", "-inkey", f"{number}.key"]
    return run(
        place, "cms", "-sign", "-in", "content", "-binary", "-nodetach", "-outform", "DER", "-md", hash, "-nosmimecap",
        "-econtent_type", kind, *signers, *(["-certfile", "chain.pem"] if chain else []), *options,
    )  # fmt: skip


CONFIG = """
[tsa]
default_tsa = here
[here]
serial = serial
signer_cert = tsa.pem
signer_key = tsa.key
certs = chain.pem
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512, sha1
accuracy = secs:1, millisecs:500
ordering = no
tsa_name = yes
ess_cert_id_alg = sha256
"""


@dataclass(frozen=True)
class Authority:
    """A real one: `openssl ts` in a folder of its own."""

    place: Path
    signer: Identity
    chain: Sequence[Identity]

    def __post_init__(self) -> None:
        self.place.mkdir()
        (self.place / "tsa.conf").write_text(CONFIG)
        (self.place / "serial").write_text("1000\n")
        (self.place / "tsa.pem").write_bytes(self.signer.pem)
        (self.place / "tsa.key").write_bytes(self.signer.key_pem)
        (self.place / "chain.pem").write_bytes(b"".join(one.pem for one in self.chain))

    def stamp(self, query: bytes) -> bytes:
        """What `openssl ts -reply` answers."""
        (self.place / "query").write_bytes(query)
        return run(self.place, "ts", "-reply", "-config", "tsa.conf", "-queryfile", "query")


class Handler(inference_server.Handler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.path, dict(self.headers), body))
        self.server.answer(self, body)

    def give(self, content: bytes) -> None:
        """A reply, as authorities send it."""
        self.reply(200, content, {"Content-Type": "application/timestamp-reply"})


class Server(ThreadingHTTPServer):
    """Has what it is sent stamped, or answers as a test wants.

    Attributes:
        asked: path, headers and body of each question.
    """

    daemon_threads = True

    def __init__(self, answer: Callable[[Handler, bytes], None]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.asked, self.closing = answer, [], threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/tsr"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no defect here."""


@contextmanager
def serving(answer: Callable[[Handler, bytes], None]) -> Iterator[Server]:
    """A server for the duration of a test."""
    server = Server(answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def response(token: bytes, status: int = 0) -> bytes:
    """What an authority answers."""
    return der(0x30, der(0x30, integer(status)), token)


def with_weak_hash(of: Identity, issuer: Identity, place: Path) -> Identity:
    """The same name and key, in a certificate signed over SHA-1, which only openssl still does."""
    request = x509.CertificateSigningRequestBuilder().subject_name(of.certificate.subject)
    for extension in of.certificate.extensions:
        request = request.add_extension(extension.value, critical=extension.critical)
    (place / "weak.csr").write_bytes(request.sign(of.key, hashes.SHA256()).public_bytes(Encoding.PEM))
    (place / "issuer.pem").write_bytes(issuer.pem)
    (place / "issuer.key").write_bytes(issuer.key_pem)
    pem = run(
        place, "x509", "-req", "-in", "weak.csr", "-CA", "issuer.pem", "-CAkey", "issuer.key", "-sha1", "-days", "9",
        "-copy_extensions", "copyall",
    )  # fmt: skip
    return Identity(x509.load_pem_x509_certificate(pem), of.key)
