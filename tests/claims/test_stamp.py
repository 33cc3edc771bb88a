"""Time stamps, from a real authority and from everybody who would like to be one."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from ipr.claims.commitment import commit_once, load_commitment
from ipr.claims.stamp import LIMIT, check_stamp, nonce_of, read_stamp, request, stamped
from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.requests.compose import configuration
from ipr.workflows.draw_claim import make_claim
from ipr.workflows.stamping import ask
from one_line import assert_one_line
from stamp_authority import (
    OPENSSL,
    POLICY,
    SHA1,
    SHA512,
    STAMPING,
    Authority,
    der,
    info,
    integer,
    issue,
    now,
    response,
    run,
    serving,
    signed,
    with_weak_hash,
)  # fmt: skip

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")

DIGEST = hashlib.sha256(b"a commitment").digest()
OTHER = hashlib.sha256(b"another commitment").digest()


class World:
    """An authority whose root the judge trusts, one that he does not, and stamps of both."""

    def __init__(self, place):
        self.place = place
        self.root = issue("Root", ca=True)
        self.middle = issue("Middle", self.root, ca=True)
        self.signer = issue("Stamps, Inc.", self.middle)
        self.stranger = issue("Root", ca=True)
        self.certificate = place / "root.pem"
        self.certificate.write_bytes(self.root.pem)
        self.authority = Authority(place / "authority", self.signer, [self.middle])
        self.genuine = self.authority.stamp(request(DIGEST.hex(), 2**62 + 5))

    def stamp(self, signer=None, chain=None, *, status=0, content=None, sign=None, **about):
        """A stamp made by hand: as an authority would make it, but for what is said."""
        content = info(about.pop("imprint", DIGEST), **about) if content is None else content
        token = signed(content, signer or self.signer, self.place, chain or [self.middle], **(sign or {}))
        return response(token, status)

    def by(self, issuer=None, chain=None, name="T", **about):
        """A stamp by somebody to whom a certificate was issued by the authority in the middle."""
        return self.stamp(issue(name, issuer or self.middle, **about), chain)

    def check(self, stamp, digest=DIGEST, **more):
        return check_stamp(stamp, digest.hex(), self.certificate, **more)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("authorities"))


@pytest.fixture(scope="module")
def claims(tmp_path_factory, cache):
    """Two claims, committed to."""
    place = tmp_path_factory.mktemp("claims")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPR_CACHE", str(cache))
        for name in ("ada", "bob"):
            asked = (
                "model.width=0.1",
                "dataset.image_size=8",
                "passport=random",
                "scheme=passport_v2",
                f"owner={name}",
            )
            config = configuration("train", *asked)
            claim = make_claim(config, open_images(config.dataset, config.paths), lambda: None)
            claim.save(place / name)
            commit_once(place / name, claim, {})
    return place


@pytest.fixture
def claim(claims, tmp_path):
    """A claim that is committed to, and its digest."""
    folder = tmp_path / "claim"
    shutil.copytree(claims / "ada", folder)
    return folder, load_commitment(folder).digest


# What is asked, and what an honest authority answers.


def test_a_request_says_the_digest_and_a_nonce_and_nothing_else(tmp_path):
    nonce = 0x4123456789ABCDEF
    asked = request(DIGEST.hex(), nonce)
    assert asked == bytes.fromhex(
        "3043" "020101" "3031" "300d" "0609608648016503040201" "0500" "0420" + DIGEST.hex() + "0208" "4123456789abcdef"
        "0101ff"
    )  # fmt: skip
    (tmp_path / "query").write_bytes(asked)
    text = run(tmp_path, "ts", "-query", "-in", "query", "-text").decode()
    for words in ("Version: 1", "Hash Algorithm: sha256", "Nonce: 0x4123456789ABCDEF", "Certificate required: yes"):
        assert words in text
    (tmp_path / "theirs").write_bytes(run(tmp_path, "ts", "-query", "-digest", DIGEST.hex(), "-cert", "-no_nonce"))
    assert asked.replace(bytes.fromhex("02084123456789abcdef"), b"")[2:] == (tmp_path / "theirs").read_bytes()[2:]


KEYS = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "RSA 2048": lambda: rsa.generate_private_key(65537, 2048),
    "RSA 3072": lambda: rsa.generate_private_key(65537, 3072),
}


@pytest.mark.parametrize("kind", KEYS)
def test_a_real_authoritys_stamp_holds_here_and_for_openssl(world, tmp_path, kind):
    before = now()
    authority = Authority(tmp_path / "a", issue("Clock", world.middle, key=KEYS[kind]()), [world.middle, world.root])
    stamp = authority.stamp(request(DIGEST.hex(), 2**62 + 77))
    found = world.check(stamp)
    late = timedelta(seconds=1.5)  # that authority's accuracy
    assert before + late <= found.time <= datetime.now(UTC) + late
    assert found.time.utcoffset() == timedelta(0)
    assert (found.authority, found.policy, found.serial) == ("CN=Clock", "1.2.3.4.1", 0x1001)
    assert nonce_of(stamp) == 2**62 + 77
    assert check_stamp(stamp, DIGEST.hex(), None) == found
    (tmp_path / "stamp.tsr").write_bytes(stamp)
    said = run(
        tmp_path, "ts", "-verify", "-digest", DIGEST.hex(), "-in", "stamp.tsr", "-CAfile", str(world.certificate)
    )
    assert b"Verification: OK" in said


def test_the_latest_moment_counts(world):
    moment = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
    for written, accuracy, later in (
        (b"20260131120000Z", None, 0.0),
        (b"20260131120000.5Z", None, 1.0),
        (b"20260131120000.000001Z", None, 1.0),
        (b"20260131120000Z", (2, 250, 7), 2.250007),
        (b"20260131120000Z", (None, 999, None), 0.999),
        (b"20260131120000.25Z", (86400, None, None), 86401.0),
    ):
        found = world.check(world.stamp(time=written, accuracy=accuracy), now=datetime(2027, 1, 1, tzinfo=UTC))
        assert found.time == moment + timedelta(seconds=later), written


def test_what_has_expired_since_is_evidence_still(world, tmp_path):
    """A stamp of a year ago whose certificates, root included, were valid then."""
    year = {"first": now() - timedelta(days=800), "last": now() - timedelta(days=100)}
    root = issue("Old root", ca=True, **year)
    signer = issue("Old", root, **year)
    (tmp_path / "old.pem").write_bytes(root.pem)
    then = now() - timedelta(days=365)
    stamp = world.stamp(signer, [root], time=then)
    assert check_stamp(stamp, DIGEST.hex(), tmp_path / "old.pem").time == then
    (tmp_path / "stamp.tsr").write_bytes(stamp)
    openssl = ("ts", "-verify", "-digest", DIGEST.hex(), "-in", "stamp.tsr", "-CAfile", "old.pem")
    assert b"OK" in run(tmp_path, *openssl, "-attime", str(int(then.timestamp())))
    late = world.stamp(signer, [root], time=now() - timedelta(days=50))
    with pytest.raises(InputError, match="expired"):
        check_stamp(late, DIGEST.hex(), tmp_path / "old.pem")


def test_a_clock_may_be_a_little_behind(world):
    stamp = world.stamp(time=now() + timedelta(minutes=4))
    assert world.check(stamp).time > now()
    with pytest.raises(InputError, match="a moment to come"):
        world.check(stamp, now=now() - timedelta(minutes=2))


def test_several_roots_and_certificates_in_any_order(world, tmp_path):
    several = tmp_path / "several.pem"
    several.write_bytes(b"some words\n" + world.stranger.pem + world.root.pem + world.root.pem)
    for chain in ([world.middle], [world.root, world.middle], [world.middle, world.stranger, world.root]):
        stamp = world.stamp(chain=chain)
        assert check_stamp(stamp, DIGEST.hex(), several) == world.check(stamp)


# What is refused. Each is told from a good stamp by one thing.


def renewed(world):
    """The same name, number and key under another certificate: valid too, and not what was signed with."""
    key, signer = ec.generate_private_key(ec.SECP256R1()), None
    first = issue("T", world.middle, key=key, serial=77)
    old = world.stamp(first)
    cut = first.certificate.public_bytes(Encoding.DER)
    while signer is None or len(signer) != len(cut):
        other = issue("T", world.middle, key=key, serial=77, last=now() + timedelta(days=1))
        signer = other.certificate.public_bytes(Encoding.DER)
    assert old.count(cut) == 1
    return old.replace(cut, signer)


def relabelled(world):
    """Signed as something of another kind, and called a time stamp afterwards."""
    other = bytes.fromhex("2a864886f70d0109100105")
    stamp = world.stamp(sign={"kind": "1.2.840.113549.1.9.16.1.5"})
    assert stamp.count(other) == 2  # of the content, and among what is signed
    return stamp.replace(other, other[:-1] + b"\x04", 1)


def swapped(world, before, after):
    """A genuine stamp in which some bytes are others."""
    assert world.genuine.count(before) == 1
    return world.genuine.replace(before, after)


def years(world, first, last):
    return {"first": now() + timedelta(days=365 * first), "last": now() + timedelta(days=365 * last)}


def not_an_authority(world):
    leaf = issue("Leaf", world.middle)
    return world.by(leaf, [leaf, world.middle])


def too_long_a_chain(world):
    last = issue("Last", world.root, ca=True, path_length=0)
    more = issue("More", last, ca=True)
    return world.by(more, [last, more])


def two_of_one_number(world, first):
    """A certificate for servers, and beside it one for stamps with its name and number that nobody issued."""
    server = issue("T", world.middle, usages=[ExtendedKeyUsageOID.SERVER_AUTH], serial=99)
    fake = issue("T", issue("Middle", ca=True), serial=99)
    return world.stamp(server, [fake, world.middle] if first else [world.middle, fake])


def refusal(status, *words):
    texts = [der(0x30, *(der(0x0C, w) for w in words))] if words else []
    return der(0x30, der(0x30, integer(status), *texts))


SERVER, ANY = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
DAMAGED = "is damaged, or no time stamp"
CASES = {
    "other digest": (lambda w: w.stamp(imprint=OTHER), "is over another digest"),
    "another claim's": (lambda w: w.authority.stamp(request(OTHER.hex(), 2**62)), "is over another digest"),
    "hash of the digest": (lambda w: w.stamp(imprint=hashlib.sha256(DIGEST).digest()), "is over another digest"),
    "digest as text": (lambda w: w.stamp(imprint=DIGEST.hex().encode()), "is over another digest"),
    "half a digest": (lambda w: w.stamp(imprint=DIGEST[:16]), "is over another digest"),
    "no digest": (lambda w: w.stamp(imprint=b""), "is over another digest"),
    "SHA-1 imprint": (lambda w: w.stamp(imprint=DIGEST[:20], hash=SHA1), "is not over a SHA-256 digest"),
    "our digest called SHA-1": (lambda w: w.stamp(hash=SHA1), "is not over a SHA-256 digest"),
    "our digest called SHA-512": (lambda w: w.stamp(hash=SHA512), "is not over a SHA-256 digest"),
    "no EKU": (lambda w: w.by(usages=None), "not for time stamps"),
    "EKU not critical": (lambda w: w.by(critical=False), "not for time stamps alone"),
    "EKU with servers": (lambda w: w.by(usages=[*STAMPING, SERVER]), "not for time stamps alone"),
    "EKU with servers first": (lambda w: w.by(usages=[SERVER, *STAMPING]), "not for time stamps alone"),
    "EKU with everything": (lambda w: w.by(usages=[*STAMPING, ANY]), "not for time stamps alone"),
    "EKU servers": (lambda w: w.by(usages=[SERVER]), "not for time stamps alone"),
    "EKU everything": (lambda w: w.by(usages=[ANY]), "not for time stamps alone"),
    "EKU code": (lambda w: w.by(usages=[ExtendedKeyUsageOID.CODE_SIGNING]), "not for time stamps alone"),
    "key not for signatures": (lambda w: w.by(signs=False), "is not vouched for"),
    "self-signed": (lambda w: w.stamp(issue("Self")), "is not vouched for (self-signed"),
    "self-signed, our name": (lambda w: w.stamp(issue("Stamps, Inc.")), "is not vouched for (self-signed"),
    "by a root": (lambda w: w.stamp(w.root), "issues others"),
    "by an issuer": (lambda w: w.stamp(w.middle, [w.root]), "issues others"),
    "by a stranger's": (lambda w: w.by(w.stranger, [w.stranger]), "is not vouched for"),
    "by a stranger's middle": (
        lambda w: w.by(m := issue("Middle", w.stranger, ca=True), [m, w.root]),
        "is not vouched for",
    ),
    "a stranger's root brought along": (lambda w: w.by(s := issue("S", ca=True), [s, w.root]), "is not vouched for"),
    "chain not there": (lambda w: w.by(w.middle, [w.root]), "is not vouched for"),
    "issued by a leaf": (not_an_authority, "is not vouched for"),
    "too long a chain": (too_long_a_chain, "is not vouched for (path length"),
    "expired": (lambda w: w.by(**years(w, -2, -1)), "is not vouched for (certificate has expired)"),
    "expired yesterday": (lambda w: w.by(last=now() - timedelta(days=1)), "expired"),
    "not yet valid": (lambda w: w.by(**years(w, 1, 2)), "not yet valid"),
    "before it was valid": (
        lambda w: w.stamp(issue("T", w.middle, **years(w, -1, 2)), time=now() - timedelta(days=366)),
        "not yet valid",
    ),
    "expired middle": (
        lambda w: w.by(m := issue("Old", w.root, ca=True, **years(w, -2, -1)), [m]),
        "is not vouched for (certificate has expired)",
    ),
    "before the root": (lambda w: w.stamp(time=now() - timedelta(days=4000)), "not yet valid"),
    "to come": (lambda w: w.stamp(time=now() + timedelta(days=1)), "a moment to come"),
    "soon": (lambda w: w.stamp(time=now() + timedelta(minutes=7)), "a moment to come"),
    "year 9999": (lambda w: w.stamp(time=b"99991231235959Z"), "a moment to come"),
    "no moment": (lambda w: w.stamp(time=b"20260231000000Z"), DAMAGED),
    "local time": (lambda w: w.stamp(time=b"20260101000000+0100"), DAMAGED),
    "moment as text": (lambda w: w.stamp(time=b"yesterday"), DAMAGED),
    "accurate to aeons": (lambda w: w.stamp(accuracy=(2**62,)), DAMAGED),
    "accurate backwards": (lambda w: w.stamp(accuracy=(-3600,)), DAMAGED),
    "version 3": (lambda w: w.stamp(version=3), "is of version 3"),
    "SHA-1 signature": (lambda w: w.stamp(sign={"hash": "sha1"}), "weak hash"),
    "SHA-1 certificate": (lambda w: w.stamp(with_weak_hash(w.signer, w.middle, w.place)), "weak hash"),
    "SHA-1 middle": (
        lambda w: w.by(m := with_weak_hash(w.middle, w.root, w.place), [m]),
        "weak hash",
    ),
    "short key": (lambda w: w.by(key=rsa.generate_private_key(65537, 1024)), "RSA key of 1024 bits"),
    "RSA-PSS": (
        lambda w: w.stamp(
            issue("T", w.middle, key=rsa.generate_private_key(65537, 2048)),
            sign={"options": ["-cades", "-keyopt", "rsa_padding_mode:pss"]},
        ),
        "is not vouched for",
    ),
    "nothing signed but the content": (lambda w: w.stamp(sign={"options": ["-noattr"]}), "names its signer"),
    "signer not named": (lambda w: w.stamp(sign={"options": []}), "names its signer"),
    "signer by key": (lambda w: w.stamp(sign={"options": ["-cades", "-keyid"]}), DAMAGED),
    "no certificates": (lambda w: w.stamp(sign={"options": ["-cades", "-nocerts"]}), "0 certificates of its signer"),
    "two signers": (lambda w: w.stamp(sign={"also": issue("Also", w.middle)}), DAMAGED),
    "signed as data": (lambda w: w.stamp(sign={"kind": "1.2.840.113549.1.7.1"}), DAMAGED),
    "signed as another kind": (lambda w: w.stamp(sign={"kind": "1.2.3.4"}), DAMAGED),
    "another kind signed": (relabelled, "is not signed as a time stamp"),
    "something else signed": (lambda w: w.stamp(content=b"a commitment"), DAMAGED),
    "an empty list signed": (lambda w: w.stamp(content=der(0x30)), DAMAGED),
    "content with more after it": (lambda w: w.stamp(content=info(DIGEST) + b"\x05\x00"), DAMAGED),
    "same key, other certificate": (renewed, "another certificate than it names"),
    "two of one number": (lambda w: two_of_one_number(w, True), "2 certificates of its signer"),
    "two of one number, last": (lambda w: two_of_one_number(w, False), "2 certificates of its signer"),
    "imprint put in": (
        lambda w: w.authority.stamp(request(OTHER.hex(), 2**62)).replace(OTHER, DIGEST),
        "is not vouched for (the signature is of something else)",
    ),
    "year changed": (
        lambda w: re.sub(rb"\x18\x0f20\d\d", b"\x18\x0f2019", w.genuine),
        "is not vouched for",
    ),
    "policy changed": (lambda w: w.genuine.replace(POLICY, POLICY[:-1] + b"\x02"), "is not vouched for"),
    "number changed": (lambda w: w.stamp(serial=4711).replace(integer(4711), integer(4712)), "is not vouched for"),
    "name changed": (
        lambda w: w.genuine.replace(b"Stamps, Inc.", b"Stamps, Ltd."),
        "another certificate than it names",
    ),
    "granted with changes": (lambda w: w.stamp(status=1), "a refusal (status 1)"),
    "refused with a stamp": (lambda w: w.stamp(status=2), "a refusal (status 2)"),
    "waiting": (lambda w: w.stamp(status=3), "a refusal (status 3)"),
    "revocation": (lambda w: w.stamp(status=5), "a refusal (status 5)"),
    "unknown status": (lambda w: w.stamp(status=99), "a refusal (status 99)"),
    "status below 0": (lambda w: w.stamp(status=-1), DAMAGED),
    "refused": (lambda w: refusal(2), "a refusal (status 2)"),
    "refused with words": (lambda w: refusal(2, b"\x1b[31mgo away\n"), "a refusal (status 2)"),
    "granted, no stamp": (lambda w: refusal(0), DAMAGED),
    "stamp alone": (lambda w: signed(info(DIGEST), w.signer, w.place, [w.middle]), DAMAGED),
    "request": (lambda w: request(DIGEST.hex(), 2**62), DAMAGED),
    "certificate": (lambda w: w.root.certificate.public_bytes(Encoding.DER), DAMAGED),
    "PEM": (lambda w: w.root.pem, DAMAGED),
    "empty": (lambda w: b"", DAMAGED),
    "zero": (lambda w: b"\0", DAMAGED),
    "zeros": (lambda w: bytes(1000), DAMAGED),
    "text": (lambda w: b"<html>not found</html>", DAMAGED),
    "more after it": (lambda w: w.genuine + b"\0", DAMAGED),
    "twice": (lambda w: w.genuine * 2, DAMAGED),
    "endless lengths": (lambda w: b"\x30\x80" + w.genuine[4:] + b"\0\0", DAMAGED),
    "a length too long": (lambda w: b"\x30\x84\xff\xff\xff\xff" + w.genuine, DAMAGED),
    "deep": (lambda w: deep(20_000), DAMAGED),
    "certificates cut out": (lambda w: swapped(w, w.middle.certificate.public_bytes(Encoding.DER), b""), DAMAGED),
    **{f"cut at {k}/16": (lambda w, k=k: w.genuine[: len(w.genuine) * k // 16], DAMAGED) for k in range(1, 16)},
}


def deep(levels):
    content = b""
    for _ in range(levels):
        content = der(0x30, content)
    return content


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_in_one_line(world, name):
    make, words = CASES[name]
    stamp = make(world)
    with pytest.raises(InputError) as error:
        world.check(stamp)
    assert error.value.field == "claim"
    line = str(error.value)
    assert words in line
    assert line.isprintable()
    assert len(line) < 300
    assert "file:" not in line  # nothing of a library's insides


def test_there_are_sixty_of_them_and_what_they_are_made_of_is_good(world):
    assert len(CASES) >= 60
    assert world.check(world.genuine).authority == r"CN=Stamps\, Inc."
    assert world.check(world.stamp()).serial == 7
    assert world.check(world.by()).authority == "CN=T"


def test_no_change_of_a_bit_changes_what_is_believed(world):
    """Bits that nobody signs may change (they are no part of what is believed); any other bit is refused."""
    for stamp in (world.genuine, world.stamp(nonce=5, accuracy=(1, 2, 3))):
        good, believed = world.check(stamp), 0
        for at in range(len(stamp)):
            bit = 1 << (at * 5 + at // 8) % 8
            changed = stamp[:at] + bytes([stamp[at] ^ bit]) + stamp[at + 1 :]
            try:
                found = world.check(changed)
            except InputError:
                continue
            assert found == good, at
            believed += 1
        assert believed < len(stamp) / 20


# The judge's own file.


FILES = {
    "empty": (lambda w: b"", "holds no certificate in PEM"),
    "text": (lambda w: b"trust me", "holds no certificate in PEM"),
    "zeros": (lambda w: bytes(100), "holds no certificate in PEM"),
    "key": (lambda w: w.root.key_pem, "holds no certificate in PEM"),
    "DER": (lambda w: w.root.certificate.public_bytes(Encoding.DER), "holds no certificate in PEM"),
    "cut": (lambda w: w.root.pem[:200], "holds no certificate in PEM"),
    "nonsense in PEM": (
        lambda w: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "holds no certificate in PEM",
    ),
    "one broken of two": (
        lambda w: w.root.pem + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "holds no certificate in PEM",
    ),
    "stamp": (lambda w: w.genuine, "holds no certificate in PEM"),
    "the signer's": (lambda w: w.signer.pem, "may not issue others"),
    "a leaf among roots": (lambda w: w.root.pem + w.signer.pem, "may not issue others"),
    "too large": (lambda w: w.root.pem + bytes(2**20), "is larger than"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_root_is_refused(world, tmp_path, name):
    make, words = FILES[name]
    path = tmp_path / "root.pem"
    path.write_bytes(make(world))
    with pytest.raises(InputError, match=words) as error:
        check_stamp(world.genuine, DIGEST.hex(), path)
    assert error.value.field == "authority_certificate"
    assert str(error.value).isprintable()


def test_a_place_that_is_no_file_is_refused_as_a_root(world, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "nowhere", tmp_path, tmp_path / "pipe"):
        with pytest.raises(InputError, match="is no file") as error:
            check_stamp(world.genuine, DIGEST.hex(), path)
        assert error.value.field == "authority_certificate"


def test_roots_that_are_no_roots_of_this_stamp(world, tmp_path):
    path = tmp_path / "root.pem"
    for roots in (world.stranger.pem, issue("Other", ca=True).pem, world.middle.pem):
        path.write_bytes(roots)
        with pytest.raises(InputError, match="is not vouched for") as error:
            check_stamp(world.genuine, DIGEST.hex(), path)
        assert error.value.field == "claim"


# In a claim's folder.


def test_a_claims_stamp_is_read_and_named(world, claim):
    folder, digest = claim
    assert read_stamp(folder) is None
    with pytest.raises(InputError, match="holds no time stamp") as error:
        stamped(folder, digest, world.certificate)
    assert error.value.value == folder
    (folder / "stamp.tsr").write_bytes(world.stamp(imprint=bytes.fromhex(digest)))
    found = stamped(folder, digest, world.certificate)
    assert found.authority == r"CN=Stamps\, Inc."
    assert abs(found.time - now()) < timedelta(minutes=1)
    (folder / "stamp.tsr").write_bytes(world.genuine)
    with pytest.raises(InputError, match=r"stamp\.tsr is over another digest") as error:
        stamped(folder, digest, world.certificate)
    assert error.value.value == folder


def pipe(path, world):
    os.mkfifo(path)


PLACES = {
    "link": lambda path, world: (path.with_name("x").write_bytes(world.genuine), path.symlink_to("x")),
    "dead link": lambda path, world: path.symlink_to("nowhere"),
    "link to what never ends": lambda path, world: path.symlink_to("/dev/zero"),
    "folder": lambda path, world: path.mkdir(),
    "pipe": pipe,
    "huge": lambda path, world: path.write_bytes(bytes(LIMIT + 1)),
    "huge and sparse": lambda path, world: (path.touch(), os.truncate(path, 2**40)),
    "empty": lambda path, world: path.touch(),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", PLACES)
def test_what_is_no_stamp_is_refused_wherever_it_is_looked_at(world, claim, name, ipr):
    folder, digest = claim
    PLACES[name](folder / "stamp.tsr", world)
    with pytest.raises(InputError) as error:
        stamped(folder, digest, world.certificate)
    assert error.value.field == "claim"
    assert str(error.value).isprintable()
    for verb in ("show", "check", "stamp"):
        asked = ipr("claim", verb, f"claim={folder}", "authority=http://127.0.0.1:9/none")
        assert asked.code == 2
        assert "stamp.tsr" in asked.err
        assert "Traceback" not in asked.err


# Asking for one.


def stamping(world):
    return lambda handler, body: handler.give(world.authority.stamp(body))


def test_a_claim_is_stamped_and_only_the_digest_leaves_the_house(world, claim, ipr):
    folder, digest = claim
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with serving(stamping(world)) as server:
        asked = ipr(
            "claim", "stamp", f"claim={folder}", f"authority={server.url}", f"authority_certificate={world.certificate}"
        )
        assert (asked.code, asked.err) == (0, "")
        ((path, headers, body),) = server.asked
        assert path == "/tsr"
        assert headers["Content-Type"] == "application/timestamp-query"
        assert {*headers} == {"Host", "Accept", "Accept-Encoding", "User-Agent", "Content-Type", "Content-Length"}
        assert "ipr" not in headers["User-Agent"]
        nonce = body[-11:-3]
        assert body == request(digest, int.from_bytes(nonce, "big"))
        kept = (folder / "stamp.tsr").read_bytes()
        assert stat.S_IMODE((folder / "stamp.tsr").stat().st_mode) == 0o600
        found = stamped(folder, digest, world.certificate)
        assert nonce_of(kept) == int.from_bytes(nonce, "big")
        assert digest in asked.out
        assert str(found) in asked.out
        assert "not checked" not in asked.out

        again = ipr("claim", "stamp", f"claim={folder}", f"authority={server.url}")  # there is one: nobody is asked
        assert again.code == 0
        assert str(found) in again.out
        assert "not checked" in again.out
        assert len(server.asked) == 1
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before | {"stamp.tsr": kept}

    checked = ipr("claim", "check", f"claim={folder}")
    assert (checked.code, checked.err) == (0, "")
    assert f"ok: stamp: says {found}, over the commitment; not checked" in checked.out
    checked = ipr("claim", "check", f"claim={folder}", f"authority_certificate={world.certificate}")
    assert f"ok: stamp: {found}, over the commitment" in checked.out
    assert str(found) in ipr("claim", "show", f"claim={folder}").out


def test_two_questions_have_two_nonces(world, claim):
    _, digest = claim
    with serving(stamping(world)) as server:
        for _ in range(2):
            ask(server.url, digest, None)
        one, two = (body for _, _, body in server.asked)
    assert one[:-11] == two[:-11]
    assert one != two


def test_a_stamp_that_is_there_is_never_overwritten(world, claim, ipr):
    folder, digest = claim
    stamp = folder / "stamp.tsr"
    for content, words in (
        (world.genuine, "is over another digest"),
        (b"", DAMAGED),
        (world.by(), "is over another digest"),
    ):
        stamp.write_bytes(content)
        with serving(stamping(world)) as server:
            assert_one_line(ipr("claim", "stamp", f"claim={folder}", f"authority={server.url}"), words, "claim=")
            assert not server.asked
        assert stamp.read_bytes() == content
    stamp.write_bytes(world.stamp(issue("Self"), imprint=bytes.fromhex(digest)))
    asked = ipr("claim", "stamp", f"claim={folder}", f"authority_certificate={world.certificate}")
    assert_one_line(asked, "is not vouched for")


def test_a_claim_without_a_commitment_that_opens_is_not_stamped(claims, claim, world, ipr, tmp_path):
    folder, _ = claim
    with serving(stamping(world)) as server:
        (folder / "commitment.json").rename(tmp_path / "kept")
        asked = ipr("claim", "stamp", f"claim={folder}", f"authority={server.url}")
        assert_one_line(asked, "has no commitment to stamp", "ipr claim commit")
        (folder / "commitment.json").write_bytes((claims / "bob" / "commitment.json").read_bytes())
        asked = ipr("claim", "stamp", f"claim={folder}", f"authority={server.url}")
        assert_one_line(asked, "is not what its commitment opens to")
        (folder / "stamp.tsr").write_bytes(world.genuine)
        (folder / "commitment.json").unlink()
        assert "has a stamp.tsr and no commitment" in ipr("claim", "check", f"claim={folder}").err
        assert not server.asked


def lying(make):
    """An authority that answers with something of its own."""
    return lambda handler, body, world: handler.give(make(world, body))


def digest_of(body):
    return body[24:56]


ANSWERS = {
    "nothing": (lambda h, b, w: h.give(b""), DAMAGED),
    "garbage": (lambda h, b, w: h.give(os.urandom(500)), DAMAGED),
    "a page": (lambda h, b, w: h.reply(200, b"<html>"), DAMAGED),
    "too much": (lambda h, b, w: h.give(bytes(LIMIT + 1)), f"longer than {LIMIT} bytes"),
    "status 500": (lambda h, b, w: h.reply(500, b"\x1b[31mwrong"), "answers with status 500"),
    "status 404": (lambda h, b, w: h.reply(404, b"gone"), "answers with status 404: gone"),
    "status 503": (lambda h, b, w: h.reply(503, b"later"), "answers with status 503: later"),
    "elsewhere": (lambda h, b, w: h.reply(302, b"", {"Location": "/other"}), "sends elsewhere"),
    "hangs up": (lambda h, b, w: h.raw(b""), "broke off"),
    "half": (lambda h, b, w: h.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nxx"), "broke off"),
    "not HTTP": (lambda h, b, w: h.raw(b"220 smtp\r\n"), "broke off"),
    "compressed": (lambda h, b, w: h.reply(200, b"x", {"Content-Encoding": "gzip"}), "is compressed"),
    "refusal": (lying(lambda w, b: refusal(2, b"no")), "a refusal (status 2)"),
    "other digest": (lying(lambda w, b: w.authority.stamp(request(OTHER.hex(), 2**62))), "over another digest"),
    "a stamp of before": (
        lying(lambda w, b: w.authority.stamp(request(digest_of(b).hex(), 2**62))),
        "the answer to another question",
    ),
    "no nonce": (lying(lambda w, b: w.stamp(imprint=digest_of(b))), "the answer to another question"),
    "self-signed": (
        lying(lambda w, b: w.stamp(issue("Self"), imprint=digest_of(b), nonce=int.from_bytes(b[-11:-3], "big"))),
        "is not vouched for",
    ),
    "cut": (lying(lambda w, b: w.authority.stamp(b)[:-1]), DAMAGED),
    "SHA-1": (lying(lambda w, b: w.authority.stamp(b.replace(digest_of(b), bytes(32)))), "over another digest"),
}


@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", ANSWERS)
def test_an_authority_that_does_not_stamp(world, claim, ipr, name):
    folder, _ = claim
    before = sorted(folder.iterdir())
    answer, words = ANSWERS[name]
    with serving(lambda handler, body: answer(handler, body, world)) as server:
        asked = ipr(
            "claim", "stamp", f"claim={folder}", f"authority={server.url}", f"authority_certificate={world.certificate}"
        )
        assert_one_line(asked, f"authority={server.url}", words)
        assert len(server.asked) == 1
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("byte", [b"", b"0"])
def test_one_that_is_too_slow(claim, byte):
    """Silent, or a byte now and then for ever."""
    with serving(lambda handler, body: handler.drip(byte)) as server:
        with pytest.raises(InputError, match=r"was not there, whole, after 0\.2 seconds") as error:
            ask(server.url, DIGEST.hex(), None, timeout=0.2)
    assert error.value.field == "authority"


def test_one_that_is_away(claim, ipr):
    folder, _ = claim
    with serving(lambda handler, body: None) as server:
        url = server.url
    assert_one_line(
        ipr("claim", "stamp", f"claim={folder}", f"authority={url}"), f"authority={url}", "cannot be reached"
    )
    assert not (folder / "stamp.tsr").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["authority=None", "must be given"]),
        (["authority=nowhere"], ["authority=nowhere", "is not an address"]),
        (["authority=ftp://127.0.0.1/x"], ["authority=ftp://127.0.0.1/x", "is not an address"]),
        (["authority=/etc/passwd"], ["authority=", "is not an address"]),
        (["authority='http://a:secret@127.0.0.1/'"], ["authority=<an address with a password>"]),
        (["authority='http://127.0.0.1:99999/'"], ["authority=", "is not an address"]),
        (["authority=http://127.0.0.1:9/", "authority_certificate=nowhere"], ["authority_certificate=nowhere"]),
    ],
)
def test_what_is_asked_for_wrongly(claim, ipr, arguments, words):
    folder, _ = claim
    asked = ipr("claim", "stamp", f"claim={folder}", *arguments)
    assert_one_line(asked, *words)
    assert "secret" not in asked.out + asked.err


def test_a_key_in_an_address_is_sent_and_not_shown(world, claim):
    _, digest = claim
    with serving(lambda handler, body: handler.reply(500, b"no")) as server:
        with pytest.raises(InputError) as error:
            ask(f"{server.url}?key=k123", digest, None)
        assert [path for path, _, _ in server.asked] == ["/tsr?key=k123"]
    assert "k123" not in str(error.value)


@pytest.mark.system
def test_a_stamp_needs_no_network_to_be_checked(world, claim):
    """In a process that may open no socket."""
    folder, digest = claim
    (folder / "stamp.tsr").write_bytes(world.stamp(imprint=bytes.fromhex(digest)))
    code = (
        "import socket, sys; from pathlib import Path; from ipr.claims.stamp import stamped\n"
        "def never(*a, **k): raise SystemExit('a socket')\n"
        "socket.socket = socket.create_connection = socket.getaddrinfo = never\n"
        "print(stamped(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])).authority)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), digest, str(world.certificate)], capture_output=True, text=True
    )
    assert done.stdout.strip() == r"CN=Stamps\, Inc.", done.stderr
