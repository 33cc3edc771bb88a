"""The pickle inside a torch file, followed without making anything of it.

`torch.load(weights_only=True)` runs no code of the file, but it does as it is told with what it allows. So the
instructions are followed first with the kinds of values alone, and only those are let through that `torch.save` writes
for state_dicts.

Why not a child process with limits instead (measured with torch 2.14 on the files of `tests/hostile_weights.py`, with
the record `version` that torch wants besides, 1 GiB and 10 s of CPU): a key that is a tuple nested 200,000 times ends
it (SIGSEGV), one that is doubled 60 times takes all its time, 10^12 elements of stride 0 and wrong sums are taken, and
to start it costs 1.7 s of CPU and 650 MB a file. Limits on memory and time are also none on what is run, should the
loader have a hole again (CVE-2025-32434): a child may do all that its user may.
"""

from __future__ import annotations

import warnings
from pickletools import genops
from typing import Any

from ipr.suspects.checks import SAVE_AGAIN, Refusal, shown

MAX_PICKLE_BYTES = 4 * 2**20
"""The longest that is followed; a tensor takes some 200 bytes of it."""

_STORAGES = frozenset(
    f"torch {kind}Storage" for kind in ("Half", "BFloat16", "Float", "Double", "Byte", "Char", "Short", "Int", "Long")
)
_TENSOR, _ORDERED = "torch._utils _rebuild_tensor_v2", "collections OrderedDict"

_CONSTANTS = {
    "NONE": "none", "NEWTRUE": "number", "NEWFALSE": "number", "BININT": "number", "BININT1": "number",
    "BININT2": "number", "LONG1": "number", "BINFLOAT": "number", "BINUNICODE": "text", "EMPTY_TUPLE": (),
    "EMPTY_LIST": "list", "EMPTY_DICT": "dict",
}  # fmt: skip
"""Instruction -> the kind of what it puts on the stack. The kind of a tuple is the tuple of its items' kinds."""


def check_pickle(content: bytes) -> None:
    """Follows the instructions to their end.

    Raises:
        Refusal: they ask for anything but tensors, texts, numbers, lists and dicts, or do not make sense.
    """
    if len(content) > MAX_PICKLE_BYTES:
        raise Refusal(f"describes its tensors in {len(content)} bytes, more than {MAX_PICKLE_BYTES}", SAVE_AGAIN)
    machine = _Machine()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in names, which lead to no name that is let through
            for instruction, argument, _ in genops(content):
                machine.follow(instruction.name, argument)
    except (ValueError, IndexError, KeyError) as error:
        raise _senseless() from error


def _senseless() -> Refusal:
    return Refusal("is damaged, or not written by torch.save (its pickle makes no sense)", SAVE_AGAIN)


class _Machine:
    """A stack of kinds, marks on it, and what was put aside."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def follow(self, name: str, argument: Any) -> None:
        """One instruction."""
        stack = self.stack
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "GLOBAL":
            self._name(argument)
        elif name == "MARK":
            self.marks.append(len(stack))
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            stack.append(tuple(self._pop(int(name[-1]))))
        elif name == "TUPLE":
            stack.append(tuple(self._pop_to_mark()))
        elif name in ("APPEND", "APPENDS"):
            self._pop(1) if name == "APPEND" else self._pop_to_mark()
            self._expect(stack[-1] == "list")
        elif name in ("SETITEM", "SETITEMS"):
            items = self._pop(2) if name == "SETITEM" else self._pop_to_mark()
            keys_are_plain = all(key in ("text", "number") for key in items[::2])  # hashing others may not end
            self._expect(keys_are_plain and len(items) % 2 == 0 and stack[-1] in ("dict", _ORDERED + "()"))
        elif name == "BINPERSID":
            (asked,) = self._pop(1)
            self._expect(isinstance(asked, tuple) and len(asked) == 5)
            self._expect(isinstance(asked[1], str) and asked[1] in _STORAGES)
            self._expect((asked[0], *asked[2:]) == ("text", "text", "text", "number"))
            stack.append("storage")
        elif name == "REDUCE":
            function, arguments = self._pop(2)
            stack.append(self._called(function, arguments))
        elif name == "BUILD":
            (state,) = self._pop(1)
            self._expect(state == "dict" and stack[-1] == _ORDERED + "()")
        elif name == "STOP":
            self._expect(len(stack) == 1 and not self.marks and stack[0] in ("dict", _ORDERED + "()"))
        elif name != "PROTO" or argument != 2:
            raise Refusal(f"is not written by torch.save (its pickle holds {name})", SAVE_AGAIN)

    def _name(self, asked: str) -> None:
        if asked not in (_TENSOR, _ORDERED) and asked not in _STORAGES:
            what = shown(asked.replace(" ", "."))
            raise Refusal(f"asks for {what}, which is neither run nor loaded", SAVE_AGAIN)
        self.stack.append(asked)

    def _called(self, function: Any, arguments: Any) -> str:
        if function == _ORDERED:
            self._expect(arguments == ())
            return _ORDERED + "()"
        self._expect(function == _TENSOR and isinstance(arguments, tuple) and len(arguments) == 6)
        storage, offset, size, stride, gradient, hooks = arguments
        self._expect((storage, offset, gradient, hooks) == ("storage", "number", "number", _ORDERED + "()"))
        for numbers in (size, stride):
            self._expect(isinstance(numbers, tuple) and all(number == "number" for number in numbers))
        return "tensor"

    def _pop(self, count: int) -> list[Any]:
        at = len(self.stack) - count
        self._expect(at >= (self.marks[-1] if self.marks else 0))
        popped = self.stack[at:]
        del self.stack[at:]
        return popped

    def _pop_to_mark(self) -> list[Any]:
        return self._pop(len(self.stack) - self.marks.pop())

    @staticmethod
    def _expect(condition: bool) -> None:
        if not condition:
            raise _senseless()
