"""Signatures in the signs of scale factors (Section III-C, Eq. 6, Algorithms 4 and 5), and what chance explains.

A signature is one bit in {-1, +1} per channel of each protected layer, stored as int8. Text is written with 8 bits a
byte of its UTF-8 form, the highest bit first, +1 for a set bit (Table VIII), from the first protected layer on.

Beyond the paper, channels may carry no bit, 0 (`signed_channels`): public and private scales that differ in sign want
features of opposite sign from one filter, which costs accuracy with every channel that is signed (docs/passports.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from ipr.errors import InputError
from ipr.world import own_world

Signature = Mapping[str, Tensor]
"""Layer name -> bits in {-1, +1}, int8, one for each of the layer's C channels; 0 where a channel carries none."""


def encode_text(text: str) -> Tensor:
    """Text as bits in {-1, +1}; int8, 8 per UTF-8 byte, highest bit first (Table VIII)."""
    octets = torch.tensor(list(text.encode()), dtype=torch.int16)
    shifts = torch.arange(7, -1, -1, dtype=torch.int16)
    return ((octets[:, None] >> shifts & 1) * 2 - 1).to(torch.int8).flatten()


def decode_text(bits: Tensor) -> str:
    """The text in `bits` ({-1, +1}, 8 per byte); bytes that are not UTF-8 come out as the replacement character."""
    usable = bits.numel() // 8 * 8
    octets = (bits[:usable].reshape(-1, 8) > 0).to(torch.int32) @ (2 ** torch.arange(7, -1, -1, dtype=torch.int32))
    return bytes(octets.tolist()).decode(errors="replace")


@own_world()
def draw_signature(
    capacities: Mapping[str, int], text: str | None, generator: Generator, count: int | None = None
) -> dict[str, Tensor]:
    """A signature for layers of the given capacities: the text first, random bits behind it.

    Args:
        capacities: layer name -> number of channels, in the order in which the layers are written.
        text: what the owner wants to read back; None for random bits only.
        generator: the source of the random bits, and then of the channels that carry them.
        count: how many channels carry a bit; None for all.

    Raises:
        InputError: the text needs more bits than there are, or there are not so many channels.
    """
    channels = sum(capacities.values())
    total = signed_channels(count, channels)
    bits = torch.randint(0, 2, (total,), generator=generator, dtype=torch.int8) * 2 - 1
    if text:
        written = encode_text(text)
        if written.numel() > total:
            raise InputError(
                "scheme.signature",
                f"<{len(text)} characters>",
                f"needs {written.numel()} bits, but the layers {', '.join(capacities)} hold {total}",
                f"shorten it to {total // 8} bytes, or give more: scheme.bits, scheme.layers, model.width",
            )
        bits[: written.numel()] = written
    if total < channels:
        bits = at_channels(bits, torch.rand(channels, generator=generator, dtype=torch.float64))
    return dict(zip(capacities, bits.split(list(capacities.values())), strict=True))


def signed_channels(count: int | None, channels: int) -> int:
    """How many of so many channels carry a bit: `scheme.bits`, or all where it is None.

    Raises:
        InputError: there are not so many.
    """
    if count is not None and not 0 < count <= channels:
        problem = f"is not from 1 to {channels}, the channels of the protected layers"
        raise InputError("scheme.bits", count, problem, f"give at most {channels}, or null for all")
    return channels if count is None else count


def at_channels(bits: Tensor, ranks: Tensor) -> Tensor:
    """Bits, (N,), in their order at the N channels of the lowest rank; 0 at the others. (C,), as ranks."""
    chosen = ranks.argsort(stable=True)[: bits.numel()].sort().values
    return torch.zeros(ranks.numel(), dtype=bits.dtype).index_copy(0, chosen, bits)


def bits_of(signature: Signature) -> Tensor:
    """The bits of all layers without the channels that carry none, (N,), in {-1, +1}, int8."""
    both = torch.cat(list(signature.values()))
    return both[both != 0]


def check_text_bytes(text_bytes: int, bits: int) -> None:
    """Refuses a claim of text that is longer than the bits that hold it.

    Raises:
        InputError: saying so.
    """
    if type(text_bytes) is not int or not 0 <= 8 * text_bytes <= bits:
        raise InputError("claim", "text_bytes", f"is no length of text in {bits} bits", "restore the claim")


def sign_loss(gamma: Tensor, bits: Tensor, gamma_0: float | Tensor = 0.1) -> Tensor:
    """Eq. 6 (Algorithm 4): sum over channels of max(gamma_0 - gamma_i * b_i, 0), where b_i is not 0.

    Args:
        gamma: scale factors, shape (C,).
        bits: the signature in {-1, +1}, 0 where a channel carries no bit; shape (C,).
        gamma_0: the magnitude that the loss asks for; above 0; of all scales or of each, shape (C,).

    Returns:
        A scalar of gamma's type; 0 once every gamma_i has its sign and at least that magnitude.
    """
    return (torch.relu(gamma_0 - gamma * bits) * bits.abs()).sum()


def detect(gamma: Tensor) -> Tensor:
    """Algorithm 5: the bits that the signs of gamma spell; int8, +1 where gamma > 0, -1 where gamma < 0.

    Deviation: 0 where gamma is 0, which agrees with neither bit. A passport of zeros would spell any row of -1 else.
    """
    return (gamma > 0).to(torch.int8) - (gamma < 0).to(torch.int8)


def agreeing_bits(detected: Tensor, bits: Tensor) -> int:
    """The number of positions at which two strings of bits agree, of those where `bits` has one (is not 0)."""
    return int(((detected.to(bits.device) == bits) & (bits != 0)).sum())


def binomial_tail(agreeing: int, total: int, choices: int = 2) -> tuple[float, float]:
    """The chance that guesses agree at least this well: P(X >= agreeing), X ~ Binomial(total, 1 / choices).

    Computed in whole numbers, so it is exact up to the final rounding, for any number of bits: `scipy.stats.binom` ends
    at 10^-308, which 2000 bits that all agree (10^-602) are below.

    Returns:
        The probability (0.0 where it is below the smallest float) and its base-10 logarithm (always finite).

    Raises:
        ValueError: unless 0 <= agreeing <= total.
    """
    if not 0 <= agreeing <= total:
        raise ValueError(f"agreeing={agreeing}: not between 0 and total={total}")
    # outcomes with exactly k agreeing: comb(total, k) (choices - 1)^(total - k), of choices^total in all
    term = math.comb(total, agreeing) * (choices - 1) ** (total - agreeing)
    favourable = term
    for successes in range(agreeing, total):
        term = term * (total - successes) // ((successes + 1) * (choices - 1))
        favourable += term
    # int / int rounds correctly and underflows to 0.0; log2 takes integers of any size.
    log2 = math.log2(favourable) - total * math.log2(choices)
    return favourable / choices**total, log2 * math.log10(2)
