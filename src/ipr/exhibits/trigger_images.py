"""Genuine and forged trigger images, and how their pixels are distributed (Figures 3 and 4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ipr.attacks.ambiguity.forge_trigger_set import ForgeTriggerSet
from ipr.attacks.base import Victim
from ipr.config.registry import register
from ipr.data.images import LabelledImages
from ipr.exhibits.base import Contents, Exhibit, Fact, OpenedRun
from ipr.exhibits.distances import total_variation
from ipr.watermarks.key_images import TriggerSetClaim, answers

KEPT = 8
"""How many images of each kind are kept to be drawn."""

BINS = 64


def histogram(pixels: Tensor) -> Tensor:
    """How many values of uint8 images fall into each of `BINS` equal bins, over all channels; float32 (BINS,)."""
    return torch.bincount(pixels.flatten().long() * BINS // 256, minlength=BINS).float()


def visible(change: Tensor) -> Tensor:
    """A change of pixels as an image: 0 is mid-grey, the largest change of all is black or white; uint8.

    Args:
        change: of any shape, in units of a pixel's value.
    """
    largest = change.abs().max().clamp(min=1)
    return (127.5 + 127.5 * change / largest).round().to(torch.uint8)


@register("trigger_images")
@dataclass
class TriggerImages(Exhibit):
    """Base images, trained noise, their sum, and the owner's trigger images.

    The forgery is that of `attack=forge_trigger_set` with the same settings and `attack_seed`. The noise is what the
    forged images differ by from their base, after clipping and rounding.

    Arrays: `base`, `noise` (scaled to be seen), `forged`, `genuine`, uint8 (up to 8, H, W, channels);
    `histogram_genuine`, `histogram_forged`, `histogram_base` (64,), counts over all images.
    Facts: a row by `claim` (`genuine`, `forged`) with `answered_share`, the share of images that get their assigned
    label, and `images`; a row by `change` (`noise`) with `largest` and `mean` in 0..255, and `iterations`; a row by
    `compared` (`genuine and forged`, `base and forged`) with `total_variation` between histograms.
    """

    source = "Figures 3 and 4"
    families = ("key images",)
    claims = TriggerSetClaim
    needs = "it has no trigger set to compare a forged one with"

    eta: float = 0.04  # strength of the forger's noise, a fraction of the pixels' range
    bound: float | None = None  # largest noise, in units of eta; null for any
    lr: float = 0.1  # learning rate of the forger
    iterations: int = 100  # steps at most

    def check(self, scheme: str) -> None:
        """See `Exhibit.check`."""
        super().check(scheme)
        self.require(0 < self.eta <= 1, "eta", "give a fraction of the pixels' range, e.g. 0.04")

    def show(self, opened: OpenedRun) -> Contents:
        """See `Exhibit.show`."""
        owner = opened.claim
        assert isinstance(owner, TriggerSetClaim)
        forger = ForgeTriggerSet(eta=self.eta, bound=self.bound, lr=self.lr, iterations=self.iterations)
        base, forged, done = forger.forged(Victim(opened.suspect, owner), opened.data, opened.attack_seed)
        change = forged.float() - base.pixels.float()

        facts: list[Fact] = []
        for who, pixels, labels in (("genuine", owner.pixels, owner.labels), ("forged", forged, base.labels)):
            given = answers(opened.suspect, LabelledImages(pixels, labels, opened.data.mean, opened.data.std))
            share = float((given == labels).float().mean())
            facts.append({"claim": who, "images": labels.numel(), "answered_share": share})
        largest, mean = float(change.abs().max()), float(change.abs().mean())
        facts.append({"change": "noise", "largest": largest, "mean": mean, "iterations": done})
        counts = {"genuine": histogram(owner.pixels), "forged": histogram(forged), "base": histogram(base.pixels)}
        for who in ("genuine", "base"):
            apart = total_variation(counts[who], counts["forged"])
            facts.append({"compared": f"{who} and forged", "total_variation": apart})
        images = {"base": base.pixels, "noise": visible(change[:KEPT]), "forged": forged, "genuine": owner.pixels}
        arrays = {name: pixels[:KEPT] for name, pixels in images.items()}
        return Contents(arrays | {f"histogram_{who}": values for who, values in counts.items()}, facts)
