"""A claim to a network of another architecture: whether it fits, and what is asked of any network all the same."""

from __future__ import annotations

from torch import Tensor, nn

from ipr.claims.base import Claim
from ipr.data.images import LabelledImages
from ipr.errors import InputError
from ipr.judging.fidelity import accuracy


def fits(claim: Claim, network: nn.Module, example: Tensor) -> bool:
    """Whether a claim can be read from a network: it has the layers that the claim names, of these shapes.

    Args:
        claim: any; key images fit every network of their classes.
        network: a plain network.
        example: an input for it, (1, channels, H, W).
    """
    try:
        claim.check_network(network, example)
    except InputError:
        return False
    return True


def answered(claim: Claim, network: nn.Module, images: LabelledImages) -> float | None:
    """The share of a claim's trigger images that a network gives their label; None where it has none.

    Args:
        claim: any.
        network: what is asked.
        images: give the normalisation.
    """
    if claim.triggers is None:
        return None
    marked = LabelledImages(claim.triggers.pixels, claim.triggers.labels, images.mean, images.std)
    return accuracy(network, marked)
