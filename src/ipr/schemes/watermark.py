"""The watermarks that passports compete with: cross-entropy and one regulariser, or key images in every batch."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from ipr.data.images import ImageData
from ipr.data.trigger_sets import TriggerSet
from ipr.errors import InputError
from ipr.models.inspection import convolution_of, logits_and_features
from ipr.schemes.base import Scheme
from ipr.schemes.baseline import Baseline
from ipr.schemes.gather import gather
from ipr.schemes.recipe import Recipe
from ipr.schemes.triggers import TriggerSamples
from ipr.watermarks import deepmarks, deepsigns, uchida
from ipr.watermarks.base import WatermarkClaim
from ipr.watermarks.deepmarks import DeepMarksClaim
from ipr.watermarks.deepsigns import DeepSignsClaim
from ipr.watermarks.key_images import KeyImageClaim
from ipr.watermarks.projection import mean_filter
from ipr.watermarks.uchida import UchidaClaim


class InFilters(Baseline):
    """Cross-entropy and a regulariser on the mean filter of one convolution.

    Args:
        network: see `Scheme`.
        recipe: see `Scheme`.
        num_classes: see `Scheme`.
        layer: the convolution.
        weight: of the regulariser.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, num_classes: int, *, layer: str, weight: float) -> None:
        super().__init__(network, recipe, num_classes)
        check_weight("weight", weight)
        self.layer, self.weight = layer, weight

    @abstractmethod
    def embedding_loss(self, w: Tensor) -> Tensor:
        """The regulariser of a mean filter, (M,)."""

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """L_c and the regulariser."""
        _, convolution = convolution_of(self.network, self.layer)
        losses = super().terms(x, y)
        with torch.autocast(x.device.type, enabled=False):  # bits are at stake
            return losses | {"watermark": self.weight * self.embedding_loss(mean_filter(convolution))}


class Uchida(InFilters):
    """L_c + lambda E_R (Uchida et al. 2017, lambda = 0.01; E_R is the paper's Eq. 2)."""

    projection: Tensor
    bits: Tensor

    def __init__(
        self, network: nn.Module, recipe: Recipe, num_classes: int, *, claim: UchidaClaim, weight: float = 0.01
    ) -> None:
        super().__init__(network, recipe, num_classes, layer=claim.layer, weight=weight)
        self.register_buffer("projection", claim.projection, persistent=False)
        self.register_buffer("bits", claim.bits, persistent=False)

    def embedding_loss(self, w: Tensor) -> Tensor:
        """E_R."""
        return uchida.embedding_loss(w, self.projection, self.bits)


class DeepMarks(InFilters):
    """L_c + gamma |f - X w|^2 (Chen et al. 2018, gamma = 0.1)."""

    projection: Tensor
    fingerprint: Tensor

    def __init__(
        self, network: nn.Module, recipe: Recipe, num_classes: int, *, claim: DeepMarksClaim, weight: float = 0.1
    ) -> None:
        super().__init__(network, recipe, num_classes, layer=claim.layer, weight=weight)
        self.register_buffer("projection", claim.projection, persistent=False)
        self.register_buffer("fingerprint", deepmarks.fingerprint(claim.basis, claim.bits), persistent=False)

    def embedding_loss(self, w: Tensor) -> Tensor:
        """|f - X w|^2."""
        return deepmarks.embedding_loss(w, self.projection, self.fingerprint)


class DeepSigns(Scheme):
    """L_c + lambda_1 |f(x) - mu_y|^2 + lambda_2 BCE(sigmoid(A mu), b) (Rouhani et al. 2018).

    See `deepsigns.embedding_losses` for what mu is here.
    """

    chosen: Tensor
    projection: Tensor
    bits: Tensor

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        num_classes: int,
        *,
        claim: DeepSignsClaim,
        centre_weight: float = 0.001,
        weight: float = 0.3,
    ) -> None:
        super().__init__(network, recipe, num_classes)
        check_weight("weight", weight)
        check_weight("centre_weight", centre_weight)
        self.centre_weight, self.weight = centre_weight, weight
        self.register_buffer("chosen", claim.chosen, persistent=False)
        self.register_buffer("projection", claim.projection, persistent=False)
        self.register_buffer("bits", claim.bits, persistent=False)

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """L_c and both regularisers."""
        logits, features = logits_and_features(self.network, x)
        self.means.count(logits, y)
        losses = {"cross_entropy": functional.cross_entropy(logits, y)}
        if self.share.processes > 1:  # means over a class take the whole batch
            features, y = gather(features).flatten(0, 1), gather(y).flatten(0, 1)
        with torch.autocast(x.device.type, enabled=False):  # bits are at stake
            precise = features.to(torch.promote_types(features.dtype, self.projection.dtype))
            near, read = deepsigns.embedding_losses(precise, y, self.chosen, self.projection, self.bits)
        return losses | {
            "centres": self.centre_weight * near,
            "watermark": self.weight * read,
        }


class KeyImages(Baseline):
    """Cross-entropy on batches that end in key images: every black-box watermark (Adi et al. 2018).

    Args:
        network: see `Scheme`.
        recipe: see `Scheme`.
        num_classes: see `Scheme`.
        samples: the key images of every step.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, num_classes: int, *, samples: TriggerSamples) -> None:
        super().__init__(network, recipe, num_classes)
        self.samples = samples

    def on_train_epoch_start(self) -> None:
        """Draws the order of the key images."""
        self.samples.start_epoch(self.current_epoch)

    def check_shares(self, processes: int) -> None:
        """See `Scheme.check_shares`."""
        self.samples.check_shares(processes)

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """L_c over images and keys."""
        return super().terms(*self.samples.appended(x, y, self.step_number, self.share))


def embedding(
    claim: WatermarkClaim,
    network: nn.Module,
    recipe: Recipe,
    data: ImageData,
    *,
    per_step: int = 2,
    seed: int = 0,
    **weights: float,
) -> Scheme:
    """The LightningModule that embeds a claim.

    Args:
        claim: what is embedded.
        network: what it is embedded into.
        recipe: how it is trained.
        data: gives the classes and the normalisation.
        per_step: key images in every batch.
        seed: of their order.
        weights: the weights of the regularisers by their names; the authors' where they are not given.
    """
    classes = len(data.classes)
    if isinstance(claim, UchidaClaim):
        return Uchida(network, recipe, classes, claim=claim, **weights)
    if isinstance(claim, DeepMarksClaim):
        return DeepMarks(network, recipe, classes, claim=claim, **weights)
    if isinstance(claim, DeepSignsClaim):
        return DeepSigns(network, recipe, classes, claim=claim, **weights)
    assert isinstance(claim, KeyImageClaim)
    samples = TriggerSamples(TriggerSet(claim.pixels, claim.labels), per_step, data, seed)
    return KeyImages(network, recipe, classes, samples=samples)


def check_weight(name: str, value: float) -> None:
    """Refuses a negative weight of a regulariser."""
    if value < 0:
        raise InputError(f"scheme.{name}", value, "must not be negative", "give e.g. 0.01")
