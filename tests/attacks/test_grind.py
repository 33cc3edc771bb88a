"""Signatures that are ground: the best of all tries, valid bindings, and copies with the same answers."""

import struct

import numpy as np
import pytest
import torch

from ipr.attacks.ambiguity.grind import BATCH, Grind, agreeing, ground_fast, turnable
from ipr.attacks.base import example_of
from ipr.data.images import LabelledImages, normalise
from ipr.judging.verdict import judge_claims
from ipr.models.inspection import evaluating
from ipr.passport.bound import NONCE_BYTES, Binding, bound_signature
from ipr.passport.surgery import find_layers
from ipr.signature import detect


def images_of(data):
    return LabelledImages(data.test_pixels, data.test_labels, data.mean, data.std)


def test_agreeing_bits_by_loops():
    source = np.random.default_rng(0)
    bits, spelled = source.integers(0, 2, (5, 12)), source.integers(0, 2, 12)
    groups = [4, 2, 2, 1, 3]
    for found, turned, row in zip(agreeing(bits, spelled, None), agreeing(bits, spelled, groups), bits, strict=True):
        same = [int(a == b) for a, b in zip(row, spelled, strict=True)]
        assert found == sum(same)
        expected, start = 0, 0
        for size in groups:
            count = sum(same[start : start + size])
            expected, start = expected + max(count, size - count), start + size
        assert turned == expected


@pytest.mark.parametrize("grouped", [False, True])
def test_the_best_of_all_tries_is_found_and_is_bound(grouped, victim_of, data):
    victim = victim_of("passport_v2", "alexnet", "gn")
    owner = victim.claim
    spelled = {name: detect(gamma[0]).cpu() for name, (gamma, _) in owner.affines(victim.suspect).items()}
    layers = find_layers(victim.suspect, example_of(data, victim.suspect), owner.layers)
    groups = turnable(victim.suspect, layers, example_of(data, victim.suspect)) if grouped else None
    found = ground_fast(owner, spelled, 300, groups)
    capacities = {name: bits.numel() for name, bits in spelled.items()}
    assert Binding.parse(found.binding) == Binding(bytes(NONCE_BYTES), slow=False)
    bound = bound_signature(found.passport, capacities, found.owner, Binding.parse(found.binding))
    assert all(torch.equal(found.signature[name], bits) for name, bits in bound.items())

    def count(passport):
        bits = bound_signature(passport, capacities, owner.owner, Binding(bytes(NONCE_BYTES), slow=False))
        total = 0
        for name, own in bits.items():
            same = (own == spelled[name]).int()
            if groups:
                whole = same.unflatten(0, (-1, groups[name])).sum(1)
                total += int(torch.maximum(whole, groups[name] - whole).sum())
            else:
                total += int(same.sum())
        return total

    last = layers[-1].conv
    words = owner.passport[last].contiguous().view(-1)[-2:].numpy().view(np.uint32)
    counts = []
    for number in range(300):
        tail = struct.pack("<II", int(words[0]), int(words[1]) ^ number)
        passport = {name: maps.clone() for name, maps in owner.passport.items()}
        passport[last].view(-1)[-2:] = torch.frombuffer(bytearray(tail), dtype=torch.float32)
        counts.append(count(passport))
    assert count(found.passport) == max(counts) > sum(capacities.values()) / 2
    for name, maps in owner.passport.items():
        differing = (found.passport[name] != maps).view(-1).nonzero().squeeze(1)
        assert all(index >= maps.numel() - 2 for index in differing.tolist())
        assert name == last or not differing.numel()
    assert (found.passport[last] - owner.passport[last]).abs().max() < 2**-6


def test_more_tries_than_a_batch_alter_both_elements(victim_of):
    """Beyond 2^16 the second half of the counter is used: the same best as of the batches one by one, or a better."""
    victim = victim_of("passport_v2", "alexnet", "gn")
    spelled = {name: detect(gamma[0]).cpu() for name, (gamma, _) in victim.claim.affines(victim.suspect).items()}

    def best(tries):
        found = ground_fast(victim.claim, spelled, tries, None)
        return sum(int((found.signature[name] == bits).sum()) for name, bits in spelled.items())

    assert best(BATCH + 5) >= best(BATCH) > best(10)


@pytest.mark.parametrize("norm", ["gn", "bn"])
def test_what_is_ground_is_read(norm, victim_of, data):
    """With batch norm every channel can be turned by itself: all bits are the forger's after one try."""
    victim = victim_of("passport_v2", "alexnet", norm)
    attack = Grind("grind", hash=["fast"], tries=2000)
    plain, turned = attack.run(victim, data, None, 0)
    assert plain.suspect is victim.suspect
    assert (plain.iterations, turned.iterations) == (2000, 2000)
    x = normalise(data.test_pixels, data.mean, data.std)
    with evaluating(victim.suspect), evaluating(turned.suspect):
        torch.testing.assert_close(turned.suspect(x), victim.suspect(x), rtol=1e-3, atol=1e-4)
    (first,), (second,) = plain.claims.values(), turned.claims.values()
    read = [
        judge_claims(network, [claim], images_of(data))[0].reading
        for network, claim in ((plain.suspect, first), (turned.suspect, second))
    ]
    agree = [sum(one.agreeing.values()) for one in read]
    total = sum(read[0].total.values())
    assert total / 2 < agree[0] < agree[1]
    assert (agree[1] == total) == (norm == "bn")
    assert first.owner == second.owner == "Mallory"
    assert list(turned.claims) == ["hash=fast turned"]


def test_a_slow_hash_is_ground_relative_to_public_signs(victim_of, data):
    """The signs of a lifted passport relative to the public ones are +1; turned channels are read as they are."""
    victim = victim_of("passport_v2", "alexnet", "gn")
    for name, parameter in victim.suspect.named_parameters():
        if "norm" in name and name.endswith("weight"):
            torch.nn.init.normal_(parameter, 0.0, 1.0)
    plain, turned = Grind("grind", hash=["slow"], slow_tries=2).run(victim, data, None, 0)
    (claim,) = plain.claims.values()
    assert claim.binding.startswith("scrypt-17-relative:")
    positive = sum(int((bits > 0).sum()) for bits in claim.signature.values())
    reading = judge_claims(victim.suspect, [claim], images_of(data))[0].reading
    assert sum(reading.agreeing.values()) == positive
    (claim,) = turned.claims.values()
    assert claim.binding.startswith("scrypt-17:")
    reading = judge_claims(turned.suspect, [claim], images_of(data))[0].reading
    assert reading.agreement > 0.5
