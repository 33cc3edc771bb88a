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

from torch import Tensor

from ipr.claims.folder import SCHEMA_VERSION, WITHOUT_ORIGIN, read_parts, write_facts, write_parts
from ipr.claims.origin import Origin
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
        correlation: cosine between the vector that is claimed and the one that is read (DeepMarks); None elsewhere.
    """

    agreeing: Mapping[str, int]
    total: Mapping[str, int]
    p_value: float
    p_value_log10: float
    text: str = ""
    images: bool = False
    correlation: float | None = None

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
    return Reading(agreeing, total, p_value, log10, text, images, correlation)


@dataclass(frozen=True, kw_only=True)
class Claim(ABC):
    """All that an owner (or a forger) brings to a judge; a frozen dataclass for each way of marking a network.

    Attributes:
        kind: tells the ways apart in a claim's folder.
        thresholds: what must be reached.
        architecture: what builds the plain network (name, norm, width, classes, ...), for a judge who has only a file.
        owner: the owner's name, one line of at most `OWNER_LIMIT` characters; no secret. "" for none.
        origin: what the secrets were drawn from; secret. None for claims of older versions, and for those that nobody
            drew: a forger's.
    """

    kind: ClassVar[str]
    thresholds: Thresholds
    architecture: Mapping[str, Any] = field(default_factory=dict)
    owner: str = ""
    origin: Origin | None = None

    def __post_init__(self) -> None:
        check_owner(self.owner)

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the claim under the name it is stored by."""

    @abstractmethod
    def specifics(self) -> dict[str, Any]:
        """Everything else but owner, origin, thresholds and architecture, as plain JSON values."""

    @classmethod
    @abstractmethod
    def from_parts(cls, facts: Mapping[str, Any], tensors: Mapping[str, Tensor], thresholds: Thresholds) -> Self:
        """The claim that `facts` and `tensors` told of; KeyError or TypeError where something is missing."""

    @abstractmethod
    def marks(self) -> Tensor:
        """What is claimed, (N,) bits or (N, ...) images with their labels: B, or T, of Definition 1."""

    def dissimilarity(self, other: Claim) -> float:
        """The share of marks in which two claims differ, in [0, 1]; 1 where they are of different kinds."""
        mine, theirs = self.marks(), other.marks()
        if self.kind != other.kind or mine.shape != theirs.shape:
            return 1.0
        return (
            float((mine != theirs).flatten(1).any(1).float().mean())
            if mine.dim() > 1
            else (float((mine != theirs).float().mean()))
        )

    def facts(self) -> dict[str, Any]:
        """Everything but the tensors, as plain JSON values."""
        origin = {} if self.origin is None else {"origin": self.origin.stored()}
        return {
            "schema_version": WITHOUT_ORIGIN if self.origin is None else SCHEMA_VERSION,
            "kind": self.kind,
            "owner": self.owner,
            "thresholds": asdict(self.thresholds),
            "architecture": dict(self.architecture),
            **origin,
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
            write_parts(folder, facts, _stored(self.tensors()))
            return
        old_facts, old_tensors = read_parts(folder)
        if digest_of(old_facts, old_tensors) == self.fingerprint():
            return
        if digest_of(old_facts | {"thresholds": facts["thresholds"]}, old_tensors) != self.fingerprint():
            raise InputError("claim", folder, "another claim is already there", "move it away or choose another folder")
        write_facts(folder, facts)


def check_owner(owner: str) -> None:
    """Refuses what is no name: several lines, characters that cannot be seen, too many.

    Raises:
        InputError: saying so.
    """
    if not isinstance(owner, str) or not owner.isprintable() or len(owner) > OWNER_LIMIT:
        problem = f"is not one line of at most {OWNER_LIMIT} characters that can be seen"
        raise InputError("owner", ascii(owner)[:OWNER_LIMIT], problem, "give a name")


def _stored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
