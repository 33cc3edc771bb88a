"""A kind of claim that ipr has never heard of, written in one file: read, judged, rivalled and reported by what it says
of itself.
"""

from dataclasses import dataclass

import pytest
import torch

from ipr.claims.base import Claim, Thresholds, reading
from ipr.data.images import LabelledImages
from ipr.errors import InputError
from ipr.judging import claim_kinds
from ipr.judging.claim_kinds import load_claim
from ipr.judging.decision import decide
from ipr.judging.evidence import from_weights
from ipr.judging.examination import examine
from ipr.judging.redraw import is_keyless, redraw
from ipr.judging.verdict import judge, judge_claims
from ipr.judging.wrong_claims import genuine_claims, kinds_for
from ipr.reports.terminal import claim_table
from ipr.signature import agreeing_bits, detect
from ipr.watermarks.base import WatermarkClaim
from references import small

ARCHITECTURE = {
    "model": {"name": "alexnet", "norm": "bn", "width": 0.25},
    "channels_in": 3, "image_size": 16, "num_classes": 10,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BareClaim(Claim):
    """The least that a kind can be: the signs of the classifier's first bias and weights are its bits."""

    kind = "bare"

    bits: torch.Tensor

    def tensors(self):
        return {"bits": self.bits}

    def specifics(self):
        return {}

    @classmethod
    def from_parts(cls, facts, tensors, thresholds):
        return cls(
            bits=tensors["bits"], thresholds=thresholds, architecture=facts["architecture"], owner=facts["owner"]
        )

    def marks(self):
        return self.bits

    def read(self, suspect, mean, std):
        found = detect(suspect.get_parameter("linear.weight").detach().flatten()[: self.bits.numel()])
        return reading({"classifier": agreeing_bits(found, self.bits)}, {"classifier": self.bits.numel()})


@dataclass(frozen=True, kw_only=True)
class OrderClaim(WatermarkClaim):
    """A watermark that can be drawn again: another party's is another."""

    kind = "order"

    bits: torch.Tensor

    def read(self, suspect, mean, std):
        return BareClaim.read(self, suspect, mean, std)

    def drawn_from(self, source, network, data):
        bits = torch.randint(0, 2, self.bits.shape, generator=source, dtype=torch.int8) * 2 - 1
        return OrderClaim(bits=bits, thresholds=self.thresholds, architecture=self.architecture)

    def marks(self):
        return self.bits


def images_of(data):
    return LabelledImages(data.test_pixels, data.test_labels, data.mean, data.std)


@pytest.fixture
def marked(monkeypatch):
    """A network and a claim of each kind that its weights spell."""
    known = claim_kinds.kind_of
    strangers = {kind.kind: kind for kind in (BareClaim, OrderClaim)}
    monkeypatch.setattr(claim_kinds, "kind_of", lambda name: strangers.get(name) or known(name))
    network = small("alexnet", "bn")
    bits = detect(network.linear.weight.detach().flatten()[:100]).to(torch.int8)
    about = {"thresholds": Thresholds(0.1, 1.0), "architecture": ARCHITECTURE, "owner": "Zoë"}
    return network, [kind(bits=bits, **about) for kind in strangers.values()]


def test_it_is_stored_examined_judged_and_told_of(marked, data, tmp_path):
    network, claims = marked
    for claim in claims:
        folder = tmp_path / claim.kind
        claim.save(folder)
        loaded = load_claim(folder)
        assert loaded.fingerprint() == claim.fingerprint()
        assert not [what for what, found in examine(folder) if isinstance(found, InputError)]
        verdict = judge(network, loaded, images_of(data))
        assert (verdict.reading.agreement, verdict.mark_read, verdict.passported) == (1.0, True, False)
        decision = decide(from_weights(verdict, loaded, 0.1), loaded.thresholds)
        found = {one.name: one.holds for one in decision.conditions}
        assert found["signature"]
        assert found["drawn secrets"] is None  # nothing tells, so they may have been chosen
        assert not is_keyless(loaded)
        assert claim_table(loaded).row_count > 5
    assert [v.reading.agreement for v in judge_claims(network, claims, images_of(data))] == [1.0, 1.0]


def test_what_it_says_nothing_of_may_have_been_chosen(marked, data):
    _, (bare, order) = marked
    (part,) = redraw(bare, data).parts
    assert (part.evidence, part.holds) == ("signature", None)
    assert "bare" in part.says
    (part,) = redraw(order, data).parts
    assert (part.holds, part.says) == (None, "nothing tells what was drawn")


def test_its_rivals_and_its_shape_are_the_judges_own(marked, data):
    network, (_, order) = marked
    assert list(kinds_for(order)) == ["redrawn"]
    assert list(genuine_claims(order)) == ["signature"]
    (rival,) = kinds_for(order)["redrawn"].drawn(order, network, data, 1, 0)
    assert 0.2 < rival.dissimilarity(order) < 0.8
    with pytest.raises(InputError, match="are all equal"):
        claim_kinds.check_sound(OrderClaim(bits=torch.ones(100, dtype=torch.int8), thresholds=order.thresholds))
