"""Fingerprints: their formulas, that nothing is trained, and that copies are told from strangers."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from ipr.attacks.removal.prune import pruned
from ipr.claims.base import Thresholds
from ipr.data.images import LabelledImages
from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.judging.black_box import judge_black_box
from ipr.judging.claim_kinds import load_claim
from ipr.schemes.ipguard import boundary_points, ipguard_loss
from ipr.schemes.lineage import LineageClaim, flat_weights, with_weights
from ipr.schemes.start import load_suspect
from ipr.suspects.served.black_box import BlackBox
from ipr.watermarks.key_images import answers
from ipr.workflows.train import train
from references import memorise, small, watermark

LEARNED = ("trainer.max_epochs=8", "dataset.limit_train=400", "optimizer.batch_size=64")


def test_the_loss_of_ipguard_by_hand():
    logits = torch.tensor([[5.0, 3.0, 4.0], [1.0, 9.0, 0.0], [2.0, 4.0, 3.0]])
    origin, target = torch.tensor([0, 0, 0]), torch.tensor([1, 1, 1])
    # max(0, Zi - Zj + k) + max(0, best of the others - Zi), k = 3
    assert ipguard_loss(logits, origin, target, 3.0).tolist() == [5 - 3 + 3 + 0, 0 + 0, 2 - 4 + 3 + (3 - 2)]


def test_points_of_ipguard_lie_beyond_the_boundary_by_the_margin(data):
    network = small("alexnet", "bn")
    memorise(network, data)
    source = torch.Generator().manual_seed(0)
    points = boundary_points(network, data, 8, source, margin=1.0)
    again = boundary_points(network, data, 8, torch.Generator().manual_seed(0), margin=1.0)
    assert torch.equal(points.pixels, again.pixels)
    assert network.training
    assert points.pixels.dtype == torch.uint8
    own = answers(network, LabelledImages(points.pixels, points.labels, data.mean, data.std))
    assert torch.equal(own, points.labels)
    first = torch.randperm(64, generator=torch.Generator().manual_seed(0))[:8]
    assert (points.labels != data.train_labels[first]).float().mean() >= 0.7  # over the boundary, but for rounding
    with pytest.raises(InputError, match="there are 64 training images"):
        boundary_points(network, data, 65, source)


@pytest.fixture
def fingerprinted(request_for, trained):
    """(scheme) -> the run, the data, and the networks: its own, a changed copy, and two strangers."""

    def made(scheme):
        config = request_for(f"scheme={scheme}", "passport.key=mine", *LEARNED)
        run, data = trained(config), open_images(config.dataset, config.paths)
        plain = request_for("scheme=baseline", *LEARNED)
        strangers = [trained(replace(plain, seed=seed)).folder.weights for seed in (5, 6)]
        networks = [load_suspect(config.model, data, path) for path in (run.folder.weights, *strangers)]
        own, *others = networks
        baseline = train(plain, data)
        assert baseline.found  # it was trained for the fingerprint
        return run, data, own, pruned(own, 0.2), others, baseline

    return made


@pytest.mark.parametrize("scheme", ["ipguard", "lineage"])
def test_nothing_is_trained_and_copies_are_told_from_strangers(scheme, fingerprinted):
    run, data, own, copied, strangers, baseline = fingerprinted(scheme)
    mine, theirs = (load_file(one.folder.weights) for one in (run, baseline))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert run.record.train_seconds == baseline.record.train_seconds
    assert run.folder.metrics.read_text() == "epoch,step,seconds\n"
    claim = load_claim(run.folder.claim)
    assert claim.is_fingerprint
    read = {name: claim.read(one, data.mean, data.std) for name, one in {"own": own, "copy": copied}.items()}
    assert read["own"].agreement == 1
    assert read["copy"].agreement > 0.9
    assert read["copy"].p_value_log10 < -12
    for stranger in strangers:
        assert claim.read(stranger, data.mean, data.std).agreement < 0.75


def test_weights_survive_a_lineage_claim_and_others_are_refused(data):
    network = small("resnet18", "bn")
    claim = watermark("lineage", network, data)
    again = with_weights(claim.architecture, flat_weights(network))
    mine, theirs = network.state_dict(), again.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine if "num_batches" not in name)
    for broken, words in (
        (claim.weights[:-1], "are not the"),
        (torch.zeros_like(claim.weights), "are all equal"),
        (claim.weights * torch.nan, "not made of finite numbers"),
        (claim.weights[None], "of shape"),
        (claim.weights.long(), "not made of finite numbers"),
    ):
        with pytest.raises(InputError, match=words):
            LineageClaim(weights=broken, thresholds=Thresholds(None), architecture=claim.architecture).check_structure()


def test_a_service_is_asked_for_points_and_shows_no_weights(data):
    network = small("alexnet", "bn")
    memorise(network, data)
    points, weights = (watermark(scheme, network, data) for scheme in ("ipguard", "lineage"))
    network.eval()

    def ask(images):
        with torch.no_grad():
            return network(torch.from_numpy(images)).numpy()

    none = LabelledImages(data.test_pixels[:0], data.test_labels[:0], data.mean, data.std)
    found = judge_black_box(BlackBox(ask, 10), points, none)
    assert found.reading.agreement == 1
    assert found.reading.p_value == pytest.approx(0.1**6)
    with pytest.raises(InputError, match="holds no trigger images"):
        judge_black_box(BlackBox(ask, 10), weights, none)
