import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import ks_2samp

from ipr.attacks.ambiguity.forge_projection import ForgeUchida
from ipr.attacks.base import Victim
from ipr.attacks.config import AttackConfig
from ipr.data.opening import open_images
from ipr.exhibits.distances import ks_distance, total_variation
from ipr.judging.claim_kinds import load_claim
from ipr.schemes.start import load_suspect
from ipr.workflows.attack import attack
from ipr.workflows.exhibit import exhibit, part_of
from ipr.workflows.train import train


@pytest.mark.parametrize(("n", "m", "shift"), [(1, 1, 0.0), (50, 70, 0.0), (50, 70, 1.0), (400, 3, -9.0)])
@pytest.mark.parametrize("ties", [False, True])
def test_the_ks_distance_is_the_largest_gap_of_the_shares_below(n, m, shift, ties):
    source = torch.Generator().manual_seed(0)
    a, b = torch.randn(n, generator=source), torch.randn(m, generator=source) + shift
    if ties:
        a, b = a.round(), b.round()
    gap = max(abs(float((a <= x).double().mean() - (b <= x).double().mean())) for x in torch.cat([a, b]))
    assert ks_distance(a.requires_grad_(), b) == pytest.approx(gap, abs=1e-12)


def test_total_variation_by_hand():
    assert total_variation(torch.tensor([1, 1]), torch.tensor([2, 2])) == 0
    assert total_variation(torch.tensor([4, 0]), torch.tensor([0, 1])) == 1
    assert total_variation(torch.tensor([3, 1]), torch.tensor([1, 3])) == 0.5


ASKED = ("scheme=uchida", "scheme.bits=32", "exhibit=watermark_distributions", "attack=finetune", "attack.epochs=1")


def test_it_shows_the_owners_watermark_and_the_forgery_of_the_attack(exhibit_for):
    config = exhibit_for(*ASKED, "attack_seed=3")
    shown = exhibit(config)
    run = train(config)
    data, claim = open_images(config.dataset, config.paths), load_claim(run.folder.claim)
    victim = Victim(load_suspect(config.model, data, run.folder.weights), claim, "uchida")
    forged = next(ForgeUchida(name="forge_uchida").run(victim, data, None, 3)).claims["way=gradient"]

    assert torch.equal(shown.arrays["projection_genuine"], claim.projection)
    assert torch.equal(shown.arrays["projection_forged"], forged.projection)
    weights = load_file(run.folder.weights)[f"{claim.layer}.weight"].numpy().astype(np.float64)
    tuned_at = attack(part_of(AttackConfig, config)).folder.path / "checkpoints" / "finetune" / "last.ckpt"
    state = torch.load(tuned_at, weights_only=True)["state_dict"]
    tuned = state[f"network.{claim.layer}.weight"].numpy().astype(np.float64)
    assert not np.allclose(weights, tuned)
    for stem, kernel in (("features", weights), ("tuned", tuned)):
        for who, owner in (("genuine", claim), ("forged", forged)):
            literal = [
                sum(float(x) * float(w) for x, w in zip(row, kernel.mean(0).reshape(-1), strict=True))
                for row in owner.projection
            ]
            assert shown.arrays[f"{stem}_{who}"].numpy() == pytest.approx(literal, rel=1e-4, abs=1e-5)
            state = "trained" if stem == "features" else "fine-tuned"
            (fact,) = [f for f in shown.facts if f.get("claim") == who and f["state"] == state]
            agreeing = sum((value > 0) == (bit > 0) for value, bit in zip(literal, owner.bits.tolist(), strict=True))
            assert (fact["bits_agreeing"], fact["bits_total"]) == (agreeing, 32)
            assert fact["bits_share"] == agreeing / 32
        (fact,) = [f for f in shown.facts if f.get("compared") == "features" and f["state"] == state]
        pair = [shown.arrays[f"{stem}_{who}"].numpy() for who in ("genuine", "forged")]
        assert fact["ks_distance"] == pytest.approx(ks_2samp(*pair).statistic)
    before = [f for f in shown.facts if f.get("claim") == "forged" and f["state"] == "trained"]
    assert before[0]["bits_share"] == 1  # the forgery ends when all bits are read
