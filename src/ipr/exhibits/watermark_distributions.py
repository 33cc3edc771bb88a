"""Genuine and forged watermarks of Uchida et al., and the features read with them (Figure 2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ipr.attacks.ambiguity.forge_projection import ForgeUchida, by_gradient
from ipr.attacks.base import Victim
from ipr.config.registry import register
from ipr.exhibits.base import Contents, Exhibit, Fact, OpenedRun
from ipr.exhibits.distances import ks_distance
from ipr.models.inspection import convolution_of
from ipr.randomness import generator
from ipr.schemes.uchida import UchidaClaim
from ipr.signature import agreeing_bits, detect
from ipr.watermarks.projection import mean_filter


def features(projection: Tensor, w: Tensor) -> Tensor:
    """What is read: sum_i X_ji w_i for each bit j, float32 (T,).

    Args:
        projection: X, (T, M).
        w: mean filter, (M,).
    """
    return (projection.double() @ w.double()).float()


@register("watermark_distributions")
@dataclass
class WatermarkDistributions(Exhibit):
    """X of the owner and X of a forger, what each extracts from the network, and what after it was fine-tuned.

    The forgery is the one by gradient of `attack=forge_uchida` with the same settings and `attack_seed`. Panel (c) of
    the paper's figure shows counterfeit watermarks, which fine-tuning cannot change; what it can change is what they
    extract, so that is what is shown.

    Arrays: `projection_genuine`, `projection_forged` (T, M); `features_genuine`, `features_forged` (T,), and with a
    fine-tuned network `tuned_genuine`, `tuned_forged` (T,).
    Facts: a row by `state` (`trained`, `fine-tuned`) and `claim` (`genuine`, `forged`) with `bits_agreeing`,
    `bits_total` and `bits_share`; a row by `state` and `compared` (`projection`, `features`) with `ks_distance` between
    genuine and forged. `iterations` is what the forgery took.
    """

    source = "Figure 2"
    families = ("projection",)
    claims = UchidaClaim
    needs = "nothing in it is read by a projection of a mean filter with bits as signs"
    looks_at_tuned = True

    lr: float = 0.01
    iterations: int = 1000

    def show(self, opened: OpenedRun) -> Contents:
        """See `Exhibit.show`."""
        owner = opened.claim
        assert isinstance(owner, UchidaClaim)
        forgery = ForgeUchida(lr=self.lr, iterations=self.iterations).forgery(
            Victim(opened.suspect, owner), opened.data, generator(opened.attack_seed, "forged projection")
        )
        projection, iterations = by_gradient(forgery, self.lr, self.iterations)
        forged = forgery.claim(projection)
        assert isinstance(forged, UchidaClaim)
        name, convolution = convolution_of(opened.suspect, owner.layer)
        filters = {"trained": mean_filter(convolution).detach().cpu()}
        if opened.tuned is not None:
            filters["fine-tuned"] = opened.tuned[f"{name}.weight"].float().mean(0).flatten().cpu()

        arrays = {"projection_genuine": owner.projection, "projection_forged": forged.projection}
        apart = ks_distance(owner.projection, forged.projection)
        facts: list[Fact] = [
            {"state": "trained", "compared": "projection", "ks_distance": apart, "iterations": iterations}
        ]
        for state, w in filters.items():
            read = {"genuine": features(owner.projection, w), "forged": features(forged.projection, w)}
            stem = "features" if state == "trained" else "tuned"
            arrays |= {f"{stem}_{who}": values for who, values in read.items()}
            facts.append({"state": state, "compared": "features", "ks_distance": ks_distance(*read.values())})
            for who, claim in (("genuine", owner), ("forged", forged)):
                agreeing, total = agreeing_bits(detect(read[who]), claim.bits), claim.bits.numel()
                row: Fact = {"state": state, "claim": who, "bits_agreeing": agreeing, "bits_total": total}
                facts.append(row | {"bits_share": agreeing / total})
        return Contents({name: array.detach().to(torch.float32) for name, array in arrays.items()}, facts)
