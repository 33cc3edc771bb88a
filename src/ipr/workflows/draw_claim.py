"""The secrets of a new run, checked as a judge would check them, with what they were drawn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ipr.claims.base import Claim
from ipr.claims.origin import Origin
from ipr.config.schema import TrainConfig
from ipr.data.images import ImageData
from ipr.errors import InputError
from ipr.judging.claim_kinds import check_sound
from ipr.randomness import derive_seed
from ipr.schemes.base import Trained
from ipr.workflows.request import is_keyless, scheme_of


def make_claim(config: TrainConfig, data: ImageData, trained: Trained) -> Claim | None:
    """The secrets of a new run; None where nothing is embedded.

    Args:
        config: the request.
        data: its images.
        trained: see `Trained`; called where secrets are made with a trained network (feature-map passports, frontier
            stitching).

    Raises:
        InputError: a setting of the scheme does not fit the network or the images, or gives secrets that no judge
            would accept.
    """
    return checked(lambda: scheme_of(config).draw_claim(config, data, trained), config, data)


def checked(draw: Callable[[], Claim | None], config: TrainConfig, data: ImageData) -> Claim | None:
    """What is drawn, as a judge would check it, with what it was drawn from; see `make_claim`."""
    try:
        claim = draw()
        if claim is None:
            return None
        check_sound(claim)  # before a long training
    except InputError as error:
        if not error.field.startswith("claim"):
            raise
        problem = f"its claim would be none ({error.field} {error.value}: {error.problem})"
        remedy = "ask for more bits or other images (scheme.*, trigger_set.*, passport.*, dataset.*), or another seed"
        raise InputError("scheme", config.scheme.name, problem, remedy) from error
    return replace(claim, origin=origin_of(config, data))


def origin_of(config: TrainConfig, data: ImageData) -> Origin:
    """What the secrets of a run are drawn from: its seeds, where they are not chosen."""
    purposes, key = scheme_of(config).purposes(config), config.passport.key
    seeds = {purpose: derive_seed(config.seed, derived_for, key) for purpose, derived_for in purposes.items()}
    return Origin(seeds, is_keyless(config), data.fingerprint, data.train_labels.numel(), config.dataset.part)
