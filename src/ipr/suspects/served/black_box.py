"""A suspect that only answers: any callable, asked in batches, within a budget, and never twice for the same image."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor

from ipr.data.images import normalise
from ipr.errors import InputError
from ipr.suspects.served.answer_cache import KeptAnswers
from ipr.terminal.console import Console

Ask = Callable[[NDArray[np.float32]], NDArray[Any]]
"""Normalised images (B, C, H, W) -> scores (B, K), floats, or classes (B,), integers."""


class BlackBox:
    """A suspect that only answers.

    Attributes:
        name: what is asked.
        classes: K.
        queries: images that were sent so far, each time that one was.

    Args:
        ask: what answers; its answers are checked, its errors go on to the caller.
        classes: how many classes the suspect is to tell apart; those of the claim.
        name: names it in messages, and what its answers are kept under: another suspect has another name.
        batch_size: images of one call at most, from 1 on.
        budget: images that may be sent in all; None for no limit.
        answers: a folder that keeps the answers (`KeptAnswers`); None for none. It needs a name.

    Raises:
        InputError: a setting cannot be used.
    """

    def __init__(
        self,
        ask: Ask,
        classes: int,
        *,
        name: str = "",
        batch_size: int = 32,
        budget: int | None = None,
        answers: Path | None = None,
    ) -> None:
        if batch_size < 1:
            raise InputError("batch_size", batch_size, "is below 1", "give e.g. 32")
        if budget is not None and budget < 0:
            raise InputError("budget", budget, "is below 0", "give a number of images, or null for no limit")
        if answers is not None and not name:
            raise InputError("answers", answers, "are kept for a suspect with a name", "give name=...")
        self.classes, self.queries = classes, 0
        self._ask, self.name, self._batch_size, self._budget = ask, name, batch_size, budget
        self._kept = KeptAnswers(answers, classes)

    def answers(self, pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
        """The class of each image: int64, (N,), on the CPU. Equal images are asked once, known ones not at all.

        Args:
            pixels: uint8, (N, H, W, channels).
            mean: what is taken from each channel, in [0, 1].
            std: what it is then divided by.

        Raises:
            InputError: the budget is too small (nothing is asked then), or an answer cannot be used. Answers that came
                before are kept.
        """
        digests = self._digests(pixels, mean, std)
        wanted = {digest: index for index, digest in enumerate(digests) if digest not in self._kept.classes}
        self._check_budget(len(wanted))
        keys, places = list(wanted), torch.tensor(list(wanted.values()), dtype=torch.int64)
        starts = range(0, len(keys), self._batch_size)
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            for start in bar.track(starts, description="asking the suspect"):
                batch = slice(start, start + self._batch_size)
                images = normalise(pixels[places[batch]].cpu(), mean, std).contiguous().numpy()
                self.queries += len(images)
                found = self._classes(self._ask(images), len(images))
                self._kept.add(dict(zip(keys[batch], found, strict=True)))
        return torch.tensor([self._kept.classes[digest] for digest in digests], dtype=torch.int64)

    def _digests(self, pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> list[str]:
        """SHA-256 of all that determines what is sent for an image and to whom."""
        setting = hashlib.sha256(json.dumps([self.name, list(pixels.shape[1:]), list(mean), list(std)]).encode())
        digests = []
        for image in pixels.cpu().contiguous().numpy():
            digest = setting.copy()
            digest.update(image.tobytes())
            digests.append(digest.hexdigest())
        return digests

    def _check_budget(self, wanted: int) -> None:
        needed = self.queries + wanted
        if self._budget is not None and needed > self._budget:
            problem = f"{self.queries} images were sent, and {wanted} more are needed"
            raise InputError("budget", self._budget, problem, f"give at least {needed}, or fewer test images")

    def _classes(self, answer: Any, count: int) -> list[int]:
        if not isinstance(answer, np.ndarray):
            raise self._refused(f"answers with {type(answer).__name__}, not with an array")
        what = f"answers with {answer.dtype} of shape {answer.shape}"
        if answer.dtype.kind == "f" and answer.shape == (count, self.classes):
            if not np.isfinite(answer).all():
                raise self._refused("answers with scores that are NaN or infinite")
            return [int(c) for c in answer.argmax(1)]
        if answer.dtype.kind in "iu" and answer.shape == (count,):
            found = [int(c) for c in answer]
            if wrong := [c for c in found if not 0 <= c < self.classes]:
                raise self._refused(f"answers with class {wrong[0]}, where there are {self.classes}")
            return found
        raise self._refused(f"{what}, to {count} images of {self.classes} classes")

    def _refused(self, problem: str) -> InputError:
        remedy = "let it answer with float scores (B, K) or whole class numbers (B,)"
        return InputError("suspect", self.name or "<callable>", problem, remedy)
