"""A whole step of training, recorded once and replayed: on a GPU one CUDA graph, which the host starts at once.

Small networks are trained faster than the host can start their operations one by one (docs/gpu.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from ipr.errors import InputError

WARM = 3
"""Steps of a kind that run as they are before one is recorded: what is made at a first step is made then."""

Work = Callable[[], None]


@dataclass
class _Recorded:
    """A step on images and labels that stay where they are; `counted` is what one adds to the tally of the means."""

    x: Tensor
    y: Tensor
    replay: Work
    counted: Counter[Hashable]


class CapturedStep:
    """Gradients, clipping and SGD of one batch. Its numbers are those of the same step run as it is.

    Each kind of step (other shapes; in V2, alternating, the other branch) is recorded on its own, after `WARM` steps.
    Where there are no graphs, on a CPU, every step runs as it is, by the same code.

    Args:
        loss: the loss of images (B, channels, H, W) and labels (B,), with its gradient.
        optimizer: SGD; on a GPU its learning rate becomes a tensor there, which the schedule fills.
        clip: bounds the gradients in place; None for no clipping.
        taken: how many steps were taken before.
        tally: what the steps count on the host (`EpochMeans.tally`).
        graphs: whether steps are recorded; by default where there are CUDA graphs.

    Attributes:
        number: how many steps were taken, int64, on the device.
    """

    def __init__(
        self,
        loss: Callable[[Tensor, Tensor], Tensor],
        optimizer: torch.optim.Optimizer,
        clip: Callable[[], object] | None,
        taken: int,
        tally: Counter[Hashable],
        graphs: bool | None = None,
    ) -> None:
        self.loss, self.optimizer, self.clip, self.tally = loss, optimizer, clip, tally
        self.device = optimizer.param_groups[0]["params"][0].device
        self.number = torch.tensor(taken, device=self.device)
        self.graphs = self.device.type == "cuda" if graphs is None else graphs
        self._run: Counter[Hashable] = Counter()
        self._recorded: dict[Hashable, _Recorded] = {}
        if self.device.type == "cuda":
            self._aside = torch.cuda.Stream(self.device)
            for group in optimizer.param_groups:
                group["lr"] = torch.tensor(float(group["lr"]), dtype=torch.float32, device=self.device)

    def __call__(self, x: Tensor, y: Tensor, kind: Hashable = None) -> None:
        """Trains on one batch.

        Args:
            x: images, (B, channels, H, W).
            y: labels, (B,).
            kind: what besides the shapes tells this step's operations from those of others.

        Raises:
            InputError: it cannot be recorded.
        """
        if not self.graphs:
            self._step(x, y)
            return
        which = (kind, x.shape, x.stride(), y.shape)
        if which not in self._recorded:
            if self._run[which] < WARM:
                self._run[which] += 1
                self._on_the_side(x, y)
                return
            self._recorded[which] = self._record(x, y)
        recorded = self._recorded[which]
        recorded.x.copy_(x)
        recorded.y.copy_(y)
        recorded.replay()
        self.tally.update(recorded.counted)

    def _step(self, x: Tensor, y: Tensor) -> None:
        self.optimizer.zero_grad()
        loss = self.loss(x, y)
        with torch.autocast(x.device.type, enabled=False):  # gradients are of the types that the forward pass has
            loss.backward()
        if self.clip is not None:
            self.clip()
        self.optimizer.step()
        self.number.add_(1)

    def _on_the_side(self, x: Tensor, y: Tensor) -> None:
        """A step on a stream other than the default one, which cannot be recorded."""
        self._aside.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._aside):
            self._step(x, y)
        torch.cuda.current_stream(self.device).wait_stream(self._aside)

    def _record(self, x: Tensor, y: Tensor) -> _Recorded:
        """Records a step without taking it."""
        own_x, own_y, before = x.clone(), y.clone(), Counter(self.tally)
        replay = self._graph_of(own_x, own_y)
        counted = Counter(self.tally)
        counted.subtract(before)
        self.tally.subtract(counted)  # nothing was computed
        return _Recorded(own_x, own_y, replay, counted)

    def _graph_of(self, x: Tensor, y: Tensor) -> Work:
        graph = torch.cuda.CUDAGraph()
        try:
            # another thread may copy images ahead meanwhile (`ipr.data.prefetch`)
            with torch.cuda.graph(graph, stream=self._aside, capture_error_mode="thread_local"):
                self._step(x, y)
        except RuntimeError as error:
            problem = f"a step of this training cannot be recorded ({str(error).splitlines()[0]})"
            raise InputError("trainer.capture", True, problem, "choose false") from error
        return graph.replay
