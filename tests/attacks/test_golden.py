"""Every attack on a victim of two epochs, compared with stored numbers: see `golden.py`."""

from pathlib import Path

import pytest

from golden import ASKED, assert_stored, losses
from ipr.config.shipped import shipped
from ipr.workflows.attack import attack

GOLDEN = Path(__file__).with_name("golden_numbers.json")
TWO_A_STEP = "trigger_set.per_step=2"
GN = "model.norm=gn"
REQUESTS = {
    "erb": ["scheme=passport_v1", "attack.share=[0.5]"],
    "erb_targeted": ["scheme=passport_v2", GN, "attack.share=[0.5]", "attack.block=[ierb]"],
    "adversarial_finetune": ["scheme=passport_v2", GN],
    "combined": ["scheme=passport_v1", "attack.steps=[weight_shift,prune]"],
    "capsule": ["scheme=trigger_set", "trigger_set.size=8", TWO_A_STEP],
    "data_free": ["scheme=passport_v2", GN, "attack.rounds=2", "attack.batch_size=16"],
    "distill": ["scheme=passport_v1", "dataset.part=1/2", "dataset@transfer=digits", "transfer.part=2/2",
                "transfer.image_size=8", "transfer.limit_train=96", "attack.alpha=0.7"],
    "factorise": ["scheme=seal"],
    "fake1": ["scheme=passport_v2", GN, "attack.passports=2"],
    "fake2": ["scheme=passport_v1"],
    "fake2_signature": ["scheme=passport_v2", GN, "attack.dissimilarity=[0.1,0.5]"],
    "fake3": ["scheme=passport_v3", GN, TWO_A_STEP, "attack.dissimilarity=[0.0,0.5]"],
    "fine_prune": ["scheme=passport_v2", GN],
    "false_claim": ["scheme=uchida", "attack.networks=2", "attack.images=6", "attack.iterations=2"],
    "finetune": ["scheme=passport_v1"],
    "flip_groups": ["scheme=passport_v1", "attack.rates=[0.5]"],
    "flip_signs": ["scheme=passport_v1", "attack.rates=[0.5]"],
    "fold_norms": ["scheme=passport_v2"],
    "forge_accessory": ["scheme=passport_aware"],
    "forge_accessory-steganographic": ["scheme=steganographic"],
    "forge_accessory-chip": ["scheme=chip"],
    "forge_deepmarks": ["scheme=deepmarks"],
    "forge_deepsigns": ["scheme=deepsigns", "scheme.images=8"],
    "forge_neuralmark": ["scheme=neuralmark", "attack.pooled=100", "attack.samples=200", "attack.tries=20"],
    "forge_trigger_set": ["scheme=trigger_set", "trigger_set.size=8", TWO_A_STEP, "attack.iterations=20"],
    "forge_uchida": ["scheme=uchida"],
    "grind": ["scheme=passport_v2", GN, "attack.hash=[fast]", "attack.tries=500"],
    "label_smoothing": ["scheme=uchida"],
    "from_scratch": ["scheme=passport_v2", GN],
    "knockoff": ["scheme=trigger_set", "trigger_set.size=8", TWO_A_STEP, "dataset@transfer=digits_parity",
                 "transfer.image_size=8", "attack.answers=hard"],
    "grind_hash": ["scheme=greedy_residuals", "attack.tries=20"],
    "grind_hash-neuralmark": ["scheme=neuralmark", "attack.tries=20"],
    "lift_passport": ["scheme=passport_v2", GN],
    "ones": ["scheme=passport_v2", GN, "attack.energies=[1,3,10]"],
    "overwrite": ["scheme=passport_v1"],
    "overwrite-passport_v2": ["scheme=passport_v2", GN],
    "overwrite-uchida": ["scheme=uchida"],
    "overwrite-trigger_set": ["scheme=trigger_set", "trigger_set.size=8", TWO_A_STEP],
    "partial_signature": ["scheme=passport_v2", GN, "attack.wrong=[0.1]"],
    "permute": ["scheme=passport_v2", GN],
    "prune": ["scheme=passport_v1", "attack.rates=[0.5]"],
    "quantise": ["scheme=uchida", "attack.bits=[3]"],
    "quantise-tuned": ["scheme=uchida", "attack.bits=[3]", "attack.epochs=1"],
    "regularize": ["scheme=uchida", "attack.first_epochs=1"],
    "rescale": ["scheme=passport_v2", GN],
    "rotate": ["scheme=passport_v2", "model=vit", "model.width=0.17"],
    "singular_vectors": ["scheme=passport_v2", GN, "attack.energies=[1,3,10]", "attack.images=16"],
    "structural_obfuscation": ["scheme=passport_v1"],
    "structural_obfuscation-gn": ["scheme=passport_v2", GN, "attack.ways=[split]"],
    "unlearn_triggers": ["scheme=trigger_set", "trigger_set.size=8", TWO_A_STEP, "attack.iterations=5"],
    "weight_shift": ["scheme=passport_v1"],
    "wrk": ["scheme=trigger_set", "trigger_set.size=8", TWO_A_STEP],
}  # fmt: skip


def test_no_attack_is_missing():
    there = {path.stem for path in shipped("conf").glob("attack/*.yaml")}
    assert {name.partition("-")[0] for name in REQUESTS} == there


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", REQUESTS)
def test_numbers_are_those_stored(request_for, trained, name):
    """The losses of what it trains, and what is measured of each point: counts and shares of 40 images, not times."""
    kind = name.partition("-")[0]
    asked = request_for(*ASKED, *REQUESTS[name], f"attack={kind}", "attack_epochs=2", command="attack")
    trained(asked)
    run = attack(asked)
    assert run.victim.found
    trainings = {path.stem: losses(path) for path in sorted(run.folder.path.glob("metrics*.csv"))}
    measured = {
        row.point: {
            "accuracy_after": round(row.accuracy_after, 9), "accuracy_claimed": round(row.accuracy_claimed, 9),
            "bits_agreeing": row.bits_agreeing, "trigger_accuracy": row.trigger_accuracy,
            "dissimilarity": round(row.dissimilarity, 9), "p_value_log10": round(row.p_value_log10, 4),
        }
        for row in run.rows
    }  # fmt: skip
    assert_stored(GOLDEN, name, {"trainings": trainings, "measured": measured})
