"""Passport-aware normalisation (Zhang et al., NeurIPS 2020): V2 whose private scales pass through a small network."""

from __future__ import annotations

from dataclasses import dataclass

from ipr.config.registry import register
from ipr.passport.accessory import AccessoryClaim
from ipr.schemes.accessory import AccessoryScheme
from ipr.schemes.base import About
from ipr.schemes.passport_v2 import PassportV2Config


@dataclass(frozen=True)
class PassportAwareClaim(AccessoryClaim):
    """Passport, signature and F of each layer, through which scale and shift pass (`passport/accessory.py`)."""

    kind = "passport_aware"


@dataclass
class PassportAwareConfig(PassportV2Config):
    """Passport-aware normalisation."""


@register("passport_aware", order=20)
class PassportAware(AccessoryScheme):
    """The private branch has gamma = F(Avg(W * P_gamma)) and beta = F(Avg(W * P_beta)), and statistics of its own; the
    sign loss is on Avg(W * P_gamma).

    As in the authors' code the loss is L_c of both branches and 0.1 of the sign loss. Deviations: the penalty on
    gamma^2 (`scheme.gamma_regulariser`) and damped steps (`passport.step_energy`) are V2's; a judge takes the private
    branch's statistics from his own images, where the authors keep a second set of running averages.
    """

    Config = PassportAwareConfig
    claim_kind = PassportAwareClaim
    about = About(
        "passport",
        "Zhang et al. 2020, passport-aware normalisation",
        "V2 whose private scales pass through a trained network",
        "signs of scales before that network",
    )
