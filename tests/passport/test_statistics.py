"""Batch norms behind a passport layer: statistics of their own for each scale and shift."""

import pytest
import torch
from torch import nn

from ipr.claims.base import Thresholds
from ipr.data.images import LabelledImages
from ipr.errors import InputError
from ipr.judging.fidelity import STATISTICS_IMAGES, accuracy, statistics_of
from ipr.judging.verdict import judge
from ipr.models.inspection import evaluating
from ipr.passport.claim import PassportClaim
from ipr.passport.fork import fork, norms_behind
from ipr.passport.layer import Branch, affines_of, passport_layers, presenting
from ipr.passport.statistics import untracked
from ipr.passport.surgery import strip
from ipr.signature import detect
from references import protected

TAIL = {
    "alexnet": ["norm3", "norm4", "norm5"],
    "resnet18": ["conv5_x.0.norm1", "conv5_x.0.norm2", "conv5_x.0.shortcut.1", "conv5_x.1.norm1", "conv5_x.1.norm2"],
}


def both(network):
    return [affines_of(network, branch) for branch in (Branch.PUBLIC, Branch.PRIVATE)]


def state(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def literal(network, x, tail):
    """The plain network of the private branch, its norms behind the first passport layer with the averages of one
    batch: what `torch.optim.swa_utils.update_bn` does with one batch, for these norms alone."""
    private = strip(network, Branch.PRIVATE).eval()
    norms = [private.get_submodule(name) for name in tail]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        private(x)
    return private.eval()


@pytest.mark.parametrize("name", TAIL)
def test_the_norms_behind_the_first_passport_layer_are_found(name):
    network, _, _ = protected(name, "bn")
    names = {id(module): key for key, module in network.named_modules()}
    found = [names[id(norm)] for norm in norms_behind(network)]
    assert sorted(found) == sorted(TAIL[name])
    assert norms_behind(protected(name, "gn")[0]) == ()


@pytest.mark.parametrize("name", TAIL)
def test_an_answer_with_statistics_of_its_own_is_that_of_the_plain_private_network(name):
    network, _, _ = protected(name, "bn")
    network.double()
    x = torch.randn(24, 3, 16, 16, dtype=torch.float64)
    forked, before = fork(network, x[:1]), state(network)
    affines = both(network)
    (own,) = forked.statistics(x, affines[1:])
    with evaluating(network):
        public, private = forked(x, affines, [{}, own])
        with presenting(network, affines[0]):
            torch.testing.assert_close(public, network(x), rtol=0, atol=0)
        torch.testing.assert_close(private, literal(network, x, TAIL[name])(x), rtol=1e-9, atol=1e-9)
    after = network.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert all(norm.training and norm.momentum == 0.1 for norm in forked.norms)


@pytest.mark.parametrize("branch", list(Branch))
@pytest.mark.parametrize("name", TAIL)
def test_a_stripped_branch_has_the_statistics_of_the_images_that_are_given(name, branch):
    network, _, _ = protected(name, "bn")
    network.double()
    x = torch.randn(24, 3, 16, 16, dtype=torch.float64)
    before, forked = state(network), fork(network, x[:1])
    own = affines_of(network, branch)
    (seen,) = forked.statistics(x, [own])
    plain = strip(network, branch, x).eval()
    with evaluating(network):
        (expected,) = forked(x, [own], [seen])
        torch.testing.assert_close(plain(x), expected, rtol=1e-9, atol=1e-9)
    assert all(torch.equal(network.state_dict()[key], value) for key, value in before.items())
    kept = strip(network, branch).state_dict()
    moved = {key for key, value in plain.state_dict().items() if not torch.equal(value, kept[key])}
    assert moved == {f"{norm}.{part}" for norm in TAIL[name] for part in ("running_mean", "running_var")}


def test_statistics_depend_neither_on_order_nor_on_how_the_network_was_left():
    network, _, _ = protected("alexnet", "bn")
    network.double()
    x = torch.randn(24, 3, 16, 16, dtype=torch.float64)
    forked = fork(network, x[:1])
    affines = both(network)[1:]
    (one,) = forked.statistics(x, affines)
    for norm in forked.norms:  # as an attacker, or a claimant, may leave them
        norm.running_mean.fill_(7)
        norm.running_var.fill_(0.01)
        norm.num_batches_tracked.fill_(10**6)
    network.eval()
    (two,) = forked.statistics(x.flip(0), affines)
    for norm, (mean, var) in one.items():
        torch.testing.assert_close(two[norm], (mean, var), rtol=1e-12, atol=1e-12)


def test_one_image_may_have_no_variance():
    network, _, _ = protected("resnet18", "bn")
    x = torch.randn(2, 3, 8, 8)  # one pixel is left of each at the last norms
    forked = fork(network, x)
    forked.statistics(x, both(network))
    with pytest.raises(InputError, match="more images"):
        forked.statistics(x[:1], both(network))
    assert all(norm.training and norm.momentum == 0.1 for norm in forked.norms)


def test_a_judge_chooses_images_by_their_content():
    pixels = torch.randint(256, (STATISTICS_IMAGES + 200, 16, 16, 3), dtype=torch.uint8)
    images = LabelledImages(pixels, torch.arange(len(pixels)) % 10, (0.5,) * 3, (0.25,) * 3)
    network, _, _ = protected("alexnet", "bn")
    forked = fork(network, torch.randn(1, 3, 16, 16))
    affines = both(network)[1:]
    order = torch.randperm(len(pixels))
    shuffled = LabelledImages(pixels[order], images.labels[order].roll(1), images.mean, images.std)
    (one,), (two,) = (statistics_of(forked, some, affines) for some in (images, shuffled))
    for norm, (mean, var) in one.items():
        torch.testing.assert_close(two[norm], (mean, var), rtol=1e-4, atol=1e-5)


def test_large_images_are_fewer_so_that_a_batch_of_them_fits(monkeypatch):
    pixels = torch.randint(256, (40, 16, 16, 3), dtype=torch.uint8)
    images = LabelledImages(pixels, torch.arange(40) % 10, (0.5,) * 3, (0.25,) * 3)
    network, _, _ = protected("alexnet", "bn")
    forked = fork(network, torch.randn(1, 3, 16, 16))
    taken = []
    network.conv1.register_forward_pre_hook(lambda module, args: taken.append(args[0].shape[0]))
    for limit in (2**24, 16 * 16 * 10, 1):
        monkeypatch.setattr("ipr.judging.fidelity.STATISTICS_PIXELS", limit)
        statistics_of(forked, images, both(network)[1:])
    assert taken == [40, 10, 2]


def test_the_verdict_is_that_of_the_private_network_whatever_the_public_averages_are():
    network, _, passport = protected("alexnet", "bn")
    signature = {name: detect(layer.passport_affine()[0][0]) for name, layer in passport_layers(network).items()}
    claim = PassportClaim(passport, signature, thresholds=Thresholds(None))
    pixels = torch.randint(256, (150, 16, 16, 3), dtype=torch.uint8)
    images = LabelledImages(pixels, torch.arange(150) % 10, (0.5,) * 3, (0.25,) * 3)
    x, _ = next(images.batches(150, torch.device("cpu")))
    expected = accuracy(literal(network, x, TAIL["alexnet"]), images)
    suspect = strip(network)
    verdicts = [judge(suspect, claim, images, forged=3)]
    for name in TAIL["alexnet"]:
        suspect.get_submodule(name).running_mean.add_(1.0)
    verdicts.append(judge(suspect, claim, images, forged=3))
    assert [verdict.fidelity.accuracy for verdict in verdicts] == [expected] * 2
    assert verdicts[0].accuracy_forged == verdicts[1].accuracy_forged


@pytest.mark.parametrize("idx", [0, 1])
def test_one_branch_a_step_moves_the_averages_with_the_public_one_alone(idx):
    network, _, _ = protected("alexnet", "bn")
    network.train()
    own, before = affines_of(network, Branch(idx)), state(network)
    norms = norms_behind(network)
    with presenting(network, own), untracked(norms if idx else ()):
        network(torch.randn(4, 3, 16, 16))
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.partition(".")[0] for name in moved} == {"norm1", "norm2", *(() if idx else TAIL["alexnet"])}
    assert all(isinstance(norm, nn.BatchNorm2d) and norm.track_running_stats for norm in norms)
