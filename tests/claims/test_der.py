"""DER, beside openssl's own reading of it."""

import re

import pytest

from ipr.claims.der import Element, elements, encode
from stamp_authority import OPENSSL, issue, run


def leaves(found):
    """Tag and content of all that holds no elements, in order; constructed tags have the bit 0x20."""
    return [leaf for one in found for leaf in (leaves(one.parts()) if one.tag & 0x20 else [one])]


@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
def test_a_certificate_is_read_as_openssl_reads_it(tmp_path):
    (tmp_path / "c.pem").write_bytes(issue("A", ca=True).pem)
    der = run(tmp_path, "x509", "-in", "c.pem", "-outform", "DER")
    (tmp_path / "c.der").write_bytes(der)
    said = run(tmp_path, "asn1parse", "-inform", "DER", "-in", "c.der").decode()
    sizes = [int(size) for size in re.findall(r"l= *(\d+) prim", said)]
    assert sizes == [len(one.content) for one in leaves(elements(der))]
    assert elements(der)[0].encoded() == der


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65535, 65536])
def test_what_is_written_is_read(size):
    written = encode(4, bytes(size))
    assert elements(written * 2) == [Element(4, bytes(size))] * 2
    assert elements(written)[0].encoded() == written


@pytest.mark.parametrize(
    "content",
    [
        "04", "0401", "0402ff", "0480", "04800000", "048100", "04817f" + "00" * 127, "04820080" + "00" * 128,
        "0484ffffffff", "0485000000000100", "048101", "1f0100", "3f8101", "048200", "04ff",
    ],
)  # fmt: skip
def test_what_is_no_der_is_refused(content):
    with pytest.raises(ValueError):
        elements(bytes.fromhex(content))


def test_what_holds_no_parts():
    assert Element(0x30, b"").parts() == []
    with pytest.raises(ValueError):
        Element(0x30, b"\x04").parts()
