"""A transformer brought into the bases of a reference: the rotation of its residual stream, and what is free in blocks.

1. The stream. What stands between it and something that cannot be moved (pixels, positions, classes) tells the
   rotation: with A what the reference has there and A' = A Q^T what the suspect has, Q is the orthogonal part of the
   sum of A'^T A (Schoenemann 1966).
2. Hidden units, by assignment on the cosine of their rows; then heads, and values within a head by least squares.

Like all of alignment this looks at weights alone, never at what is claimed.
"""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from ipr.errors import InputError
from ipr.models.blocks import Values, hidden_of, mix, reorder, values_of
from ipr.models.inspection import classifier_of
from ipr.models.stream import Stream, fold_norms, rotate, stream_of


def stream_or_none(network: nn.Module, example: Tensor) -> Stream | None:
    """The residual stream of a transformer; None for any other network."""
    try:
        return stream_of(network, example)
    except InputError:
        return None


def match_stream(network: nn.Module, target: nn.Module, example: Tensor) -> dict[str, float]:
    """Brings a transformer into the bases of another, and says how alike they are then.

    Args:
        network: changed in place; its answers stay.
        target: of the same shapes; its norms are folded in place.
        example: an input for both.

    Returns:
        Layer -> mean |cosine| of its rows with the target's, in [0, 1], without those that told the rotation: they are
        alike in unrelated networks, too.

    Raises:
        InputError: one of them has no residual stream that can be rotated.
    """
    own, wanted = stream_of(network, example), stream_of(target, example)
    fold_norms(own)
    fold_norms(wanted)
    _check_finite(network)
    rotate(network, own, _rotation(_anchors(network, own), _anchors(target, wanted), centred=own.centred).T, example)
    _check_finite(network)
    for one, other in zip(hidden_of(network, example), hidden_of(target, example), strict=True):
        score = _unit(other.maker.weight) @ _unit(one.maker.weight).T
        reorder(one, torch.from_numpy(linear_sum_assignment(score.numpy(), maximize=True)[1]).long())
    for mine, theirs in zip(values_of(network), values_of(target), strict=True):
        _match_values(mine, theirs)
    named, last = dict(target.named_modules()), classifier_of(network)[0]
    return {
        name: float((_unit(module.weight) * _unit(named[name].get_parameter("weight"))).sum(1).abs().mean())
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and name != last
    }


def _check_finite(network: nn.Module) -> None:
    """Refuses weights that overflowed when scales were folded or rows mixed: no decomposition takes them.

    Raises:
        InputError: some did.
    """
    if not all(bool(weight.isfinite().all()) for weight in network.parameters()):
        remedy = "give the network that was committed to"
        raise InputError("suspect", type(network).__name__, "has scales that overflow together", remedy)


def _anchors(network: nn.Module, stream: Stream) -> list[Tensor]:
    """What stands between the stream and what cannot be moved, each (N, C), float64."""
    last = classifier_of(network)[1].weight
    found = [one.detach().flatten(0, -2) for one in stream.added]
    found += [one.weight.detach().flatten(1).T for one in stream.writers if isinstance(one, nn.Conv2d)]
    found += [w for readers in stream.readers.values() for w, _ in readers if w.data_ptr() == last.data_ptr()]
    return [one.double() for one in found]


def _rotation(ours: list[Tensor], theirs: list[Tensor], *, centred: bool) -> Tensor:
    """Q of ours = theirs Q^T, (C, C); where `centred`, Q (1, ..., 1) = (1, ..., 1)."""
    together = sum(a.T @ b / b.square().sum().clamp(min=1e-300) for a, b in zip(ours, theirs, strict=True))
    assert isinstance(together, Tensor)
    channels = together.shape[0]
    if centred:
        mean = torch.full((channels, channels), 1 / channels, dtype=torch.float64)
        rest = torch.eye(channels, dtype=torch.float64) - mean
        together = rest @ together @ rest + mean * together.norm().clamp(min=1e-300)
    left, _, right = torch.linalg.svd(together)
    rotation: Tensor = left @ right
    return rotation


def _unit(weight: Tensor) -> Tensor:
    """The rows of a layer, each of length 1, (C, D), float64."""
    return nn.functional.normalize(weight.detach().double().flatten(1))


def _match_values(ours: Values, theirs: Values) -> None:
    """Brings heads, and the values of each, to another's."""
    heads = ours.weight.shape[0]
    score = torch.zeros(heads, heads, dtype=torch.float64)
    for wanted in range(heads):
        for here in range(heads):  # the space that a head's values span does not depend on their basis
            spans = (torch.linalg.qr(v.weight[h].double().T)[0] for v, h in ((theirs, wanted), (ours, here)))
            one, other = spans
            score[wanted, here] = (one.T @ other).square().sum()
    order = linear_sum_assignment(score.numpy(), maximize=True)[1]
    for wanted, here in enumerate(order):
        if wanted != here:
            continue  # a head elsewhere has its queries and keys there, too: left where it is
        by = torch.linalg.lstsq(ours.weight[here].double().T, theirs.weight[wanted].double().T).solution.T
        if float(torch.linalg.cond(by)) < 1e6:
            mix(ours, int(here), by)
