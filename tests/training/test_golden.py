"""A short training of every scheme, compared with stored losses: see `golden.py`."""

from pathlib import Path

import pytest

from golden import ASKED, assert_stored, losses
from ipr.workflows.train import train

GOLDEN = Path(__file__).with_name("golden_losses.json")
TWO_A_STEP = "trigger_set.per_step=2"
KEY_IMAGES = ("trigger_set.size=8", TWO_A_STEP)
REQUESTS = {
    "baseline-bn": ["scheme=baseline"],
    "baseline-gn": ["scheme=baseline", "model.norm=gn"],
    "v1-random": ["scheme=passport_v1", "passport=random"],
    "v1-shuffled-published": ["scheme=passport_v1", "passport=shuffled", "passport.energy=null", "optimizer=published"],
    "v2-joint": ["scheme=passport_v2", "model.norm=gn", "passport=random"],
    "v2-alternate": ["scheme=passport_v2", "model.norm=gn", "passport=random", "scheme.alternation=alternate"],
    "v2-bn-damped": ["scheme=passport_v2", "passport=random", "model.norm=bn", "passport.energy=30",
                     "passport.step_energy=3"],
    "v3-shuffled": ["scheme=passport_v3", "model.norm=gn", "passport=shuffled", "scheme.signature=mine",
                    TWO_A_STEP],
    "v1-resnet18": ["scheme=passport_v1", "passport=random", "model=resnet18"],
    "passport_aware": ["scheme=passport_aware", "passport=random"],
    "trapdoor": ["scheme=trapdoor", "passport=random"],
    "steganographic": ["scheme=steganographic", "passport=random", "scheme.balance_weight=0.1"],
    "chip": ["scheme=chip", "passport=random"],
    "seal": ["scheme=seal"],
    "uchida": ["scheme=uchida"],
    "deepmarks": ["scheme=deepmarks"],
    "deepsigns": ["scheme=deepsigns", "scheme.images=8"],
    "neuralmark": ["scheme=neuralmark"],
    "greedy_residuals": ["scheme=greedy_residuals"],
    "trigger_set": ["scheme=trigger_set", *KEY_IMAGES],
    "zhang_content": ["scheme=zhang_content", *KEY_IMAGES],
    "zhang_noise": ["scheme=zhang_noise", *KEY_IMAGES],
    "ewe": ["scheme=ewe", *KEY_IMAGES],
    "dataset_inference": ["scheme=dataset_inference", *KEY_IMAGES],
    "guo_potkonjak": ["scheme=guo_potkonjak", *KEY_IMAGES],
    "frontier_stitching": ["scheme=frontier_stitching", "trigger_set.size=4", TWO_A_STEP, "scheme.epochs=2",
                           "scheme.epsilon=0.1", "trainer.max_epochs=20"],
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.sampled(3)
def test_losses_are_those_stored(request_for, name):
    run = train(request_for(*ASKED, *REQUESTS[name]))
    assert_stored(GOLDEN, name, losses(run.folder.metrics))
