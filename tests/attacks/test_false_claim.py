"""Claims of somebody who never saw the network: what they are made of, and what they transfer to."""

import pytest
import torch

from ipr.attacks.ambiguity.false_claim import FalseClaim
from ipr.data.images import normalise
from ipr.models.inspection import evaluating
from references import memorise, small


def networks(data, count):
    """Networks of other seeds that answer the training images."""
    found = []
    for seed in range(count):
        torch.manual_seed(seed)
        network = small("alexnet", "bn")
        for module in network.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        memorise(network, data)
        found.append(network.eval())
    return found


def answers(network, pixels, data):
    with evaluating(network):
        return network(normalise(pixels, data.mean, data.std)).argmax(1)


@pytest.mark.parametrize("kind", ["plain", "untargeted", "targeted"])
def test_trigger_images_are_near_ordinary_ones_and_answered_as_claimed(kind, data):
    own = networks(data, 3)
    attack = FalseClaim("false_claim", networks=3, images=12, iterations=20, epsilon=0.1, step=0.02)
    found = attack.triggers(kind, own, data, torch.Generator().manual_seed(0))
    assert found.pixels.shape == (12, *data.train_pixels.shape[1:])
    assert found.pixels.dtype == torch.uint8
    away = (found.pixels[:, None].int() - data.train_pixels[None].int()).abs().flatten(2).amax(2)  # (12, N)
    nearest = away.argmin(1)
    assert away.amin(1).max() <= round(255 * 0.1) + 1
    assert (away.amin(1) == 0).all() == (kind == "plain")
    true = data.train_labels[nearest]
    assert (found.labels == true).all() == (kind == "plain")
    assert (answers(own[0], found.pixels, data) == found.labels).float().mean() > 0.9
    again = attack.triggers(kind, own, data, torch.Generator().manual_seed(0))
    assert torch.equal(found.pixels, again.pixels)


def test_the_victim_is_never_asked(victim_of, data):
    """The same claims of any victim of one architecture: only its sizes are known."""
    first, second = (victim_of("trigger_set", "alexnet", "bn") for _ in range(2))
    with torch.no_grad():
        for parameter in second.suspect.parameters():
            parameter.mul_(3.0)
    attack = FalseClaim("false_claim", networks=2, images=6, iterations=2, epochs=1)
    claims = []
    for victim in (first, second):
        (attacked,) = attack.run(victim, data, lambda *_, **__: None, 0)
        assert attacked.suspect is victim.suspect
        claims.append({point: claim.fingerprint() for point, claim in attacked.claims.items()})
    assert claims[0] == claims[1]
    assert list(claims[0]) == ["triggers=plain", "triggers=untargeted", "triggers=targeted"]


@pytest.mark.parametrize(
    ("scheme", "more"),
    [("passport_v2", "passport=elsewhere"), ("uchida", "keys=universal"), ("deepsigns", "keys=universal")],
)
def test_schemes_add_claims_of_their_own_kind(scheme, more, victim_of, data):
    victim = victim_of(scheme, "alexnet", "bn")
    attack = FalseClaim("false_claim", networks=2, images=6, iterations=1, epochs=1)
    _, attacked = attack.run(victim, data, lambda *_, **__: None, 0)
    assert list(attacked.claims) == [more]
    assert attacked.claims[more].kind == victim.claim.kind
    assert attacked.claims[more].dissimilarity(victim.claim) > 0.2
