"""Dataset inference (Maini, Yaghini and Papernot, ICLR 2021), with coins: which image of each pair was trained on?

A network answers the images that it was trained on with a larger margin than others, and so does a copy of it. As
published, the owner shows private training images and public ones, and a t-test of their distances from the decision
boundary decides. Its p-value says little, for the claimant chooses both sets: easy images are far from the boundary of
every network, and a network that was trained by itself on data of the same kind passes (Szyller et al. 2022).

Here the owner chooses pairs of images of one class first. The bit of each pair follows from all pairs, his name and a
drawn salt by a slow hash, and says which of the two is trained on; the other is left out of the training. A suspect
agrees with a bit where its margin is larger on the image that the bit names. The chance of this is exact: whatever
images and labels a claimant has chosen, and however alike the pairs are, a network that was made without these bits
agrees with each by a fair coin, as the bits came last. So nothing is calibrated, and whoever makes a claim to a network
that is there can do no more than try salts, at about a second each.

What is not exact. A bit that is read says that the network depends on the split, not whose it is: whoever trains on
exactly one image of most pairs, be it because the owner gave them away, satisfies the claim without a copy. And an
owner who trained on both images of a pair, or started from a network that was, has a coin himself, and loses by it.

Deviations:

- The margin is that of the logits, or probabilities, between the label and the best other, from one query. The paper
  walks to the boundary of every other class, and trains a regression on the distances.
- Natural images of one class differ in how hard they are by more than training changes. So the pairs are those that the
  plain network, trained on all, finds hardest, the two of a pair about equally so (`scheme.pairs=random`: any); and the
  images that are trained on are appended to batches besides, as they are (`trigger_set.per_step`).
  docs/fingerprints.md has what each is worth.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import torch
from torch import Generator, Tensor, nn

from ipr.claims.base import Reading, reading
from ipr.claims.redraw import Part
from ipr.claims.structure import REMEDY
from ipr.config.recipe import Recipe
from ipr.config.registry import register
from ipr.config.schema import SchemeConfig, TrainConfig
from ipr.data.images import ImageData, LabelledImages
from ipr.data.trigger_sets import TriggerSet, check_trigger_set
from ipr.digests import digest_of, elements
from ipr.errors import InputError
from ipr.models.inspection import device_of, evaluating, logits_of
from ipr.passport.bound import NONCE_BYTES, stretched
from ipr.schemes.base import About, Trained
from ipr.schemes.key_images import AppendsImages
from ipr.schemes.start import claim_parts
from ipr.schemes.triggers import TriggerSamples
from ipr.signature import agreeing_bits, detect
from ipr.watermarks.base import WatermarkClaim
from ipr.watermarks.hashed import hash_bits
from ipr.watermarks.projection import check_shape

USE = "ipr dataset inference 1"
"""Keeps the hash apart from every other use of the same functions."""

BATCH = 256
"""Images of one pass."""


def margins(network: nn.Module, images: LabelledImages) -> Tensor:
    """By how much each image's label leads the best other class in a network's answers, (N,), float64, on the CPU.

    Negative where another class leads; no number where an answer is none.

    Raises:
        InputError: images or labels do not fit the network.
    """
    found, device = [], device_of(network)
    try:
        with evaluating(network):
            for x, labels in images.batches(BATCH, device):
                answers, own = logits_of(network, x).double().cpu(), labels.cpu()[:, None]
                best = answers.scatter(1, own, -torch.inf).amax(1)
                found.append(answers.gather(1, own)[:, 0] - best)
    except RuntimeError as error:
        given = f"images of shape {tuple(images.pixels.shape[1:])}, labels to {int(images.labels.max())}"
        raise InputError("claim", given, "do not fit the suspect", "judge a network of the same task") from error
    return torch.cat(found)


def pairs_of(data: ImageData, count: int, source: Generator, network: nn.Module | None) -> Tensor:
    """Positions of pairs of training images of one class, (count, 2): those that a network finds hardest, or any.

    The images of a class are ordered by their margin, or at random, and neighbours paired; the pairs that come first
    are taken. An image that is there several times is taken once, and what is held out not at all.

    Args:
        data: the images.
        count: K.
        source: draws the order where there is no network.
        network: trained on all of the images alike; None for any pairs.

    Raises:
        InputError: there are fewer pairs.
    """
    unlike = {bytes(elements(image)): place for place, image in _each(data, data.trained_on)}
    places = torch.tensor(sorted(unlike.values()))
    labels, order = data.train_labels[places], torch.rand(places.numel(), generator=source)
    if network is not None:
        blocks = places.split(BATCH)  # pixels may be mapped from a file
        parts = (LabelledImages(data.train_pixels[b], data.train_labels[b], data.mean, data.std) for b in blocks)
        order = torch.cat([margins(network, part) for part in parts])
    pairs = []
    for label in labels.unique():
        members = (labels == label).nonzero()[:, 0]
        ordered = members[order[members].argsort(stable=True)]
        pairs.append(ordered[: ordered.numel() // 2 * 2].view(-1, 2))
    every = torch.cat(pairs)
    if not 1 <= count <= len(every):
        problem = f"there are {len(every)} pairs of training images of one class"
        raise InputError("trigger_set.size", count, problem, f"give 1 to {len(every)}")
    return places[every[order[every].sum(1).argsort(stable=True)[:count]]]


def places_of(pixels: Tensor, data: ImageData) -> Tensor:
    """Positions of all training images that are among some images, (M,), int64."""
    wanted = {bytes(elements(image)) for image in pixels}
    every = torch.arange(data.train_labels.numel())
    return torch.tensor([place for place, image in _each(data, every) if bytes(elements(image)) in wanted]).long()


def _each(data: ImageData, places: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Some training images with their positions; read in blocks, as they may be mapped from a file."""
    for chosen in places.split(BATCH):
        yield from zip(chosen.tolist(), data.train_pixels[chosen], strict=True)


@dataclass(frozen=True, kw_only=True)
class DatasetInferenceClaim(WatermarkClaim):
    """Pairs of images, of which the network was trained on one each.

    Attributes:
        pixels: the pairs, (2 K, H, W, channels), uint8; those of pair k at 2 k and 2 k + 1.
        labels: the class of each pair, (K,), int64.
        salt: 32 bytes, in hexadecimal digits.
    """

    kind = "dataset_inference"
    exact_chance = True

    pixels: Tensor
    labels: Tensor
    salt: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shape("labels", self.labels, None)
        check_trigger_set(self.pixels, self.labels.repeat_interleave(2))
        if not isinstance(self.salt, str) or not re.fullmatch(f"[0-9a-f]{{{2 * NONCE_BYTES}}}", self.salt):
            raise InputError("claim", "salt", f"is not {2 * NONCE_BYTES} hexadecimal digits", "restore the claim")

    @classmethod
    def drawn(cls, network: nn.Module | None, data: ImageData, count: int, source: Generator, **parts: Any) -> Self:
        """A new claim: pairs (`pairs_of`) and a salt.

        Args:
            network: a plain network, trained on the data; None for any pairs.
            data: its training images.
            count: K.
            source: the owner's key.
            parts: what every claim holds.

        Raises:
            InputError: there are fewer pairs.
        """
        salt = bytes(torch.randint(256, (NONCE_BYTES,), generator=source).tolist()).hex()
        pairs = pairs_of(data, count, source, network)
        return cls(pixels=data.train_pixels[pairs.flatten()], labels=data.train_labels[pairs[:, 0]], salt=salt, **parts)

    @cached_property
    def bits(self) -> Tensor:
        """In {-1, +1}, (K,), int8: +1 where the first image of a pair is trained on, -1 where the second is.

        `digest_of` owner, pixels and labels, through scrypt with the salt (`stretched`), expanded by SHAKE-256.
        """
        digest = digest_of({"use": USE, "owner": self.owner}, {"pixels": self.pixels, "labels": self.labels})
        return hash_bits(stretched(bytes.fromhex(digest), bytes.fromhex(self.salt)), self.labels.numel())

    @property
    def members(self) -> TriggerSet:
        """The images that are trained on, with their labels."""
        return TriggerSet(self.pixels[torch.arange(self.labels.numel()) * 2 + (self.bits < 0)], self.labels)

    @property
    def left_out(self) -> Tensor:
        """The others, (K, H, W, channels)."""
        return self.pixels[torch.arange(self.labels.numel()) * 2 + (self.bits > 0)]

    def read(self, suspect: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> Reading:
        """See `WatermarkClaim.read`: equal margins, and those that are no numbers, agree with neither bit.

        Raises:
            InputError: the suspect takes images of another size, or has fewer classes.
        """
        images = LabelledImages(self.pixels, self.labels.repeat_interleave(2), mean, std)
        first, second = margins(suspect, images).view(-1, 2).T
        agreeing = agreeing_bits(detect(first - second), self.bits)
        return reading({"pairs": agreeing}, {"pairs": self.labels.numel()})

    def drawn_from(self, source: Generator, network: nn.Module, data: ImageData) -> Self:
        """See `WatermarkClaim.drawn_from`."""
        return self.drawn(network, data, self.labels.numel(), source, **self.kept)

    def redraw(self, data: ImageData) -> tuple[Part, ...]:
        """See `Claim.redraw`: nobody can choose the bits, so that the images may be anybody's choice."""
        says = "follow from the pairs, the owner's name and a salt by a slow hash, whoever chose these"
        return (Part("bits", self.evidence, True, says),)

    def check_structure(self) -> None:
        """See `Claim.check_structure`: no image is there twice; equal ones would be one piece of evidence, or none."""
        super().check_structure()
        if len(self.pixels.flatten(1).unique(dim=0)) < len(self.pixels):
            raise InputError("claim", "pairs", "hold an image twice", REMEDY)

    def marks(self) -> Tensor:
        """The bits."""
        return self.bits


@dataclass
class DatasetInferenceConfig(SchemeConfig):
    """Dataset inference: trigger_set.size pairs of training images, one of each left out of the training."""

    pairs: str = "hard"  # hard | random: those that the trained plain network finds hardest, or any


@register("dataset_inference", order=24)
class DatasetInference(AppendsImages):
    """L_c over all training images but the left-out ones of the pairs, and over the others of the pairs once more."""

    Config = DatasetInferenceConfig
    claim_kind = DatasetInferenceClaim
    about = About(
        "fingerprint",
        "Maini et al. 2021, dataset inference",
        "one image of each pair is trained on, by the hash of all pairs",
        "which image of each pair has the larger margin",
    )
    more_bits, stronger = "trigger_set.size", "trigger_set.per_step"

    def __init__(
        self, network: nn.Module, recipe: Recipe, num_classes: int, triggers: TriggerSamples, *, left_out: Tensor
    ) -> None:
        super().__init__(network, recipe, num_classes, triggers)
        self.left_out = left_out

    @classmethod
    def draw_claim(cls, config: TrainConfig, data: ImageData, trained: Trained) -> DatasetInferenceClaim:
        """See `Scheme.draw_claim`.

        Raises:
            InputError: see `DatasetInferenceClaim.drawn`; or pairs are asked for that there are not.
        """
        asked = config.scheme
        assert isinstance(asked, DatasetInferenceConfig)
        if asked.pairs not in ("hard", "random"):
            raise InputError("scheme.pairs", asked.pairs, "is unknown", "choose hard or random")
        network, count = trained() if asked.pairs == "hard" else None, config.trigger_set.size
        return DatasetInferenceClaim.drawn(network, data, count, cls.source(config), **claim_parts(config, data))

    @classmethod
    def arguments(
        cls, claim: WatermarkClaim, data: ImageData, scheme: SchemeConfig, per_step: int, seed: int
    ) -> dict[str, Any]:
        """See `Watermark.arguments`."""
        assert isinstance(claim, DatasetInferenceClaim)
        return {
            "triggers": TriggerSamples(claim.members, per_step, data, seed),
            "left_out": places_of(claim.left_out, data),
        }
