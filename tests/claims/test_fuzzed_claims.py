"""Claims with any value in their facts, or any bytes changed or cut, are read or refused."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostile_claims import KINDS
from ipr.errors import InputError
from ipr.judging.claim_kinds import load_claim

pytestmark = pytest.mark.fuzz


def places_in(value, at=()):
    """Every place in a JSON value, as the keys that lead to it."""
    yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield from places_in(below, (*at, key))


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["conv4", "bound"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def loads_or_is_refused(folder: Path) -> bool:
    """Whether a claim is read, and the same once it is saved and read again, or refused in one line."""
    try:
        claim = load_claim(folder)
    except InputError as error:
        return str(error).isprintable()
    again = folder.with_name("again")
    shutil.rmtree(again, ignore_errors=True)
    claim.save(again)
    return len(claim.fingerprint()) == 64 and load_claim(again).fingerprint() == claim.fingerprint()


@pytest.fixture
def copies(good, tmp_path):
    """Gives a fresh copy of a good claim, and takes the last one away."""

    def copied(kind: str) -> Path:
        shutil.rmtree(tmp_path / "fuzzed", ignore_errors=True)
        return Path(shutil.copytree(good / kind, tmp_path / "fuzzed" / "claim"))

    return copied


FUZZED = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FUZZED
@given(kind=st.sampled_from(list(KINDS)), where=st.integers(0, 10**6), value=ANY_JSON, gone=st.booleans())
def test_any_value_anywhere_in_the_facts_is_read_or_refused(copies, kind, where, value, gone):
    folder = copies(kind)
    values = json.loads((folder / "claim.json").read_text())
    places = list(places_in(values))[1:]
    *keys, last = places[where % len(places)]
    inner = values
    for key in keys:
        inner = inner[key]
    if gone:
        del inner[last]
    else:
        inner[last] = value
    (folder / "claim.json").write_text(json.dumps(values))
    assert loads_or_is_refused(folder)


@FUZZED
@given(
    kind=st.sampled_from(list(KINDS)),
    name=st.sampled_from(["claim.json", "secrets.safetensors"]),
    seed=st.integers(0, 2**32),
    flips=st.integers(1, 8),
    cut=st.none() | st.integers(1, 500),
    near=st.booleans(),
)
def test_any_bytes_changed_or_cut_are_read_or_refused(copies, kind, name, seed, flips, cut, near):
    path = copies(kind) / name
    content, source = bytearray(path.read_bytes()), random.Random(seed)
    for _ in range(flips):
        content[source.randrange(min(400, len(content)) if near else len(content))] = source.randrange(256)
    path.write_bytes(content[: -cut if cut else None])
    assert loads_or_is_refused(path.parent)
