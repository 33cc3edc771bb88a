"""What a training is told of an epoch: means of the loss terms and the accuracy, summed on the device, read once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping

import torch
from torch import Tensor


class EpochMeans:
    """Running sums over the steps of an epoch. Adding to them takes a few small operations and waits for nothing.

    They are kept on the device of what is added, in place: a step that is replayed as a CUDA graph adds to them, too.

    Attributes:
        tally: what was added up on the host: the rows that terms of these names stand for, and the answers counted.
    """

    def __init__(self) -> None:
        # a scheme may have other terms in other steps (V2, alternating), and a mean is over the steps that have it
        self._sums: dict[tuple[str, ...], Tensor] = {}
        self._correct: Tensor | None = None
        self.tally: Counter[Hashable] = Counter()

    def start_epoch(self) -> None:
        """Forgets what was added."""
        for sums in (*self._sums.values(), self._correct):
            if sums is not None:
                sums.zero_()
        self.tally.clear()

    def count(self, logits: Tensor, y: Tensor) -> None:
        """Counts the answers that are right.

        Args:
            logits: shape (B, classes).
            y: shape (B,).
        """
        if self._correct is None:
            self._correct = torch.zeros((), dtype=torch.int64, device=y.device)
        self._correct += (logits.detach().argmax(-1) == y).sum()
        self.tally["answers"] += y.numel()

    def add(self, terms: Mapping[str, Tensor], rows: int) -> Tensor:
        """Adds the terms of one step.

        Args:
            terms: scalars by name.
            rows: images of the step, by which it counts.

        Returns:
            Their sum, with its gradient.
        """
        names = tuple(terms)
        values = torch.stack(list(terms.values()))
        loss = values.sum()
        if names not in self._sums:
            self._sums[names] = torch.zeros(len(names) + 1, dtype=values.dtype, device=values.device)
        sums = self._sums[names]
        sums[:-1].add_(values.detach(), alpha=rows)
        sums[-1].add_(loss.detach(), alpha=rows)
        self.tally[names] += rows
        return loss

    def answers(self) -> tuple[Tensor | None, int]:
        """How many answers were right, a scalar on the device, and of how many; None where none was counted."""
        return self._correct, self.tally["answers"]

    def means(self) -> dict[str, Tensor]:
        """The means by name, `loss` among them, of what was added since the epoch began."""
        totals: dict[str, Tensor] = {}
        rows: dict[str, int] = {}
        for names, sums in self._sums.items():
            if self.tally[names]:
                for name, value in zip((*names, "loss"), sums.unbind(), strict=True):
                    totals[name] = totals[name] + value if name in totals else value
                    rows[name] = rows.get(name, 0) + self.tally[names]
        return {name: value / rows[name] for name, value in totals.items()}
