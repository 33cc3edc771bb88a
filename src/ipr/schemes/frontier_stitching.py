"""Adversarial frontier stitching (Le Merrer et al. 2017 [6]): keys from both sides of the decision frontier."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ipr.config.recipe import Recipe
from ipr.config.registry import register
from ipr.config.schema import TrainConfig
from ipr.data.images import ImageData, normalise
from ipr.data.trigger_sets import TriggerSet
from ipr.errors import InputError
from ipr.models.inspection import frozen
from ipr.schemes.base import About, Trained
from ipr.schemes.key_images import KeyImages, KeyImagesConfig
from ipr.watermarks.key_images import KeyImageClaim

EPSILON = 0.03
"""How far a key is moved from its image, as a fraction of the pixels' range, in the maximum norm."""


def fast_gradient_sign(network: nn.Module, pixels: Tensor, labels: Tensor, data: ImageData, epsilon: float) -> Tensor:
    """Images moved by epsilon along the sign of the loss's gradient (Goodfellow et al. 2015), as uint8 pixels.

    Args:
        network: a plain network; left as it was.
        pixels: (B, H, W, channels), uint8.
        labels: their classes, (B,).
        data: gives the normalisation.
        epsilon: as a fraction of the pixels' range.
    """
    x = normalise(pixels, data.mean, data.std).requires_grad_()
    with frozen(network), torch.enable_grad():
        (gradient,) = torch.autograd.grad(functional.cross_entropy(network(x), labels, reduction="sum"), x)
    moved = pixels + 255 * epsilon * gradient.sign().permute(0, 2, 3, 1)
    return moved.clamp(0, 255).round().to(torch.uint8)


def frontier_keys(
    network: nn.Module, data: ImageData, count: int, source: Generator, epsilon: float = EPSILON
) -> TriggerSet:
    """Half true adversaries, which the network mistakes, and half false ones, which it does not; true labels for all.

    Args:
        network: the trained network that is to be marked; left as it was.
        data: the training images, tried in an order drawn from the key; those that are mistaken as they are are left.
        count: N.
        source: the owner's key.
        epsilon: see `fast_gradient_sign`.

    Raises:
        InputError: there are too few images of one of the two kinds.
    """
    device = next(network.parameters()).device
    wanted = {"true": count // 2, "false": count - count // 2}
    pixels: dict[str, list[Tensor]] = {"true": [], "false": []}
    labels: dict[str, list[Tensor]] = {"true": [], "false": []}
    for chosen in torch.randperm(data.train_labels.numel(), generator=source).split(256):
        images, classes = data.train_pixels[chosen].to(device), data.train_labels[chosen].to(device)
        moved = fast_gradient_sign(network, images, classes, data, epsilon)
        with frozen(network), torch.no_grad():
            right = network(normalise(images, data.mean, data.std)).argmax(1) == classes
            still = network(normalise(moved, data.mean, data.std)).argmax(1) == classes
        for kind, members in (("true", right & ~still), ("false", right & still)):
            pixels[kind].append(moved[members].cpu())
            labels[kind].append(classes[members].cpu())
        if all(sum(part.numel() for part in labels[kind]) >= wanted[kind] for kind in wanted):
            break
    for kind in wanted:
        found = sum(part.numel() for part in labels[kind])
        if found < wanted[kind]:
            raise InputError(
                "scheme.epsilon",
                epsilon,
                f"gives {found} {kind} adversaries among {data.train_labels.numel()} images, not {wanted[kind]}",
                "give a larger one for more true adversaries, a smaller one for more false ones, or fewer keys "
                "(trigger_set.size)",
            )
    kept = [(torch.cat(pixels[kind])[: wanted[kind]], torch.cat(labels[kind])[: wanted[kind]]) for kind in wanted]
    return TriggerSet(torch.cat([images for images, _ in kept]), torch.cat([classes for _, classes in kept]))


@dataclass(frozen=True, kw_only=True)
class FrontierStitchingClaim(KeyImageClaim):
    """Adversaries that the marked network classifies rightly; chance is a fair coin for each (`choices` is 2)."""

    kind = "frontier_stitching"

    @classmethod
    def choices_among(cls, classes: int) -> int:
        """See `KeyImageClaim.choices_among`: mistaken or not."""
        return 2

    @classmethod
    def keys(cls, network: nn.Module, data: ImageData, count: int, source: Generator) -> TriggerSet:
        """See `KeyImageClaim.keys`."""
        return frontier_keys(network, data, count, source)

    def not_redrawn(self, data: ImageData) -> str | None:
        """See `WatermarkClaim.not_redrawn`."""
        return "they follow from a trained network, so they cannot be drawn again"


@dataclass
class FrontierStitchingConfig(KeyImagesConfig):
    """Frontier stitching: a trained plain network is tuned to its own adversaries."""

    epsilon: float = EPSILON  # of the pixels' range
    epochs: int = 10  # of the tuning; trainer.max_epochs is the plain network's
    lr: float = 0.01  # of the tuning


@register("frontier_stitching", order=11)
class FrontierStitching(KeyImages):
    """Tunes a trained plain network to its own adversaries, at a constant rate."""

    Config = FrontierStitchingConfig
    claim_kind = FrontierStitchingClaim
    about = About(
        "key images",
        "Le Merrer et al. 2017 [6]",
        "adversaries with their true labels",
        "trigger accuracy, against a fair coin",
    )
    tunes = True

    @classmethod
    def keys(cls, config: TrainConfig, data: ImageData, trained: Trained, source: Generator) -> TriggerSet:
        """See `KeyImages.keys`."""
        assert isinstance(config.scheme, FrontierStitchingConfig)
        return frontier_keys(trained(), data, config.trigger_set.size, source, config.scheme.epsilon)

    @classmethod
    def recipe_of(cls, config: TrainConfig) -> Recipe:
        """See `Watermark.recipe_of`."""
        assert isinstance(config.scheme, FrontierStitchingConfig)
        return replace(config.optimizer, lr=config.scheme.lr, schedule="constant", warmup=0.0)

    @classmethod
    def epochs(cls, config: TrainConfig) -> int:
        """See `Scheme.epochs`."""
        assert isinstance(config.scheme, FrontierStitchingConfig)
        return config.scheme.epochs
