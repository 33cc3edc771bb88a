import copy

import pytest
import torch
from scipy.stats import ks_2samp

from ipr.claims.base import Thresholds
from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.exhibits.distributions import Distributions
from ipr.judging.claim_kinds import load_claim
from ipr.passport.claim import PassportClaim
from ipr.schemes.start import load_suspect
from ipr.workflows.exhibit import exhibit
from ipr.workflows.train import train
from reference_forms import naive_affine
from references import protected


@pytest.fixture
def opened():
    _, plain, passport = protected("alexnet", "bn", public_affine=False)
    bits = {name: torch.ones(plain.get_submodule(name).out_channels, dtype=torch.int8) for name in passport}
    return plain, PassportClaim(passport, bits, thresholds=Thresholds(None))


def test_scales_and_shifts_are_those_of_the_convolved_passport(case_of, opened):
    plain, claim = opened
    baseline = copy.deepcopy(plain)
    torch.manual_seed(5)
    for parameter in baseline.parameters():
        torch.nn.init.normal_(parameter)
    shown = Distributions(name="distributions").show(case_of(plain, claim, "passport_v1", baseline=lambda: baseline))
    assert {row["layer"] for row in shown.facts} == {"conv4"}  # the middle one of three
    with torch.no_grad():
        gamma, beta = naive_affine(plain.conv4, claim.passport["conv4"])
    assert torch.allclose(shown.arrays["scales_passport"], gamma, atol=1e-5)
    assert torch.allclose(shown.arrays["shifts_passport"], beta, atol=1e-5)
    assert torch.equal(shown.arrays["weights_passport"], plain.conv4.weight.detach().flatten())
    assert torch.equal(shown.arrays["scales_baseline"], baseline.norm4.weight)
    assert torch.equal(shown.arrays["shifts_baseline"], baseline.norm4.bias)

    rows = {(row["network"], row["of"]): row for row in shown.facts if "network" in row}
    assert rows["passport", "scales"]["share_large"] == pytest.approx(sum(abs(g) >= 0.1 for g in gamma.tolist()) / 64)
    assert rows["passport", "shifts"]["share_negative"] == pytest.approx(sum(b < 0 for b in beta.tolist()) / 64)
    assert rows["baseline", "weights"]["mean"] == pytest.approx(baseline.conv4.weight.mean().item(), abs=1e-6)
    assert rows["baseline", "weights"]["std"] == pytest.approx(baseline.conv4.weight.std().item(), rel=1e-5)
    apart = {row["compared"]: row["ks_distance"] for row in shown.facts if "compared" in row}
    one, other = (shown.arrays[f"weights_{n}"].double().numpy() for n in ("baseline", "passport"))
    assert apart["weights"] == pytest.approx(ks_2samp(one, other).statistic, abs=1e-6)
    scaled = ks_2samp(one / one.std(ddof=1), other / other.std(ddof=1)).statistic
    assert apart["weights in units of their std"] == pytest.approx(scaled, abs=1e-4)
    assert apart["weights"] > 0.3 > apart["weights in units of their std"]  # same shape, other width


def test_another_layer_and_one_that_is_not_there(case_of, opened):
    plain, claim = opened
    case = case_of(plain, claim, "passport_v1", baseline=lambda: plain)
    shown = Distributions(name="distributions", layer="conv5").show(case)
    assert torch.equal(shown.arrays["weights_passport"], plain.conv5.weight.detach().flatten())
    with pytest.raises(InputError, match=r"exhibit\.layer=conv1: is not a passport layer; choose among: conv3"):
        Distributions(name="distributions", layer="conv1").show(case)


def test_a_real_run_beside_its_baseline_of_the_same_norm_and_seed(exhibit_for):
    config = exhibit_for("scheme=passport_v1", "exhibit=distributions", "seed=2", "trainer.max_epochs=1")
    shown = exhibit(config)
    data, run = open_images(config.dataset, config.paths), train(config)
    suspect, claim = load_suspect(config.model, data, run.folder.weights), load_claim(run.folder.claim)
    with torch.no_grad():
        gamma, _ = naive_affine(suspect.conv4, claim.passport["conv4"])
    assert torch.allclose(shown.arrays["scales_passport"], gamma, atol=1e-5)
    plain = train(exhibit_for("scheme=baseline", "seed=2", "trainer.max_epochs=1"))
    assert plain.found
    own = load_suspect(config.model, data, plain.folder.weights)
    assert torch.equal(shown.arrays["scales_baseline"], own.norm4.weight)
