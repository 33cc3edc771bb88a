"""DeepSigns (Rouhani et al. 2018 [5]), white box: bits in projected mean activations of chosen classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ipr.claims.base import Reading, reading
from ipr.claims.structure import REMEDY, check_one_class_each, check_rows
from ipr.config.ranges import check_numbers
from ipr.config.recipe import Recipe
from ipr.config.registry import register
from ipr.config.schema import SchemeConfig, TrainConfig
from ipr.data.images import ImageData, LabelledImages
from ipr.data.trigger_sets import TriggerSet, check_trigger_set
from ipr.errors import InputError
from ipr.models.inspection import classifier_of, evaluating, logits_and_features
from ipr.schemes.base import About, Trained
from ipr.schemes.gather import gather
from ipr.schemes.start import claim_parts, start_network
from ipr.schemes.watermark import Watermark
from ipr.signature import agreeing_bits, detect
from ipr.watermarks.base import WatermarkClaim
from ipr.watermarks.projection import check_bits, check_count, check_finite, check_shape, secret_projection


def embedding_losses(
    features: Tensor, labels: Tensor, chosen: Tensor, projection: Tensor, bits: Tensor
) -> tuple[Tensor, Tensor]:
    """The two regularisers of DeepSigns: |f(x) - mu_y|^2, and the cross-entropy of sigmoid(A mu) with the bits.

    Deviations: mu_y is the mean over the batch's images of class y, where the authors train it beside the network and
    let the first regulariser draw f(x) to it; and their optional term that pushes centres apart is left out.

    Args:
        features: f(x), (B, N): what the classifier sees.
        labels: y, (B,).
        chosen: the classes that carry bits, (S,).
        projection: A, (T, N).
        bits: b in {-1, +1}, (S, T).

    Returns:
        The mean of the squared distance over the batch's images of chosen classes, and the mean of the cross-entropy
        over all bits of the chosen classes that are in the batch; 0 where there is none.
    """
    member = (labels[:, None] == chosen).to(features)  # (B, S)
    count = member.sum(0)  # (S,)
    means = member.T @ features / count.clamp(min=1)[:, None]  # (S, N)
    near = ((features - member @ means).square().sum(1) * member.sum(1)).sum() / count.sum().clamp(min=1)
    logits = means @ projection.T
    wrong = functional.binary_cross_entropy_with_logits(logits, (bits > 0).to(logits), reduction="none").mean(1)
    present = (count > 0).to(features)
    return near, (wrong * present).sum() / present.sum().clamp(min=1)


def mean_features(network: nn.Module, images: LabelledImages, chosen: Tensor) -> Tensor:
    """The mean of what the classifier sees over the images of each chosen class, (S, N), in double precision."""
    device = next(network.parameters()).device
    with evaluating(network):
        features = torch.cat([logits_and_features(network, x)[1].double().cpu() for x, _ in images.batches(64, device)])
    return torch.stack([features[images.labels == label].mean(0) for label in chosen])


@dataclass(frozen=True, kw_only=True)
class DeepSignsClaim(WatermarkClaim):
    """Classes, key images, projection and bits.

    Attributes:
        chosen: the classes that carry bits, (S,), int64.
        pixels: key images of these classes, (n, H, W, channels), uint8.
        labels: their classes, (n,), int64.
        projection: A, (T, N), float.
        bits: b in {-1, +1}, (S, T), int8.
    """

    kind = "deepsigns"
    of_projection = True
    of_training_images = True

    chosen: Tensor
    pixels: Tensor
    labels: Tensor
    projection: Tensor
    bits: Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shape("chosen", self.chosen, None)
        check_shape("bits", self.bits, self.chosen.numel(), None)
        check_shape("projection", self.projection, self.bits.shape[1], None)
        check_shape("labels", self.labels, None)
        check_shape("pixels", self.pixels, self.labels.numel(), None, None, None)
        check_bits("bits", self.bits)
        check_finite("projection", self.projection)
        check_trigger_set(self.pixels, self.labels)
        if missing := {*self.chosen.tolist()} - {*self.labels.tolist()}:
            raise InputError("claim", f"class {min(missing)}", "has no key image", "restore the claim")

    @classmethod
    def drawn(
        cls,
        network: nn.Module,
        data: ImageData,
        source: Generator,
        *,
        classes: int,
        bits: int,
        per_class: int,
        **parts: Any,
    ) -> Self:
        """A new claim: `bits` in each of `classes` classes, read from `per_class` training images of each.

        Raises:
            InputError: the data has fewer classes, or fewer images of one.
        """
        check_count(bits)
        if not 1 <= classes <= len(data.classes):
            raise InputError("scheme.classes", classes, f"the data set has {len(data.classes)} classes", "give e.g. 4")
        _, classifier = classifier_of(network)
        chosen = torch.randperm(len(data.classes), generator=source)[:classes].sort().values
        kept = []
        for label in chosen:
            members = (data.train_labels == label).nonzero()[:, 0]
            if not 1 <= per_class <= members.numel():
                raise InputError(
                    "scheme.images",
                    per_class,
                    f"there are {members.numel()} training images of {data.classes[int(label)]}",
                    f"give 1 to {members.numel()}",
                )
            kept.append(members[torch.randperm(members.numel(), generator=source)[:per_class]])
        keys = torch.cat(kept)
        drawn = torch.randint(0, 2, (classes, bits), generator=source, dtype=torch.int8) * 2 - 1
        return cls(
            chosen=chosen,
            pixels=data.train_pixels[keys],
            labels=data.train_labels[keys],
            projection=secret_projection(bits, classifier.in_features, source),
            bits=drawn,
            **parts,
        )

    def read(self, suspect: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> Reading:
        """Bits of a class are the signs of A mu, mu the mean activation of its key images.

        The bits are drawn independently of A, so an unrelated network agrees with each by a fair coin.

        Raises:
            InputError: the projection does not fit the suspect's classifier.
        """
        name, classifier = classifier_of(suspect)
        if classifier.in_features != self.projection.shape[1]:
            raise InputError(
                "claim",
                f"{name}: a projection of {self.projection.shape[1]} activations",
                f"the classifier sees {classifier.in_features}",
                "judge the network that it was made for",
            )
        means = mean_features(suspect, LabelledImages(self.pixels, self.labels, mean, std), self.chosen)
        found = detect(means @ self.projection.double().T)
        names = [f"class {int(label)}" for label in self.chosen]
        agreeing = {name: agreeing_bits(f, b) for name, f, b in zip(names, found, self.bits, strict=True)}
        return reading(agreeing, dict.fromkeys(names, self.bits.shape[1]))

    def drawn_from(self, source: Generator, network: nn.Module, data: ImageData) -> Self:
        """See `WatermarkClaim.drawn_from`."""
        classes, bits = self.bits.shape
        each = self.labels.numel() // classes
        return self.drawn(network, data, source, classes=classes, bits=bits, per_class=each, **self.kept)

    def with_rows(self, rows: Callable[[Tensor, Tensor], Tensor]) -> Self:
        """See `WatermarkClaim.with_rows`: all classes share the projection, and then the bits."""
        bits = self.bits[:1].expand_as(self.bits).contiguous()
        return replace(self, projection=rows(self.projection, self.bits[0]), bits=bits)

    def marks(self) -> Tensor:
        """The bits of all classes."""
        return self.bits.flatten()

    def check_structure(self) -> None:
        """See `Claim.check_structure`."""
        super().check_structure()
        check_rows(self.projection)
        if self.chosen.unique().numel() < self.chosen.numel():
            raise InputError("claim", "chosen", "names a class twice", REMEDY)
        check_one_class_each(TriggerSet(self.pixels, self.labels))


@dataclass
class DeepSignsConfig(SchemeConfig):
    """DeepSigns: bits in projected mean activations."""

    classes: int = 4  # S, classes that carry bits
    bits: int = 32  # T, bits of each
    images: int = 32  # key images of each
    centre_weight: float = 0.001  # lambda_1
    weight: float = 0.3  # lambda_2


@register("deepsigns", order=6)
class DeepSigns(Watermark):
    """L_c + lambda_1 |f(x) - mu_y|^2 + lambda_2 BCE(sigmoid(A mu), b) (Rouhani et al. 2018).

    See `embedding_losses` for what mu is here.
    """

    Config = DeepSignsConfig
    claim_kind = DeepSignsClaim
    about = About(
        "projection", "Rouhani et al. 2018 [5]", "cross-entropy of projected mean activations with bits", "bits"
    )

    chosen: Tensor
    projection: Tensor
    bits: Tensor

    def __init__(
        self, network: nn.Module, recipe: Recipe, num_classes: int, *, claim: DeepSignsClaim, scheme: DeepSignsConfig
    ) -> None:
        super().__init__(network, recipe, num_classes)
        check_numbers(scheme, "scheme.")
        self.centre_weight, self.weight = scheme.centre_weight, scheme.weight
        self.register_buffer("chosen", claim.chosen, persistent=False)
        self.register_buffer("projection", claim.projection, persistent=False)
        self.register_buffer("bits", claim.bits, persistent=False)

    @classmethod
    def draw_claim(cls, config: TrainConfig, data: ImageData, trained: Trained) -> DeepSignsClaim:
        """See `Scheme.draw_claim`."""
        scheme, network = config.scheme, start_network(config, data)
        assert isinstance(scheme, DeepSignsConfig)
        sizes = {"classes": scheme.classes, "bits": scheme.bits, "per_class": scheme.images}
        return DeepSignsClaim.drawn(network, data, cls.source(config), **sizes, **claim_parts(config, data))

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """L_c and both regularisers."""
        logits, features = logits_and_features(self.network, x)
        self.means.count(logits, y)
        losses = {"cross_entropy": functional.cross_entropy(logits, y)}
        if self.share.processes > 1:  # means over a class take the whole batch
            features, y = gather(features).flatten(0, 1), gather(y).flatten(0, 1)
        with torch.autocast(x.device.type, enabled=False):  # bits are at stake
            precise = features.to(torch.promote_types(features.dtype, self.projection.dtype))
            near, read = embedding_losses(precise, y, self.chosen, self.projection, self.bits)
        return losses | {"centres": self.centre_weight * near, "watermark": self.weight * read}
