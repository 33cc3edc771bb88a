"""Reads and writes DER: what is written in ASN.1 as bytes, each element a tag, a length and a content (X.690).

Only what time stamps are made of: tags of one byte, and lengths as DER wants them, each in the one form that it allows.
"""

from __future__ import annotations

from dataclasses import dataclass

INTEGER, OCTETS, IDENTIFIER, SEQUENCE = 0x02, 0x04, 0x06, 0x30
"""Tags: a number, bytes, an object identifier, a list."""


@dataclass(frozen=True)
class Element:
    """An element.

    Attributes:
        tag: its first byte.
        content: what its length covers; of a list or set the elements that it holds, one after the other.
    """

    tag: int
    content: bytes

    def encoded(self) -> bytes:
        """The element as bytes."""
        return encode(self.tag, self.content)

    def parts(self) -> list[Element]:
        """The elements that its content is made of; ValueError where it is not made of elements."""
        return elements(self.content)


def elements(content: bytes) -> list[Element]:
    """The elements that follow one another in some bytes, to the last byte.

    Raises:
        ValueError: the bytes are no DER.
    """
    found, at = [], 0
    while at < len(content):
        start, size = _length(content, at)
        if start + size > len(content):
            raise ValueError("an element is cut off")
        found.append(Element(content[at], content[start : start + size]))
        at = start + size
    return found


def encode(tag: int, *parts: bytes) -> bytes:
    """An element as bytes."""
    content = b"".join(parts)
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 128 + len(length)]) + length + content


def _length(content: bytes, at: int) -> tuple[int, int]:
    """Where the content of the element at `at` begins, and how many bytes it has."""
    if content[at] & 0x1F == 0x1F:
        raise ValueError("a tag has several bytes")
    if at + 1 >= len(content):
        raise ValueError("an element is cut off")
    first = content[at + 1]
    if first < 128:
        return at + 2, first
    start = at + 2 + first - 128
    size = int.from_bytes(content[at + 2 : start], "big")
    if not 129 <= first <= 132 or start > len(content) or size < 128 or size < 1 << 8 * (first - 129):
        raise ValueError("a length is not in its one form")
    return start, size
