"""A forged claim to the watermark of Uchida et al. (Section II-B1, Table I)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ipr.attacks.ambiguity.projections import ForgeProjection, Forgery, bits_as_values
from ipr.attacks.base import Victim
from ipr.config.registry import register
from ipr.data.images import ImageData
from ipr.models.inspection import convolution_of
from ipr.schemes.uchida import UchidaClaim, embedding_loss
from ipr.watermarks.projection import mean_filter, secret_projection


@register("forge_uchida")
@dataclass
class ForgeUchida(ForgeProjection):
    """A new projection X for random bits: Eq. 2 is minimised over X with the weights frozen, or solved as it is linear.

    The paper took 50 iterations, 2.5 % of the training time; its optimiser and rate are not told, ours is Adam.
    """

    section = "II-B1, Table I"
    attacker_has = "the weights; no training data"
    families, only = ("projection",), ("uchida",)
    needs = "nothing in it is read by a projection of a mean filter with bits as signs"

    def forgery(self, victim: Victim, data: ImageData, source: torch.Generator) -> Forgery:
        """See `ForgeProjection.forgery`."""
        owner = victim.claim
        assert isinstance(owner, UchidaClaim)
        w = mean_filter(convolution_of(victim.suspect, owner.layer)[1]).detach().cpu()
        bits = torch.randint(0, 2, owner.bits.shape, generator=source, dtype=torch.int8) * 2 - 1
        start = secret_projection(bits.numel(), w.numel(), source)
        return Forgery(
            vectors=w[None],
            start=start,
            target=bits_as_values(start, w[None], bits[None]),
            loss=lambda projection: embedding_loss(w, projection, bits),
            solved=lambda projection: bool(((projection @ w > 0) == (bits > 0)).all()),
            claim=lambda projection: replace(owner, origin=None, projection=projection, bits=bits, text_bytes=0),
        )
