"""Which conditions a claim must meet, and what each compares."""

import itertools
import math
from datetime import date

import pytest

from ipr.claim import Thresholds, reading
from ipr.errors import InputError
from ipr.verification.calibration import Calibration, false_claim_rate
from ipr.verification.decision import Evidence, Rule, corrected_log10, decide
from ipr.verification.fidelity import Fidelity
from ipr.verification.null import EmpiricalNull
from ipr.verification.registration import IN_TIME, Registration, commitment_status, read_registration

LIMITS = Thresholds(0.9, 0.03, 2.0**-40)
GOOD = Fidelity(0.89, 0.9, 0.03)


def bits(agreeing, total=40):
    return reading({"conv": agreeing}, {"conv": total})


def images(agreeing, total=100, choices=10):
    return reading({"trigger set": agreeing}, {"trigger set": total}, choices=choices, images=True)


def white_box(signature=None, fidelity=GOOD, *, passport=True, trigger_set=None):
    return Evidence(fidelity, signature or bits(40), trigger_set, passport)


def black_box(agreeing=90):
    return Evidence(None, None, images(agreeing), None)


def calibrated(agreeing=(9, 12), *, networks=20, wrong=598, verified=0):
    rates = [
        false_claim_rate(evidence, wrong, [-50.0] * verified, math.log10(LIMITS.p_value), 0.005)
        for evidence in ("signature", "images")
    ]
    names = tuple(str(i) for i in range(networks))
    return Calibration("f", "passport", "digits", "d", names, EmpiricalNull(agreeing, 100, 10), (), rates, 0)


def condition(decision, name):
    (found,) = (one for one in decision.conditions if one.name == name)
    return found


def test_a_passport_that_is_read_and_keeps_fidelity_is_verified():
    decision = decide(white_box(trigger_set=images(3)), LIMITS)
    assert decision.verified
    required = {one.name for one in decision.conditions if one.required}
    assert required == {"passport", "fidelity", "signature"}
    assert {one.name for one in decision.conditions} - required == {
        "trigger set", "bound signature", "commitment", "null",
    }  # fmt: skip
    assert condition(decision, "trigger set").holds is False  # reported alone
    assert condition(decision, "fidelity").value == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("evidence", "fails"),
    [
        (white_box(bits(39)), "signature"),
        (white_box(fidelity=Fidelity(0.8, 0.9, 0.03)), "fidelity"),
        (white_box(fidelity=Fidelity(1.0, 0.9, 0.03)), "fidelity"),
        (white_box(passport=False), "passport"),
    ],
)
def test_each_condition_alone_refuses_a_passport_claim(evidence, fails):
    decision = decide(evidence, LIMITS)
    assert not decision.verified
    assert [one.name for one in decision.conditions if one.required and not one.holds] == [fails]


def test_a_signature_pays_for_every_try_and_alignment():
    exact = white_box(bits(40))  # p is 2^-40, the threshold itself
    assert decide(exact, LIMITS).verified
    assert not decide(exact, LIMITS, tried=2).verified
    assert not decide(exact, LIMITS, alignments=2).verified
    longer = white_box(bits(50, 50))
    assert decide(longer, LIMITS, tried=32, alignments=32).verified
    assert not decide(longer, LIMITS, tried=32, alignments=33).verified
    assert condition(decide(longer, LIMITS, tried=32, alignments=32), "signature").value == pytest.approx(
        -40 * math.log10(2), rel=1e-12
    )
    assert corrected_log10(-5000.0, 1000) == -4997.0  # far below every float
    assert corrected_log10(-1.0, 1000) == 0.0
    with pytest.raises(InputError, match="tried=0"):
        decide(exact, LIMITS, tried=0)


def test_images_alone_need_a_commitment_and_a_null():
    """A forger who made images for this network afterwards has 100 of 100 of them read."""
    forged = black_box(100)
    assert not decide(forged, LIMITS).verified
    assert not decide(forged, LIMITS, calibration=calibrated()).verified
    assert not decide(forged, LIMITS, commitment=IN_TIME).verified
    decision = decide(black_box(90), LIMITS, commitment=IN_TIME, calibration=calibrated())
    assert decision.verified
    fidelity = condition(decision, "fidelity")
    assert (fidelity.required, fidelity.holds) == (False, None)
    assert not decide(black_box(20), LIMITS, commitment=IN_TIME, calibration=calibrated()).verified


def test_a_watermark_needs_a_commitment_for_it_presents_nothing():
    watermark = Evidence(GOOD, bits(40), None, None)
    assert not decide(watermark, LIMITS).verified
    assert decide(watermark, LIMITS, commitment=IN_TIME).verified
    assert decide(watermark, LIMITS, rule=Rule(commitment="reported")).verified


def test_images_that_any_network_answers_so_are_refused():
    """A guess among ten makes 60 of 100 impossible; networks that never saw the images give 55."""
    loose, strict = calibrated((9, 12)), calibrated((50, 55))
    found = black_box(60)
    assert decide(found, LIMITS, commitment=IN_TIME, calibration=loose).verified
    decision = decide(found, LIMITS, commitment=IN_TIME, calibration=strict)
    assert [one.name for one in decision.conditions if one.required and not one.holds] == ["trigger set"]
    assert "independent networks" in condition(decision, "trigger set").says
    below = calibrated((0,) * 20)
    assert condition(decide(found, LIMITS, calibration=below), "trigger set").value == pytest.approx(
        images(60).p_value_log10, rel=1e-9
    )  # never less than a guess


@pytest.mark.parametrize(
    "calibration",
    [calibrated(networks=19), calibrated(wrong=597), calibrated(verified=1), None],
    ids=["networks", "wrong claims", "verified", "none"],
)
def test_a_null_of_too_few_networks_or_wrong_claims_does_not_count(calibration):
    assert not decide(black_box(), LIMITS, commitment=IN_TIME, calibration=calibration).verified


@pytest.mark.parametrize("name", ["commitment", "null", "bound"])
def test_the_rule_can_ask_for_more_or_less(name):
    shown = white_box()
    assert not decide(shown, LIMITS, rule=Rule(**{name: "required"})).verified
    everything = {"commitment": IN_TIME, "calibration": calibrated(), "bound": True}
    assert decide(shown, LIMITS, rule=Rule(**{name: "required"}), **everything).verified
    assert decide(shown, LIMITS, rule=Rule(**{name: "reported"})).verified
    with pytest.raises(InputError, match=f"rule.{name}=maybe"):
        Rule(**{name: "maybe"})


DIGEST, OTHER = "a" * 64, "b" * 64
EARLY, LATE = date(2026, 1, 1), date(2026, 1, 2)


@pytest.mark.parametrize(
    ("digest", "opens", "registration", "status"),
    [
        (None, False, Registration(DIGEST, EARLY, LATE), "none"),
        (DIGEST, False, Registration(DIGEST, EARLY, LATE), "does not open"),
        (DIGEST, True, Registration(), "not registered"),
        (DIGEST, True, Registration(OTHER, EARLY, LATE), "another digest"),
        (DIGEST, True, Registration(DIGEST, EARLY), "no days given"),
        (DIGEST, True, Registration(DIGEST, None, LATE), "no days given"),
        (DIGEST, True, Registration(DIGEST, LATE, EARLY), "registered after the release"),
        (DIGEST, True, Registration(DIGEST, EARLY, EARLY), IN_TIME),
        (DIGEST, True, Registration(DIGEST, EARLY, LATE), IN_TIME),
    ],
)
def test_a_commitment_counts_if_it_opens_and_was_registered_in_time(digest, opens, registration, status):
    assert commitment_status(digest, opens=opens, registration=registration) == status
    assert condition(decide(white_box(), LIMITS, commitment=status), "commitment").holds == (status == IN_TIME)


def test_what_was_typed_is_read_or_refused():
    assert read_registration(DIGEST.upper(), "2026-01-01", "2026-01-02") == Registration(DIGEST, EARLY, LATE)
    for wrong in itertools.chain([(DIGEST[1:], None, None), ("g" * 64, None, None)], [(None, "1.1.2026", None)]):
        with pytest.raises(InputError, match=r"commitment\.(digest|registered)="):
            read_registration(*wrong)
