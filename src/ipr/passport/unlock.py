"""From weights that lack their passport's scales (scheme V1) to weights that work without a passport.

A lock for convenience: where passports are feature maps, a passport of ones opens the weights, too.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import Tensor, nn

from ipr.errors import InputError
from ipr.passport.layer import Branch
from ipr.passport.surgery import Passport, find_layers, protect, strip
from ipr.world import own_world


@own_world()
def unlock(network: nn.Module, locked: Mapping[str, Tensor], passport: Passport, example: Tensor) -> dict[str, Tensor]:
    """The `state_dict` of the plain network with the passport's scale and shift (Eq. 4) as those of its norms.

    Args:
        network: a plain network of the weights' architecture, whatever its own weights; left as it was.
        locked: a `state_dict` of it in which the norms behind the passport's convolutions have no scale and shift.
        passport: what they were trained with.
        example: an input for the network, used to follow one forward pass.

    Raises:
        InputError: the weights are not locked, or do not fit the network, or the passport does not.
    """
    plain = copy.deepcopy(network)
    layers = find_layers(plain, example, list(passport))
    wanted = plain.state_dict()
    absent = {f"{layer.norm}.{part}" for layer in layers for part in ("weight", "bias")}
    if present := sorted(absent & locked.keys()):
        remedy = "give the weights of a network that was trained with this passport by scheme V1"
        raise InputError("weights", present[0], "is there, so they are not locked", remedy)
    problem = next((f"{name} is missing" for name in wanted if name not in absent | locked.keys()), None)
    for name, tensor in locked.items():
        if name not in wanted:
            problem = f"{name} has no place"
        elif tensor.shape != wanted[name].shape:
            problem = f"its shape must be {tuple(wanted[name].shape)}, not {tuple(tensor.shape)}: {name}"
    if problem:
        raise InputError("weights", problem, "they are not the architecture's", "give the claim they were trained with")
    plain.load_state_dict(dict(locked), strict=False)
    working = strip(protect(plain, passport, example, public_affine=False), Branch.PRIVATE)
    return {name: tensor.detach() for name, tensor in working.state_dict().items()}
