"""Trigger images that a claim repeats count once: they are one piece of evidence."""

from __future__ import annotations

from dataclasses import replace

from ipr.claims.base import Claim
from ipr.judging.black_box import distinct
from ipr.passport.claim import PassportClaim
from ipr.watermarks.key_images import KeyImageClaim


def without_repeats(claim: Claim) -> Claim:
    """The same claim with each trigger image and its label once; what repeats none, or has none, as it is."""
    if isinstance(claim, KeyImageClaim):
        pixels, labels = distinct(claim.pixels, claim.labels)
        return claim if labels.numel() == claim.labels.numel() else replace(claim, pixels=pixels, labels=labels)
    if isinstance(claim, PassportClaim) and claim.trigger_pixels is not None and claim.trigger_labels is not None:
        pixels, labels = distinct(claim.trigger_pixels, claim.trigger_labels)
        if labels.numel() < claim.trigger_labels.numel():
            return replace(claim, trigger_pixels=pixels, trigger_labels=labels)
    return claim
