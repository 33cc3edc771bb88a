"""Passports with an accessory whose bits are a hash of the passport, as their authors have it.

Not to be taken for a bound signature (`bound.py`): these hashes cost a forger nothing to try.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ipr.claims.redraw import Part
from ipr.errors import InputError
from ipr.passport.accessory import AccessoryClaim


@dataclass(frozen=True)
class HashedClaim(AccessoryClaim):
    """Passport, the signature that it hashes to, and what its scales pass through; `binding` says how it is hashed.

    Without a binding the signature is the claimant's choice: of forgers who bring other bits.
    """

    hashed_by: ClassVar[str]
    """The hash in words."""

    @abstractmethod
    def hashed(self, binding: str, capacities: Mapping[str, int]) -> dict[str, Tensor]:
        """The bits that follow from passport and `binding`, layer -> (C,), int8.

        Raises:
            InputError: the binding is none of this kind.
        """

    def _check_binding(self, text: str) -> None:
        if self.text_bytes:
            raise InputError("claim", "text_bytes", "is not 0, and a hash holds no text", "restore the claim")
        derived = self.hashed(text, {name: bits.numel() for name, bits in self.signature.items()})
        if any(not torch.equal(derived[name], bits.cpu()) for name, bits in self.signature.items()):
            problem = "the signature is not what the passport hashes to"
            raise InputError("claim", "binding", problem, "restore the claim; such a signature cannot be chosen")

    @property
    def bound(self) -> bool:
        """See `PresentedClaim.bound`: it costs a forger nothing to try, so that it keeps none out."""
        return False

    @property
    def relative(self) -> bool:
        """See `PresentedClaim.relative`."""
        return False

    @property
    def nonce(self) -> None:
        """See `Claim.nonce`."""

    @property
    def says_of_signature(self) -> str:
        """See `Claim.says_of_signature`."""
        return self.hashed_by if self.binding else "of the claimant's choice"

    def _signature_redrawn(self) -> Part:
        if self.binding is None:
            return super()._signature_redrawn()
        return Part("signature", "signature", True, "is what the passport hashes to")
