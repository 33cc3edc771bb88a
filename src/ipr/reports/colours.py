"""The colours of all figures, told apart by every kind of colour vision (Okabe and Ito)."""

from __future__ import annotations

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999")

GENUINE, FORGED, DARK = PALETTE[0], PALETTE[1], "#333333"
"""Of what an owner has, of what a forger has, and of what is beside them."""

SCHEMES = {"passport_v1": PALETTE[0], "passport_v2": PALETTE[1], "passport_v3": PALETTE[2], "baseline": PALETTE[6]}


def colour_of(name: object, number: int) -> str:
    """A scheme's own colour, or the one of a place in the palette."""
    return SCHEMES.get(str(name), PALETTE[number % len(PALETTE)])
