"""Witnesses: what they say, and that they never decide."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import torch

from ipr.claims.base import Thresholds, reading
from ipr.config.rule import Rule
from ipr.errors import InputError
from ipr.judging.claim_kinds import load_claim
from ipr.judging.conditions import Condition
from ipr.judging.decision import Decision
from ipr.judging.null import EmpiricalNull
from ipr.judging.witness import Witness, with_witnesses
from ipr.reports.templates import asset
from ipr.schemes.lineage import LineageClaim
from ipr.workflows.train import train
from ipr.workflows.witnesses import open_witnesses

FAILING = Decision((Condition("signature", True, False, 0.0, -12.0, ""),), "sound")
LEARNED = ("trainer.max_epochs=4", "dataset.limit_train=256", "optimizer.batch_size=64")


def witness(agreeing, others, total=100, p_value=2.0**-40):
    claim = LineageClaim(weights=torch.arange(3.0), thresholds=Thresholds(None, p_value=p_value))

    def said(count):
        return reading({"x": count}, {"x": total}, choices=10, correlation=count / total)

    return Witness(claim, None, said(agreeing), tuple(said(one) for one in others), 10)


@pytest.mark.parametrize(
    ("agreeing", "others", "holds"),
    [(100, [], None), (100, [10, 20], True), (60, [10, 64], False), (64, [10, 64], False), (70, [10, 64], None)],
)
def test_a_witness_is_told_and_never_decides(agreeing, others, holds):
    one = witness(agreeing, others)
    decision = with_witnesses(FAILING, [one], Rule(), 1)
    *_, told = decision.conditions
    assert (told.name, told.required, told.holds) == ("witness lineage", False, holds)
    assert decision.outcome == "not verified"
    assert f"{agreeing} of 100" in told.says
    assert bool(told.remedy) == (holds is None)
    expected = reading({"x": agreeing}, {"x": 100}, choices=10).p_value_log10
    if others:
        expected = max(expected, EmpiricalNull(others, 100, 10).p_value_log10(agreeing, 100))
        assert f"at most {max(others)}" in told.says
    assert told.value == pytest.approx(expected)


def test_several_witnesses_pay_for_each_other_and_are_told_apart():
    two = [witness(100, [10, 20]), witness(90, [10, 20])]
    decision = with_witnesses(FAILING, two, Rule(), tried=3)
    names = [one.name for one in decision.conditions[1:]]
    assert names == ["witness lineage 1", "witness lineage 2"]
    alone = with_witnesses(FAILING, two[:1], Rule(), tried=1).conditions[-1]
    assert decision.conditions[1].value == pytest.approx(alone.value + torch.tensor(6.0).log10().item(), abs=1e-6)


@pytest.fixture
def owned(request_for, trained):
    """A passport run, fingerprints of the network that it gives away, and two strangers."""
    passport = trained(request_for("scheme=passport_v2", "passport.key=mine", *LEARNED))
    prints = [
        train(request_for(f"scheme={s}", f"init={passport.folder.weights}", "passport.key=mine", *LEARNED))
        for s in ("ipguard", "lineage")
    ]
    plain = request_for("scheme=baseline", *LEARNED)
    strangers = [trained(replace(plain, seed=seed)) for seed in (5, 6)]
    return passport, prints, strangers


def test_witnesses_are_measured_on_the_very_suspect_and_told_everywhere(owned, ipr):
    passport, prints, strangers = owned

    def judged(suspect, others, out):
        outcome = ipr(
            "verify", f"suspect={suspect.folder.weights}", f"claim={passport.folder.claim}", "forged=2",
            "dataset.image_size=8", "dataset.limit_test=40", f"out={out}",
            f"witness=[{','.join(str(one.folder.claim) for one in prints)}]",
            f"independent=[{','.join(str(one.folder.path) for one in others)}]",
        )  # fmt: skip
        if outcome.code == 2:
            return outcome.err
        verdict = json.loads(Path(out, "verdict.json").read_text())
        jsonschema.validate(verdict, json.loads(asset("verdict.schema.json")))
        assert outcome.out.count("witness ") == 2
        assert "witness lineage" in Path(out, "verdict.html").read_text()
        return verdict

    here, away = judged(passport, strangers, "here"), judged(strangers[0], strangers[1:], "away")
    for verdict in (here, away):
        told = {one["name"]: one for one in verdict["conditions"] if one["name"].startswith("witness")}
        assert [*told] == ["witness ipguard", "witness lineage"]
        assert not any(one["required"] for one in told.values())
        assert not {*told} & {*verdict["deciding"]}
        for one in verdict["witnesses"]:
            null = EmpiricalNull(one["null"]["agreeing"], one["total"], 10 if one["kind"] == "ipguard" else 16)
            assert len({*one["null"]["networks"]}) == len(one["null"]["agreeing"])
            assert one["null"]["p_value_log10"] == pytest.approx(null.p_value_log10(one["agreeing"], one["total"]))
    points, weights = here["witnesses"]
    assert points["agreeing"] == points["total"] > max(points["null"]["agreeing"])
    assert weights["similarity"] == pytest.approx(1)
    assert told["witness lineage"]["holds"] is not True  # of the stranger
    assert {one["name"]: one["holds"] for one in here["conditions"]}["witness lineage"] is True
    assert away["decision"] == "not verified"
    assert away["witnesses"][1]["similarity"] < 0.3
    assert "is the suspect itself" in judged(strangers[0], strangers, "refused")


def test_what_is_no_fingerprint_of_the_network_is_refused(owned):
    passport, prints, strangers = owned
    claim = load_claim(passport.folder.claim)
    with pytest.raises(InputError, match="no fingerprint"):
        open_witnesses([str(passport.folder.claim)], [], claim)
    with pytest.raises(InputError, match="there is none"):
        open_witnesses([], [str(strangers[0].folder.path)], claim)
    with pytest.raises(InputError, match="given twice"):
        open_witnesses([str(prints[0].folder.claim)], 2 * [str(strangers[0].folder.path)], claim)
    wider = replace(claim, architecture=claim.architecture | {"image_size": 16})
    with pytest.raises(InputError, match="another network than the claim"):
        open_witnesses([str(prints[0].folder.claim)], [], wider)


def test_a_fingerprint_is_not_calibrated(owned, ipr):
    """A wrong one can be had of every network."""
    _, prints, _ = owned
    outcome = ipr("calibrate", f"claim={prints[0].folder.claim}", "dataset.image_size=8", "networks=1", "wrong=4")
    assert (outcome.code, outcome.out) == (2, "")
    assert "wrong ones show no rate" in outcome.err
