"""What a run is called where people read it; its key, which is long and never changes, stays what finds it."""

from __future__ import annotations

import re

from ipr.config.schema import TrainConfig

LONGEST = 128
"""Characters; W&B takes no longer name."""

DIGITS = 6
"""Of the digest that a key ends with, so many tell runs of other settings apart."""


def training_name(config: TrainConfig, key: str) -> str:
    """The name of a training, e.g. `V2 alexnet bn cifar10 s0 1a2b3c`; the width stands in it unless it is 1.

    Args:
        config: the request.
        key: of the run; the name ends in the first digits of its digest, which whatever else was set has changed.
    """
    return _ending(_setting(config), key)


def attack_name(attack: str, images: str | None, config: TrainConfig, key: str) -> str:
    """The name of an attack, e.g. `finetune on V2 alexnet bn cifar10 s0 4d5e6f`, or `finetune (cifar100) on ...`.

    Args:
        attack: its name.
        images: the data set that the attacker moves to; None where he has the victim's.
        config: the request of the victim.
        key: of the attack.
    """
    told = f"{attack} ({images})" if images is not None else attack
    return _ending(f"{told} on {_setting(config)}", key)


def _setting(config: TrainConfig) -> str:
    scheme = re.sub(r"^passport_v(?=[0-9])", "V", config.scheme.name)
    width = [] if config.model.width == 1 else [f"w{config.model.width:g}"]
    return " ".join([scheme, config.model.name, config.model.norm, config.dataset.name, *width, f"s{config.seed}"])


def _ending(told: str, key: str) -> str:
    digest = key.rpartition("-")[2][:DIGITS]
    return f"{told[: LONGEST - len(digest) - 1]} {digest}"
