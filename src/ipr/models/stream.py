"""The residual stream of a transformer, and its rotation, which changes no answer (Ashkboos et al., "SliceGPT", 2024).

Every block adds to the stream, (..., C), and reads it through a norm. With the norms' scales and shifts folded into the
linear layers that read them, what is left of a layer norm subtracts the mean of the C numbers and divides by their
spread: both are the same in any other orthonormal basis in which (1, ..., 1) points where it did. So whatever is added
can be rotated by Q, and whatever reads be rotated back. RMS norm subtracts nothing: there Q may be any rotation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from ipr.errors import InputError
from ipr.models.feeding import VIEWS, behind, is_sum_norm, readers_of
from ipr.models.inspection import Projection, answer_of, evaluating, recorded

SAME = 1e-4
"""How much answers may move by rounding, relative to their size."""


@dataclass(frozen=True)
class Stream:
    """What adds to a residual stream and what reads it.

    Attributes:
        channels: C.
        writers: convolutions and linear layers whose outputs are added.
        added: parameters that are added, (..., C): a class token, positions.
        readers: norm -> weight (N, C) and bias (N,) of each linear layer behind it.
        centred: whether a norm subtracts the mean, so that Q must leave (1, ..., 1) where it is.
    """

    channels: int
    writers: tuple[Projection, ...]
    added: tuple[Tensor, ...]
    readers: dict[nn.Module, list[tuple[Tensor, Tensor | None]]]
    centred: bool


def stream_of(network: nn.Module, example: Tensor) -> Stream:
    """The residual stream of a network whose norms all see one, by one forward pass.

    Args:
        network: a plain network; left as it was.
        example: an input for it.

    Raises:
        InputError: it has none that can be followed.
    """
    norms = [module for module in network.modules() if is_sum_norm(module)]
    widths = {tuple(getattr(norm, "normalized_shape", ())) for norm in norms}
    if len(widths) != 1 or len(width := next(iter(widths))) != 1:
        raise _none(network, "its norms do not all see one stream")
    given: list[Any] = []
    made: dict[Any, Projection] = {}

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        output, maker = (output[0], module.out_proj) if isinstance(module, nn.MultiheadAttention) else (output, module)
        assert isinstance(maker, Projection)
        made[output.grad_fn] = maker

    with ExitStack() as stack:
        for module in network.modules():
            if isinstance(module, Projection | nn.MultiheadAttention):
                stack.callback(module.register_forward_hook(after).remove)
        for norm in norms:
            handle = norm.register_forward_pre_hook(lambda _, args: given.append(args[0].grad_fn))
            stack.callback(handle.remove)
        stack.enter_context(recorded(network))
        answer_of(network, example.detach().requires_grad_() * 1)
    leaves = _Leaves(made)
    reached = dict.fromkeys(end for node in given for end in behind(node, VIEWS | {"Add", "Cat"}, leaves))
    writers = tuple(dict.fromkeys(made[end] for end in reached if end in made))
    added = tuple(end.variable for end in reached if end not in made and hasattr(end, "variable"))
    fits = all(one.weight.shape[0] == width[0] for one in writers) and all(one.shape[-1:] == width for one in added)
    if not writers or not fits or len(writers) + len(added) != len(reached):
        raise _none(network, "what is added to its stream cannot be followed")
    readers = {norm: readers_of(network, example, norm) for norm in norms}
    centred = any(isinstance(norm, nn.LayerNorm) for norm in norms)
    return Stream(width[0], writers, added, readers, centred)


class _Leaves:
    """Where a walk back along the stream ends: outputs of projections, parameters, and what is neither."""

    def __init__(self, made: dict[Any, Projection]) -> None:
        self.made = made

    def __contains__(self, node: Any) -> bool:
        known = node.name().partition("Backward")[0] in VIEWS | {"Add", "Cat"}
        return node in self.made or not known


def _none(network: nn.Module, why: str) -> InputError:
    remedy = "choose a transformer whose blocks add to one stream, e.g. model=vit"
    return InputError("model.name", type(network).__name__, f"has no residual stream to rotate ({why})", remedy)


def random_rotation(channels: int, source: Generator, *, centred: bool) -> Tensor:
    """Q, (C, C), float64: orthogonal, uniformly drawn; where `centred`, Q (1, ..., 1) = (1, ..., 1)."""
    free = channels - centred
    q: Tensor
    q, r = torch.linalg.qr(torch.randn(free, free, generator=source, dtype=torch.float64))
    q *= r.diagonal().sign()
    if not centred:
        return q
    frame = torch.eye(channels, dtype=torch.float64)
    frame[:, 0] = 1
    frame = torch.linalg.qr(frame)[0]  # the first column is along (1, ..., 1)
    inner = torch.block_diag(torch.ones(1, 1, dtype=torch.float64), q)
    rotation: Tensor = frame @ inner @ frame.T
    return rotation


@torch.no_grad()
def fold_norms(stream: Stream) -> None:
    """Moves every norm's scale and shift into what reads it, in place; the answers stay.

    Raises:
        InputError: a shift has nowhere to go, as what reads it has no bias.
    """
    for norm, readers in stream.readers.items():
        weight, bias = norm._parameters.get("weight"), norm._parameters.get("bias")
        for matrix, offset in readers:
            if bias is not None and offset is not None:
                offset += matrix @ bias
            elif bias is not None and bool(bias.any()):
                problem = "has a norm whose shift nothing behind it can take"
                raise InputError("model.name", type(norm).__name__, problem, "choose a transformer with biases")
            if weight is not None:
                matrix *= weight
        if weight is not None:
            weight.fill_(1)
        if bias is not None:
            bias.zero_()


@torch.no_grad()
def rotate(network: nn.Module, stream: Stream, q: Tensor, example: Tensor) -> None:
    """Rotates a residual stream: what is added by Q, what reads it back.

    Args:
        network: changed in place.
        stream: its own (`stream_of`).
        q: Q, (C, C), orthogonal.
        example: an input for the network, on which it is seen that the answers stay.

    Raises:
        InputError: they do not, or a shift has nowhere to go.
    """
    with evaluating(network):
        before = answer_of(network, example)
    fold_norms(stream)
    for writer in stream.writers:
        for values in _of(writer):
            values.copy_((q.to(values.device) @ values.double().flatten(1)).view_as(values))
    for values in stream.added:
        values.copy_(values.double() @ q.T.to(values.device))
    for readers in stream.readers.values():
        for matrix, _ in readers:
            matrix.copy_(matrix.double() @ q.T.to(matrix.device))
    with evaluating(network):
        moved = (answer_of(network, example) - before).norm()
    if not bool(moved <= SAME * before.norm() + SAME):
        raise _none(network, "its answers would change")


def _of(writer: Projection) -> Iterator[Tensor]:
    """Weights and biases, (C, ...) and (C, 1)."""
    yield writer.weight.data
    if writer.bias is not None:
        yield writer.bias.data[:, None]
