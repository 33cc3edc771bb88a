"""Sealed documents: DSSE v1 envelopes with one Ed25519 signature, and the keys that make them.

An envelope is `{"payload", "payloadType", "signatures": [{"keyid", "sig"}]}`: see the specification,
https://github.com/secure-systems-lab/dsse. What is signed is not the envelope but `pae(payloadType, payload)`, so that
nothing has to be brought into a canonical form, and a document of one kind cannot be taken for one of another. We
deviate where the specification leaves room that a judge does not need: exactly one signature, its `keyid` always there,
base64 of the standard alphabet in its one canonical form, and no further fields (which it would have readers ignore),
for whatever else stands in an envelope is vouched for by nobody.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from ipr.claims.folder import strict_json
from ipr.errors import InputError
from ipr.files import aside_of, expanded, read_regular, write_atomically

LIMIT = 2**25
"""Bytes of an envelope at most: a calibration of 16 MiB in base64 fits."""

KEY_LIMIT = 2**12
"""Bytes of a key's file at most."""

GIVE_KEY = "give a key as `ipr verdict key` makes it"


def pae(kind: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed for a payload of a media type."""
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def keyid(public: Ed25519PublicKey) -> str:
    """SHA-256 of the 32 raw bytes of a public key, as 64 hexadecimal digits: names it, and vouches for nothing."""
    return hashlib.sha256(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()


def seal(payload: bytes, kind: str, key: Ed25519PrivateKey) -> dict[str, Any]:
    """An envelope; the same for the same input, as Ed25519 draws nothing.

    Args:
        payload: the document's bytes.
        kind: its media type.
        key: signs it.
    """
    signature = {"keyid": keyid(key.public_key()), "sig": _text(key.sign(pae(kind, payload)))}
    return {"payload": _text(payload), "payloadType": kind, "signatures": [signature]}


def envelope_text(envelope: Mapping[str, Any]) -> bytes:
    """An envelope as the bytes of its file."""
    return json.dumps(envelope, indent=2).encode() + b"\n"


def unseal(envelope: Mapping[str, Any], kind: str, public: Ed25519PublicKey, name: object = "<given>") -> bytes:
    """The payload of an envelope whose seal holds; nothing of it is read before that.

    Args:
        envelope: as JSON gives it.
        kind: the media type that is expected.
        public: who must have signed it.
        name: what an error calls it: its file.

    Raises:
        InputError: it is none, is one of another kind, is signed by another key or by several, or was changed.
    """

    def refused(problem: str) -> InputError:
        return InputError("envelope", name, problem, "get it again from the judge who sealed it, with his public key")

    try:
        signatures = envelope["signatures"]
        if {*envelope} != {"payload", "payloadType", "signatures"}:
            raise refused("holds more than payload, payloadType and signatures")
        if not isinstance(signatures, list) or len(signatures) != 1:
            raise refused("has not exactly one signature")
        if {*signatures[0]} != {"keyid", "sig"}:
            raise refused("has a signature that holds more than keyid and sig")
        payload, signature = _bytes(envelope["payload"]), _bytes(signatures[0]["sig"])
        signer = signatures[0]["keyid"]
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise refused(f"is no DSSE envelope ({error})") from error
    if envelope["payloadType"] != kind:
        raise refused(f"holds {envelope['payloadType']!a:.80}, not {kind}")
    if signer != keyid(public):
        raise refused(f"is sealed with the key {signer!a:.80}, not with {keyid(public)}")
    try:
        public.verify(signature, pae(kind, payload))
    except InvalidSignature as error:
        raise refused("was changed: its signature does not fit") from error
    return payload


def read_envelope(path: Path) -> dict[str, Any]:
    """An envelope from its file; nothing in it is believed yet.

    Raises:
        InputError: it cannot be read, is no regular file, is larger than `LIMIT`, or is no mapping in strict JSON.
    """
    remedy = "give an envelope, such as verdict.dsse.json"
    try:
        found = strict_json(read_regular(path, LIMIT)[0])
        if not isinstance(found, dict):
            raise ValueError("it is no mapping")
    except OSError as error:
        raise InputError("envelope", path, f"cannot be read ({error.strerror or error})", remedy) from error
    except ValueError as error:
        raise InputError("envelope", path, f"is no envelope ({error})", remedy) from error
    return found


def load_key(path: Path, field: str = "key") -> Ed25519PrivateKey:
    """A private key: unencrypted PKCS#8 in PEM, in a file that only its user can read.

    Args:
        path: a regular file; `~` is the user's folder. A link is not followed.
        field: what an error calls it.

    Raises:
        InputError: it cannot be read, can be read by others, or holds no such key.
    """
    content, mode = _key_file(path, field)
    if mode & 0o077:
        problem = f"can be read or written by others (mode {mode & 0o777:o})"
        raise InputError(field, path, problem, f"chmod 600 {path}, and make another key if somebody may have read it")
    try:
        key = load_pem_private_key(content, password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise InputError(field, path, "holds no private key in PEM that is not encrypted", GIVE_KEY) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(field, path, "is no Ed25519 key", GIVE_KEY)
    return key


def public_key(path: Path, field: str = "key") -> Ed25519PublicKey:
    """A public key from PEM, or the public half of a private one (see `load_key`).

    Raises:
        InputError: it cannot be read, or holds no such key.
    """
    content, _ = _key_file(path, field)
    if b"PRIVATE KEY" in content:
        return load_key(path, field).public_key()
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(field, path, "holds no public key in PEM", GIVE_KEY) from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(field, path, "is no Ed25519 key", GIVE_KEY)
    return key


def judge_public(path: Path, field: str = "paths.judge") -> Ed25519PublicKey | None:
    """The public half of the judge's own key; None where there is none yet.

    Raises:
        InputError: see `public_key`.
    """
    return public_key(path, field) if os.path.lexists(expanded(path, field)) else None


def public_pem(public: Ed25519PublicKey) -> bytes:
    """A public key as PEM: what a judge hands out."""
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def make_key(path: Path, field: str = "key") -> Ed25519PrivateKey:
    """A new private key in a file of mode 0600, its folder made with 0700 where there is none.

    The file is there whole or not at all, and never takes the place of another.

    Raises:
        InputError: something is there, or the file cannot be written.
    """
    try:
        return _made(expanded(path, field), field)
    except FileExistsError as error:
        raise InputError(field, path, "is there already", "choose another name; a key is never overwritten") from error


def judge_key(path: Path, field: str = "paths.judge") -> Ed25519PrivateKey:
    """The judge's own key: the one in the file, or a new one where there is none.

    Raises:
        InputError: see `load_key` and `make_key`.
    """
    place = expanded(path, field)
    if not os.path.lexists(place):
        with suppress(FileExistsError):  # another process was faster: its key is the judge's
            return _made(place, field)
    return load_key(path, field)


def _made(path: Path, field: str) -> Ed25519PrivateKey:
    key, aside = Ed25519PrivateKey.generate(), aside_of(path)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(aside, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
        try:
            os.link(aside, path)  # unlike a rename it fails where something is there
        finally:
            aside.unlink()
    except OSError as error:
        if isinstance(error, FileExistsError) and os.path.lexists(path):
            raise
        remedy = "choose a folder that you can write to, and that has room"
        raise InputError(field, path, f"cannot be written ({error.strerror or error})", remedy) from error
    return key


def _key_file(path: Path, field: str) -> tuple[bytes, int]:
    try:
        return read_regular(expanded(path, field), KEY_LIMIT, follow=False)
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error})"
        raise InputError(field, path, problem, "give a key's file, or make one: ipr verdict key") from error
    except ValueError as error:
        raise InputError(field, path, str(error), GIVE_KEY) from error


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _bytes(text: Any) -> bytes:
    """The bytes of a base64 text in its one canonical form.

    Raises:
        TypeError: it is no text.
        ValueError: it is not that.
    """
    if not isinstance(text, str):
        raise TypeError("payload or sig is no text")
    content = base64.b64decode(text.encode(), validate=True)
    if _text(content) != text:
        raise ValueError("base64 that is not canonical")
    return content
