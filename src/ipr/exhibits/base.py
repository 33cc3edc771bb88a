"""What an exhibit is given and what it shows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import lightning as L
from torch import Tensor, nn

from ipr.attacks.base import Applicable
from ipr.claims.base import Claim
from ipr.data.images import ImageData
from ipr.passport.claim import PassportClaim
from ipr.schemes.base import Scheme

Fact = dict[str, float | int | str | None]
"""One flat row of numbers and what they are about."""

Opens = Literal["run", "baseline", "training", "machine"]
"""What an exhibit looks at: a finished run, no more of it than its baseline, a training while it goes on, or how long
work takes on this machine."""


@dataclass(frozen=True)
class Contents:
    """What an exhibit shows.

    Attributes:
        arrays: what there is to draw, by name; on the CPU, uint8 for pixels, else float32.
        facts: rows of numbers that statements are checked on.
    """

    arrays: dict[str, Tensor]
    facts: list[Fact]


class Train(Protocol):
    """Trains the run from its start while a callback watches; goes on where an earlier call was interrupted."""

    def __call__(self, watch: L.Callback) -> None:
        """Returns when the training is over; the callback has seen every epoch."""


class Build(Protocol):
    """Builds what trains a scheme on the run's model and data."""

    def __call__(self, scheme: str, norm: str) -> Scheme:
        """The LightningModule at the start of its training, with a random passport where it has one."""


@dataclass(frozen=True)
class OpenedRun:
    """A run, opened.

    Attributes:
        suspect: the plain network with the run's public weights; at its start where the exhibit opens no finished run.
        claim: its owner's; None for a baseline.
        scheme: the name of the scheme that made it.
        data: its images.
        seed: the seed of the run.
        attack_seed: the seed of forgeries: what is forged here is what `ipr attack` forges.
        layers: the passport layers of the model (Table IV), also where the scheme has no passport.
        baseline: finds or trains the plain network of the same architecture, norm and seed.
        train: trains the run anew, watched.
        build: builds other schemes on the same model and data.
        passport_images: N of Section III-B c).
        tuned: `state_dict` of the network after fine-tuning, where the exhibit is shown on such an attack.
    """

    suspect: nn.Module
    claim: Claim | None
    scheme: str
    data: ImageData
    seed: int
    attack_seed: int
    layers: tuple[str, ...]
    baseline: Callable[[], nn.Module]
    train: Train
    build: Build
    passport_images: int = 20
    tuned: Mapping[str, Tensor] | None = None

    @property
    def passport_claim(self) -> PassportClaim:
        """The owner's claim, of a passport scheme: `Exhibit.families` sees to it."""
        assert isinstance(self.claim, PassportClaim)
        return self.claim


@dataclass
class Exhibit(Applicable, ABC):
    """An exhibit and its settings; the fields are what `exhibit.FIELD=...` sets.

    Attributes:
        source: where the paper shows it.
        opens: what it looks at.
        looks_at_tuned: whether it can also be shown on a fine-tuned network (`attack=finetune`).
    """

    group, refuses = "exhibit", "has nothing to show of"

    name: str = "???"  # set by exhibit=NAME

    source: ClassVar[str]
    opens: ClassVar[Opens] = "run"
    looks_at_tuned: ClassVar[bool] = False

    @abstractmethod
    def show(self, opened: OpenedRun) -> Contents:
        """Computes what is shown; everything in the run is left as it was.

        Raises:
            InputError: a setting does not fit the network.
        """
