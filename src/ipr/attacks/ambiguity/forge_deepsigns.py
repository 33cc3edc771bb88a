"""A forged claim to the activations of DeepSigns (the counterpart of Section II-B1)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch.nn import functional

from ipr.attacks.ambiguity.projections import ForgeProjection, Forgery, bits_as_values
from ipr.attacks.base import Victim
from ipr.config.registry import register
from ipr.data.images import ImageData, LabelledImages
from ipr.data.trigger_sets import abstract_trigger_set
from ipr.schemes.deepsigns import DeepSignsClaim, mean_features
from ipr.watermarks.projection import secret_projection


@register("forge_deepsigns")
@dataclass
class ForgeDeepSigns(ForgeProjection):
    """A new projection A for random bits in the mean activations of key images that the forger drew.

    The key images are abstract patterns, dealt out to the classes in turn: a judge who asked that they be of these
    classes would be given images of them, at no other cost.
    """

    section = "II-B1 (the same attack; no numbers)"
    attacker_has = "the weights and images of its own; no training data"
    families, only = ("projection",), ("deepsigns",)
    needs = "nothing in it is read from mean activations"

    def forgery(self, victim: Victim, data: ImageData, source: torch.Generator) -> Forgery:
        """See `ForgeProjection.forgery`."""
        owner = victim.claim
        assert isinstance(owner, DeepSignsClaim)
        count = owner.labels.numel()
        own = abstract_trigger_set(count, data.image_size, data.channels, len(data.classes), source)
        labels = owner.chosen[torch.arange(count) % owner.chosen.numel()]
        keys = LabelledImages(own.pixels, labels, data.mean, data.std)
        means = mean_features(victim.suspect, keys, owner.chosen).float()
        bits = torch.randint(0, 2, owner.bits.shape, generator=source, dtype=torch.int8) * 2 - 1
        start = secret_projection(bits.shape[1], means.shape[1], source)
        wanted = (bits > 0).to(means)
        return Forgery(
            vectors=means,
            start=start,
            target=bits_as_values(start, means, bits),
            loss=lambda projection: functional.binary_cross_entropy_with_logits(
                means @ projection.T, wanted, reduction="sum"
            ),
            solved=lambda projection: bool(((means @ projection.T > 0) == (bits > 0)).all()),
            claim=lambda projection: replace(
                owner, origin=None, pixels=own.pixels, labels=labels, projection=projection, bits=bits
            ),
        )
