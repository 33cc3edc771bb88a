"""The three passport schemes (Section III-D): V1 (Algorithm 2), V2 and V3 (Algorithm 6)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ipr.errors import InputError
from ipr.passport.fork import fork
from ipr.passport.layer import Affine, Branch, affines_of, passport_layers, presenting
from ipr.passport.normal_form import sign
from ipr.schemes.base import Scheme
from ipr.schemes.recipe import Recipe
from ipr.schemes.triggers import TriggerSamples
from ipr.signature import Signature, sign_loss


@dataclass(frozen=True)
class SignatureLoss:
    """The constants of the regulariser R of Eq. 1.

    Attributes:
        weight: lambda_r of Eq. 1; the paper gives none, the authors' code 0.1.
        gamma_0: the magnitude asked of each gamma (Eq. 6).
        gamma_regulariser: weight of the sum of gamma^2; in the authors' code only.
    """

    weight: float = 0.1
    gamma_0: float = 0.1
    gamma_regulariser: float = 1e-5

    def __post_init__(self) -> None:
        for field, good in (
            ("sign_loss_weight", self.weight >= 0),
            ("gamma_0", self.gamma_0 > 0),
            ("gamma_regulariser", self.gamma_regulariser >= 0),
        ):
            if not good:
                value = self.weight if field == "sign_loss_weight" else getattr(self, field)
                raise InputError(f"scheme.{field}", value, "is out of range", "give a positive number, e.g. 0.1")


class PassportScheme(Scheme):
    """What V1, V2 and V3 share: a protected network, the signature's loss, and optional trigger samples.

    Args:
        network: a protected network.
        recipe: see `Scheme`.
        num_classes: see `Scheme`.
        signature: the bits to write.
        relative: whether they are written relative to the signs of the public scales (`PassportClaim.relative`).
        signature_loss: the constants of the regulariser.
        triggers: trigger samples for every step; None for none.
    """

    bits: Tensor

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        num_classes: int,
        *,
        signature: Signature,
        signature_loss: SignatureLoss,
        triggers: TriggerSamples | None = None,
        relative: bool = False,
    ) -> None:
        super().__init__(network, recipe, num_classes)
        self.signature_loss, self.triggers, self.relative = signature_loss, triggers, relative
        self.layers = passport_layers(network)
        bits = torch.cat([signature[name] for name in self.layers])
        self.register_buffer("bits", bits, persistent=False)

    def on_train_epoch_start(self) -> None:
        """Draws the order of the trigger images."""
        if self.triggers is not None:
            self.triggers.start_epoch(self.current_epoch)

    def check_shares(self, processes: int) -> None:
        """See `Scheme.check_shares`."""
        if self.triggers is not None:
            self.triggers.check_shares(processes)

    def with_triggers(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The batch, with trigger images where the scheme has them."""
        return (x, y) if self.triggers is None else self.triggers.appended(x, y, self.step_number, self.share)

    def passport_affines(self) -> dict[str, Affine]:
        """Eq. 4 at every passport layer, once a step: for the forward pass and for the regulariser."""
        return {name: layer.passport_affine() for name, layer in self.layers.items()}

    def wanted_signs(self) -> Tensor:
        """The sign that each scale is to have, (N,): the bits, or these times the public scales' present signs."""
        if not self.relative:
            return self.bits
        public = [layer.public_affine()[0].squeeze(0).detach() for layer in self.layers.values()]
        return self.bits * torch.cat([sign(scale) for scale in public])

    def regulariser(self, affines: dict[str, Affine]) -> dict[str, Tensor]:
        """lambda_r R: the sign loss (Eq. 6) summed over layers, and the authors' penalty on gamma^2."""
        constants = self.signature_loss
        gamma = torch.cat([scale.squeeze(0) for scale, _ in affines.values()])
        return {
            "sign_loss": constants.weight * sign_loss(gamma, self.wanted_signs(), constants.gamma_0),
            "gamma_penalty": constants.gamma_regulariser * gamma.square().sum(),
        }


class PassportV1(PassportScheme):
    """V1: the passport is distributed with the network, which works with nothing else (Algorithm 2)."""

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """L_c with the passport, and the regulariser."""
        x, y = self.with_triggers(x, y)
        affines = self.passport_affines()
        with presenting(self.layers, affines):
            logits = self.network(x)
        self.means.count(logits, y)
        return {"cross_entropy": functional.cross_entropy(logits, y), **self.regulariser(affines)}


class PassportV2(PassportScheme):
    """V2: the passport stays private; the network learns both branches at once (Algorithm 6).

    Args:
        example: an input for the network, used to split it into what both branches share and what they do not.
        alternation: `joint` sums both losses before one backward pass, as the authors' code does for Algorithm 6;
            `alternate` trains one branch a step, idx 0 and 1 in turn.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        num_classes: int,
        *,
        signature: Signature,
        signature_loss: SignatureLoss,
        example: Tensor,
        triggers: TriggerSamples | None = None,
        alternation: str = "joint",
        relative: bool = False,
    ) -> None:
        super().__init__(
            network,
            recipe,
            num_classes,
            signature=signature,
            signature_loss=signature_loss,
            triggers=triggers,
            relative=relative,
        )
        if alternation not in ("joint", "alternate"):
            raise InputError("scheme.alternation", alternation, "is unknown", "choose joint or alternate")
        self.alternation = alternation
        self.moves_all = alternation == "joint"
        self.forked = fork(network, example)

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
            public, private = self.forked(x, [affines_of(self.layers, Branch.PUBLIC), affines])
            self.means.count(public, y)
            return {
                "cross_entropy_public": functional.cross_entropy(public, y),
                "cross_entropy_private": functional.cross_entropy(private, y),
                **self.regulariser(affines),
            }
        branch = Branch(self.global_step % 2)
        affines = affines_of(self.layers, branch)
        with presenting(self.layers, affines):
            logits = self.network(x)
        self.means.count(logits, y)
        loss = {f"cross_entropy_{branch.name.lower()}": functional.cross_entropy(logits, y)}
        return loss | self.regulariser(affines) if branch is Branch.PRIVATE else loss


class PassportV3(PassportV2):
    """V3: V2 with a trigger set, for a first, black-box claim (Section III-D). `triggers` must be given."""

    def on_fit_start(self) -> None:
        """Refuses to train without what makes it V3."""
        if self.triggers is None:
            raise InputError("trigger_set", None, "scheme V3 embeds a trigger set", "give one, or use scheme V2")
