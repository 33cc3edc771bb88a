import numpy as np
import pytest
import torch

from ipr.data.images import normalise
from ipr.data.opening import open_images
from ipr.exhibits.passport_kinds import as_images
from ipr.judging.claim_kinds import load_claim
from ipr.models.inspection import evaluating
from ipr.schemes.start import load_suspect
from ipr.workflows.exhibit import exhibit
from ipr.workflows.train import train
from reference_forms import naive_affine

ASKED = ("scheme=passport_v1", "trainer.max_epochs=1", "passport.images=5")


def test_a_map_becomes_an_image_by_its_own_range():
    maps = torch.stack([torch.tensor([[0.0, 1.0], [0.5, 2.0]]), torch.full((2, 2), 7.0)])
    assert as_images(maps).tolist() == [[[0, 128], [64, 255]], [[0, 0], [0, 0]]]


def test_the_passports_are_those_of_runs_of_the_same_seed(exhibit_for):
    config = exhibit_for(*ASKED, "exhibit=passport_kinds", "seed=1")
    shown = exhibit(config)
    assert not list((shown.folder.path.parents[1] / "train").glob("passport_v1-*"))  # the baseline is all it needs
    data = open_images(config.dataset, config.paths)
    baseline = load_suspect(config.model, data, train(exhibit_for(*ASKED, "scheme=baseline", "seed=1")).folder.weights)
    rows = {(row["kind"], row["layer"]): row for row in shown.facts if "layer" in row}
    for kind in ("random", "image", "shuffled"):
        run = train(exhibit_for(*ASKED, "seed=1", f"passport={kind}", "passport.energy=null"))
        for name, maps in load_claim(run.folder.claim).passport.items():
            assert torch.equal(shown.arrays[f"{kind}_{name}"], as_images(maps[0, :4]))
            row, values = rows[kind, name], maps[0].numpy().astype(np.float64)
            assert row["mean"] == pytest.approx(values.mean(), abs=1e-6)
            assert row["std"] == pytest.approx(values.std(ddof=1), rel=1e-5)
            assert row["zeros"] == pytest.approx((values == 0).mean())
            # gamma = <W, S>: the norm of S is what the steepest filter of length 1 gives
            conv = baseline.get_submodule(name)
            conv.zero_grad()
            gamma, _ = naive_affine(conv, maps)
            gamma.sum().backward()
            assert row["energy"] == pytest.approx(conv.weight.grad[0].norm().item(), rel=1e-4)
    counted = {row["kind"]: row["combinations"] for row in shown.facts if "combinations" in row}
    assert counted == {"random": None, "image": 1, "shuffled": 5**3}


def test_the_images_shown_are_those_that_the_maps_come_from(exhibit_for):
    config = exhibit_for(*ASKED, "exhibit=passport_kinds", "exhibit.layers=[conv1,conv4,conv5]")
    arrays = exhibit(config).arrays
    data = open_images(config.dataset, config.paths)
    network = load_suspect(config.model, data, train(exhibit_for(*ASKED, "scheme=baseline")).folder.weights)
    assert arrays["image_input"].shape == (1, 8, 8, 1)
    assert arrays["shuffled_input"].shape == (3, 8, 8, 1)
    for kind in ("image", "shuffled"):
        for index, name in enumerate(("conv1", "conv4", "conv5")):
            image = arrays[f"{kind}_input"][[index if kind == "shuffled" else 0]]
            assert (data.train_pixels == image).flatten(1).all(1).any()
            received = []
            handle = network.get_submodule(name).register_forward_pre_hook(
                lambda _, args, to=received: to.append(args[0])
            )
            with evaluating(network):  # in float64, as passports are drawn
                network.double()(normalise(image, data.mean, data.std).double())
            handle.remove()
            expected = as_images(received[0][0, :4].float()).int()
            assert (arrays[f"{kind}_{name}"].int() - expected).abs().max() <= 1  # rounding: another batch size
