"""The verification process V (Definition 1.III, Algorithm 5): reading a signature back from a network's weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ipr.claims.base import Reading, reading
from ipr.signature import Signature, agreeing_bits, binomial_tail, decode_text, detect

UNLIKELY = 2.0**-40
"""The chance at and below which so few bits are no accident."""


def read_signature(scales: Mapping[str, Tensor], signature: Signature, text_bytes: int = 0) -> Reading:
    """Algorithm 5 over all protected layers.

    Args:
        scales: layer -> gamma that the claim gives it, (C,), as `PresentedClaim.signed_scales` has it.
        signature: the claimed bits of each layer; channels that carry none are passed over.
        text_bytes: how many bytes of text to decode from the front.
    """
    detected = {name: detect(scales[name]).cpu() for name in signature}
    agreeing = {name: agreeing_bits(detected[name], bits) for name, bits in signature.items()}
    total = {name: int(bits.count_nonzero()) for name, bits in signature.items()}
    signed = torch.cat([bits.cpu() for bits in signature.values()]) != 0
    text = decode_text(torch.cat(list(detected.values()))[signed][: 8 * text_bytes])
    return reading(agreeing, total, text=text)


def turned(reading: Reading, p_value: float = UNLIKELY) -> bool:
    """Whether so few bits agree that an unrelated network would hardly read so few: 0 of 224 is no chance either.

    It verifies nothing. It tells a judge that the suspect has to do with the claim, and that its signs were turned
    (`attack=flip_groups`), which a reference undoes.

    Args:
        reading: of bits; of anything else it is never so.
        p_value: the largest chance of so few bits or fewer, each a fair coin.
    """
    agreeing, total = sum(reading.agreeing.values()), sum(reading.total.values())
    return not reading.images and reading.unit == "bits" and binomial_tail(total - agreeing, total)[0] <= p_value


def both_tails_log10(agreeing: int, total: int) -> float:
    """log10 of the chance that fair coins agree at least as far from half of the bits, on either side.

    Args:
        agreeing: bits that agree.
        total: of so many; at least 1.

    Raises:
        ValueError: unless 0 <= agreeing <= total.
    """
    return min(0.0, binomial_tail(max(agreeing, total - agreeing), total)[1] + math.log10(2))
