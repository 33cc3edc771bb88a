"""What says nothing is refused where it is judged, too; what was drawn never is."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from ipr.claims.base import Thresholds
from ipr.data.images import LabelledImages
from ipr.errors import InputError
from ipr.judging.verdict import claim_of_signs, judge
from ipr.passport.claim import PassportClaim
from ipr.passport.generate import random_passport, with_energy
from ipr.passport.presented import ScalesClaim
from ipr.passport.surgery import find_layers, strip
from ipr.signature import draw_signature
from references import protected, small, watermark


def owned(seed=0):
    network, plain, passport = protected("alexnet", "gn")
    capacities = {name: plain.get_submodule(name).out_channels for name in passport}
    bits = draw_signature(capacities, None, torch.Generator().manual_seed(seed))
    return strip(network), PassportClaim(passport, bits, thresholds=Thresholds(None))


@pytest.fixture
def images():
    pixels = torch.randint(256, (20, 16, 16, 3), dtype=torch.uint8)
    return LabelledImages(pixels, torch.arange(20) % 10, (0.5,) * 3, (0.25,) * 3)


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (torch.zeros(2), "P_gamma of conv4: has a mean patch of 0"),
        (torch.tensor([1.0, 0.0]), "P_beta of conv4: has a mean patch of 0"),
        (torch.tensor([0.0, 1.0]), "P_gamma of conv4: has a mean patch of 0"),
        (torch.full((2,), 1e-40), "has a mean patch of 0"),
        (torch.full((2,), 1e60, dtype=torch.float64), "scales of conv4: are not finite"),
    ],
)
def test_a_passport_that_says_nothing_is_not_judged(images, factor, words):
    """Not even where the claim spells what its zeros would read, and asks for no accuracy."""
    suspect, claim = owned()
    forged = {**claim.passport, "conv4": claim.passport["conv4"] * factor[:, None, None, None]}
    with pytest.raises(InputError, match=words):
        judge(suspect, replace(claim, passport=forged), images, forged=0)


def test_a_passport_whose_mean_patch_cancels_to_rounding(images):
    """Maps of noise less what makes their mean patches zero, by a projection: far from zero themselves."""
    suspect, claim = owned()
    conv = suspect.get_submodule("conv4")
    zeros = torch.zeros(2, *claim.passport["conv4"].shape[1:], dtype=torch.float64, requires_grad=True)

    def patches(maps):
        return nn.functional.unfold(maps, conv.kernel_size, padding=conv.padding, stride=conv.stride).mean(-1)

    channel = torch.randn(2, 1, *zeros.shape[2:], dtype=torch.float64)
    columns = torch.autograd.functional.jacobian(patches, channel)[0][:, 0].flatten(1)  # of one map
    nothing = torch.linalg.svd(columns).Vh[torch.linalg.matrix_rank(columns) :]
    if not len(nothing):
        pytest.skip("every map of this size says something")
    maps = (torch.randn(2, zeros.shape[1], len(nothing), dtype=torch.float64) @ nothing).reshape(zeros.shape)
    assert maps.abs().mean() > 0.1
    with pytest.raises(InputError, match="has a mean patch of 0"):
        judge(suspect, replace(claim, passport={**claim.passport, "conv4": maps.float()}), images, forged=0)


def test_scales_of_exactly_0_are_not_read(images):
    """Bare scales of zeros, which read as a row of -1 once, and a pruned network's channels."""
    suspect, claim = owned()
    negative = {name: torch.full_like(bits, -1) for name, bits in claim.signature.items()}
    scales = {name: torch.zeros(2, bits.numel()) for name, bits in negative.items()}
    forged = ScalesClaim(scales, negative, thresholds=claim.thresholds)
    assert sum(judge(suspect, forged, images, forged=0).reading.agreeing.values()) == 0
    with torch.no_grad():
        suspect.get_submodule("conv5").weight.zero_()
    read = judge(suspect, replace(claim, signature=negative), images, forged=2).reading  # rivals are made all the same
    assert read.agreeing["conv5"] == 0 < read.agreeing["conv4"]
    assert set(claim_of_signs(claim, suspect).signature["conv5"].tolist()) == {-1}


@pytest.mark.parametrize("model", ["alexnet", "resnet18"])
def test_what_was_drawn_is_never_refused(model, data):
    network = small(model, "bn")
    for seed in range(5):
        for scheme in ("uchida", "deepmarks", "deepsigns", "trigger_set", "zhang_unrelated"):
            watermark(scheme, network, data, seed).check_structure()
    places = find_layers(network, torch.randn(1, 3, 16, 16), ["conv5"] if model == "alexnet" else ["conv5_x"])
    for seed in range(5):
        passport = random_passport(places, torch.Generator().manual_seed(seed))
        bits = draw_signature({p.conv: p.channels for p in places}, None, torch.Generator().manual_seed(seed))
        for energy in (None, 1e-3, 3.0, 1e6):
            claim = PassportClaim(with_energy(passport, network, energy), bits, thresholds=Thresholds(None))
            claim.check_structure()
            claim.checked_affines(network)


def test_projections_of_few_columns_may_have_rows_near_each_other(data):
    claim = watermark("uchida", small(), data)
    replace(claim, projection=torch.randn(40, 3, generator=torch.Generator().manual_seed(0))).check_structure()
