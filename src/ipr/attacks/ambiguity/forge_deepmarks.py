"""A forged claim to the fingerprint of DeepMarks (the counterpart of Section II-B1)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from ipr.attacks.ambiguity.projections import ForgeProjection, Forgery
from ipr.attacks.base import Victim
from ipr.config.registry import register
from ipr.data.images import ImageData
from ipr.models.inspection import convolution_of
from ipr.schemes.deepmarks import DeepMarksClaim, code_book, embedding_loss, fingerprint, order_of
from ipr.watermarks.projection import mean_filter, secret_projection


@register("forge_deepmarks")
@dataclass
class ForgeDeepMarks(ForgeProjection):
    """A new projection X and basis for another user's word: |f - X w|^2 is minimised over X with the weights frozen,
    until all bits are read and the correlation is 0.99, or solved as it is linear.
    """

    section = "II-B1 (the same attack; no numbers)"
    attacker_has = "the weights and the code book; no training data"
    families, only = ("projection",), ("deepmarks",)
    needs = "nothing in it is read as a fingerprint vector"

    def forgery(self, victim: Victim, data: ImageData, source: torch.Generator) -> Forgery:
        """See `ForgeProjection.forgery`."""
        owner = victim.claim
        assert isinstance(owner, DeepMarksClaim)
        w = mean_filter(convolution_of(victim.suspect, owner.layer)[1]).detach().cpu()
        words = code_book(order_of(owner.bits.numel()))
        others = words[(words != owner.bits).any(1)]
        bits = others[int(torch.randint(others.shape[0], (1,), generator=source))]
        basis, _ = torch.linalg.qr(torch.randn(bits.numel(), bits.numel(), generator=source))
        wanted = fingerprint(basis, bits)

        def solved(projection: Tensor) -> bool:
            found = projection @ w
            read = (basis.T @ found > 0) == (bits > 0)
            return bool(read.all()) and float(functional.cosine_similarity(found, wanted, dim=0)) >= 0.99

        return Forgery(
            vectors=w[None],
            start=secret_projection(bits.numel(), w.numel(), source),
            target=wanted[None],
            loss=lambda projection: embedding_loss(w, projection, wanted),
            solved=solved,
            claim=lambda projection: replace(owner, origin=None, projection=projection, basis=basis, bits=bits),
        )
