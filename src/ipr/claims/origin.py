"""Where a claim's secrets were drawn from: the seeds that a judge draws them from again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Self

from ipr.claims.stored_part import StoredPart
from ipr.data.images import read_part
from ipr.errors import InputError

SIGNATURE = "signature"
TRIGGER_SET = "trigger set"
NONCE = "nonce of the signature"
"""Purposes of `derive_seed`; with `watermark_purpose` all that a claim's secrets are drawn for."""

SEED_LIMIT = 2**63
"""Seeds are below: what `derive_seed` gives."""

COUNT_LIMIT = 8
"""Seeds of a claim at most."""


def watermark_purpose(kind: str) -> str:
    """The purpose that a watermark's secrets are drawn for. Trigger sets of Adi et al. are drawn for `TRIGGER_SET`."""
    return f"{kind} watermark"


@dataclass(frozen=True)
class Origin(StoredPart):
    """What a claim's secrets were drawn from, written down before the training: inside fingerprint and commitment.

    Attributes:
        seeds: purpose -> the 63-bit number that its random generator started at. Secret: the secrets follow from it.
        keyless: whether there was no `passport.key`, so that the numbers follow from the run's seed.
        data: fingerprint of the data set that training images were drawn from.
        train_images: how many training images it was limited to.
        part: which part of them, see `ImageData.part`; None for all.
    """

    key: ClassVar[str] = "origin"

    seeds: Mapping[str, int] = field(repr=False)
    keyless: bool
    data: str
    train_images: int
    part: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.seeds, Mapping) or len(self.seeds) > COUNT_LIMIT:
            raise _refused(f"does not name up to {COUNT_LIMIT} seeds")
        if not all(isinstance(purpose, str) for purpose in self.seeds):
            raise _refused("names a seed for no purpose")
        if not all(type(seed) is int and 0 <= seed < SEED_LIMIT for seed in self.seeds.values()):
            raise _refused("holds a seed that is no whole number of 63 bits")
        if type(self.keyless) is not bool:
            raise _refused("does not say whether there was a key")
        if not isinstance(self.data, str) or type(self.train_images) is not int or self.train_images < 0:
            raise _refused("does not name the images")
        if self.part is not None:
            if not isinstance(self.part, str):
                raise _refused("does not name the part of the images")
            read_part(self.part)

    def stored(self) -> dict[str, Any]:
        """See `StoredPart.stored`."""
        stored = asdict(self) | {"seeds": dict(self.seeds)}
        if self.part is None:
            del stored["part"]  # fingerprints of claims that were made before there were parts stay
        return stored

    @classmethod
    def of_mapping(cls, value: Mapping[str, Any]) -> Self:
        """See `StoredPart.read`."""
        return cls(value["seeds"], value["keyless"], value["data"], value["train_images"], value.get("part"))


def _refused(problem: str) -> InputError:
    return InputError("claim", "origin", problem, "restore the claim")
