"""What `ipr attack` can be asked for."""

from __future__ import annotations

from dataclasses import dataclass

from ipr.attacks.base import Attack
from ipr.config.schema import MISSING, DatasetConfig, TrainConfig


@dataclass
class AttackConfig(TrainConfig):
    """`ipr attack`: the victim by the groups that made it, and the attack."""

    attack: Attack = MISSING  # what is done to the victim
    transfer: DatasetConfig | None = None  # the attacker's data set, if not the victim's
    rival: Attack | None = (
        None  # forges a claim on the victim first; judged beside the owner's on what is left (Table I)
    )
    run: str | None = None  # the victim by its folder, or any beginning of its name that no other has; then no groups
    attack_seed: int = 0  # everything random in the attack follows from it
    attack_epochs: int | None = None  # for sweeps: the epochs of every attack that trains, whatever its own default
    skip_inapplicable: bool = False  # for sweeps: pass over what an attack does not apply to
