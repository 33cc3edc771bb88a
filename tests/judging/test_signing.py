"""Envelopes and keys: against OpenSSL's own Ed25519, and against everything that somebody may have changed."""

import base64
import copy
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from ipr.errors import InputError
from ipr.judging.signing import (
    KEY_LIMIT,
    LIMIT,
    judge_key,
    keyid,
    load_key,
    make_key,
    pae,
    public_key,
    public_pem,
    read_envelope,
    seal,
    unseal,
)

KIND = "application/vnd.test+json"
# RFC 8032, section 7.1, test 1: a secret key, its public key
SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


@pytest.fixture
def key():
    return ed25519.Ed25519PrivateKey.from_private_bytes(SECRET)


def openssl(*arguments):
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to compare with")
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=60)


def test_what_is_signed_is_what_the_specification_says():
    """The example of DSSE's protocol.md, and lengths in bytes rather than characters."""
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("ü", "é\n".encode()) == b"DSSEv1 2 \xc3\xbc 3 \xc3\xa9\n"
    assert pae("", b"") == b"DSSEv1 0  0 "


def test_an_envelope_is_read_back_and_is_the_same_each_time(key):
    envelope = seal(b'{"a": 1}', KIND, key)
    assert envelope == seal(b'{"a": 1}', KIND, key)
    assert envelope["payload"] == "eyJhIjogMX0="
    assert envelope["payloadType"] == KIND
    (signature,) = envelope["signatures"]
    assert signature["keyid"] == hashlib.sha256(PUBLIC).hexdigest() == keyid(key.public_key())
    assert len(base64.b64decode(signature["sig"])) == 64
    assert unseal(json.loads(json.dumps(envelope)), KIND, key.public_key()) == b'{"a": 1}'


def test_openssl_reads_our_keys_and_verifies_our_seals(tmp_path):
    mine = make_key(tmp_path / "key.pem")
    (tmp_path / "public.pem").write_bytes(public_pem(mine.public_key()))
    envelope = seal(b"payload", KIND, mine)
    Path("message").write_bytes(b"DSSEv1 %d %b 7 payload" % (len(KIND), KIND.encode()))
    Path("sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    verify = ("pkeyutl", "-verify", "-pubin", "-inkey", "public.pem", "-rawin", "-in", "message", "-sigfile", "sig")
    assert openssl(*verify).returncode == 0, openssl(*verify).stderr
    Path("message").write_bytes(b"DSSEv1 %d %b 7 payloaD" % (len(KIND), KIND.encode()))
    assert openssl(*verify).returncode != 0
    assert openssl("pkey", "-in", "key.pem", "-pubout").stdout.encode() == public_pem(mine.public_key())


def test_we_read_the_keys_and_seals_of_openssl():
    assert openssl("genpkey", "-algorithm", "ed25519", "-out", "key.pem").returncode == 0
    os.chmod("key.pem", 0o600)
    assert openssl("pkey", "-in", "key.pem", "-pubout", "-out", "public.pem").returncode == 0
    Path("message").write_bytes(b"DSSEv1 1 k 2 hi")
    sign = ("pkeyutl", "-sign", "-inkey", "key.pem", "-rawin", "-in", "message", "-out", "sig")
    assert openssl(*sign).returncode == 0
    public = public_key(Path("public.pem"))
    signature = {"keyid": keyid(public), "sig": base64.b64encode(Path("sig").read_bytes()).decode()}
    envelope = {"payload": "aGk=", "payloadType": "k", "signatures": [signature]}
    assert unseal(envelope, "k", public) == b"hi"
    assert envelope == seal(b"hi", "k", load_key(Path("key.pem")))
    assert public_pem(public_key(Path("key.pem"))) == public_pem(public)


def changes():
    """Every way of changing an envelope that is no longer what was sealed: a name, the change, the word that tells."""

    def put(path, value):
        def change(envelope):
            *folders, name = path
            for folder in folders:
                envelope = envelope[folder]
            envelope[name] = value(envelope[name]) if callable(value) else value

        return change

    def drop(*path):
        def change(envelope):
            *folders, name = path
            for folder in folders:
                envelope = envelope[folder]
            del envelope[name]

        return change

    def longer(sig):
        return base64.b64encode(base64.b64decode(sig) + b"0").decode()

    first = ("signatures", 0)
    flip = {"A": "B"}
    yield "payload: a byte", put(["payload"], base64.b64encode(b'{"a": 2}').decode()), "was changed"
    yield "payload: longer", put(["payload"], base64.b64encode(b'{"a": 1} ').decode()), "was changed"
    yield "payload: none", put(["payload"], ""), "was changed"
    yield "payload: bits that base64 ignores", put(["payload"], "eyJhIjogMX1="), "not canonical"
    yield "payload: a line feed", put(["payload"], "eyJhIjog\nMX0="), "no DSSE envelope"
    yield "payload: no padding", put(["payload"], "eyJhIjogMX0"), "no DSSE envelope"
    yield "payload: too much padding", put(["payload"], "eyJhIjogMX0=="), "no"
    yield "payload: other letters", put(["payload"], "é"), "no DSSE envelope"
    yield "payload: a number", put(["payload"], 5), "no DSSE envelope"
    yield "payload: null", put(["payload"], None), "no DSSE envelope"
    yield "payload: a list", put(["payload"], ["eyJhIjogMX0="]), "no DSSE envelope"
    yield "type: another", put(["payloadType"], "application/vnd.in-toto+json"), "not application/vnd.test+json"
    yield "type: a letter", put(["payloadType"], KIND.upper()), "not application/vnd.test+json"
    yield "type: none", put(["payloadType"], ""), "not application/vnd.test+json"
    yield "type: a mapping", put(["payloadType"], {}), "not application/vnd.test+json"
    yield "sig: first byte", put([*first, "sig"], lambda s: flip.get(s[0], "A") + s[1:]), "was changed"
    yield "sig: cut", put([*first, "sig"], lambda s: base64.b64encode(base64.b64decode(s)[:63]).decode()), "changed"
    yield "sig: longer", put([*first, "sig"], longer), "was changed"
    yield "sig: zeros", put([*first, "sig"], base64.b64encode(bytes(64)).decode()), "was changed"
    yield "sig: none", put([*first, "sig"], ""), "was changed"
    yield "sig: null", put([*first, "sig"], None), "no DSSE envelope"
    yield "sig: url-safe", put([*first, "sig"], "_" * 86 + "=="), "no DSSE envelope"
    yield "keyid: another", put([*first, "keyid"], "0" * 64), "is sealed with the key '000"
    yield "keyid: none", put([*first, "keyid"], ""), "is sealed with the key ''"
    yield "keyid: a list", put([*first, "keyid"], []), "is sealed with the key []"
    yield "keyid: left out", drop(*first, "keyid"), "more than keyid and sig"
    yield "sig: left out", drop(*first, "sig"), "more than keyid and sig"
    yield "signature: more", put([*first], lambda s: s | {"cert": "x"}), "more than keyid and sig"
    yield "signature: a text", put([*first], "keyid"), "more than keyid and sig"
    yield "signatures: none", put(["signatures"], []), "exactly one signature"
    yield "signatures: two", put(["signatures"], lambda s: s * 2), "exactly one signature"
    yield "signatures: a mapping", put(["signatures"], lambda s: s[0]), "exactly one signature"
    yield "signatures: null", put(["signatures"], None), "exactly one signature"
    yield "signatures: numbers", put(["signatures"], [3]), "no DSSE envelope"
    for name in ("payload", "payloadType", "signatures"):
        yield f"{name}: left out", drop(name), ""
    yield "a field more", lambda envelope: envelope.update(decision="verified"), "holds more than"


@pytest.mark.parametrize(("change", "words"), [pytest.param(c, w, id=n) for n, c, w in changes()])
def test_what_was_changed_is_refused(key, change, words):
    envelope = copy.deepcopy(seal(b'{"a": 1}', KIND, key))
    change(envelope)
    with pytest.raises(InputError, match=r"^envelope=here: ") as refused:
        unseal(envelope, KIND, key.public_key(), "here")
    assert words in refused.value.problem


def test_every_bit_of_a_signature_counts(key):
    envelope = seal(b"x", KIND, key)
    right = base64.b64decode(envelope["signatures"][0]["sig"])
    for bit in range(512):
        wrong = bytearray(right)
        wrong[bit // 8] ^= 1 << bit % 8
        envelope["signatures"][0]["sig"] = base64.b64encode(wrong).decode()
        with pytest.raises(InputError, match="was changed"):
            unseal(envelope, KIND, key.public_key())


def test_a_seal_of_another_key_under_this_ones_name_is_refused(key):
    envelope = seal(b"x", KIND, ed25519.Ed25519PrivateKey.generate())
    with pytest.raises(InputError, match="is sealed with the key"):
        unseal(envelope, KIND, key.public_key())
    envelope["signatures"][0]["keyid"] = keyid(key.public_key())
    with pytest.raises(InputError, match="was changed"):
        unseal(envelope, KIND, key.public_key())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no envelope"),
        (b"[]", "it is no mapping"),
        (b"\xff", "is no envelope"),
        (b'{"payload": "", "payload": ""}', "given twice"),
        (b'{"payload": NaN}', "not finite"),
        (b'{"payloadType": "\\u001b[2J"}', "cannot be seen"),
        (b"[" * 10_000, "is no envelope"),
        (b'{"a":' * 20 + b"1" + b"}" * 20, "nested too deep"),
        (b" " * (LIMIT + 1), f"larger than {LIMIT} bytes"),
    ],
    ids=lambda value: str(value[:20]),
)
def test_files_that_are_no_envelopes_are_refused(content, words):
    Path("file.json").write_bytes(content)
    with pytest.raises(InputError, match=r"^envelope=file\.json: ") as refused:
        read_envelope(Path("file.json"))
    assert words in refused.value.problem


def test_what_is_no_regular_file_is_not_waited_for():
    os.mkfifo("pipe")
    Path("folder").mkdir()
    for name in ("pipe", "folder", "nowhere", "/dev/zero", "nul\0"):
        for read in (read_envelope, load_key, public_key):
            with pytest.raises(InputError):
                read(Path(name))


def test_a_key_is_made_for_its_user_alone_and_never_overwritten():
    made = make_key(Path("house/judge/key.pem"))
    path = Path("house/judge/key.pem")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [*path.parent.iterdir()] == [path]  # nothing half-written is left
    before = path.read_bytes()
    assert before.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert keyid(load_key(path).public_key()) == keyid(made.public_key())
    Path("empty").touch()
    Path("dangling").symlink_to("nowhere")
    for taken in (path, Path("empty"), Path("dangling"), Path("house")):
        with pytest.raises(InputError, match=r"is there already; .* never overwritten"):
            make_key(taken)
    assert path.read_bytes() == before
    assert Path("empty").read_bytes() == b""
    assert not Path("nowhere").exists()
    for place in ("empty/key.pem", "/dev/null/key.pem", "/proc/key.pem"):
        with pytest.raises(InputError, match="cannot be written"):
            make_key(Path(place))


def test_the_judges_key_is_found_again(monkeypatch):
    monkeypatch.setenv("HOME", str(Path.cwd() / "home"))
    first = judge_key(Path("~/.config/ipr/judge.pem"))
    path = Path("home/.config/ipr/judge.pem")
    before = path.read_bytes()
    assert keyid(judge_key(Path("~/.config/ipr/judge.pem")).public_key()) == keyid(first.public_key())
    assert path.read_bytes() == before
    path.chmod(0o640)
    with pytest.raises(InputError, match=r"paths\.judge=.*can be read or written by others"):
        judge_key(Path("~/.config/ipr/judge.pem"))
    path.unlink()
    path.symlink_to("nowhere")
    with pytest.raises(InputError, match="is a link"):
        judge_key(Path("~/.config/ipr/judge.pem"))


def pem(key, encryption=None):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def test_keys_that_are_none_are_refused(key):
    Path("good.pem").write_bytes(pem(key))
    Path("good.pem").chmod(0o600)
    for mode in (0o640, 0o604, 0o620, 0o610, 0o644, 0o666):
        Path("good.pem").chmod(mode)
        for read in (load_key, public_key):
            with pytest.raises(InputError, match=f"by others .mode {mode:o}.; chmod 600"):
                read(Path("good.pem"))
    Path("good.pem").chmod(0o400)
    assert keyid(public_key(Path("good.pem"))) == keyid(load_key(Path("good.pem")).public_key())
    Path("link.pem").symlink_to("good.pem")
    for read in (load_key, public_key):
        with pytest.raises(InputError, match="is a link"):
            read(Path("link.pem"))
    other = ec.generate_private_key(ec.SECP256R1())
    for name, content, words in (
        ("encrypted", pem(key, BestAvailableEncryption(b"x")), "not encrypted"),
        ("another kind", pem(other), "is no Ed25519 key"),
        ("public", public_pem(key.public_key()), "no private key"),
        ("text", b"hello", "no private key"),
        ("empty", b"", "no private key"),
        ("cut", pem(key)[:-40], "no private key"),
        ("large", pem(key) + b"\n" * KEY_LIMIT, "larger than"),
    ):
        Path(name).write_bytes(content)
        Path(name).chmod(0o600)
        with pytest.raises(InputError, match=words):
            load_key(Path(name))
    assert public_pem(public_key(Path("public"))) == public_pem(key.public_key())
    for name in ("text", "empty", "encrypted", "another kind"):
        with pytest.raises(InputError):
            public_key(Path(name))
    Path("other").write_text(openssl("pkey", "-in", "another kind", "-pubout").stdout)
    with pytest.raises(InputError, match="is no Ed25519 key"):
        public_key(Path("other"))
