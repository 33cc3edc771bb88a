"""Adi et al. 2018 [2]: abstract images with random labels, a backdoor that only its owner knows."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator, nn

from ipr.claims.origin import TRIGGER_SET
from ipr.claims.structure import check_labels_differ
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
    def purpose(cls) -> str:
        """See `WatermarkClaim.purpose`: as the trigger set of a passport."""
        return TRIGGER_SET

    @classmethod
    def keys(cls, network: nn.Module, data: ImageData, count: int, source: Generator) -> TriggerSet:
        """See `KeyImageClaim.keys`: patterns drawn from the key."""
        return abstract_trigger_set(count, data.image_size, data.channels, len(data.classes), source)

    def check_structure(self) -> None:
        """See `Claim.check_structure`: the labels are drawn."""
        super().check_structure()
        check_labels_differ(self.labels, self.choices)
