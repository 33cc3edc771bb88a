"""NeuralMark and greedy residuals: hashes, filters, losses and readings against values worked out another way."""

import hashlib
import math
from dataclasses import replace

import pytest
import torch
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from scipy.stats import binom
from torch import nn
from torch.nn import functional

from ipr.attacks.ambiguity.forge_neuralmark import RIDGE, fitted_key
from ipr.attacks.ambiguity.grind_hash import best_of
from ipr.attacks.base import Victim
from ipr.config.recipe import Recipe
from ipr.config.registry import load
from ipr.errors import InputError
from ipr.models.inspection import convolution_of
from ipr.randomness import generator
from ipr.schemes import greedy_residuals, neuralmark
from ipr.watermarks.hashed import hash_bits
from references import embedding, small, watermark

MEAN, STD = (0.5,) * 3, (0.25,) * 3
RECIPE = Recipe(0.1, 0.9, 0.0, "constant", 0.0, None)
HASHED = ("neuralmark", "greedy_residuals")


def bits_by_hand(content, count):
    """The digits of the hash written in base 2."""
    digest = hashlib.shake_256(content).hexdigest(-(-count // 8))
    digits = f"{int(digest, 16):0{4 * len(digest)}b}"[:count]
    return [1 if digit == "1" else -1 for digit in digits]


@pytest.mark.parametrize("count", [1, 7, 8, 256, 300])
def test_bits_are_those_of_the_hash(count):
    assert hash_bits(b"a key", count).tolist() == bits_by_hand(b"a key", count)


def test_the_hash_is_shake_256_of_the_standard():
    """The empty message, as FIPS 202's example values give it: 46 b9 dd 2b."""
    wanted = [int(digit) * 2 - 1 for digit in f"{0x46B9DD2B:032b}"]
    assert hash_bits(b"", 32).tolist() == wanted


def test_a_keys_bits_are_the_hash_of_its_floats_row_by_row():
    key = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -0.25]])
    content = b"".join(float(x).hex().encode() and _little_endian(x) for row in key.tolist() for x in row)
    assert neuralmark.key_bits(key).tolist() == bits_by_hand(content, 3)
    assert neuralmark.key_bits(key.T.contiguous().T).tolist() == bits_by_hand(content, 3)  # however it lies in memory


def _little_endian(x):
    """IEEE 754 single precision of a number that it holds exactly and that is 0 or normal."""
    if x == 0:
        return bytes(4)
    mantissa, exponent = math.frexp(abs(x))
    whole = int(mantissa * 2**24) - 2**23
    return ((x < 0) << 31 | (exponent - 1 + 127) << 23 | whole).to_bytes(4, "little")


def test_rounds_of_the_filter_by_hand():
    bits = torch.tensor([1, -1, 1], dtype=torch.int8)
    assert neuralmark.filtered(10, bits, 1).tolist() == [0, 2, 3, 5, 6, 8]  # 9 is behind the last whole row
    assert neuralmark.filtered(10, bits, 2).tolist() == [0, 3, 5, 8]  # the first and third of (0 2 3) and (5 6 8)
    assert neuralmark.filtered(10, bits, 3).tolist() == [0, 5]  # of (0 3 5); 8 is left out
    assert neuralmark.filtered(10, bits, 4).tolist() == []
    assert neuralmark.filtered(2, bits, 1).tolist() == []


def test_pooling_averages_each_place_over_the_rows():
    weights, left = torch.tensor([0.0, 10, 20, 30, 40, 50, 60]), torch.tensor([1, 2, 4, 5, 6])
    assert neuralmark.pooled(weights, left, 2).tolist() == [(10 + 40) / 2, (20 + 50) / 2]


def test_neuralmarks_loss_and_its_gradient():
    w = torch.randn(7, dtype=torch.float64, requires_grad=True)
    key, bits = torch.randn(7, 5, dtype=torch.float64), torch.tensor([1, -1, -1, 1, 1], dtype=torch.int8)
    expected, gradient = 0.0, [0.0] * 7
    for j, bit in enumerate(bits.tolist()):
        column, b = key[:, j].tolist(), (bit + 1) // 2
        y = 1 / (1 + math.exp(-sum(a * c for a, c in zip(column, w.tolist(), strict=True))))
        expected -= (b * math.log(y) + (1 - b) * math.log(1 - y)) / 5
        gradient = [g + (y - b) * a / 5 for g, a in zip(gradient, column, strict=True)]
    loss = neuralmark.embedding_loss(w, key, bits)
    loss.backward()
    assert loss.item() == pytest.approx(expected)
    assert w.grad.tolist() == pytest.approx(gradient)


def test_rows_of_a_layer_are_averages_of_neighbours():
    weights = torch.arange(27.0)
    assert greedy_residuals.rows_of(weights, 2, 3).tolist() == [[1.5, 5.5, 9.5], [13.5, 17.5, 21.5]]  # of four each
    assert greedy_residuals.rows_of(weights, 2, 100).tolist() == [list(range(13)), list(range(13, 26))]
    assert greedy_residuals.rows_of(weights, 27, 5).shape == (27, 1)


def test_the_smaller_half_of_a_row_counts_nothing():
    rows = torch.tensor([[3.0, -4, 1, 2], [-1.0, 0, 5, -6]])
    assert greedy_residuals.residuals(rows, 0.5).tolist() == [(3 - 4) / 4, (5 - 6) / 4]
    assert greedy_residuals.residuals(rows, 0.0).tolist() == [2 / 4, -2 / 4]
    assert greedy_residuals.residuals(rows, 0.99).tolist() == [-4 / 4, -6 / 4]
    odd = torch.tensor([[1.0, 2, 3, 4, 5]], dtype=torch.float64)
    assert greedy_residuals.residuals(odd, 0.5).tolist() == [(4 + 5) / 5]  # 2.5 of 5: three are dropped, as published


def test_the_hinge_of_greedy_residuals_and_its_gradient():
    """Only what was kept of a row that lacks its sign is moved, all of it alike."""
    rows = torch.tensor([[3.0, -4, 1, 2], [-1.0, 0, 5, -6], [1.0, 1, 2, 2]], requires_grad=True)
    bits = torch.tensor([1, -1, 1], dtype=torch.int8)
    loss = greedy_residuals.embedding_loss(greedy_residuals.residuals(rows, 0.5), bits, 0.3)
    loss.backward()
    assert loss.item() == pytest.approx((0.3 + 0.25) + (0.3 - 0.25) + 0)
    assert rows.grad.tolist() == [[-0.25, -0.25, 0, 0], [0, 0, 0.25, 0.25], [0, 0, 0, 0]]


@pytest.mark.parametrize("kind", HASHED)
def test_what_is_read_is_what_the_papers_programs_compute(kind, data):
    """Step by step on the weights themselves, with masks and sorting in place of positions."""
    network = small("alexnet", "bn")
    claim = watermark(kind, network, data)
    flat = convolution_of(network, claim.layer)[1].weight.detach().double().flatten()
    if kind == "neuralmark":
        for _ in range(claim.rounds):
            flat = flat[: flat.numel() // 40 * 40]
            flat = torch.masked_select(flat, (claim.bits == 1).repeat(flat.numel() // 40))
        flat = flat[: flat.numel() // 64 * 64].view(-1, 64).mean(0)
        found = torch.matmul(flat, claim.key.double())
    else:
        rows = functional.avg_pool1d(flat[None, None], flat.numel() // 1200)[0, 0][:1200].view(40, 30)
        smallest = rows.abs().argsort(dim=1)[:, :15]
        found = rows.scatter(1, smallest, 0).mean(1)
    agreeing = int((found.sign() == claim.bits).sum())
    assert claim.read(network, MEAN, STD).agreeing == {claim.layer: agreeing}
    assert 8 < agreeing < 32


@pytest.mark.parametrize("model", ["alexnet", pytest.param("resnet18", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", HASHED)
def test_training_on_the_regulariser_alone_writes_every_bit_and_moves_one_layer(kind, model, data):
    network = small(model, "bn")
    claim, before = watermark(kind, network, data), {n: p.clone() for n, p in network.named_parameters()}
    assert claim.read(network, MEAN, STD).p_value > 1e-6
    module = embedding(claim, network, RECIPE, data)
    optimizer = torch.optim.Adam(module.trained(), 0.003)
    for _ in range(100):
        optimizer.zero_grad()
        module.embedding_loss(module.vector(convolution_of(network, claim.layer)[1])).backward()
        optimizer.step()
    assert claim.read(network, MEAN, STD).agreement == 1
    assert {n for n, p in network.named_parameters() if not torch.equal(p, before[n])} == {f"{claim.layer}.weight"}
    if kind == "neuralmark":
        moved = (network.get_parameter(f"{claim.layer}.weight") != before[f"{claim.layer}.weight"]).flatten()
        left = claim.left(convolution_of(network, claim.layer)[1])
        assert moved.nonzero()[:, 0].tolist() == left[: left.numel() // 64 * 64].tolist()


@pytest.mark.parametrize("kind", HASHED)
def test_each_scheme_says_its_terms_by_name(kind, data, device):
    """And computes the mark in full precision under autocast."""
    network = small("alexnet", "bn").to(device)
    x, y = torch.randn(8, 3, 16, 16).to(device), torch.arange(8, device=device)
    claim = watermark(kind, network, data)
    once, twice = (embedding(claim, network, RECIPE, data, weight=w).to(device).eval() for w in (1.0, 2.0))
    terms, heavier = once.terms(x, y), twice.terms(x, y)
    assert 2 * terms["watermark"].item() == pytest.approx(heavier["watermark"].item(), rel=1e-6)
    assert terms["cross_entropy"].item() == pytest.approx(functional.cross_entropy(network(x), y).item(), rel=1e-5)
    with torch.autocast(device.type, torch.bfloat16):
        assert torch.equal(once.terms(x, y)["watermark"], terms["watermark"])
    for constants in ({"weight": -1}, {"bits": 0}):
        with pytest.raises(InputError, match=r"scheme\.(weight|bits)="):
            embedding(claim, network, RECIPE, data, **constants)


@pytest.mark.parametrize("kind", HASHED)
def test_an_unrelated_networks_bits_are_fair_coins(kind, data):
    network, agreeing, total = small("alexnet", "bn"), 0, 0
    for seed in range(60):
        read = watermark(kind, network, data, seed).read(network, MEAN, STD)
        agreeing, total = agreeing + sum(read.agreeing.values()), total + sum(read.total.values())
    low, high = binom.interval(1 - 1e-6, total, 0.5)
    assert low <= agreeing <= high


def test_the_signature_is_the_owners_and_of_the_message(data):
    claim = watermark("greedy_residuals", small("alexnet", "bn"), data)
    public = Ed25519PublicKey.from_public_bytes(bytes(claim.public_key.tolist()))
    public.verify(bytes(claim.signature.tolist()), b"mine")
    with pytest.raises(InvalidSignature):
        public.verify(bytes(claim.signature.tolist()), b"hers")
    assert claim.bits.tolist() == bits_by_hand(bytes(claim.signature.tolist()), 40)


@pytest.mark.parametrize("kind", HASHED)
def test_nobody_claims_the_bits_that_the_weights_read(kind, data):
    """The forgery in closed form of greedy residuals: what is read, and the owner's other secrets."""
    network = small("alexnet", "bn")
    claim = watermark(kind, network, data)
    weights = convolution_of(network, claim.layer)[1].weight.detach().flatten()
    read = torch.where(greedy_residuals.residuals(greedy_residuals.rows_of(weights, 40, 30), 0.5) > 0, 1, -1)
    with pytest.raises(InputError, match=r"^claim=bits: are not the hash of the (key|signature); restore"):
        replace(claim, bits=read.to(torch.int8))


@pytest.mark.parametrize("kind", HASHED)
def test_a_claim_for_another_network_is_refused(kind, data):
    network = small("alexnet", "bn")
    claim = watermark(kind, network, data)
    with pytest.raises(InputError, match="is no convolution"):
        replace(claim, layer="conv9").read(network, MEAN, STD)
    network.conv3 = nn.Conv2d(3, 3, 2)
    with pytest.raises(InputError, match="judge the network that it was made for"):
        claim.read(network, MEAN, STD)


@pytest.mark.parametrize(
    ("kind", "sizes", "problem"),
    [
        ("neuralmark", {"pooled": 24, "rounds": 60}, r"scheme\.layer=conv3: 60 rounds leave 0 of the 41472 weights"),
        ("neuralmark", {"pooled": 41472, "rounds": 1}, r"of the 41472 weights of conv3, not 41472"),
        ("greedy_residuals", {"count": 10**6}, r"scheme\.bits=1000000: conv3 has 41472 weights"),
        ("greedy_residuals", {"count": 0}, r"scheme\.bits=0"),
    ],
)
def test_a_layer_that_is_too_small_is_refused_before_training(kind, sizes, problem, data):
    network = small("alexnet", "bn")
    claim, source = watermark(kind, network, data), torch.Generator()
    parts = {"message": "m", "columns": 9, "dropped": 0.5} if kind == "greedy_residuals" else {}
    with pytest.raises(InputError, match=problem):
        type(claim).drawn(network, "conv3", sizes.pop("count", 40), source, **sizes, **parts, **claim.kept)


@pytest.mark.parametrize("kind", HASHED)
def test_grinding_keeps_the_best_of_its_tries(kind, data):
    """Against all of them, drawn again from the same source; and no better than the best of so many fair coins."""
    network = small("alexnet", "bn")
    owner = watermark(kind, network, data)
    attack = load("attack", "grind_hash")(name="grind_hash", tries=50)
    (attacked,) = attack.run(Victim(network, owner), data, None, 3)
    (claim,) = attacked.claims.values()
    source = generator(3, "ground hashes")
    every = [owner.drawn_from(source, network, data).read(network, MEAN, STD).agreement for _ in range(50)]
    assert claim.read(network, MEAN, STD).agreement == max(every)
    assert claim.origin is None
    assert 40 * max(every) <= binom.isf(1e-6 / 50, 40, 0.5)


def test_the_best_is_the_first_of_equals(data):
    network = small("alexnet", "bn")
    claims = [watermark("neuralmark", network, data, seed) for seed in range(30)]
    agreements = [claim.read(network, MEAN, STD).agreement for claim in claims]
    left = iter(claims)
    assert best_of(30, lambda: next(left), network, data) is claims[agreements.index(max(agreements))]


def test_a_fitted_key_is_that_of_a_ridge_regression_on_the_bits():
    """Against a solver of another library path, with the ridge as rows of its own."""
    torch.manual_seed(0)
    weights, source = torch.randn(300), torch.Generator().manual_seed(1)
    key = fitted_key(weights, 16, rounds=1, size=20, samples=400, source=source)
    bits = torch.randint(0, 2, (400, 16), generator=torch.Generator().manual_seed(1)) * 2 - 1
    left = [neuralmark.filtered(300, b, 1) for b in bits]
    assert min(one.numel() for one in left) >= 20
    rows = torch.stack([neuralmark.pooled(weights.double(), one, 20) for one in left])
    ridge = (RIDGE * rows.square().sum() / 20).sqrt() * torch.eye(20, dtype=torch.float64)
    wanted = torch.cat([bits.double(), torch.zeros(20, 16, dtype=torch.float64)])
    expected = torch.linalg.lstsq(torch.cat([rows, ridge]), wanted).solution
    torch.testing.assert_close(key, (expected / expected.std()).float(), rtol=1e-4, atol=1e-5)


def test_a_key_has_fewer_averages_where_the_filter_leaves_fewer():
    """All but a tenth of the watermarks leave enough; where that is none, there is nothing to fit."""
    watermarks = torch.randint(0, 2, (30, 16), generator=torch.Generator().manual_seed(1)) * 2 - 1
    counts = sorted(4 * int((bits > 0).sum()) for bits in watermarks)  # of four rows of 16 weights
    key = fitted_key(torch.randn(64), 16, rounds=1, size=1000, samples=30, source=torch.Generator().manual_seed(1))
    assert key.shape == (counts[3], 16)
    assert key.isfinite().all()
    with pytest.raises(InputError, match=r"attack\.rounds=9: leaves nothing of 64 weights"):
        fitted_key(torch.randn(64), 16, rounds=9, size=1000, samples=30, source=torch.Generator())


def test_a_fitted_key_reads_more_of_fresh_hashes_than_a_drawn_one():
    """In a small layer: 64 bits of hashes that it was not fitted to, which are fair coins to a drawn key."""
    torch.manual_seed(0)
    weights, source = torch.randn(900), torch.Generator().manual_seed(1)
    key = fitted_key(weights, 64, rounds=1, size=300, samples=2000, source=source)
    agreeing = {"fitted": 0, "drawn": 0}
    for _ in range(300):
        bits = torch.randint(0, 2, (64,)) * 2 - 1
        left = neuralmark.filtered(900, bits, 1)
        for name, own in (("fitted", key), ("drawn", torch.randn(key.shape))):
            if left.numel() >= key.shape[0]:
                agreeing[name] += int(((neuralmark.pooled(weights, left, key.shape[0]) @ own).sign() == bits).sum())
    assert agreeing["fitted"] > 1.08 * agreeing["drawn"]


def test_a_forged_key_is_a_claim_that_nobody_draws_again(data):
    """It hashes to its bits, for the layer and the rounds that the forger likes, and names no seed."""
    network = small("alexnet", "bn")
    owner = watermark("neuralmark", network, data)
    sizes = {"layer": "conv1", "rounds": 1, "pooled": 50, "samples": 200, "tries": 30}
    attack = load("attack", "forge_neuralmark")(name="forge_neuralmark", **sizes)
    (attacked,) = attack.run(Victim(network, owner), data, None, 0)
    (claim,) = attacked.claims.values()
    assert (claim.layer, claim.rounds, claim.origin, attacked.iterations) == ("conv1", 1, None, 30)
    assert claim.key.shape == (50, 40)
    claim.check_structure()
    assert claim.read(network, MEAN, STD).agreement > 0.6
    (part,) = claim.redraw(data)
    assert part.holds is None
    with pytest.raises(InputError, match="is no convolution"):
        list(load("attack", "forge_neuralmark")(name="x", layer="conv9").run(Victim(network, owner), data, None, 0))
