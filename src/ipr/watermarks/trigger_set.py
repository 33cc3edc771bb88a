"""Adi et al. 2018 [2]: abstract images with random labels, a backdoor that only its owner knows."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator, nn

from ipr.data.images import ImageData
from ipr.data.trigger_sets import TriggerSet, abstract_trigger_set
from ipr.watermarks.key_images import KeyImageClaim


@dataclass(frozen=True, kw_only=True)
class TriggerSetClaim(KeyImageClaim):
    """A trigger set. Labels are drawn at random, so chance is exact: each agrees with probability 1 / classes.

    The authors' commitment scheme, by which an owner proves keys without showing them, is left out.
    """

    kind = "trigger_set"

    @classmethod
    def keys(cls, network: nn.Module, data: ImageData, count: int, source: Generator) -> TriggerSet:
        """See `KeyImageClaim.keys`: patterns drawn from the key."""
        return abstract_trigger_set(count, data.image_size, data.channels, len(data.classes), source)
