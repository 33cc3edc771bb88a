"""A suspect's answers on disk, so that nothing is asked twice."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from ipr.errors import InputError
from ipr.files import naming


class KeptAnswers:
    """The class that was answered for each image, by the image's digest.

    The folder is made for its owner alone (0700), the file in it (0600) as well: which images were asked would tell
    which are the trigger images. It holds digests and class numbers only.

    Attributes:
        classes: digest -> class.

    Args:
        folder: where they are kept, one batch a line of `answers.jsonl`; None for only as long as this object.
        count: K; an answer that is not one of 0 ... K - 1 is not believed.

    Raises:
        InputError: the folder cannot be made or read.
    """

    def __init__(self, folder: Path | None, count: int) -> None:
        self.classes: dict[str, int] = {}
        self._path = None if folder is None else folder / "answers.jsonl"
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            content = self._path.read_bytes() if self._path.exists() else b""
        except OSError as error:
            problem = f"cannot be used ({error.strerror})"
            raise InputError("answers", folder, problem, "choose another folder") from error
        for line in content.split(b"\n"):
            self.classes |= _read(line, count)

    def add(self, answered: Mapping[str, int]) -> None:
        """Keeps a batch; it is on the disk before this returns."""
        self.classes |= answered
        if self._path is None:
            return
        # The line's end comes first: it also ends a line that was torn when a process or machine went down.
        line = b"\n" + json.dumps(answered).encode()
        opened = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        with naming(self._path), os.fdopen(os.open(self._path, opened, 0o600), "ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


def _read(line: bytes, count: int) -> dict[str, int]:
    """The answers of a line; none from one that is torn or otherwise damaged: they are asked again."""
    try:
        answered = json.loads(line)
    except ValueError:
        return {}
    if not isinstance(answered, dict) or not all(type(c) is int and 0 <= c < count for c in answered.values()):
        return {}
    return answered
