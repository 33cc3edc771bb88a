"""Free removal undone: what comes back, what is left alone, and what is refused."""

import copy
import itertools

import pytest
import torch
from torch import nn

from aligned import agreeing, spelled, used
from alignment import SMALL, Owner, quantised, removed, tuned
from ipr.attacks.removal.prune import pruned
from ipr.errors import InputError
from ipr.judging.alignment import SIMILAR, align
from ipr.judging.channel_order import assigned, balanced
from ipr.judging.signature_reading import read_signature, turned
from ipr.models import build_model
from ipr.models.channels import symmetry
from ipr.models.gauge import scale
from ipr.passport.layer import Branch
from ipr.passport.surgery import protect, strip
from references import small

MODELS = [("alexnet", "bn"), ("alexnet", "gn"), ("resnet18", "bn"), ("resnet18", "gn")]


@pytest.mark.parametrize("block", [2, 3, 6])
def test_an_assignment_is_the_best_that_keeps_blocks(block):
    """Against trying all of them."""
    score = torch.rand(6, 6, generator=torch.Generator().manual_seed(block), dtype=torch.float64)
    allowed = [
        order
        for order in itertools.permutations(range(6))
        if all(len({c // block for c in order[i : i + block]}) == 1 for i in range(0, 6, block))
    ]
    best = max(allowed, key=lambda order: float(score[range(6), list(order)].sum()))
    assert assigned(score, block).tolist() == list(best)


def test_equal_channels_stay_where_they_are():
    assert assigned(torch.zeros(8, 8, dtype=torch.float64), 4).tolist() == list(range(8))


def test_balanced_weights_do_not_tell_scales():
    source = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 4, 3, 3, generator=source)
    rows, columns = (10 ** (4 * torch.rand(n, generator=source) - 2) for n in (5, 4))
    scaled = weight * rows[:, None, None, None] * columns[None, :, None, None]
    torch.testing.assert_close(balanced(scaled), balanced(weight), rtol=1e-6, atol=1e-9)
    found = balanced(weight).square().sum(2)
    torch.testing.assert_close(found.sum(1), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(found.sum(0), torch.full((4,), 5 / 4, dtype=torch.float64), rtol=1e-4, atol=0)


def test_empty_rows_and_columns_stay_empty():
    weight = torch.randn(5, 4, 3, 3)
    weight[1], weight[:, 2] = 0, 0
    found = balanced(weight)
    assert found.isfinite().all()
    assert not found[1].any()
    assert not found[:, 2].any()
    assert not balanced(torch.zeros(3, 2)).any()


@pytest.mark.parametrize(("model", "norm"), MODELS)
@pytest.mark.parametrize("held", ["as it is", "folded"])
def test_all_bits_and_both_branches_are_back(model, norm, held, device):
    """The private branch answers on the aligned suspect what it answers on the reference."""
    reference, passport, x = used(model, norm)
    owners = protect(reference, passport, x[:1], public_affine=True).eval()
    claim = spelled(reference, passport)
    holding = reference if held == "as it is" else strip(owners, Branch.PRIVATE)
    suspect = removed(holding, x, 0)
    before = copy.deepcopy(suspect.state_dict())
    assert agreeing(suspect, claim) < 0.75

    found = align(suspect.to(device), reference, x[:1].to(device))
    assert {parameter.device.type for parameter in found.network.parameters()} == {device.type}
    assert (found.similar, found.ways) == (True, 2)
    assert "moved" in found.way
    assert min(found.similarity.values()) > 0.9999
    assert all(torch.equal(tensor.cpu(), before[name]) for name, tensor in suspect.state_dict().items())
    assert agreeing(found.network, claim) == 1
    found.network.to("cpu")
    private = protect(found.network, passport, x[:1], public_affine=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(private(x), owners(x), rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        torch.testing.assert_close(found.network(x), holding(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("model", "norm"), MODELS)
def test_whoever_turned_all_channels_is_told(model, norm):
    reference, passport, x = used(model, norm)
    claim = spelled(reference, passport)
    suspect = copy.deepcopy(reference)
    for segment in symmetry(suspect, x[:1]).segments:
        if segment.signed and segment.makers[0] in passport:
            scale(suspect, segment, -torch.ones(segment.channels))
    found = read_signature({n: g[0] for n, (g, _) in claim.affines(suspect).items()}, claim.signature)
    assert sum(found.agreeing.values()) == 0
    assert turned(found)
    assert agreeing(align(suspect, reference, x[:1]).network, claim) == 1


@pytest.mark.parametrize("norm", ["bn", "gn"])
def test_copies_that_were_worked_on_are_aligned_too(norm, data):
    reference, passport, x = used("alexnet", norm)
    claim = spelled(reference, passport)
    for change in (lambda n: tuned(n, data, 2, 0.01), lambda n: pruned(n, 0.6), lambda n: quantised(n, 5)):
        changed = change(reference)
        found = align(removed(changed, x, 0), reference, x[:1])
        assert found.similar
        assert agreeing(found.network, claim) == pytest.approx(agreeing(changed, claim), abs=0.01)
        with torch.no_grad():
            torch.testing.assert_close(found.network(x), changed(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("model", "norm"), MODELS)
def test_another_network_is_left_as_it_was(model, norm):
    torch.manual_seed(11)
    sizes = {"channels_in": 3, "image_size": 16, "num_classes": 10}
    reference = build_model(model, norm=norm, width=0.25, **sizes)
    suspect, x = small(model, norm), torch.randn(2, 3, 16, 16)
    found = align(suspect, reference, x[:1])
    assert (found.similar, found.ways) == (False, 1)
    assert "it is another network than the reference" in found.way
    assert sorted(found.similarity.values())[len(found.similarity) // 2] < SIMILAR / 2
    assert all(torch.equal(tensor, suspect.state_dict()[name]) for name, tensor in found.network.state_dict().items())
    assert found.network is not suspect


@pytest.mark.parametrize("norm", ["bn", "gn"])
def test_a_layer_that_is_not_the_references_is_not_turned(norm):
    """Bits of a layer that was trained anew stay a guess, though all other layers are the reference's."""
    reference, passport, x = used("alexnet", norm)
    claim = spelled(reference, passport)
    suspect = copy.deepcopy(reference)
    nn.init.normal_(suspect.conv4.weight, generator=torch.Generator().manual_seed(3))
    found = align(suspect, reference, x[:1])
    assert found.similar
    assert "turned" not in found.way
    bits = read_signature({n: g[0] for n, (g, _) in claim.affines(found.network).items()}, claim.signature)
    assert bits.agreeing["conv3"] == bits.total["conv3"]
    assert bits.agreeing["conv4"] < 0.7 * bits.total["conv4"]


def test_the_reference_itself_stays():
    reference, _, x = used("resnet18", "bn")
    found = align(reference, reference, x[:1])
    assert found.way == "all 720 channels were in place"
    for name, tensor in found.network.state_dict().items():
        torch.testing.assert_close(tensor, reference.state_dict()[name], rtol=1e-4, atol=1e-5)


def test_other_shapes_are_refused():
    with pytest.raises(InputError, match=r"^reference=ResNet: "):
        align(small("alexnet"), small("resnet18"), torch.zeros(1, 3, 16, 16))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_left(value):
    suspect, reference = small(), small()
    suspect.conv2.weight.data[0, 0, 0, 0] = value
    found = align(suspect, reference, torch.zeros(1, 3, 16, 16))
    assert (found.similar, found.way) == (False, "left as it was: its weights, or the reference's, are not finite")


@pytest.mark.parametrize("damage", [0.0, 1e-30, 1e30])
def test_extreme_channels_do_no_harm(damage):
    """Dead, tiny and huge channels: an answer that does not change, whether aligned or left."""
    reference, _, x = used("alexnet", "bn")
    suspect = copy.deepcopy(reference)
    with torch.no_grad():
        suspect.conv3.weight[:20] *= damage
        suspect.norm3.weight[:20] = 0
        suspect.conv4.weight[:, 5] = 0
    found = align(removed(suspect, x, 1), reference, x[:1])
    assert found.similar
    with torch.no_grad():
        torch.testing.assert_close(found.network(x), suspect(x), rtol=1e-3, atol=1e-3)


def test_a_network_of_zeros_is_left():
    suspect = small()
    for parameter in suspect.parameters():
        parameter.data.zero_()
    assert not align(suspect, small(), torch.zeros(1, 3, 16, 16)).similar


@pytest.mark.parametrize(
    ("scheme", "model", "norm"),
    [
        ("passport_v1", "alexnet", "bn"), ("passport_v2", "alexnet", "gn"),
        pytest.param("passport_v3", "resnet18", "bn", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_the_owner_of_a_trained_network_is_heard_again(scheme, model, norm, cache, tmp_path, monkeypatch):
    """A real training of seconds: the claim holds on what is given away, on no free removal of it, and when aligned."""
    monkeypatch.setenv("IPR_CACHE", str(cache))
    owner = Owner(scheme, model, norm, tmp_path / "runs", *SMALL, "dataset.limit_test=60", "trainer.max_epochs=2")
    for network in owner.held().values():
        expected = owner.judged(network)
        suspect = removed(network, owner.thiefs, 0)
        missed, heard = owner.judged(suspect), owner.judged(align(suspect, owner.reference, owner.example).network)
        assert missed.reading.agreement < 0.7
        assert heard.reading.agreement >= 0.99 * expected.reading.agreement
        assert abs(heard.fidelity.accuracy - expected.fidelity.accuracy) <= 0.02
        assert heard.fidelity.holds
