"""Signs in a form that turning channels does not change: relative to the signs of the public scales.

A channel can be turned without changing any answer: W_i, the public scale and a running mean change their signs
together (with group norm a whole group does). The claimed scale <W_i, S> then changes its sign, too, and so a thief
turns channels until an owner reads nothing, and a forger until the bits are his. Divided by the sign of the public
scale it stays: to turn one and not the other is another network.

For a forger who solves the public scales back to a passport all these signs are +1, whatever he turns or permutes, and
only a hash that says +1 nearly everywhere would do. Against a copy that he may alter, or one whose signs are of both
kinds and which he permutes, it is no help (docs/verdicts.md). It decides nothing where there is no public scale to
compare with: scheme V1, whose scale is the passport's, keeps Algorithm 5 as published. Signatures that were chosen or
drawn do, too.

Why not the sign of a projection <W_i, R> on a public direction: no answer depends on it. A change of a few percent of
the weights along R gives it any sign in every channel (`tests/passport/test_normal_form.py`), to remove a signature or
to forge one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ipr.passport.kinds import public_pair
from ipr.passport.surgery import ConvNorm


def public_signs(network: nn.Module, layers: Sequence[ConvNorm]) -> dict[str, Tensor]:
    """The signs of the public scales, {-1, +1}: +1 where a scale is 0, or a norm has none (`kinds.public_pair`).

    Args:
        network: plain, or with passport layers.
        layers: the protected layers.

    Returns:
        Convolution -> (C,), of the type and on the device of its weights.
    """
    signs = {}
    for layer in layers:
        scale, _ = public_pair(network.get_submodule(layer.norm), layer.channels)
        signs[layer.conv] = sign(scale.to(network.get_parameter(f"{layer.conv}.weight")))
    return signs


def sign(scale: Tensor) -> Tensor:
    """-1 where a public scale is below 0, else +1."""
    return torch.where(scale < 0, -1.0, 1.0).to(scale)


def relative_to(signs: Mapping[str, Tensor], scales: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Claimed scales divided by the public scales' signs; (..., C) each."""
    return {name: scale * signs[name].to(scale) for name, scale in scales.items()}
