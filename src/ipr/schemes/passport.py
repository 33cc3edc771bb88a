"""What the passport schemes V1, V2 and V3 share (Section III-D): the signature's loss, and how their claim is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ipr.claims.base import Claim
from ipr.claims.origin import NONCE, SIGNATURE, TRIGGER_SET
from ipr.config.ranges import check_numbers
from ipr.config.recipe import Recipe
from ipr.config.schema import MISSING, SchemeConfig, TrainConfig
from ipr.data.images import ImageData
from ipr.passport.begin import begun
from ipr.passport.bound import Binding, bound_signature
from ipr.passport.claim import PassportClaim
from ipr.passport.damped import damp, step_energy_of
from ipr.passport.generate import draw_passport, hidden_energies, with_energy
from ipr.passport.layer import Affine, passport_layers
from ipr.passport.margin import LEAST, margins
from ipr.passport.normal_form import public_signs, sign
from ipr.passport.surgery import find_layers, protect
from ipr.randomness import derive_bytes, generator
from ipr.schemes.base import Scheme, Trained
from ipr.schemes.start import claim_parts, example_image, start_network, starts_trained
from ipr.schemes.triggers import TriggerSamples, identity_of_triggers, make_trigger_set, trigger_count
from ipr.signature import Signature, draw_signature, sign_loss
from ipr.store.folder import secret_digest


@dataclass
class SignatureLoss:
    """The constants of the regulariser R of Eq. 1. The paper gives no lambda_r; the authors' code has 0.1."""

    sign_loss_weight: float = 0.1  # how much the signs of the scales count in the loss (lambda_r of Eq. 1)
    gamma_0: float | None = 0.1  # the magnitude asked of each scale (Eq. 6); null: by energy and weights (`margins`)
    gamma_regulariser: float = 1e-5  # weight of the sum of gamma^2; in the authors' code only

    def check(self) -> None:
        """Refuses constants out of range.

        Raises:
            InputError: naming the field.
        """
        check_numbers(self, "scheme.")


@dataclass
class PassportSchemeConfig(SignatureLoss, SchemeConfig):
    """Fields of every passport scheme."""

    layers: list[str] = MISSING  # convolutions to protect, or modules that hold them
    signature: str | None = None  # text to write, no secret; null for random bits
    bits: int | None = None  # channels that carry a bit of the signature: fewer cost less accuracy; null for all
    bound: bool = False  # write the bits that passport, owner and key hash to, in the place of a text (docs/claims.md)


class PassportScheme(Scheme):
    """What V1, V2 and V3 share: a protected network, the signature's loss, and optional trigger samples.

    Args:
        network: a protected network.
        recipe: see `Scheme`.
        num_classes: see `Scheme`.
        signature: the bits to write.
        relative: whether they are written relative to the signs of the public scales (`PassportClaim.relative`).
        signature_loss: the constants of the regulariser.
        triggers: see `Scheme`.
        damping: the energy as at which scales are trained where the passport's is higher (`damp`); None for its own.
        magnitudes: what is asked of the scales of each layer (`passport.margin`); None for gamma_0 of all.

    Attributes:
        public_affine: whether there are public scales beside those of the passport.
    """

    Config = PassportSchemeConfig
    claim_kind = PassportClaim
    more_bits = "scheme.bits or model.width, or more scheme.layers"
    stronger = "scheme.sign_loss_weight"
    public_affine: ClassVar[bool]

    bits: Tensor
    magnitudes: Tensor | None

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
        damping: float | None = None,
        magnitudes: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(network, recipe, num_classes, triggers)
        signature_loss.check()
        self.signature_loss, self.relative = signature_loss, relative
        self.damping, self._ends_damping = damping, list[RemovableHandle]()
        self.layers = passport_layers(network)
        bits = torch.cat([signature[name] for name in self.layers])
        self.register_buffer("bits", bits, persistent=False)
        asked = None
        if magnitudes is not None:
            asked = torch.cat([torch.full(signature[name].shape, magnitudes[name]) for name in self.layers])
        self.register_buffer("magnitudes", asked, persistent=False)

    def on_fit_start(self) -> None:
        """Has gradients damped where they are to be: in the process that trains, on its device."""
        if self.damping is not None:
            self._ends_damping = damp(self.layers, self.damping)

    def on_fit_end(self) -> None:
        """Ends it."""
        for handle in self._ends_damping:
            handle.remove()
        self._ends_damping = []

    def passport_affines(self) -> dict[str, Affine]:
        """Eq. 4 at every passport layer, once a step: for the forward pass and for the regulariser."""
        return {name: layer.passport_affine() for name, layer in self.layers.items()}

    def presented(self, affines: dict[str, Affine]) -> dict[str, Affine]:
        """The scales and shifts that the layers answer with; by default those of Eq. 4, which are given."""
        return affines

    def read_scales(self, affines: dict[str, Affine]) -> dict[str, Tensor]:
        """The scales that the signature is written into, (1, C) each; by default those of Eq. 4, which are given."""
        return {name: scale for name, (scale, _) in affines.items()}

    def wanted_signs(self) -> Tensor:
        """The sign that each scale is to have, (C,) over all layers, 0 for any: the bits, or these times the public
        scales' present signs.
        """
        if not self.relative:
            return self.bits
        public = [layer.public_affine()[0].squeeze(0).detach() for layer in self.layers.values()]
        return self.bits * torch.cat([sign(scale) for scale in public])

    def regulariser(self, affines: dict[str, Affine]) -> dict[str, Tensor]:
        """lambda_r R: the sign loss (Eq. 6) summed over layers, and the authors' penalty on gamma^2.

        Args:
            affines: of Eq. 4.
        """
        constants = self.signature_loss
        asked = self.magnitudes if self.magnitudes is not None else constants.gamma_0 or LEAST
        gamma = torch.cat([scale.squeeze(0) for scale in self.read_scales(affines).values()])
        return {
            "sign_loss": constants.sign_loss_weight * sign_loss(gamma, self.wanted_signs(), asked),
            "gamma_penalty": constants.gamma_regulariser * gamma.square().sum(),
        }

    @classmethod
    def purposes(cls, config: TrainConfig) -> dict[str, str]:
        """See `Scheme.purposes`: a signature that is not bound, and abstract trigger images."""
        purposes = {} if is_bound(config.scheme) else {SIGNATURE: SIGNATURE}
        if cls.appends_images(config.scheme) and config.trigger_set.name == "abstract":
            purposes[TRIGGER_SET] = TRIGGER_SET
        return purposes

    @classmethod
    def identity(cls, config: TrainConfig, data: ImageData) -> dict[str, Any]:
        """See `Scheme.identity`: the passport, and the trigger set where there is one."""
        step_energy = step_energy_of(config.passport.energy, config.passport.step_energy)
        drawn = asdict(config.passport) | {"key": secret_digest(config.passport.key), "step_energy": step_energy}
        if step_energy is None:
            del drawn["step_energy"]  # runs that were made before steps could be damped are found
        passport = {"passport": drawn}
        if not cls.appends_images(config.scheme):
            return passport
        return passport | {"trigger_set": identity_of_triggers(config.trigger_set, cls.per_step(config, data), data)}

    @classmethod
    def trigger_count(cls, config: TrainConfig, data: ImageData) -> int:
        """See `Scheme.trigger_count`."""
        return trigger_count(config.trigger_set, data)

    @classmethod
    def draw_claim(cls, config: TrainConfig, data: ImageData, trained: Trained) -> PassportClaim:
        """Passport, signature and trigger set; `trained` is called for feature-map passports alone."""
        return cls.secrets_for(start_network(config, data), config, data, trained)

    @classmethod
    def secrets_for(cls, network: nn.Module, config: TrainConfig, data: ImageData, trained: Trained) -> PassportClaim:
        """The same for a plain network that is there already."""
        scheme, seed, key = config.scheme, config.seed, config.passport.key
        assert isinstance(scheme, PassportSchemeConfig)
        layers = find_layers(network, example_image(data), scheme.layers)
        capacities = {layer.conv: layer.channels for layer in layers}
        binding = None
        if is_bound(scheme):  # the scales of V1 are the public ones
            binding = Binding(derive_bytes(seed, NONCE, key), relative=cls.public_affine)
        text = scheme.signature
        source = generator(seed, SIGNATURE, key)
        signature = draw_signature(capacities, text, source, scheme.bits)  # refused before a long training
        triggers = None
        if cls.appends_images(scheme):
            triggers = make_trigger_set(config.trigger_set, data, generator(seed, TRIGGER_SET, key))
        asked = config.passport
        source = generator(seed, f"{asked.name} passport", key)
        drawn, _ = draw_passport(asked.name, layers, data, asked.images, trained, source)
        passport = with_energy(drawn, network, hidden_energies(network, layers, asked.energy))
        if binding:
            signature = bound_signature(passport, capacities, config.owner, binding, scheme.bits)
        return PassportClaim(
            passport=passport,
            signature=signature,
            binding=str(binding) if binding else None,
            text_bytes=len((text or "").encode()),
            triggers=triggers,
            **claim_parts(config, data),
        )

    @classmethod
    def build(cls, config: TrainConfig, data: ImageData, claim: Claim | None, trained: Trained) -> Scheme:
        """See `Scheme.build`."""
        assert isinstance(claim, PassportClaim)
        return cls.around(start_network(config, data), config, data, claim)

    @classmethod
    def around(cls, network: nn.Module, config: TrainConfig, data: ImageData, claim: PassportClaim) -> PassportScheme:
        """What trains a plain network that is there already; `starts_trained` tells whether it was before."""
        return cls(**cls.parts(network, config, data, claim))

    @classmethod
    def signs(cls, network: nn.Module, claim: PassportClaim, data: ImageData) -> Signature:
        """The sign that each scale is to have in a network, 0 for any: the bits, or these times its own scales'."""
        if not claim.relative:
            return claim.signature
        layers = find_layers(network, example_image(data), claim.layers)
        own = public_signs(network, layers)
        return {name: bits * own[name].to(bits) for name, bits in claim.signature.items()}

    @classmethod
    def parts(cls, network: nn.Module, config: TrainConfig, data: ImageData, claim: PassportClaim) -> dict[str, Any]:
        """The arguments of the class for a plain network, a run and its claim."""
        scheme, triggers = config.scheme, None
        assert isinstance(scheme, PassportSchemeConfig)
        asked = margins(network, claim.energies(network)) if scheme.gamma_0 is None else None
        if starts_trained(config):
            signs = cls.signs(network, claim, data)
            turned = not cls.public_affine  # V1: no other branch uses the filters
            network = begun(network, claim.passport, signs, example_image(data), turned=turned)
        if claim.triggers is not None:
            triggers = TriggerSamples(claim.triggers, cls.per_step(config, data), data, config.seed)
        return {
            "network": protect(network, claim.passport, example_image(data), public_affine=cls.public_affine),
            "recipe": config.optimizer,
            "num_classes": len(data.classes),
            "signature": claim.signature,
            "signature_loss": scheme,
            "triggers": triggers,
            "relative": claim.relative,
            "damping": step_energy_of(config.passport.energy, config.passport.step_energy),
            "magnitudes": asked,
        }


def is_bound(scheme: SchemeConfig) -> bool:
    """Whether the signature is to follow from the passport."""
    return isinstance(scheme, PassportSchemeConfig) and scheme.bound
