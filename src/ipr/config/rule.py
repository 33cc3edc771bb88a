"""The rules that a decision can be made under. They are the judge's: a claim may only be stricter."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ipr.errors import InputError

NAMES = ("sound", "paper")
CHOICES = ("auto", "required", "reported")

LONG = 200
"""Bits of a signature that is long enough for `STRICT`: one of which 85 % are still read reaches it."""

STRICT, USUAL = 2.0**-80, 2.0**-40
"""The largest chance of a guess: for long signatures; for shorter ones, and for trigger images."""


@dataclass
class Rule:
    """What a claim must show to be verified: `rule=sound|paper`.

    `paper` is Definition 1 of the paper: fidelity holds and the mark is read. `sound` asks besides for everything that
    forgers cannot have. Conditions are `auto` (by the rule), `required` or `reported`.
    """

    name: str = "sound"  # sound: forgers are reckoned with; paper: Definition 1 alone
    p_value: float | None = None  # the largest chance of a guess; null: 2^-80 from 200 bits on, else 2^-40
    fidelity: float = 0.03  # epsilon_f, a fraction; a claim may be stricter than both
    commitment: str = "auto"  # that it was committed to before the release; auto: sound requires it
    null: str = "auto"  # that it was calibrated; auto: sound requires it but for passports and exact chances
    drawn: str = "auto"  # that nobody chose the secrets; auto: sound requires it
    bound: str = "auto"  # that the signature is derived from the passport; auto: reported
    networks: int = 20  # how many independent networks a calibration must have asked

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise InputError("rule.name", self.name, "is unknown", f"choose {' or '.join(NAMES)}")
        for name in ("commitment", "null", "drawn", "bound"):
            if getattr(self, name) not in CHOICES:
                raise InputError(f"rule.{name}", getattr(self, name), "is unknown", "choose auto, required or reported")
        for name, value in (("p_value", self.p_value), ("fidelity", self.fidelity)):
            if value is not None and not 0 <= value < 1:
                raise InputError(f"rule.{name}", value, "is not from 0 to below 1", "give e.g. 1e-12, or 0.03")
        if self.networks < 1:
            raise InputError("rule.networks", self.networks, "must be at least 1", "give e.g. 20")

    @property
    def sound(self) -> bool:
        """Whether forgers are reckoned with."""
        return self.name == "sound"

    def requires(self, condition: str, *, auto: bool) -> bool:
        """Whether a condition is required; `auto` says whether the sound rule asks for it by itself."""
        choice = getattr(self, condition)
        return choice == "required" or (choice == "auto" and self.sound and auto)

    def threshold_log10(self, claimed: float, bits: int) -> float:
        """log10 of the largest chance of a guess, for a signature of so many bits (0 for trigger images).

        Args:
            claimed: the claim's own p-value, which counts where it is stricter.
            bits: of the signature.
        """
        own = self.p_value if self.p_value is not None else STRICT if bits >= LONG else USUAL
        return log10(min(own, claimed))

    def epsilon(self, claimed: float) -> float:
        """epsilon_f; the claim's own, `claimed`, counts where it is stricter."""
        return min(self.fidelity, claimed)


SOUND = Rule()
"""The default of `ipr verify`."""


def log10(p_value: float) -> float:
    """log10 of a threshold; minus infinity for 0, which nothing reaches."""
    return math.log10(p_value) if p_value > 0 else -math.inf
