"""What a claim of ownership is: secrets, thresholds, and one reading. Never inside a weights file.

A claim is a folder that only its owner can read (0700): `claim.json` holds what is text, `secrets.safetensors` the
tensors. Nothing in it is executed when it is loaded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ipr.claims.folder import (
    REMEDY,
    SCHEMA_VERSION,
    WITHOUT_IMAGES,
    WITHOUT_ORIGIN,
    read_parts,
    write_facts,
    write_parts,
    write_secrets,
)
from ipr.claims.origin import Origin
from ipr.claims.recorded_images import RecordedImages
from ipr.claims.redraw import Part
from ipr.claims.structure import check_bits_differ
from ipr.data.images import ImageData
from ipr.data.trigger_sets import TriggerSet
from ipr.digests import digest_of
from ipr.errors import InputError
from ipr.signature import binomial_tail

OWNER_LIMIT = 200
"""Characters of an owner's name."""


@dataclass(frozen=True)
class Thresholds:
    """What a claim must reach, declared before the suspect is seen.

    Attributes:
        target_accuracy: M_t of Definition 1, the owner's accuracy with the genuine passport; fraction in [0, 1]. None
            until it has been measured: fidelity then holds for whatever the claimed passport reaches.
        fidelity: epsilon_f, the largest |M - M_t| at which fidelity holds; fraction (the paper: 0.03 for AlexNet,
            0.20 for ResNet-18).
        p_value: the largest chance at which a signature, or a trigger set, counts as read.
    """

    target_accuracy: float | None
    fidelity: float = 0.03
    p_value: float = 2.0**-40

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not (value is None and name == "target_accuracy") and not (
                isinstance(value, float | int) and not isinstance(value, bool) and 0 <= value <= 1
            ):
                raise InputError(f"threshold {name}", value, "is not a fraction", "give a number from 0 to 1")


@dataclass(frozen=True)
class Reading:
    """What a suspect says under a claim.

    Attributes:
        agreeing: marks (bits, or trigger images) that agree with what is claimed, by part (a layer, the trigger set).
        total: marks of each part.
        p_value: the chance that an unrelated network agrees at least as well in all parts together, were its answers
            independent guesses (exact binomial tail).
        p_value_log10: its base-10 logarithm, finite where the p-value underflows.
        text: the text read back; no secret, but shown by an exhibit alone. "" where the claim holds none.
        images: whether the marks are images rather than bits.
        correlation: cosine between the vector that is claimed and the one that is read (DeepMarks), or unbiased CKA of
            weights (lineage); None elsewhere.
        choices: a mark is guessed among so many answers.
        unit: what the marks are that are no images: `bits`, or `channels` (lineage).
    """

    agreeing: Mapping[str, int]
    total: Mapping[str, int]
    p_value: float
    p_value_log10: float
    text: str = ""
    images: bool = False
    correlation: float | None = None
    choices: int = 2
    unit: str = "bits"

    @property
    def agreement(self) -> float:
        """The fraction of all marks that agree, in [0, 1]."""
        return sum(self.agreeing.values()) / sum(self.total.values())


def reading(
    agreeing: Mapping[str, int],
    total: Mapping[str, int],
    *,
    choices: int = 2,
    text: str = "",
    images: bool = False,
    correlation: float | None = None,
) -> Reading:
    """A reading with its p-value: each mark is guessed among `choices` answers."""
    p_value, log10 = binomial_tail(sum(agreeing.values()), sum(total.values()), choices)
    return Reading(agreeing, total, p_value, log10, text, images, correlation, choices)


@dataclass(frozen=True, kw_only=True)
class Claim(ABC):
    """All that an owner (or a forger) brings to a judge; a frozen dataclass for each way of marking a network.

    Attributes:
        kind: tells the ways apart in a claim's folder.
        evidence: what decides: `signature`, bits that are read, or `images`, where nothing but answers is.
        brings_passport: whether a passport is presented, or bare scales; None where nothing is, and the mark is read
            from the network as it is.
        of_projection: whether bits are read through a projection of the claimant's.
        of_accessory: whether what is presented passes through what the claimant has trained.
        never_drawn: the parts of its secrets that no seed gives, whoever claims; none by default.
        is_fingerprint: whether it was made from a trained network in which nothing is embedded, so that a judge needs
            networks of his own to tell copies from strangers (`judging/witness.py`).
        exact_chance: whether every network that was made without the claim agrees with each bit by a fair coin,
            whatever the claimant has chosen, so that nothing has to be calibrated.
        thresholds: what must be reached.
        architecture: what builds the plain network (name, norm, width, classes, ...), for a judge who has only a file.
        owner: the owner's name, one line of at most `OWNER_LIMIT` characters; no secret. "" for none.
        origin: what the secrets were drawn from; secret. None for claims of older versions, and for those that nobody
            drew: a forger's.
        images: how pictures become what the network is given, and which classes it tells apart; None where nobody says.
    """

    kind: ClassVar[str]
    evidence: ClassVar[str] = "signature"
    brings_passport: ClassVar[bool | None] = None
    of_projection: ClassVar[bool] = False
    of_accessory: ClassVar[bool] = False
    never_drawn: ClassVar[tuple[Part, ...]] = ()
    is_fingerprint: ClassVar[bool] = False
    exact_chance: ClassVar[bool] = False

    thresholds: Thresholds
    architecture: Mapping[str, Any] = field(default_factory=dict)
    owner: str = ""
    origin: Origin | None = None
    images: RecordedImages | None = None

    def __post_init__(self) -> None:
        check_owner(self.owner)

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the claim under the name it is stored by."""

    @abstractmethod
    def specifics(self) -> dict[str, Any]:
        """Everything else but owner, origin, images, thresholds and architecture, as plain JSON values."""

    @classmethod
    @abstractmethod
    def from_parts(cls, facts: Mapping[str, Any], tensors: Mapping[str, Tensor], thresholds: Thresholds) -> Claim:
        """The claim that `facts` and `tensors` told of; KeyError or TypeError where something is missing."""

    @abstractmethod
    def marks(self) -> Tensor:
        """What is claimed, (N,) bits or (N, ...) images with their labels: B, or T, of Definition 1."""

    # What a judge asks of any claim. By default it presents nothing and has no trigger images, and its secrets may have
    # been chosen.

    @property
    def layers(self) -> list[str]:
        """The convolutions whose norms it presents scales to; none by default."""
        return []

    @property
    def triggers(self) -> TriggerSet | None:
        """The images whose labels are evidence; None where there are none."""
        return None

    def with_triggers(self, triggers: TriggerSet | None) -> Self:
        """The same claim with other trigger images in the place of its own, or beside other evidence with none."""
        raise NotImplementedError(f"a claim of kind {self.kind} has no trigger images")

    def guessed_among(self, classes: int | None = None) -> int:
        """Among how many answers an unrelated network guesses the label of a trigger image.

        Args:
            classes: of the suspect, where it is known: it counts where the claim does not tell.

        Raises:
            InputError: neither is told.
        """
        named = self.architecture.get("num_classes", classes)
        if not isinstance(named, int) or named < 2:
            raise InputError("claim", f"num_classes={named}", "is not a number from 2 on", "restore the claim")
        return named

    def without_repeats(self) -> Self:
        """The same claim with each trigger image and its label once: they are one piece of evidence."""
        if self.triggers is None:
            return self
        once = self.triggers.distinct()
        return self if once.labels.numel() == self.triggers.labels.numel() else self.with_triggers(once)

    @property
    def bound(self) -> bool | None:
        """Whether the signature follows from passport, owner and nonce; None where no passport could bind it."""
        return None

    @property
    def nonce(self) -> bytes | None:
        """The nonce of a bound signature."""
        return None

    @property
    def says_of_signature(self) -> str:
        """What the signature follows from, in words; "" where there is nothing to say."""
        return ""

    @property
    def chosen_bits(self) -> int:
        """How many bits, from the first on, spell a text of the claimant's choice and prove nothing."""
        return 0

    def redraw(self, data: ImageData) -> tuple[Part, ...]:
        """Draws the secrets again from the seeds that `origin` names, and compares (`judging/redraw.py`).

        Args:
            data: the judge's images; of the training images the part, and the number, that the origin names.
        """
        return (Part("secrets", self.evidence, None, f"how those of kind {self.kind} are drawn is not known"),)

    def check_structure(self) -> None:
        """Refuses marks that are not so many pieces of evidence, whatever network is read (`claims/structure.py`).

        Raises:
            InputError: saying why; by default of bits that are all equal.
        """
        if (marks := self.marks()).dtype == torch.int8:
            check_bits_differ(marks.flatten())

    def check_network(self, network: nn.Module, example: Tensor) -> None:  # noqa: B027 - a kind may have nothing to say
        """Refuses a claim that does not fit the plain network of its architecture; by default none is.

        Args:
            network: with any weights.
            example: an input for it, (1, channels, H, W).

        Raises:
            InputError: naming what does not fit.
        """

    def read(self, suspect: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> Reading:
        """The evidence in a plain network, which is left as it was; asked of claims that present no scales.

        Args:
            suspect: the network.
            mean: with `std`, normalises images for it.
            std: see there.

        Raises:
            InputError: the claim does not fit the network.
        """
        raise NotImplementedError(f"a claim of kind {self.kind} is not read from the network as it is")

    def presented_in(self, suspect: nn.Module) -> nn.Module:
        """A suspect with what is claimed in the place of its weights; the suspect itself where nothing is.

        Args:
            suspect: a plain network; left as it was. Scales are presented elsewhere (`PresentedClaim.affines`).

        Raises:
            InputError: the claim does not fit the network.
        """
        return suspect

    def dissimilarity(self, other: Claim) -> float:
        """The share of marks in which two claims differ, in [0, 1]; 1 where they are of different kinds."""
        mine, theirs = self.marks(), other.marks()
        if self.kind != other.kind or mine.shape != theirs.shape:
            return 1.0
        return float((mine != theirs).unsqueeze(1).flatten(1).any(1).float().mean())

    def facts(self) -> dict[str, Any]:
        """Everything but the tensors, as plain JSON values."""
        origin = {} if self.origin is None else {"origin": self.origin.stored()}
        images = {} if self.images is None else {"images": self.images.stored()}
        older = WITHOUT_ORIGIN if self.origin is None else WITHOUT_IMAGES
        return {
            "schema_version": older if self.images is None else SCHEMA_VERSION,
            "kind": self.kind,
            "owner": self.owner,
            "thresholds": asdict(self.thresholds),
            "architecture": dict(self.architecture),
            **origin,
            **images,
            **self.specifics(),
        }

    def fingerprint(self) -> str:
        """SHA-256 over all parts, as hexadecimal digits: equal for equal claims, and it reveals none of them."""
        return digest_of(self.facts(), self.tensors())

    def save(self, folder: Path) -> None:
        """Writes the claim aside and renames it into place, readable by its owner alone.

        Raises:
            InputError: a claim with other secrets is already there; it is not overwritten. One that differs in its
                thresholds alone is replaced; a commitment beside it stays.
        """
        facts = self.facts()
        if not folder.exists():
            write_parts(folder, facts, self.tensors())
            return
        old_facts, old_tensors = read_parts(folder)
        if digest_of(old_facts, old_tensors) == self.fingerprint():
            return
        if digest_of(old_facts | {"thresholds": facts["thresholds"]}, old_tensors) != self.fingerprint():
            raise InputError("claim", folder, "another claim is already there", "move it away or choose another folder")
        write_facts(folder, facts)

    def complete(self, folder: Path) -> None:
        """Writes the tensors that a training has completed over those that were drawn before it, in one step.

        Raises:
            InputError: the claim that is there differs in more than its tensors.
        """
        there, _ = read_parts(folder)
        if digest_of(there, {}) != digest_of(self.facts(), {}):
            raise InputError("claim", folder, "is not the claim that this training began with", REMEDY)
        write_secrets(folder, self.tensors())


def check_owner(owner: str) -> None:
    """Refuses what is no name: several lines, characters that cannot be seen, too many.

    Raises:
        InputError: saying so.
    """
    if not isinstance(owner, str) or not owner.isprintable() or len(owner) > OWNER_LIMIT:
        problem = f"is not one line of at most {OWNER_LIMIT} characters that can be seen"
        raise InputError("owner", ascii(owner)[:OWNER_LIMIT], problem, "give a name")
