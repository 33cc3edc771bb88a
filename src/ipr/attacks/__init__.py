"""Attacks on protected networks: one file and one YAML each; `ipr.judging` judges what they bring about."""

from __future__ import annotations

from ipr.attacks.ambiguity.fake1 import Fake1
from ipr.attacks.ambiguity.fake2 import Fake2, Fake2Signature
from ipr.attacks.ambiguity.fake3 import Fake3
from ipr.attacks.ambiguity.flip_signs import FlipSigns
from ipr.attacks.ambiguity.forge_deepmarks import ForgeDeepMarks
from ipr.attacks.ambiguity.forge_deepsigns import ForgeDeepSigns
from ipr.attacks.ambiguity.forge_trigger_set import ForgeTriggerSet
from ipr.attacks.ambiguity.forge_uchida import ForgeUchida
from ipr.attacks.ambiguity.lift_passport import LiftPassport
from ipr.attacks.ambiguity.ones import Ones
from ipr.attacks.ambiguity.partial_signature import PartialSignature
from ipr.attacks.ambiguity.singular_vectors import SingularVectors
from ipr.attacks.ambiguity.train_scales import TrainScales
from ipr.attacks.base import Attack
from ipr.attacks.removal.finetune import Finetune
from ipr.attacks.removal.flip_groups import FlipGroups
from ipr.attacks.removal.overwrite import Overwrite
from ipr.attacks.removal.permute import Permute
from ipr.attacks.removal.prune import Prune
from ipr.attacks.removal.quantise import Quantise
from ipr.attacks.removal.rescale import Rescale

ATTACKS: dict[str, type[Attack]] = {
    "fake1": Fake1,
    "fake2": Fake2,
    "fake2_signature": Fake2Signature,
    "fake3": Fake3,
    "finetune": Finetune,
    "flip_groups": FlipGroups,
    "flip_signs": FlipSigns,
    "forge_deepmarks": ForgeDeepMarks,
    "forge_deepsigns": ForgeDeepSigns,
    "forge_trigger_set": ForgeTriggerSet,
    "forge_uchida": ForgeUchida,
    "lift_passport": LiftPassport,
    "ones": Ones,
    "overwrite": Overwrite,
    "partial_signature": PartialSignature,
    "permute": Permute,
    "prune": Prune,
    "quantise": Quantise,
    "singular_vectors": SingularVectors,
    "train_scales": TrainScales,
    "rescale": Rescale,
}
"""Every attack by the name of its YAML file in `conf/attack/`."""
