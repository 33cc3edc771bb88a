"""How far from 0 the sign loss asks scales to be: gamma_0 of Eq. 6, by the passport's energy and the weights it meets.

Whatever moves the weights of a layer by noise of standard deviation t moves its scales gamma = <W, S> by t |S|: a scale
outlasts it if it is larger. So, with E = |S| and s the standard deviation of the weights, `OF_NOISE` E s outlasts the
same relative noise t / s in every layer and at every energy. It also bounds what shows: along S stands gamma / E, which
is then `OF_NOISE` of what stands along any other direction (`generate.hidden_energies`).

The paper asks for 0.1 throughout, of its own passports.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ipr.models.inspection import projection_of

OF_NOISE = 2 / 3
"""The magnitude, as a share of E s."""

LEAST, MOST = 0.1, 1.0
"""What is asked for at the least, which is the paper's, and at the most: no more was tried."""


def margins(network: nn.Module, energies: Mapping[str, Tensor]) -> dict[str, float]:
    """The magnitude that is asked of every scale of a layer.

    Args:
        network: a plain network, as its training begins.
        energies: |S| of P_gamma, and of P_beta, at each layer (`PassportClaim.energies`).

    Returns:
        Layer name -> gamma_0, from `LEAST` to `MOST`.
    """
    found = {}
    for name, lengths in energies.items():
        spread = float(torch.std(projection_of(network, name).weight.detach().double(), correction=0))
        found[name] = min(MOST, max(LEAST, OF_NOISE * float(lengths[0]) * spread))
    return found
