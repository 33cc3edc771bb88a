"""Which conditions a claim must meet, what each compares, and what becomes of it."""

import itertools
import math
from dataclasses import replace

import pytest

from ipr.claims.base import Thresholds, reading
from ipr.config.rule import LONG, STRICT, Rule
from ipr.errors import InputError
from ipr.judging.binomial import corrected_log10
from ipr.judging.calibration import Calibration, WrongClaims, false_claim_rate
from ipr.judging.decision import decide
from ipr.judging.evidence import Evidence, Provenance
from ipr.judging.fidelity import Accuracies, as_given_away, as_published
from ipr.judging.null import EmpiricalNull
from ipr.judging.redraw import Part, Redrawn
from ipr.judging.registration import (
    IN_TIME,
    MISSING,
    Registration,
    commitment_status,
    read_registration,
)

LIMITS = Thresholds(0.9, 0.03, 2.0**-40)
GOOD = Accuracies(claimed=0.89, given=0.91, target=0.9, chance=0.1, control=0.3)
PAPER = Rule("paper")


def bits(agreeing, total=40):
    return reading({"conv": agreeing}, {"conv": total})


def images(agreeing, total=100, choices=10):
    return reading({"trigger set": agreeing}, {"trigger set": total}, choices=choices, images=True)


def white_box(signature=None, accuracies=GOOD, *, passport=True, trigger_set=None):
    return Evidence(accuracies, signature or bits(40), trigger_set, passport)


def watermark(agreeing=40):
    return white_box(bits(agreeing), Accuracies(0.9, 0.9, 0.9, 0.1), passport=None)


def black_box(agreeing=90):
    return Evidence(None, None, images(agreeing), None)


def calibrated(agreeing=(9, 12), *, networks=20, wrong=598, verified=0, satisfied=0):
    rates, rows = [], []
    for evidence in ("signature", "images"):
        found = [-50.0] * verified
        rates.append(false_claim_rate(evidence, wrong, found, math.log10(LIMITS.p_value), 0.005))
        rows.append(
            WrongClaims(evidence, "genuine", "independent", True, networks, satisfied, satisfied, 0, -1.0, 0.2, 20, 40)
        )
    names = tuple(str(i) for i in range(networks))
    null = EmpiricalNull(agreeing, 100, 10)
    return Calibration("f", "passport", "digits", "d", names, null, tuple(rows), rates, (), None, 0.03, 0)


def redrawn(holds, chosen_bits=0):
    return Redrawn((Part("signature", "signature", holds, "looked at"),), chosen_bits)


def known(**changes):
    """Everything that an owner can show of where her claim comes from."""
    shown = {"commitment": IN_TIME, "by": "a notary", "same": True, "drawn": redrawn(True)} | changes
    calibration = shown.get("calibration")
    return Provenance(**shown, null=calibration.null if calibration else None)


CALIBRATED = known(calibration=calibrated())


def condition(decision, name):
    (found,) = (one for one in decision.conditions if one.name == name)
    return found


def failing(decision):
    return [one.name for one in decision.conditions if one.required and one.holds is False]


def missing(decision):
    return [one.name for one in decision.conditions if one.required and one.holds is None]


def test_a_dated_passport_that_is_read_and_keeps_fidelity_is_verified():
    decision = decide(white_box(trigger_set=images(3)), LIMITS, provenance=known())
    assert (decision.outcome, decision.verified, decision.rule) == ("verified", True, "sound")
    required = {one.name for one in decision.conditions if one.required}
    assert required == {"passport", "fidelity", "signature", "drawn secrets", "key", "commitment", "network"}
    assert {one.name for one in decision.conditions} - required == {"trigger set", "bound signature", "null"}
    assert condition(decision, "trigger set").holds is False  # reported alone
    assert condition(decision, "fidelity").value == pytest.approx(0.02)
    assert [one.name for one in decision.deciding] == [one.name for one in decision.conditions if one.required]
    assert "a notary" in condition(decision, "commitment").says


def test_without_a_date_it_is_inconclusive_and_says_why():
    for status in MISSING:
        decision = decide(white_box(), LIMITS, provenance=known(commitment=status))
        assert (decision.outcome, decision.verified, missing(decision)) == ("inconclusive", False, ["commitment"])
        (one,) = decision.deciding
        assert "anybody who holds these weights can make such a claim" in one.says
        assert "lift_passport" in one.says
        assert "commitment.released" in one.remedy
    assert decide(white_box(), LIMITS).outcome == "inconclusive"  # as a stranger brings it
    assert "forge_" in condition(decide(watermark(), LIMITS), "commitment").says
    for status in ("does not open", "another digest", "not registered before the release"):
        decision = decide(white_box(), LIMITS, provenance=known(commitment=status))
        assert (decision.outcome, failing(decision)) == ("not verified", ["commitment"])


def test_what_scales_pass_through_counts_with_a_date_alone():
    brought = replace(white_box(), accessory=True)
    decision = decide(brought, LIMITS, provenance=known())
    assert decision.verified
    assert condition(decision, "accessory").required
    undated = Rule("sound", commitment="reported")  # a judge who asks for no date of ordinary passports
    assert decide(white_box(), LIMITS, provenance=known(commitment="none"), rule=undated).verified
    for status in MISSING:
        decision = decide(brought, LIMITS, provenance=known(commitment=status), rule=undated)
        assert (decision.outcome, missing(decision)) == ("inconclusive", ["accessory"])
        assert "forge_accessory" in condition(decision, "accessory").says
        assert "ipr claim commit" in condition(decision, "accessory").remedy
    decision = decide(brought, LIMITS, provenance=known(commitment="another digest"), rule=undated)
    assert failing(decision) == ["accessory"]
    assert decide(brought, LIMITS, rule=PAPER).verified  # Definition 1 asks for none
    assert decision.consistent  # what was measured is
    assert "accessory" not in {one.name for one in decide(white_box(), LIMITS).conditions}


def test_a_date_counts_for_the_network_that_was_committed_to():
    decision = decide(white_box(), LIMITS, provenance=known(same=None))
    assert (decision.outcome, missing(decision)) == ("inconclusive", ["network"])
    assert "reference=FILE" in condition(decision, "network").remedy
    decision = decide(white_box(), LIMITS, provenance=known(same=False))
    assert (decision.outcome, failing(decision)) == ("not verified", ["network"])
    for same in (None, False, True):
        assert not condition(decide(black_box(), LIMITS, provenance=known(same=same)), "network").required
        assert not condition(decide(white_box(), LIMITS, provenance=known(same=same), rule=PAPER), "network").required
        remedy = condition(decide(white_box(bits(20)), LIMITS, provenance=known(same=same)), "signature").remedy
        assert ("reference=FILE" in remedy) == (same is None)


def test_the_rule_of_the_paper_is_definition_1_and_nothing_else():
    decision = decide(white_box(), LIMITS, rule=PAPER)
    assert decision.outcome == "verified"
    assert {one.name for one in decision.conditions if one.required} == {"passport", "fidelity", "signature"}
    assert decide(watermark(), LIMITS, rule=PAPER).verified
    better = white_box(accuracies=Accuracies(1.0, 0.9, 0.9, 0.1))
    assert failing(decide(better, LIMITS, rule=PAPER)) == ["fidelity"]  # two-sided, as published
    assert decide(better, LIMITS, provenance=known()).verified
    worse = white_box(accuracies=Accuracies(0.8, 0.8, 0.9, 0.1))
    assert failing(decide(worse, LIMITS, rule=PAPER)) == ["fidelity"]
    assert decide(worse, LIMITS, provenance=known()).verified  # a thief's copy that lost accuracy


@pytest.mark.parametrize(
    ("evidence", "fails"),
    [
        (white_box(bits(39)), "signature"),
        (white_box(accuracies=Accuracies(0.9, 0.9, None, 0.1)), "fidelity"),
        (white_box(passport=False), "passport"),
    ],
)
def test_each_condition_alone_refuses_a_passport_claim(evidence, fails):
    for rule in (Rule(), PAPER):
        decision = decide(evidence, LIMITS, provenance=known(), rule=rule)
        assert decision.outcome == "not verified"
        assert failing(decision) == [fails]


TUNED = white_box(accuracies=Accuracies(0.56, 0.9, 0.97, 0.1))


@pytest.mark.parametrize(
    "seen",
    [
        TUNED.accuracies,
        Accuracies(0.3, 0.9, 0.97, 0.1),  # hardly better than chance
        Accuracies(0.1, 0.9, 0.97, 0.1),
        Accuracies(0.56, 0.9, 0.97, 0.1, control=0.56),  # no better than a random one
    ],
)
def test_bits_that_were_drawn_and_dated_outlast_the_accuracy_of_a_tuned_copy(seen):
    decision = decide(white_box(accuracies=seen), LIMITS, provenance=known())
    assert (decision.outcome, decision.consistent, missing(decision)) == ("inconclusive", False, ["fidelity"])
    assert "this copy was tuned" in condition(decision, "fidelity").says


@pytest.mark.parametrize(
    ("evidence", "provenance"),
    [
        (TUNED, known(drawn=redrawn(None))),  # bits may have been chosen
        (TUNED, known(drawn=redrawn(False))),
        (TUNED, known(commitment="not registered before the release")),
        (TUNED, known(commitment="none")),
        (TUNED, known(same=False)),  # another network
        (TUNED, known(same=None)),
        (white_box(bits(39), accuracies=TUNED.accuracies), known()),  # too few bits
        (white_box(accuracies=Accuracies(0.56, 0.9, None, 0.1)), known()),  # nothing declared
    ],
)
def test_nothing_less_saves_a_passport_that_lost_its_accuracy(evidence, provenance):
    decision = decide(evidence, LIMITS, provenance=provenance)
    assert decision.outcome == "not verified"
    assert "fidelity" in failing(decision)
    assert decide(TUNED, LIMITS, provenance=known(), rule=PAPER).outcome == "not verified"  # as published


@pytest.mark.parametrize(
    ("provenance", "outcome", "names"),
    [
        (known(keyless=True), "not verified", ["key"]),
        (known(drawn=redrawn(False)), "not verified", ["drawn secrets"]),
        (known(drawn=redrawn(None)), "inconclusive", ["drawn secrets"]),
        (known(calibration=calibrated(satisfied=1)), "not verified", ["independent networks"]),
    ],
)
def test_what_is_known_of_its_origin_refuses_it_too(provenance, outcome, names):
    decision = decide(white_box(), LIMITS, provenance=provenance)
    assert decision.outcome == outcome
    assert (failing(decision) or missing(decision)) == names
    if names == ["key"]:
        assert "passport.key" in condition(decision, "key").remedy
    assert decide(white_box(), LIMITS, provenance=provenance, rule=PAPER).verified


@pytest.mark.parametrize(
    ("seen", "holds"),
    [
        (Accuracies(0.88, 0.91, 0.9, 0.1), True),
        (Accuracies(0.879, 0.91, 0.9, 0.1), False),
        (Accuracies(0.99, 0.91, 0.9, 0.1), True),  # better than declared
        (Accuracies(0.97, 0.2, 0.99, 0.1), True),  # opens a locked network
        (Accuracies(0.95, 0.2, 0.99, 0.1), False),  # opens it, and falls short of what was declared
        (Accuracies(0.2, 0.2, 0.99, 0.1), False),  # changes nothing of a locked network
        (Accuracies(0.32, 0.32, 0.32, 0.1), False),  # little above chance, whatever is declared
        (Accuracies(0.33, 0.33, 0.33, 0.1), True),
        (Accuracies(0.6, 0.6, 0.6, 0.5), False),
        (Accuracies(0.8, 0.2, 0.8, 0.1, control=0.8), False),  # no better than a random passport
        (Accuracies(0.8, 0.2, 0.8, 0.1, control=0.79), True),
        (Accuracies(1.0, 1.0, None, 0.1), False),
        (Accuracies(0.0, 0.0, 0.0, 0.1), False),
    ],
)
def test_fidelity_is_measured_against_what_the_suspect_is(seen, holds):
    assert as_given_away(seen, 0.03) is holds


def test_a_claimant_cannot_widen_what_the_judge_accepts():
    lax = Thresholds(0.5, 1.0, 1.0)
    half = white_box(accuracies=Accuracies(0.3, 0.9, 0.3, 0.1))
    assert missing(decide(half, lax, provenance=known())) == ["fidelity"]
    assert failing(decide(half, lax, provenance=known(drawn=redrawn(None)))) == ["fidelity"]
    assert failing(decide(white_box(bits(39)), lax, provenance=known())) == ["signature"]
    both = white_box(bits(39), Accuracies(0.6, 0.9, 0.5, 0.1))
    assert failing(decide(both, lax, rule=PAPER)) == ["fidelity", "signature"]
    strict = Thresholds(0.9, 0.01, 2.0**-60)
    assert failing(decide(white_box(), strict, provenance=known())) == ["fidelity", "signature"]
    assert missing(decide(TUNED, lax, provenance=known())) == ["fidelity"]
    loose = Rule(p_value=0.5, fidelity=0.1)
    assert not decide(white_box(), strict, provenance=known(), rule=loose).verified
    assert decide(white_box(bits(30), GOOD), Thresholds(0.9, 1.0, 1.0), provenance=known(), rule=loose).verified


def test_long_signatures_have_to_be_read_better():
    assert Rule().threshold_log10(LIMITS.p_value, LONG) == pytest.approx(-80 * math.log10(2))
    assert Rule().threshold_log10(LIMITS.p_value, LONG - 1) == pytest.approx(-40 * math.log10(2))
    assert Rule(p_value=1e-3).threshold_log10(LIMITS.p_value, LONG) == pytest.approx(math.log10(LIMITS.p_value))
    for agreeing in (157, 165):  # ground in two minutes and in 160 core-hours at the old price
        assert failing(decide(white_box(bits(agreeing, 224)), LIMITS, provenance=known())) == ["signature"]
    fewest = next(n for n in range(224) if bits(n, 224).p_value <= STRICT)
    assert decide(white_box(bits(fewest, 224)), LIMITS, provenance=known()).verified
    assert not decide(white_box(bits(fewest - 1, 224)), LIMITS, provenance=known()).verified
    kept = next(n for n in range(1000) if bits(math.ceil(0.85 * n), n).p_value <= STRICT)
    assert LONG - 10 <= kept <= LONG + 10  # what `LONG` says of itself


def test_bits_that_spell_a_text_prove_nothing():
    """An owner's text of 96 of 224 bits is read, and the others alone are counted."""
    shown = known(drawn=redrawn(True, chosen_bits=96))
    decision = decide(white_box(bits(224, 224)), LIMITS, provenance=shown)
    assert decision.verified
    found = condition(decision, "signature")
    assert found.value == pytest.approx(-128 * math.log10(2))
    assert found.threshold == pytest.approx(-40 * math.log10(2))  # 128 bits are no long signature
    assert "of which 96 spell a text" in found.says
    text_alone = decide(white_box(bits(160, 224)), LIMITS, provenance=shown)  # all of the text, half of the rest
    assert failing(text_alone) == ["signature"]
    assert decide(white_box(bits(224, 224)), LIMITS, provenance=shown, rule=PAPER).verified


def test_no_bit_at_all_is_not_chance_either():
    turned = condition(decide(white_box(bits(0, 224)), LIMITS, provenance=known()), "signature")
    assert turned.holds is False
    assert "may have been turned" in turned.says
    assert "reference=FILE" in turned.remedy
    assert "turned" not in condition(decide(white_box(bits(100, 224)), LIMITS), "signature").says


def test_a_signature_pays_for_every_try_and_alignment():
    exact = white_box(bits(40))  # p is 2^-40, the threshold itself
    shown = {"provenance": known()}
    assert decide(exact, LIMITS, **shown).verified
    assert not decide(exact, LIMITS, tried=2, **shown).verified
    assert not decide(exact, LIMITS, alignments=2, **shown).verified
    longer = white_box(bits(50, 50))
    assert decide(longer, LIMITS, tried=32, alignments=32, **shown).verified
    assert not decide(longer, LIMITS, tried=32, alignments=33, **shown).verified
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
    assert missing(decide(forged, LIMITS)) == ["drawn secrets", "commitment", "null"]
    assert missing(decide(forged, LIMITS, provenance=known(commitment="none", calibration=calibrated()))) == [
        "commitment"
    ]
    assert missing(decide(forged, LIMITS, provenance=known())) == ["null"]
    decision = decide(black_box(90), LIMITS, provenance=CALIBRATED)
    assert decision.verified
    fidelity = condition(decision, "fidelity")
    assert (fidelity.required, fidelity.holds) == (False, None)
    few = decide(black_box(20), LIMITS, provenance=CALIBRATED)
    assert (few.outcome, failing(few), missing(few)) == ("inconclusive", [], ["trigger set"])
    assert "open the suspect's weights file" in condition(few, "trigger set").remedy


def test_a_watermark_needs_a_commitment_and_a_null_for_it_presents_nothing():
    assert missing(decide(watermark(), LIMITS)) == ["drawn secrets", "commitment", "network", "null"]
    assert missing(decide(watermark(), LIMITS, provenance=known())) == ["null"]
    assert decide(watermark(), LIMITS, provenance=CALIBRATED).verified


def test_networks_that_were_not_asked_prove_nothing():
    """Twenty of another architecture: the images are asked of them, and bits in weights are not."""
    given = calibrated()
    rows = tuple(row for row in given.wrong if row.evidence == "images")
    unasked = replace(given, wrong=rows)
    assert decide(black_box(90), LIMITS, provenance=known(calibration=unasked)).verified
    decision = decide(watermark(), LIMITS, provenance=known(calibration=unasked))
    assert (decision.outcome, missing(decision)) == ("inconclusive", ["independent networks", "null"])


def test_one_independent_network_decides_however_many_wrong_claims_do_not():
    """A mark that fits every network there is, dated before all of them."""
    many = calibrated(wrong=3000, satisfied=1)
    assert many.rate_of("signature").holds
    decision = decide(watermark(), LIMITS, provenance=known(calibration=many))
    assert (decision.outcome, failing(decision)) == ("not verified", ["independent networks"])
    assert "1 of 20 independent networks" in condition(decision, "independent networks").says


def test_images_that_any_network_answers_so_are_refused():
    """A guess among ten makes 60 of 100 impossible; networks that never saw the images give 55."""
    loose, strict = calibrated((9, 12)), calibrated((50, 55))
    found = black_box(60)
    assert decide(found, LIMITS, provenance=known(calibration=loose)).verified
    decision = decide(found, LIMITS, provenance=known(calibration=strict))
    assert missing(decision) == ["trigger set"]  # 100 of 100 would do
    hopeless = decide(found, LIMITS, provenance=known(calibration=calibrated((50, 95))))
    assert failing(hopeless) == ["trigger set"]
    assert "independent networks" in condition(decision, "trigger set").says
    below = calibrated((0,) * 20)
    assert condition(decide(found, LIMITS, provenance=known(calibration=below)), "trigger set").value == pytest.approx(
        images(60).p_value_log10, rel=1e-9
    )  # never less than a guess


@pytest.mark.parametrize(
    ("calibration", "outcome"),
    [
        (calibrated(networks=19), "inconclusive"),
        (calibrated(wrong=597), "inconclusive"),
        (calibrated(verified=1), "not verified"),
        (None, "inconclusive"),
    ],
    ids=["networks", "wrong claims", "verified", "none"],
)
def test_a_null_of_too_few_networks_or_wrong_claims_does_not_count(calibration, outcome):
    assert decide(black_box(), LIMITS, provenance=known(calibration=calibration)).outcome == outcome


@pytest.mark.parametrize(
    ("name", "value", "outcome"),
    [
        ("commitment", {"commitment": "none"}, "inconclusive"),
        ("null", {"calibration": None}, "inconclusive"),
        ("drawn", {"drawn": redrawn(None)}, "inconclusive"),
        ("bound", {"bound": False}, "not verified"),
    ],
)
def test_the_rule_can_ask_for_more_or_less(name, value, outcome):
    everything = known(calibration=calibrated(), bound=True)
    lacking = Provenance(**{**vars(everything), **value})
    required, reported = Rule(**{name: "required"}), Rule(**{name: "reported"})
    assert decide(white_box(), LIMITS, provenance=everything, rule=required).verified
    assert decide(white_box(), LIMITS, provenance=lacking, rule=required).outcome == outcome
    assert decide(white_box(), LIMITS, provenance=lacking, rule=reported).verified
    with pytest.raises(InputError, match=f"rule.{name}=maybe"):
        Rule(**{name: "maybe"})


@pytest.mark.parametrize(
    "wrong", [{"name": "lenient"}, {"p_value": 1.0}, {"fidelity": 1.0}, {"fidelity": -0.1}, {"networks": 0},
              {"fidelity": math.nan}],
)  # fmt: skip
def test_a_rule_that_accepts_everything_is_none(wrong):
    with pytest.raises(InputError, match=f"rule.{next(iter(wrong))}="):
        Rule(**wrong)


DIGEST, OTHER = "a" * 64, "b" * 64
EARLY, LATE, LATER = "2026-01-01", "2026-01-02", "not registered before the release"


@pytest.mark.parametrize(
    ("digest", "opens", "registered", "status"),
    [
        (None, False, (DIGEST, EARLY, LATE), "none"),
        (DIGEST, False, (DIGEST, EARLY, LATE), "does not open"),
        (DIGEST, True, (None, EARLY, LATE), "not registered"),
        (DIGEST, True, (OTHER, EARLY, LATE), "another digest"),
        (DIGEST, True, (DIGEST, EARLY, None), "no days given"),
        (DIGEST, True, (DIGEST, None, LATE), "no days given"),
        (DIGEST, True, (DIGEST, LATE, EARLY), LATER),
        (DIGEST, True, (DIGEST, EARLY, EARLY), LATER),
        (DIGEST, True, (DIGEST, "2026-01-01T00:00:00Z", EARLY), LATER),
        (DIGEST, True, (DIGEST, EARLY, "2026-01-01T23:59:59Z"), LATER),
        (DIGEST, True, (DIGEST, EARLY, LATE), IN_TIME),
        (DIGEST, True, (DIGEST, EARLY, "2026-01-02T00:00:00Z"), IN_TIME),
        (DIGEST, True, (DIGEST, "2026-01-01T12:00:00Z", "2026-01-01T12:00:01Z"), IN_TIME),
        (DIGEST, True, (DIGEST, "2026-01-01T12:00:00Z", "2026-01-01T12:00:00Z"), LATER),
        (DIGEST, True, (DIGEST, "2026-01-01T13:00:00+02:00", "2026-01-01T12:00:00Z"), IN_TIME),
        (DIGEST, True, (DIGEST, "2026-01-01T12:00:00", "2026-01-01T13:00:00+02:00"), LATER),
    ],
)  # fmt: skip
def test_a_commitment_counts_if_it_opens_and_was_registered_before(digest, opens, registered, status):
    assert commitment_status(digest, opens=opens, registration=read_registration(*registered)) == status
    found = condition(decide(white_box(), LIMITS, provenance=known(commitment=status)), "commitment").holds
    assert found is (True if status == IN_TIME else None if status in MISSING else False)


def test_what_was_typed_is_read_or_refused():
    assert read_registration(DIGEST.upper(), None, None) == Registration(DIGEST)
    read = read_registration(DIGEST, EARLY, "2026-01-02T00:00:00+01:00")
    assert (read.registered.text, read.registered.first.isoformat()) == (EARLY, "2026-01-01T00:00:00+00:00")
    assert read.registered.last.isoformat() == "2026-01-01T23:59:59.999999+00:00"
    assert read.released.first == read.released.last
    wrong = [(DIGEST[1:], None, None), ("g" * 64, None, None)]
    wrong += [(None, text, None) for text in ("1.1.2026", "", "2026-13-01", "20260101", "2026-W01-1", "now", "0")]
    for typed in itertools.chain(wrong, [(None, None, "9999-12-31T23:59:59-23:59"), (None, None, "2026-01-01 12:00")]):
        with pytest.raises(InputError, match=r"commitment\.(digest|registered|released)="):
            read_registration(*typed)


def test_definition_1_as_published():
    for claimed, holds in ((0.87, True), (0.93, True), (0.8699, False), (0.9301, False)):
        assert as_published(Accuracies(claimed, 0.0, 0.9, 0.1), 0.03) is holds
    assert not as_published(Accuracies(0.9, 0.9, None, 0.1), 1.0)


@pytest.mark.parametrize("rule", [Rule(), PAPER], ids=["sound", "paper"])
@pytest.mark.parametrize("agreeing", [0, 9, 20])
def test_a_filter_before_a_black_box_is_never_not_verified_by_its_answers(agreeing, rule):
    """Whoever hands key images to another network answers as one without the mark: nothing follows from it."""
    for provenance in (CALIBRATED, known(), known(commitment="none")):
        decision = decide(black_box(agreeing), LIMITS, provenance=provenance, rule=rule)
        assert decision.outcome == "inconclusive"
        assert not decision.consistent


@pytest.mark.parametrize(
    ("provenance", "reason"),
    [
        (known(commitment="late", calibration=calibrated()), "commitment"),
        (known(keyless=True, calibration=calibrated()), "key"),
        (known(calibration=calibrated(satisfied=1)), "independent networks"),
    ],
)
def test_what_is_wrong_with_a_claim_fails_it_before_a_filter_too(provenance, reason):
    decision = decide(black_box(9), LIMITS, provenance=provenance)
    assert (decision.outcome, failing(decision)) == ("not verified", [reason])


def test_a_claim_that_no_answers_would_prove_fails_by_itself():
    """Ten images among ten classes have a chance of 10^-10, above 2^-40; twelve would do, and eleven tried undo it."""
    few = Evidence(None, None, images(1, 10), None)
    assert failing(decide(few, LIMITS, provenance=CALIBRATED, rule=Rule(null="reported"))) == ["trigger set"]
    enough = Evidence(None, None, images(1, 13), None)
    assert missing(decide(enough, LIMITS, provenance=known(), rule=Rule(null="reported"))) == ["trigger set"]
    often = decide(enough, LIMITS, provenance=known(), rule=Rule(null="reported"), tried=1000)
    assert failing(often) == ["trigger set"]


def test_an_opened_file_has_no_filter():
    """Key images that an opened network does not answer are not its own."""
    opened = Evidence(Accuracies(0.9, 0.9, 0.9, 0.1), None, images(9), None)
    assert failing(decide(opened, LIMITS, provenance=CALIBRATED)) == ["trigger set"]
