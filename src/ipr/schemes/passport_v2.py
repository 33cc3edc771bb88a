"""V2 and V3: a private passport beside public scales (Section III-D, Algorithm 6); V3 adds a trigger set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ipr.config.recipe import Recipe
from ipr.config.registry import register
from ipr.config.schema import SchemeConfig, TrainConfig
from ipr.data.images import ImageData
from ipr.errors import InputError
from ipr.passport.claim import PassportClaim
from ipr.passport.fork import fork
from ipr.passport.layer import Branch, affines_of, presenting
from ipr.passport.statistics import untracked
from ipr.schemes.base import About
from ipr.schemes.passport import PassportScheme, PassportSchemeConfig
from ipr.schemes.start import example_image


@dataclass
class PassportV2Config(PassportSchemeConfig):
    """V2: private passport."""

    alternation: str = "joint"  # joint | alternate


@register("passport_v2", order=2)
class PassportV2(PassportScheme):
    """V2: the passport stays private; the network learns both branches at once (Algorithm 6).

    Args:
        example: an input for the network, used to split it into what both branches share and what they do not.
        alternation: `joint` sums both losses before one backward pass, as the authors' code does for Algorithm 6;
            `alternate` trains one branch a step, idx 0 and 1 in turn.
        shared: see `PassportScheme`.
    """

    Config = PassportV2Config
    public_affine = True
    about = About(
        "passport", "Section III-D, V2; Algorithm 6", "the same, private, beside public ones", "signs of scales"
    )

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        num_classes: int,
        *,
        example: Tensor,
        alternation: str = "joint",
        **shared: Any,
    ) -> None:
        super().__init__(network, recipe, num_classes, **shared)
        if alternation not in ("joint", "alternate"):
            raise InputError("scheme.alternation", alternation, "is unknown", "choose joint or alternate")
        self.alternation = alternation
        self.moves_all = alternation == "joint"
        self.forked = fork(network, example)

    @classmethod
    def around(cls, network: nn.Module, config: TrainConfig, data: ImageData, claim: PassportClaim) -> PassportV2:
        """See `PassportScheme.around`."""
        assert isinstance(config.scheme, PassportV2Config)
        parts = cls.parts(network, config, data, claim)
        return cls(**parts, example=example_image(data), alternation=config.scheme.alternation)

    def compile_network(self) -> None:
        """See `Scheme.compile_network`: trunk and tail, or the network where one branch runs a step."""
        if self.alternation == "joint":
            self.forked.compile()
        else:
            super().compile_network()

    def kind_of_step(self) -> int | None:
        """See `Scheme.kind_of_step`: idx, where one branch runs a step."""
        return self.global_step % 2 if self.alternation == "alternate" else None

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """L_c of idx 0 and of idx 1, and the regulariser with idx 1."""
        x, y = self.with_triggers(x, y)
        if self.alternation == "joint":
            affines = self.passport_affines()
            public, private = self.forked(x, [affines_of(self.layers, Branch.PUBLIC), self.presented(affines)])
            self.means.count(public, y)
            return {
                "cross_entropy_public": self.criterion(public, y),
                "cross_entropy_private": self.criterion(private, y),
                **self.regulariser(affines),
            }
        branch = Branch(self.global_step % 2)
        affines = affines_of(self.layers, branch)
        other_norms = self.forked.norms if branch is Branch.PRIVATE else ()
        shown = self.presented(affines) if branch is Branch.PRIVATE else affines
        with presenting(self.layers, shown), untracked(other_norms):
            logits = self.network(x)
        self.means.count(logits, y)
        loss = {f"cross_entropy_{branch.name.lower()}": self.criterion(logits, y)}
        return loss | self.regulariser(affines) if branch is Branch.PRIVATE else loss


@dataclass
class PassportV3Config(PassportV2Config):
    """V3: private passport and trigger set."""


@register("passport_v3", order=3)
class PassportV3(PassportV2):
    """V3: V2 with a trigger set, for a first, black-box claim (Section III-D). `triggers` must be given."""

    Config = PassportV3Config
    about = About(
        "passport", "Section III-D, V3; Algorithm 6", "V2 and a trigger set", "signs of scales; trigger accuracy"
    )

    @classmethod
    def appends_images(cls, scheme: SchemeConfig) -> bool:
        """See `Scheme.appends_images`."""
        return True

    def on_fit_start(self) -> None:
        """Refuses to train without what makes it V3."""
        super().on_fit_start()
        if self.triggers is None:
            raise InputError("trigger_set", None, "scheme V3 embeds a trigger set", "give one, or use scheme V2")
