"""Bits that are a hash, before a judge: the owner is verified, and who ground or fitted a claim is not."""

import json

import pytest
from safetensors.torch import load_file

from ipr.attacks.base import Victim
from ipr.claims.commitment import commit, save_commitment
from ipr.config.registry import load
from ipr.data.cache import load_images
from ipr.data.sources import DatasetRequest
from ipr.judging.claim_kinds import load_claim
from ipr.models import build_model

SMALL = (
    "model.width=0.25", "trainer.max_epochs=6", "trainer.progress_bar=false",
    "trainer.accelerator=cpu", "logger=csv", "verification.forged=3", "passport.key=k",
)  # fmt: skip
IMAGES = ("dataset=digits", "dataset.image_size=8", "dataset.limit_test=100")
FORGERS = {
    "neuralmark": {"grind_hash": {"tries": 50}, "forge_neuralmark": {"pooled": 100, "samples": 500, "tries": 50}},
    "greedy_residuals": {"grind_hash": {"tries": 50}},
}


@pytest.fixture
def verify(ipr, tmp_path):
    """Brings a claim, committed to on a day, to the judge: the exit code, and the required conditions that fail."""
    count = iter(range(100))

    def call(run, claim, registered):
        folder, weights = tmp_path / f"case-{next(count)}", run / "public.safetensors"
        claim.save(folder / "claim")
        commitment = commit(claim, load_file(weights))
        save_commitment(commitment, folder / "claim")
        dates = (f"commitment.registered={registered}", "commitment.released=2026-03-01")
        asked = (f"suspect={weights}", f"claim={folder / 'claim'}", f"commitment.digest={commitment.digest}", *dates)
        outcome = ipr("verify", *asked, *IMAGES, "rule.null=reported", "forged=3", f"out={folder}")
        conditions = json.loads((folder / "verdict.json").read_text())["conditions"]
        return outcome.code, {one["name"] for one in conditions if one["required"] and one["holds"] is not True}

    return call


@pytest.mark.parametrize("kind", FORGERS)
def test_the_owner_is_verified_and_forgers_are_not(kind, ipr, run_folder, verify, cache):
    outcome = ipr("train", *SMALL, *IMAGES, f"scheme={kind}", "owner=Ada")
    assert outcome.code == 0, outcome.err
    run = run_folder(kind)
    owner = load_claim(run / "claim")
    assert verify(run, owner, "2026-01-31") == (0, set())
    data = load_images(DatasetRequest("digits", None, 8, download=False, data_folder=cache), cache)
    sizes = {"channels_in": 1, "image_size": 8, "num_classes": 10}
    network = build_model("alexnet", norm="bn", width=0.25, **sizes)
    network.load_state_dict(load_file(run / "public.safetensors"))
    for name, settings in FORGERS[kind].items():
        (attacked,) = load("attack", name)(name=name, **settings).run(Victim(network, owner), data, None, 0)
        (forged,) = attacked.claims.values()
        code, failing = verify(run, forged, "2026-01-31")
        assert code == 1
        assert {"signature", "drawn secrets"} <= failing, name
