import numpy as np
import pytest
import torch

from ipr.attacks.ambiguity.forge_trigger_set import ForgeTriggerSet
from ipr.attacks.base import Victim
from ipr.data.images import normalise
from ipr.exhibits.trigger_images import TriggerImages, histogram, visible
from references import memorise, small, watermark


def test_the_histogram_is_numpys():
    pixels = torch.randint(256, (3, 5, 5, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pixels[0, 0, 0] = torch.tensor([0, 3, 255], dtype=torch.uint8)
    expected, _ = np.histogram(pixels.numpy(), bins=64, range=(0, 256))
    assert histogram(pixels).tolist() == expected.tolist()


def test_a_change_is_seen_about_mid_grey():
    assert visible(torch.tensor([-10.0, -5, 0, 10])).tolist() == [0, 64, 128, 255]
    assert visible(torch.zeros(2)).tolist() == [128, 128]


def test_it_shows_the_forgery_of_the_attack(case_of, data):
    network = small("alexnet", "bn")
    memorise(network, data)
    claim = watermark("trigger_set", network, data)
    shown = TriggerImages(name="trigger_images", iterations=60).show(case_of(network, claim, "trigger_set"))
    (attacked,) = ForgeTriggerSet(iterations=60).run(Victim(network, claim, "trigger_set"), data, None, 0)
    forged = attacked.claims[""]
    arrays = shown.arrays
    assert torch.equal(arrays["forged"], forged.pixels[:8])
    assert torch.equal(arrays["genuine"], claim.pixels[:8])
    assert all(arrays[n].dtype == torch.uint8 for n in ("base", "noise", "forged", "genuine"))
    change = arrays["forged"].float() - arrays["base"].float()
    assert float(change.abs().max()) > 0
    noise = arrays["noise"].float() - 127.5
    assert torch.equal(noise.sign()[change != 0], change.sign()[change != 0])

    facts = {row.get("claim") or row.get("compared") or row.get("change"): row for row in shown.facts}
    network.eval()
    with torch.no_grad():
        for who, one in (("genuine", claim), ("forged", forged)):
            given = network(normalise(one.pixels, data.mean, data.std)).argmax(1)
            assert facts[who]["answered_share"] == pytest.approx((given == one.labels).float().mean().item())
    assert facts["forged"]["answered_share"] == 1
    assert facts["noise"]["iterations"] == attacked.iterations
    assert facts["noise"]["largest"] == change.abs().max()  # there are fewer than 8 images, so all are kept
    assert facts["noise"]["mean"] == pytest.approx(change.abs().mean().item())
    shares = [
        np.histogram(arrays[n].numpy(), bins=64, range=(0, 256))[0] / arrays[n].numel() for n in ("base", "forged")
    ]
    assert facts["base and forged"]["total_variation"] == pytest.approx(np.abs(shares[0] - shares[1]).sum() / 2)


def test_a_bound_keeps_every_pixel_within_eta(case_of, data):
    network = small("alexnet", "bn")
    claim = watermark("trigger_set", network, data)
    exhibit = TriggerImages(name="trigger_images", iterations=5, eta=0.04, bound=1.0)
    (row,) = [row for row in exhibit.show(case_of(network, claim, "trigger_set")).facts if "largest" in row]
    assert 0 < row["largest"] <= 0.04 * 255 + 0.5
