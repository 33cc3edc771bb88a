"""What schemes share whose scales pass through an accessory that is trained with the network: V2 with more secrets."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, ClassVar

from torch import Tensor, nn

from ipr.claims.base import Claim
from ipr.config.recipe import Recipe
from ipr.config.schema import TrainConfig
from ipr.data.images import ImageData
from ipr.passport.accessory import Accessory, AccessoryClaim
from ipr.passport.claim import PassportClaim
from ipr.passport.layer import Affine
from ipr.randomness import generator
from ipr.schemes.base import Trained
from ipr.schemes.passport_v2 import PassportV2, PassportV2Config
from ipr.schemes.start import example_image
from ipr.signature import Signature

PURPOSE = "accessory"
"""What the seed is derived for that an accessory is drawn from, as training begins."""


class Constants(nn.Module):
    """Tensors that are where the network is, and in no `state_dict`."""

    def __init__(self, tensors: Accessory) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor, persistent=False)


class AccessoryScheme(PassportV2):
    """V2 whose private scales and shifts pass through an accessory (`AccessoryClaim.through`).

    It is trained beside the network by the same optimiser, and is in the checkpoints, from which training goes on, and
    in the claim that training ends with; in no weights file.

    Args:
        claim: says what scales pass through; what it holds of it is not looked at: training begins with `accessories`.
        accessories: layer -> what is trained, as training begins.
        shared: see `PassportV2`.
    """

    claim_kind: ClassVar[type[AccessoryClaim]]

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        num_classes: int,
        *,
        claim: AccessoryClaim,
        accessories: dict[str, dict[str, Tensor]],
        **shared: Any,
    ) -> None:
        super().__init__(network, recipe, num_classes, **shared)
        self.claim = claim
        self.constants = nn.ModuleList(Constants(claim.constants(name)) for name in self.layers)
        each = (
            {part: nn.Parameter(tensor.clone()) for part, tensor in accessories[name].items()} for name in self.layers
        )
        self.accessories = nn.ModuleList(nn.ParameterDict(one) for one in each)

    @classmethod
    def secrets_for(cls, network: nn.Module, config: TrainConfig, data: ImageData, trained: Trained) -> PassportClaim:
        """See `PassportScheme.secrets_for`: those of V2, and the accessory as training begins."""
        drawn = super().secrets_for(network, config, data, trained)
        same = {one.name: getattr(drawn, one.name) for one in fields(PassportClaim)}
        return cls.claim_kind(**same, accessories=cls.first_accessories(config, drawn.signature))

    @classmethod
    def first_accessories(cls, config: TrainConfig, signature: Signature) -> dict[str, dict[str, Tensor]]:
        """What training begins with: it follows from seed and `passport.key`, wherever training is begun again."""
        source = generator(config.seed, PURPOSE, config.passport.key)
        return {name: cls.claim_kind.drawn(bits.numel(), source) for name, bits in signature.items()}

    @classmethod
    def around(cls, network: nn.Module, config: TrainConfig, data: ImageData, claim: PassportClaim) -> PassportV2:
        """See `PassportScheme.around`."""
        assert isinstance(config.scheme, PassportV2Config)
        assert isinstance(claim, AccessoryClaim)
        return cls(
            **cls.parts(network, config, data, claim),
            example=example_image(data),
            alternation=config.scheme.alternation,
            claim=claim,
            accessories=cls.first_accessories(config, claim.signature),
        )

    def trained(self) -> list[nn.Parameter]:
        """The network's parameters, then the accessory's."""
        return [*super().trained(), *self.accessories.parameters()]

    def presented(self, affines: dict[str, Affine]) -> dict[str, Affine]:
        """See `PassportScheme.presented`."""
        named = zip(affines.items(), self.accessories, self.constants, strict=True)
        return {
            name: self.claim.through(name, affine, _tensors(own) | dict(fixed.named_buffers()))
            for (name, affine), own, fixed in named
        }

    def read_scales(self, affines: dict[str, Affine]) -> dict[str, Tensor]:
        """See `PassportScheme.read_scales`."""
        named = zip(affines.items(), self.accessories, strict=True)
        return {name: self.claim.signed(gamma, _tensors(own)) for (name, (gamma, _)), own in named}

    def completed(self, claim: Claim) -> Claim:
        """See `Scheme.completed`: with the accessory as it is now."""
        assert isinstance(claim, AccessoryClaim)
        now = {
            name: {part: tensor.detach().cpu().clone() for part, tensor in _tensors(own).items()}
            for name, own in zip(self.layers, self.accessories, strict=True)
        }
        return replace(claim, accessories=now)


def _tensors(own: nn.Module) -> dict[str, Tensor]:
    return dict(own.named_parameters())
