"""What a file is, by its content."""

from __future__ import annotations

from ipr.suspects.checks import Refusal

_FOREIGN = (
    (0, b"\x80", "a bare pickle or a torch file of before version 1.6, neither of which is opened"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras)"),
    (0, b"\x93NUMPY", "a NumPy file"),
    (0, b"\x1f\x8b", "compressed with gzip"),
    (0, b"BZh", "compressed with bzip2"),
    (0, b"\xfd7zXZ\x00", "compressed with xz"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"GGUF", "a GGUF file"),
    (0, b"\x7fELF", "a program"),
    (0, b"GIF8", "a picture"),
    (0, b"\x89PNG", "a picture"),
    (0, b"\xff\xd8\xff", "a picture"),
    (4, b"TFL3", "a TensorFlow Lite file"),
    (257, b"ustar", "a tar archive"),
)
"""Offset, bytes there, and what they tell."""

_REMEDY = "give safetensors, a torch file of a state_dict, or ONNX"


def format_of(content: bytes) -> str:
    """`safetensors`, `torch` (a zip file) or `onnx`, as far as the first bytes tell.

    Raises:
        Refusal: it is none of them; known formats are named.
    """
    if not content:
        raise Refusal("is empty", _REMEDY)
    if content.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "torch"
    if content[8:9] == b"{":
        return "safetensors"
    for offset, magic, what in _FOREIGN:
        if content[offset : offset + len(magic)] == magic:
            raise Refusal(f"is {what}", _REMEDY)
    if content.startswith(b"\x08"):  # a protobuf message whose first field is a number: ONNX's ir_version
        return "onnx"
    raise Refusal("is of no known format", _REMEDY)
