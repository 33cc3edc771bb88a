"""Verdicts on a network that a claim does not fit: nothing of the claim is read, and it answers as it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from ipr.claims.base import Claim, Reading
from ipr.data.images import LabelledImages
from ipr.errors import InputError
from ipr.judging.binomial import corrected_log10
from ipr.judging.fidelity import Fidelity, accuracy
from ipr.judging.verdict import Verdict
from ipr.passport.presented import PresentedClaim


def fits(claim: Claim, network: nn.Module, example: Tensor) -> bool:
    """Whether a claim can be read from a network: it has the layers that the claim names, of these shapes.

    Args:
        claim: any; key images fit every network of their classes.
        network: a plain network.
        example: an input for it, (1, channels, H, W).
    """
    try:
        claim.check_network(network, example)
    except InputError:
        return False
    return True


def unread(suspect: nn.Module, claims: Sequence[Claim], images: LabelledImages) -> list[Verdict]:
    """What a judge says who cannot present a claim, because the suspect is of another architecture: other widths,
    or no norm to present it at.

    No bit counts as read, p is 1, and with the passport nothing is answered rightly: its accuracy is 0. Trigger images
    are asked for all the same.

    Args:
        suspect: a plain network.
        claims: of any kind.
        images: what accuracy is measured on.
    """
    if not claims:
        return []
    found = accuracy(suspect, images)
    verdicts = []
    for claim in claims:
        total = {"marks": claim.marks().numel()}
        if isinstance(claim, PresentedClaim):
            total = {name: int(bits.count_nonzero()) for name, bits in claim.signature.items()}
        asked = None
        if claim.triggers is not None:
            marked = LabelledImages(claim.triggers.pixels, claim.triggers.labels, images.mean, images.std)
            asked = accuracy(suspect, marked)
        presents, limits = claim.brings_passport is not None, claim.thresholds
        target = found if limits.target_accuracy is None else limits.target_accuracy
        verdicts.append(
            Verdict(
                fidelity=Fidelity(0.0 if presents else found, target, limits.fidelity),
                accuracy_without=found,
                accuracy_forged=(),
                reading=Reading(dict.fromkeys(total, 0), total, 1.0, 0.0, images=claim.evidence == "images"),
                trigger_accuracy=asked,
                trigger_accuracy_passport=None,
                p_value_threshold=limits.p_value,
                passported=presents,
            )
        )
    return verdicts


def charged(verdict: Verdict, ways: int) -> Verdict:
    """The same verdict where so many readings were there to choose from: the p-value pays for each.

    Args:
        verdict: of one of them.
        ways: how many; at least 1.
    """
    found = verdict.reading
    log10 = corrected_log10(found.p_value_log10, ways)
    return replace(verdict, reading=replace(found, p_value=min(1.0, found.p_value * ways), p_value_log10=log10))
