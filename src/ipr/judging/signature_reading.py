"""The verification process V (Definition 1.III, Algorithm 5): reading a signature back from a network's weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ipr.claims.base import Reading, reading
from ipr.signature import Signature, agreeing_bits, decode_text, detect


def read_signature(scales: Mapping[str, Tensor], signature: Signature, text_bytes: int = 0) -> Reading:
    """Algorithm 5 over all protected layers.

    Args:
        scales: layer -> gamma that the claim gives it, (C,), as `PresentedClaim.signed_scales` has it.
        signature: the claimed bits of each layer.
        text_bytes: how many bytes of text to decode from the front.
    """
    detected = {name: detect(scales[name]).cpu() for name in signature}
    agreeing = {name: agreeing_bits(detected[name], bits) for name, bits in signature.items()}
    total = {name: bits.numel() for name, bits in signature.items()}
    text = decode_text(torch.cat(list(detected.values()))[: 8 * text_bytes])
    return reading(agreeing, total, text=text)
