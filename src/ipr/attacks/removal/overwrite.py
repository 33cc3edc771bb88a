"""Overwriting: a second passport and signature in the same layers, or a second watermark of the same kind."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ipr.attacks.base import EMBEDDING, Attack, Attacked, Fit, Victim, constant_rate, example_of
from ipr.config.registry import load, register
from ipr.data.images import ImageData
from ipr.passport.damped import STEP_ENERGY
from ipr.passport.generate import random_passport, with_energy
from ipr.passport.layer import Branch
from ipr.passport.surgery import find_layers, protect, strip
from ipr.randomness import generator
from ipr.schemes.passport import SignatureLoss
from ipr.schemes.passport_v1 import PassportV1
from ipr.schemes.passport_v2 import PassportV2
from ipr.schemes.watermark import Watermark
from ipr.signature import draw_signature
from ipr.watermarks.base import WatermarkClaim


@register("overwrite")
@dataclass
class Overwrite(Attack):
    """The victim is trained on with a second passport and signature, or a second watermark, by its own scheme; both
    claims are then judged.

    A second passport is random, with as many bits and the energies |S| of the owner's and, where these were asked for,
    the damped steps that trainings have by default (`passport/damped.py`). It is embedded as in V1 or V2, also where
    the owner's scales pass through an accessory: there is no need for one. A second watermark is drawn as the first
    was, and embedded with its authors' constants. The paper names the attack (Section I) and reports no numbers for it.
    """

    kind = "removal"
    section = "I (named; no numbers)"
    attacker_has = "the weights, the training data, the scheme and its constants, and the places of the passport layers"
    families = EMBEDDING
    dated = drawn = True  # before he gives his copy away

    epochs: int = 20  # of the attacker's training
    lr: float = 0.01  # learning rate, constant
    weight_decay: float = 5e-4  # of SGD
    sign_loss_weight: float = 0.1  # how much the second signature counts in the loss

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        if isinstance(victim.claim, WatermarkClaim):
            yield self._watermark(victim.suspect, victim.claim, data, fit, seed)
            return
        example, claim = example_of(data, victim.suspect), victim.passport_claim
        layers = find_layers(victim.suspect, example, claim.layers)
        source = generator(seed, "second passport")
        energies = claim.energies(victim.suspect)
        passport = with_energy(random_passport(layers, source), victim.suspect, energies)
        capacities = {layer.conv: layer.channels for layer in layers}
        signature = draw_signature(capacities, None, source, claim.marks().numel())
        protected = protect(victim.suspect, passport, example, public_affine=not victim.locked)
        kind = PassportV1 if victim.locked else partial(PassportV2, example=example)
        scheme = kind(
            protected,
            constant_rate(self.lr, self.weight_decay),
            len(data.classes),
            signature=signature,
            signature_loss=SignatureLoss(self.sign_loss_weight),
            damping=_damping(energies),
        )
        fit("overwrite", scheme, epochs=self.epochs, clip_norm=1.0)
        second = claim.forged(passport=passport, signature=signature, text_bytes=0, triggers=None)
        suspect = strip(scheme.network, Branch.PRIVATE if victim.locked else Branch.PUBLIC)
        yield Attacked(suspect, {"claim=owner": claim, "claim=second": second})

    def _watermark(self, suspect: nn.Module, claim: WatermarkClaim, data: ImageData, fit: Fit, seed: int) -> Attacked:
        network, second = copy.deepcopy(suspect), claim.redrawn(suspect, data, seed)
        recipe = constant_rate(self.lr, self.weight_decay)
        kind: type[Watermark] = load("scheme", claim.kind)
        scheme = kind.embedding(second, network, recipe, data, seed=seed)
        fit("overwrite", scheme, epochs=self.epochs, clip_norm=1.0)
        return Attacked(network, {"claim=owner": claim, "claim=second": scheme.completed(second)})


def _damping(energies: Mapping[str, Tensor]) -> float | None:
    """The energy as at which scales are trained where P_gamma and P_beta have the same one in every layer, as those
    have that were scaled; else None, as published.
    """
    lengths = torch.stack(list(energies.values()))  # (layers, 2)
    scaled = bool((lengths[:, 0] - lengths[:, 1]).abs().max() <= 1e-3 * lengths.max())
    return STEP_ENERGY if scaled else None
