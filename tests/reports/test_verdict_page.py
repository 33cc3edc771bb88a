"""What a verdict says to a stranger: its sentences, its bars, and its page."""

import inspect
import json
import re

import pytest
from scipy.stats import binom

from ipr.judging import conditions
from ipr.judging.control import SAYS
from ipr.reports.evidence import FORGERIES, evidence_bars
from ipr.reports.templates import asset
from ipr.reports.verdict_page import _html
from ipr.reports.verdict_words import CONDITIONS, because, day_of, headline

HOSTILE = "\"'><script>alert(1)</script>{{ 7 * 7 }}"


def condition(name, required, holds):
    return {
        "name": name, "required": required, "holds": holds, "value": "found", "threshold": "asked",
        "says": f"{name} is asked", "remedy": "" if holds else "bring more",
    }  # fmt: skip


def facts(**changes):
    """A verdict on weights, as `verdict.json` has it."""
    signature = {
        "layers": [{"name": "conv3", "agreeing": 60, "total": 64}], "agreeing": 60, "total": 64, "correlation": None,
        "p_value_log10": -13.5, "tried": 2, "alignments": 1, "corrected_p_value_log10": -13.2,
        "threshold_log10": -12.04,
    }  # fmt: skip
    made = {
        "date": "2026-11-27T13:20:41+00:00", "decision": "not verified", "deciding": ["key"],
        "conditions": [
            condition("signature", True, True), condition("key", True, False), condition("control", False, False),
        ],
        "suspect": {"kind": "white box", "format": "safetensors", "sha256": "ab" * 32, "weights_digest": "cd" * 32,
                    "alignments": 1, "way": None, "url": None, "queries": None},
        "claim": {"kind": "passport", "owner": "Ada", "fingerprint": "ef" * 32},
        "commitment": {"status": "none", "digest": None, "registered": "2026-01-31", "released": None,
                       "by": "a notary"},
        "data": {"name": "digits", "fingerprint": "12" * 32, "images": 360, "as_claimed": False, "owners": True},
        "accuracy": 0.99,
        "fidelity": {"claimed": 0.98, "given": 0.99, "target": 0.98, "chance": 0.1, "control": 0.2, "plainly": None,
                     "floor": 0.325, "threshold": 0.03, "holds": True},
        "forged": {"count": 5, "passing": 0, "mean": 0.1, "best": 0.2},
        "control": [{"kind": "lifted", "tried": 1, "best": 0.97, "mean": 0.97, "consistent": 1, "shared": 0.5}],
        "signature": signature, "trigger_set": None, "calibration": None, "witnesses": [],
        "rule": {"name": "sound"}, "tried": 2, "seed": 0, "versions": {"ipr": "0.1.0"},
    }  # fmt: skip
    return {**made, **changes}


def test_the_outcome_comes_first_and_in_a_sentence():
    assert headline(facts()) == "The claim of Ada to this network is not verified."
    assert because(facts()) == "Of 2 required conditions 1 fails: key."
    open_ = facts(decision="inconclusive", deciding=["commitment", "network"])
    assert "2 were not shown: commitment and network." in because(open_)
    assert (
        because(facts(decision="verified", deciding=["signature", "key"])) == "All 2 conditions that are required hold."
    )
    paper = headline({**facts(decision="verified"), "rule": {"name": "paper"}})
    assert paper.endswith("is verified by the paper's rule alone, which whoever holds the weights can satisfy.")
    page = _html(facts())
    assert page.index(headline(facts())) < page.index("The evidence") < page.index("Conditions")


def test_bits_that_are_needed_are_the_fewest_that_a_guess_does_not_explain():
    (bar,) = evidence_bars(facts())["Is the claimed mark in it?"]
    assert (bar.share, bar.much) == (60 / 64, "60 of 64")
    needed = round(64 * bar.marks["needed at least"])
    assert 2 * binom.sf(needed - 1, 64, 0.5) <= 10**-12.04 < 2 * binom.sf(needed - 2, 64, 0.5)


def test_where_a_correlation_decides_no_number_of_bits_is_needed():
    one = facts()
    (bar,) = evidence_bars({**one, "signature": {**one["signature"], "correlation": 0.9}})["Is the claimed mark in it?"]
    assert "needed at least" not in bar.marks


def test_forgeries_stand_beside_the_claim():
    bars = evidence_bars(facts())["Does the network work with what is claimed?"]
    assert [(bar.whose, bar.share) for bar in bars] == [("plain", 0.99), ("claim", 0.98), ("forger", 0.97)]
    assert bars[1].marks == {"by chance": 0.1, "needed at least": 0.325}


def test_answers_alone_are_shown_beside_independent_networks():
    null = {"networks": 20, "most_agreeing": 12, "rate": 0.3, "p_value_log10": -9.0, "rank_p_value": 0.05}
    answers = {"agreeing": 58, "total": 60, "choices": 10, "null": null, "tried": 1, "threshold_log10": -12.04}
    told = facts(fidelity=None, signature=None, forged=None, control=[], trigger_set=answers)
    bars = evidence_bars(told)
    (bar,) = bars["Is the claimed mark in it?"]
    assert bar.marks["most of any independent network"] == 0.2
    needed = round(60 * bar.marks["needed at least"])
    assert binom.sf(needed - 1, 60, 0.3) <= 10**-12.04 < binom.sf(needed - 2, 60, 0.3), "the larger of both rates"


def test_what_is_only_reported_is_not_red():
    page = _html(facts())
    assert re.findall(r'class="holds (\w+)">(\w+)<', page) == [("yes", "yes"), ("no", "no"), ("muted", "no")]


def test_dates_are_told_and_so_is_their_absence():
    page = _html(facts())
    assert "31 January 2026 (by a notary)" in page
    assert "no date was given" in page
    assert day_of("2026-11-27T13:20:41+00:00") == "27 November 2026, 13:20 UTC"
    assert day_of("some day") == "some day"


@pytest.mark.parametrize("place", ["owner", "by"])
def test_no_name_can_leave_its_place(place):
    one = facts()
    told = {
        "owner": {**one, "claim": {**one["claim"], "owner": HOSTILE}},
        "by": {**one, "commitment": {**one["commitment"], "by": HOSTILE}},
    }[place]
    page = _html(told)
    assert "<script" not in page
    assert "alert(1)&lt;/script&gt;{{ 7 * 7 }}" in page


def test_every_condition_of_a_judge_is_explained():
    named = set(re.findall(r'Condition\(\s*"([^"]+)"', inspect.getsource(conditions)))
    assert {"fidelity", "commitment", "null"} <= named
    assert named <= {*CONDITIONS}


def test_every_kind_of_forgery_has_its_words_and_is_in_the_schema():
    schema = json.loads(asset("verdict.schema.json"))
    kinds = schema["properties"]["control"]["items"]["properties"]["kind"]["enum"]
    assert set(kinds) == {*SAYS} == {*FORGERIES}
