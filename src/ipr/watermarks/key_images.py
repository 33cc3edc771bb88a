"""What all black-box watermarks share: images with labels that only the marked network is meant to give."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Generator, Tensor, nn

from ipr.claims.base import Reading, reading
from ipr.claims.origin import TRIGGER_SET
from ipr.claims.structure import REMEDY, check_labels_differ
from ipr.data.images import ImageData, LabelledImages
from ipr.data.trigger_sets import TriggerSet, abstract_trigger_set, check_trigger_set
from ipr.errors import InputError
from ipr.models.inspection import device_of, evaluating, logits_of
from ipr.watermarks.base import WatermarkClaim


@dataclass(frozen=True, kw_only=True)
class KeyImageClaim(WatermarkClaim):
    """Key images and the labels that the marked network gives them.

    Attributes:
        pixels: (N, H, W, channels), uint8.
        labels: (N,), int64.
        choices: an unrelated network is taken to agree with a key by a guess among so many answers: the number of
            classes, or 2 for frontier stitching. This is exact where the labels are drawn at random; where they follow
            a rule, answers to similar keys are not independent, and the p-value is only as good as that assumption.
    """

    evidence = "images"

    pixels: Tensor
    labels: Tensor
    choices: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_trigger_set(self.pixels, self.labels)
        if not isinstance(self.choices, int) or self.choices < 2:
            raise InputError("claim", f"choices={self.choices}", "is not a number from 2 on", "restore the claim")

    @classmethod
    def choices_among(cls, classes: int) -> int:
        """What `choices` is for a task of so many classes."""
        return classes

    @classmethod
    @abstractmethod
    def keys(cls, network: nn.Module, data: ImageData, count: int, source: Generator) -> TriggerSet:
        """New keys with the constants of the scheme's authors.

        Args:
            network: a plain network trained on the data; only frontier stitching looks at it.
            data: the training images, classes and image size.
            count: N.
            source: the owner's key.
        """

    def read(self, suspect: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> Reading:
        """Counts the keys that get their label.

        Raises:
            InputError: the suspect takes images of other channels or another size.
        """
        agreeing = int((answers(suspect, LabelledImages(self.pixels, self.labels, mean, std)) == self.labels).sum())
        return reading({"keys": agreeing}, {"keys": self.labels.numel()}, choices=self.choices, images=True)

    def drawn_from(self, source: Generator, network: nn.Module, data: ImageData) -> Self:
        """See `WatermarkClaim.drawn_from`."""
        keys = self.keys(network, data, self.labels.numel(), source)
        return replace(self, owner="", origin=None, pixels=keys.pixels, labels=keys.labels)

    @property
    def triggers(self) -> TriggerSet:
        """See `Claim.triggers`: the keys."""
        return TriggerSet(self.pixels, self.labels)

    def with_triggers(self, triggers: TriggerSet | None) -> Self:
        """See `Claim.with_triggers`; there is no other evidence, so that there must be some."""
        if triggers is None:
            raise ValueError("a claim of key images needs some")
        return replace(self, pixels=triggers.pixels, labels=triggers.labels)

    def guessed_among(self, classes: int | None = None) -> int:
        """See `Claim.guessed_among`."""
        return self.choices

    def check_structure(self) -> None:
        """See `Claim.check_structure`: by default keys may be of one class, but are not guessed among fewer answers."""
        classes = self.architecture.get("num_classes")
        if classes is not None and self.choices != self.choices_among(classes):
            raise InputError("claim", self.kind, f"counts {self.choices} answers of {classes} classes", REMEDY)

    def marks(self) -> Tensor:
        """The images, each with its label at the end, (N, H W channels + 1)."""
        return torch.cat([self.pixels.flatten(1).long(), self.labels[:, None]], 1)


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


def answers(network: nn.Module, images: LabelledImages) -> Tensor:
    """The class that a network gives to each image, (N,), on the CPU.

    Raises:
        InputError: the images do not fit the network.
    """
    device = device_of(network)
    try:
        with evaluating(network):
            return torch.cat([logits_of(network, x).argmax(1).cpu() for x, _ in images.batches(256, device)])
    except RuntimeError as error:
        shape = tuple(images.pixels.shape[1:])
        remedy = "judge the network that they were made for"
        raise InputError("claim", f"key images of shape {shape}", "do not fit the suspect", remedy) from error


def drawn_images(data: ImageData, count: int, source: Generator, label: int | None = None) -> Tensor:
    """Positions of `count` training images, of one class or of any.

    Raises:
        InputError: there are fewer.
    """
    every = data.train_labels if label is None else (data.train_labels == label).nonzero()[:, 0]
    members = torch.arange(every.numel()) if label is None else every
    if not 1 <= count <= members.numel():
        raise InputError(
            "trigger_set.size", count, f"there are {members.numel()} training images", f"give 1 to {members.numel()}"
        )
    return members[torch.randperm(members.numel(), generator=source)[:count]]


def with_noise(pixels: Tensor, pattern: Tensor) -> Tensor:
    """Images with one noise pattern added and clipped; pattern: (H, W, channels), as fractions of the range."""
    return (pixels + 255 * pattern).clamp(0, 255).round().to(torch.uint8)
