"""The verification process V (Definition 1.III, Algorithm 5): reading a signature back from a network's weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ipr.signature import Signature, agreeing_bits, binomial_tail, decode_text, detect


@dataclass(frozen=True)
class Reading:
    """What the signs of the scale factors spell under a claimed passport.

    Attributes:
        agreeing: bits that agree with the claimed signature, by layer.
        total: bits of each layer.
        p_value: the chance that a guess agrees at least as well over all layers (exact binomial tail).
        p_value_log10: its base-10 logarithm, finite where the p-value underflows.
        text: the text read back; secret. "" where the signature holds none.
    """

    agreeing: Mapping[str, int]
    total: Mapping[str, int]
    p_value: float
    p_value_log10: float
    text: str

    @property
    def agreement(self) -> float:
        """The fraction of all bits that agree, in [0, 1]."""
        return sum(self.agreeing.values()) / sum(self.total.values())


def read_signature(scales: Mapping[str, Tensor], signature: Signature, text_bytes: int = 0) -> Reading:
    """Algorithm 5 over all protected layers.

    Args:
        scales: layer -> gamma that the claim gives it, (C,).
        signature: the claimed bits of each layer.
        text_bytes: how many bytes of text to decode from the front.
    """
    detected = {name: detect(scales[name]).cpu() for name in signature}
    agreeing = {name: agreeing_bits(detected[name], bits) for name, bits in signature.items()}
    total = {name: bits.numel() for name, bits in signature.items()}
    p_value, log10 = binomial_tail(sum(agreeing.values()), sum(total.values()))
    text = decode_text(torch.cat(list(detected.values()))[: 8 * text_bytes])
    return Reading(agreeing, total, p_value, log10, text)
