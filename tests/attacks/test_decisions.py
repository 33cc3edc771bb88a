"""What a judge would decide of an attack's claims: who is dated, what is granted, and which reading counts."""

from dataclasses import replace

import pytest
import torch

from ipr.attacks.base import example_of, freedom_of
from ipr.attacks.removal.same_answers import permuted
from ipr.judging.alignment import align
from ipr.judging.as_dated import Terms, best, decided
from ipr.judging.verdict import judge_claims
from ipr.randomness import generator


def failing(decision, holds=False):
    return {one.name for one in decision.conditions if one.required and one.holds is holds}


def judged(network, claim, data):
    return judge_claims(network, [claim], data.test_images)[0]


@pytest.mark.parametrize(
    ("terms", "fails"),
    [
        (Terms(True, True, True), set()),
        (Terms(False, True, True), {"commitment"}),
        (Terms(True, True, False), {"network"}),
        (Terms(False, True, False), {"commitment", "network"}),
    ],
)
def test_terms_decide_as_a_judge_does(terms, fails, victim_of, data):
    victim = victim_of("passport_v2", "alexnet", "gn")
    decision = decided(victim.claim, judged(victim.suspect, victim.claim, data), data, terms)
    assert failing(decision) - {"fidelity"} == fails  # the network is hardly trained
    assert "signature" not in failing(decision)


def test_what_is_not_granted_is_drawn_again(victim_of, data):
    """The claims of this test have no origin, so that nothing is known of them."""
    victim = victim_of("passport_v2", "alexnet", "gn")
    decision = decided(victim.claim, judged(victim.suspect, victim.claim, data), data, Terms(True, False, True))
    assert "drawn secrets" in failing(decision, None)


def test_a_service_is_never_cleared(victim_of, data):
    """Images that it does not answer as claimed say something of a file, and nothing of a service."""
    victim = victim_of("trigger_set", "alexnet", "bn")
    source = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (60, *data.train_pixels.shape[1:]), generator=source, dtype=torch.uint8)
    labels = torch.randint(0, 10, (60,), generator=source)
    wrong = replace(victim.claim, pixels=pixels, labels=labels)
    verdict = judged(victim.suspect, wrong, data)
    assert "trigger set" in failing(decided(wrong, verdict, data, Terms(True, True, True)))
    asked = decided(wrong, verdict, data, Terms(True, True, None, served=True))
    assert asked.outcome == "inconclusive"
    assert "trigger set" in failing(asked, None)


def test_the_better_of_two_readings_counts(victim_of, data):
    victim = victim_of("passport_v2", "alexnet", "gn")
    example = example_of(data, victim.suspect)
    moved = permuted(victim.suspect, freedom_of(victim.suspect, example), generator(0, "moved"))
    back = align(moved, victim.suspect, example)
    assert back.similar
    readings = []
    for network in (moved, back.network):
        verdict = judged(network, victim.claim, data)
        readings.append((verdict, decided(victim.claim, verdict, data, Terms(True, True, True))))
    assert "signature" in failing(readings[0][1])
    assert best(readings) is readings[1][1] is best(readings[::-1])
