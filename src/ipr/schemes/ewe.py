"""Entangled watermark embeddings (Jia et al. 2021, USENIX Security): keys that share features with the task's images.

Images of one class with a patch are to be taken for another class. Beside the cross-entropy the soft nearest neighbour
loss of keys and images of that other class is maximised: where it is high, neither group has neighbours of its own, so
that one set of features serves both, and whoever copies the task's answers copies the keys'.

Constants are those of the authors' published program: cosine distances of activations behind a ReLU, of some layers; a
square of 3 of 28 pixels; for each layer 32 beside a cross-entropy that is summed over 512 images (MNIST), which is 1/16
beside a mean, and on their larger tasks 1/4 and 781. Deviations:

- Their watermarked images are by default of another data set, and are then moved along gradients of a trained network.
  Here they are images of the task, the patch lies where the owner's key draws it (theirs where a gradient is largest),
  and nothing is moved: so a judge can draw them again.
- They alternate batches of the task with batches of half keys, half images of the target's class. Here every batch ends
  in keys, and the target's images are those that are in it.
- Their temperature takes a gradient step down the loss in every batch. Here it is the best of a grid in every batch, so
  that nothing but the network is carried from step to step.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ipr.config.ranges import check_numbers
from ipr.config.recipe import Recipe
from ipr.config.registry import register
from ipr.config.schema import SchemeConfig
from ipr.data.images import ImageData
from ipr.data.trigger_sets import TriggerSet
from ipr.errors import InputError
from ipr.models.inspection import classifier_of, logits_of
from ipr.schemes.base import About
from ipr.schemes.gather import gather
from ipr.schemes.key_images import KeyImages, KeyImagesConfig
from ipr.schemes.triggers import TriggerSamples
from ipr.schemes.zhang import marked_keys
from ipr.watermarks.base import WatermarkClaim
from ipr.watermarks.key_images import KeyImageClaim

TEMPERATURES = tuple(2.0**power for power in range(-7, 4))
"""Of the soft nearest neighbour loss: cosine distances behind a ReLU are at most 1."""

PATCH = 3 / 28
"""The side of a patch, as a fraction of the image's; 2 pixels at least."""

FAR = -1e9
"""An exponent that counts nothing, and whose differences are finite."""


def nearest_neighbour_loss(features: Tensor, group: Tensor, member: Tensor) -> Tensor:
    """The soft nearest neighbour loss at its best temperature: min_T -mean_i log(sum_same exp(-d_ij / T) / sum_all).

    d is the cosine distance; both sums are over the members j other than i, the first over those of i's group. The mean
    is over the members that have another of their group (Frosst et al. 2019).

    Args:
        features: (B, N).
        group: which of two groups a row is of, (B,), bool.
        member: whether a row counts, (B,), bool.

    Returns:
        A scalar, at least 0; 0 where no member has another of its group.
    """
    unit = functional.normalize(features, dim=1)
    distance = 1 - unit @ unit.T
    other = member[None, :] & ~torch.eye(len(member), dtype=torch.bool, device=member.device)
    same = other & (group[None, :] == group[:, None])
    counts = (member & same.any(1)).to(features)
    losses = []
    for temperature in TEMPERATURES:
        exponent = -distance / temperature
        each = torch.logsumexp(exponent.masked_fill(~other, FAR), 1) - torch.logsumexp(
            exponent.masked_fill(~same, FAR), 1
        )
        losses.append((each * counts).sum() / counts.sum().clamp(min=1))
    return torch.stack(losses).amin()


def with_patch(pixels: Tensor, top: int, left: int) -> Tensor:
    """Images with a white square, (N, H, W, channels), uint8; its upper left corner at (top, left)."""
    side, marked = patch_side(pixels.shape[1]), pixels.clone()
    marked[:, top : top + side, left : left + side] = 255
    return marked


def patch_side(image_size: int) -> int:
    """The side of the square, in pixels."""
    return max(2, round(PATCH * image_size))


@dataclass(frozen=True, kw_only=True)
class EweClaim(KeyImageClaim):
    """Images of one class with a patch, labelled as another class. Classes, images and place are drawn from the key."""

    kind = "ewe"
    of_training_images = True

    @classmethod
    def keys(cls, network: nn.Module, data: ImageData, count: int, source: Generator) -> TriggerSet:
        """See `KeyImageClaim.keys`."""
        room = data.image_size - patch_side(data.image_size) + 1
        top, left = torch.randint(room, (2,), generator=source).tolist()
        return marked_keys(data, count, source, lambda pixels: with_patch(pixels, top, left))


@dataclass
class EweConfig(KeyImagesConfig):
    """Entangled watermark embeddings (trigger_set.size and trigger_set.per_step say how many keys)."""

    layers: list[str] = field(default_factory=list)  # whose activations are entangled, besides the classifier's input
    weight: float = 0.0625  # kappa, of each layer's soft nearest neighbour loss


@register("ewe", order=15)
class Ewe(KeyImages):
    """L_c over images and keys - kappa sum_l SNNL_l of keys and images of the target's class (Jia et al. 2021)."""

    Config = EweConfig
    claim_kind = EweClaim
    about = About(
        "key images", "Jia et al. 2021, EWE", "images with a patch, entangled with one other class", "trigger accuracy"
    )

    target: Tensor

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        num_classes: int,
        triggers: TriggerSamples,
        *,
        claim: EweClaim,
        scheme: EweConfig,
    ) -> None:
        super().__init__(network, recipe, num_classes, triggers)
        check_numbers(scheme, "scheme.")
        self.layers, self.weight = [*scheme.layers], scheme.weight
        for name in self.layers:
            if name not in dict(network.named_modules()):
                raise InputError("scheme.layers", name, "is no layer of the network", "give e.g. those of a passport")
        self.register_buffer("target", claim.labels[0].clone(), persistent=False)

    @classmethod
    def arguments(
        cls, claim: WatermarkClaim, data: ImageData, scheme: SchemeConfig, per_step: int, seed: int
    ) -> dict[str, Any]:
        """See `Watermark.arguments`."""
        return super().arguments(claim, data, scheme, per_step, seed) | {"claim": claim, "scheme": scheme}

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """L_c over images and keys, and the entanglement of the keys with the images of their class."""
        own = y.numel()
        x, y = self.with_triggers(x, y)
        logits, features = logits_and_activations(self.network, x, self.layers)
        self.means.count(logits, y)
        key = torch.arange(y.numel(), device=y.device) >= own
        member = y == self.target
        if self.share.processes > 1:  # neighbours are those of the whole batch
            features, key = [gather(one).flatten(0, 1) for one in features], gather(key.to(y)).flatten() > 0
            member = gather(member.to(y)).flatten() > 0
        with torch.autocast(x.device.type, enabled=False):
            precise = [torch.relu(one.to(torch.promote_types(one.dtype, torch.float32))) for one in features]
            snnl = [nearest_neighbour_loss(one, key, member) for one in precise]
        return {
            "cross_entropy": functional.cross_entropy(logits, y),
            "entanglement": -self.weight * torch.stack(snnl).sum(),
        }


def logits_and_activations(network: nn.Module, x: Tensor, layers: list[str]) -> tuple[Tensor, list[Tensor]]:
    """A network's logits (B, K), what the layers of these names give and what its classifier sees, each (B, N).

    Raises:
        InputError: a layer gives no tensor, or is not part of the pass.
    """
    given: dict[str, Tensor] = {}
    seen: list[Tensor] = []
    _, classifier = classifier_of(network)

    def keep(layer: str, _: nn.Module, __: object, out: object) -> None:
        if isinstance(out, Tensor):
            given[layer] = out.flatten(1)

    with ExitStack() as hooks:
        for layer in layers:
            hooks.callback(network.get_submodule(layer).register_forward_hook(partial(keep, layer)).remove)
        before = classifier.register_forward_pre_hook(lambda _, args: seen.append(args[0].flatten(1)))
        hooks.callback(before.remove)
        logits = logits_of(network, x)
    if missing := {*layers} - {*given}:
        raise InputError("scheme.layers", min(missing), "gives no tensor", "give e.g. those of a passport")
    return logits, [*(given[layer] for layer in layers), seen[0]]
