"""What a network comes to after every epoch of its training, on training images that are held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

import torch
from torch import nn

from ipr.claims.base import Claim
from ipr.config.schema import TrainConfig
from ipr.data.images import ImageData, LabelledImages
from ipr.errors import InputError
from ipr.judging.fidelity import accuracy
from ipr.judging.verdict import judge
from ipr.passport.presented import PresentedClaim
from ipr.passport.surgery import find_layers
from ipr.schemes.start import plain_network
from ipr.training.metrics import Validate


def validation_of(
    config: TrainConfig, data: ImageData, claim: Claim | None, completed: Callable[[Claim], Claim]
) -> Validate | None:
    """What measures a network in training, as the judge would measure its file; None where no image is held out.

    Args:
        config: the request.
        data: its images.
        claim: what is embedded; None for the baseline.
        completed: see `Scheme.completed`.
    """
    images = data.validation()
    if images is None:
        return None
    suspect = plain_network(config.model, data, config.seed)

    def validate(network: nn.Module) -> Mapping[str, float]:
        weights = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        suspect.to(next(iter(weights.values())).device)
        suspect.load_state_dict(weights, strict=False)  # V1 has no public affine, which stays 1 and 0
        return measured(suspect, None if claim is None else completed(claim), images)

    return validate


def measured(suspect: nn.Module, claim: Claim | None, images: LabelledImages) -> dict[str, float]:
    """Accuracies, marks and margins by their names in metrics.csv; all but the margins are fractions in [0, 1].

    `validation/accuracy` without a passport, `validation/accuracy_passport` with it, `validation/bits` and
    `validation/triggers`: the share of bits read, and of trigger images answered as assigned;
    `validation/margin` and `validation/margin_min`: the mean, and the smallest, of bit times scale (a bit is read
    where that is above 0). No bit, and no image, can be told from them.

    Args:
        suspect: a plain network; left as it was.
        claim: what is embedded; None for the baseline.
        images: what is judged on.
    """
    if claim is None:
        return {"validation/accuracy": accuracy(suspect, images)}
    values: dict[str, float] = {}
    with suppress(InputError):  # scales that no judge would take, early in a training: nothing to draw there
        verdict = judge(suspect, claim, images, forged=0)
        values["validation/accuracy"] = verdict.accuracy_without
        if verdict.passported:
            values["validation/accuracy_passport"] = verdict.fidelity.accuracy
        if not verdict.reading.images:
            values["validation/bits"] = verdict.reading.agreement
        if verdict.trigger_accuracy is not None:
            values["validation/triggers"] = verdict.trigger_accuracy
        if isinstance(claim, PresentedClaim):
            values |= margins(suspect, claim, images)
    return values


def margins(suspect: nn.Module, claim: PresentedClaim, images: LabelledImages) -> dict[str, float]:
    """Mean and minimum of bit times scale over all bits; see `measured`."""
    device = next(suspect.parameters()).device
    example = next(images.batches(1, device))[0]
    with torch.no_grad():
        scales = claim.signed_scales(suspect, find_layers(suspect, example, claim.layers))
        bits = torch.cat(list(claim.signature.values())).to(device)
        products = (torch.cat([scales[name] for name in claim.signature]) * bits)[bits != 0]
        mean, least = torch.stack([products.mean(), products.min()]).tolist()
    return {"validation/margin": mean, "validation/margin_min": least}
