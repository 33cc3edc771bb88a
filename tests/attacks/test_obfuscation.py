"""Other widths and no norms: what changes, by counting, and that no answer does."""

import copy

import pytest
import torch
from torch import nn

from ipr.attacks.base import freedom_of
from ipr.attacks.removal.structural_obfuscation import WAYS, hidden, obfuscated
from ipr.models import build_model
from ipr.models.channels import symmetry
from ipr.models.widths import gather
from ipr.passport.surgery import fold
from ipr.workflows.attack import attack
from references import small

MODELS = [("alexnet", "bn"), ("alexnet", "gn"), ("resnet18", "bn"), ("resnet18", "gn")]
IMAGES = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(5))


def used(model, norm):
    """A network whose norms have scales, shifts and statistics of their own."""
    network = small(model, norm)
    torch.manual_seed(3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.uniform_(module.weight, -2, 2)
            nn.init.normal_(module.bias, std=0.3)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.running_mean)
    return network.eval()


def assert_same_answers(one, other, limit=1e-5):
    with torch.no_grad():
        ours, theirs = one.eval()(IMAGES), other.eval()(IMAGES)
    assert float((ours - theirs).abs().max()) <= limit * float(theirs.abs().max())


def widths(network):
    return {n: m.out_channels for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}


@pytest.mark.parametrize(("model", "norm"), MODELS)
@pytest.mark.parametrize("ways", [["zero"], ["clique"], ["split"], list(WAYS)], ids=str)
def test_answers_stay_and_widths_grow_by_what_was_asked(model, norm, ways):
    """A group norm of one group, of 16 channels at these widths, cannot grow; else whole groups of 16."""
    network = used(model, norm)
    before = copy.deepcopy(network.state_dict())
    found = freedom_of(network, IMAGES[:1])
    for share in (0.25, 1.0):
        source = torch.Generator().manual_seed(1)
        widened = obfuscated(network, found, share, ways, source)
        for name, width in widths(network).items():
            unit = 16 if norm == "gn" else 1
            count = width // unit
            more = max(round(share * count), int(count > 1)) * unit
            assert widths(widened)[name] == width + more, name
        assert [m.num_channels // m.num_groups for m in widened.modules() if isinstance(m, nn.GroupNorm)] == [
            16 for m in network.modules() if isinstance(m, nn.GroupNorm)
        ]
        assert_same_answers(widened, network)
        assert_same_answers(hidden(widened, IMAGES, source), network)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_the_dummies_are_what_they_are_called():
    """Of 64 channels: columns of 0, equal filters with columns that sum to 0, equal ones that sum to the old."""
    network = used("alexnet", "bn")
    found = freedom_of(network, IMAGES[:1])

    def put_in(way):
        widened = obfuscated(network, found, 0.25, [way], torch.Generator().manual_seed(1))
        rows, columns = widened.conv4.weight.detach(), widened.conv5.weight.detach()[:64]
        return rows[:, :96].flatten(1), columns.transpose(0, 1).flatten(1)

    old = network.conv5.weight.detach().transpose(0, 1).flatten(1)
    _, columns = put_in("zero")
    assert columns.shape[0] == 80
    assert not columns[64:].any()
    assert torch.equal(columns[:64], old)
    rows, columns = put_in("clique")
    for clique in torch.arange(64, 80).split(3):
        assert torch.equal(rows[clique], rows[clique[:1]].expand_as(rows[clique]))
        assert float(columns[clique].sum(0).abs().max()) < 1e-6
        assert clique.numel() == 1 or float(columns[clique].abs().amax(1).min()) > 0
    rows, columns = put_in("split")
    for copy_ in range(64, 80):
        (twin,) = (rows[:64] == rows[copy_]).all(1).nonzero()[:, 0]
        torch.testing.assert_close(columns[copy_] + columns[twin], old[twin])
        assert float(columns[copy_].abs().max()) > 0


def test_it_is_all_drawn_from_the_seed_and_a_set_has_one_dummy_at_least():
    network = used("resnet18", "bn")
    found = freedom_of(network, IMAGES[:1])

    def drawn(seed):
        widened = obfuscated(network, found, 0.001, list(WAYS), torch.Generator().manual_seed(seed))
        return hidden(widened, IMAGES, torch.Generator().manual_seed(seed)).state_dict()

    one, same, other = drawn(0), drawn(0), drawn(1)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["conv1.weight"], other["conv1.weight"])
    assert one["conv1.weight"].shape[0] == 17


@pytest.mark.parametrize("model", ["alexnet", "resnet18"])
def test_folded_norms_are_gone_and_the_biases_are_theirs(model):
    network = used(model, "bn")
    folded = fold(network, IMAGES[:1])
    assert not any("norm" in name or "running" in name for name in folded.state_dict())
    norm = network.norm1
    slope = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    wanted = norm.bias.double() - norm.running_mean.double() * slope
    torch.testing.assert_close(folded.conv1.bias.double(), wanted, rtol=1e-5, atol=1e-6)
    assert_same_answers(folded, network)


@pytest.mark.parametrize("name", ["torchvision:mobilenet_v2", "torchvision:vgg11_bn", "resnet50"])
def test_networks_of_other_libraries_take_dummies_too(name):
    """Filters of single channels (MobileNet), linear layers behind maps (VGG), bottlenecks."""
    torch.manual_seed(2)
    sizes = {"channels_in": 3, "image_size": 32, "num_classes": 10}
    network = build_model(name, norm="bn", width=0.25 if name == "resnet50" else 1, **sizes).eval()
    x = torch.randn(2, 3, 32, 32)
    widened = obfuscated(network, freedom_of(network, x[:1]), 0.1, list(WAYS), torch.Generator().manual_seed(0))
    assert sum(p.numel() for p in widened.parameters()) > 1.1 * sum(p.numel() for p in network.parameters())
    with torch.no_grad():
        ours, theirs = widened(x), network(x)
    assert float((ours - theirs).abs().max()) <= 1e-4 * float(theirs.abs().max())


def test_channels_left_out_again_are_the_network_that_was():
    network = used("resnet18", "gn")
    widened = copy.deepcopy(network)
    sets = symmetry(network, IMAGES[:1]).free
    for one in sets:
        gather(widened, one, torch.arange(2 * one.channels) % one.channels)
    assert sum(p.numel() for p in widened.parameters()) > 3.9 * sum(p.numel() for p in network.parameters())
    for one in sets:
        gather(widened, one, torch.arange(one.channels))
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in widened.state_dict().items())
    assert_same_answers(widened, network, 0)


@pytest.mark.parametrize(("name", "norm"), [("structural_obfuscation", "gn"), ("fold_norms", "bn"), ("permute", "bn")])
def test_rows_say_what_is_read_as_given_and_aligned(name, norm, request_for, trained):
    """Nothing of a claim that does not fit; all that was read before, once the suspect is aligned."""
    asked = request_for("scheme=passport_v2", f"model.norm={norm}", "trainer.max_epochs=4", "dataset.limit_train=null",
                        f"attack={name}", command="attack")  # fmt: skip
    record = trained(asked).record
    given, aligned = attack(asked).rows
    assert (given.point, aligned.point) == ("", "aligned")
    assert given.accuracy_after == pytest.approx(aligned.accuracy_after, abs=0.03)
    assert aligned.bits_agreeing == record.bits_agreeing > 0.8 * record.bits_total
    assert aligned.mark_read
    assert (given.mark_read, given.attack_succeeded) == (False, True)
    if name == "permute":
        assert given.bits_agreeing > 0
    else:
        assert (given.bits_agreeing, given.p_value_log10, given.accuracy_claimed) == (0, 0.0, 0.0)
