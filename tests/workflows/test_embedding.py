"""A failed embedding is told as one: by the checks of a record, and by every command that has to do with its run."""

from dataclasses import asdict, replace

import pytest
import torch

from ipr.claims.base import Thresholds, reading
from ipr.config.rule import Rule
from ipr.data.images import LabelledImages
from ipr.data.trigger_sets import TriggerSet
from ipr.judging.claim_kinds import load_claim
from ipr.judging.decision import decide
from ipr.judging.evidence import from_weights, trigger_reading
from ipr.judging.fidelity import Accuracies, as_given_away, largest_class
from ipr.passport.claim import PassportClaim
from ipr.reports.terminal import check_lines
from ipr.store.record import Record, load_record
from ipr.workflows.embedding_checks import embedding_failed, embedding_of, failed
from ipr.workflows.train import train
from wandb_files import read_finished

GOOD = Record(
    key="passport_v2-alexnet-gn-digits-0123456789", kind="train", scheme="passport_v2", model="alexnet", norm="gn",
    width=0.25, dataset="digits", train_images=1437, test_images=360, optimizer="default", epochs=20,
    precision="32-true", memory_format="channels_last", compile=False, deterministic=True,
    tf32=None, autotune=False, capture=False, seed=0, passport="random", energy=3.0, step_energy=None, init=None,
    alternation="joint", tags="", parameters=151306, accuracy_without=0.97, accuracy_genuine=0.96,
    accuracy_forged_mean=0.12, accuracy_forged_std=0.05, accuracy_forged_max=0.3, forged=50, forged_passing=0,
    fidelity_holds=True, fidelity_threshold=0.03, bits_total=224, bits_agreeing=224, correlation=None,
    p_value=3.7e-68, p_value_log10=-67.4, p_value_threshold=2.0**-40, trigger_accuracy=None,
    trigger_accuracy_passport=None, mark_read=True, consistent=True, train_seconds=9.0, judge_seconds=1.0,
    hardware="a machine", threads=2, versions="python 3.11", commit="", finished="2026-11-20T10:00:00",
)  # fmt: skip
PLAIN = {"passport": None, "energy": None, "accuracy_genuine": None, "accuracy_forged_max": None, "forged": None,
         "forged_passing": None, "alternation": None, "norm": "bn"}  # fmt: skip
IMAGES = PLAIN | {"scheme": "trigger_set", "bits_total": None, "bits_agreeing": None, "trigger_accuracy": 1.0}


def images(agreeing, total):
    return reading({"trigger set": agreeing}, {"trigger set": total}, choices=10, images=True)


@pytest.mark.parametrize(
    ("changes", "triggers", "answers", "words"),
    [
        ({}, None, (True, True, None), []),
        # the examples: nothing learned, though its own target is reached; random passports do as well
        ({"accuracy_genuine": 0.1, "accuracy_without": 0.12, "accuracy_forged_max": 0.1, "forged_passing": 50}, None,
         (False, False, None), ["hardly learned", "trainer.max_epochs=20 now"]),
        ({"accuracy_forged_max": 0.96, "forged_passing": 50}, None, (False, False, None),
         ["passport.step_energy above 3"]),
        ({"accuracy_forged_max": 0.955, "forged_passing": 50, "energy": None}, None, (True, False, None),
         ["passport.energy=30"]),
        # the passport costs more than it may
        ({"accuracy_genuine": 0.9}, None, (False, True, None), ["the passport costs 7.00 %, at most 3.00 %"]),
        ({"accuracy_genuine": 0.9, "norm": "bn"}, None, (False, True, None), ["more epochs, or a trained network"]),
        ({"accuracy_genuine": 0.9, "init": "0123456789ab"}, None, (False, True, None), ["3.00 %: more epochs"]),
        # bits that are not read, and bits that are too few to be
        ({"bits_agreeing": 130, "p_value_log10": -1.9}, None, (False, True, None), ["scheme.sign_loss_weight"]),
        ({"bits_agreeing": 16, "bits_total": 16}, None, (False, True, None), ["so few bits", "model.width"]),
        # not tried is not kept out
        ({"forged": 0, "accuracy_forged_max": None}, None, (True, None, None), []),
        # V1: the passport opens the network; one whose lock does not lock
        ({"scheme": "passport_v1", "accuracy_without": 0.1}, None, (True, True, None), []),
        ({"scheme": "passport_v1", "accuracy_without": 0.1, "accuracy_forged_max": 0.95, "forged_passing": 3}, None,
         (True, False, None), ["3 keep fidelity"]),
        # trigger images: learned, not learned, too few to say
        ({"scheme": "passport_v3", "trigger_accuracy": 1.0}, images(100, 100), (True, True, True), []),
        ({"scheme": "passport_v3", "trigger_accuracy": 0.1}, images(10, 100), (True, True, False),
         ["trigger_set.per_step"]),
        ({"scheme": "passport_v3", "trigger_accuracy": 1.0}, images(4, 4), (True, True, False), ["trigger_set.size"]),
        ({"scheme": "passport_v3", "trigger_accuracy": 0.9}, images(90, 100), (True, True, True), ["yes: 90 of 100"]),
        # watermarks
        (PLAIN | {"scheme": "uchida"}, None, (True, None, None), []),
        (PLAIN | {"scheme": "uchida", "bits_agreeing": 120}, None, (False, None, None), ["scheme.weight"]),
        (PLAIN | {"scheme": "uchida", "bits_total": 8, "bits_agreeing": 8}, None, (False, None, None),
         ["scheme.bits"]),
        (PLAIN | {"scheme": "deepsigns", "accuracy_without": 0.1}, None, (False, None, None), ["hardly learned"]),
        (IMAGES, images(100, 100), (True, None, True), []),
        (IMAGES | {"trigger_accuracy": 0.05}, images(5, 100), (False, None, False), ["per_step"]),
        (IMAGES | {"scheme": "frontier_stitching"}, images(5, 100), (False, None, False), ["scheme.epochs"]),
        # a plain network that learned nothing
        (PLAIN | {"scheme": "baseline", "accuracy_without": 0.1}, None, (False, None, None), ["hardly learned"]),
        (PLAIN | {"scheme": "baseline"}, None, (True, None, None), []),
    ],
)  # fmt: skip
def test_what_a_record_says_of_its_embedding(changes, triggers, answers, words):
    checks = embedding_of(replace(GOOD, **changes), chance=0.1, triggers=triggers)
    assert tuple(check.holds for check in checks) == answers
    told = "\n".join(map(str, check_lines(checks)))
    assert told.count("FAILED") == answers.count(False) == len(failed(checks))
    assert len(told.splitlines()) == 3
    for word in words:
        assert word in told
    for check, line in zip(checks, check_lines(checks), strict=True):
        assert ("To change: " in str(line)) == (check.holds is False)
        assert (line.style == "red") == (check.holds is False)
    assert "verified" not in told
    assert "consistent" not in told


@pytest.mark.parametrize(
    ("agreeing", "per_step", "steps", "words"),
    [
        (89, 2, 1560, ["in part: 89 of 100", "each was shown 31.2 times, and 100 are usually enough",
                       "more epochs (trainer.max_epochs=20 now), or a higher trigger_set.per_step (2 now)"]),
        (10, 16, 110, ["FAILED: 10 of 100", "each was shown 17.6 times", "more epochs"]),
        # as often as is usually enough: where the number follows from the epochs, more of them would change nothing
        (71, 7, 1560, ["in part: 71 of 100",
                       "each was shown 109.2 times: a higher trigger_set.per_step (7 now), or fewer images"]),
        (71, None, 1560, ["in part: 71 of 100", "more epochs (trainer.max_epochs=20 now), or a higher"]),
    ],
)  # fmt: skip
def test_a_trigger_set_that_is_learned_in_part_is_told_with_what_would_help(agreeing, per_step, steps, words):
    record = replace(GOOD, scheme="passport_v3", trigger_accuracy=agreeing / 100)
    *_, check = embedding_of(record, chance=0.1, triggers=images(agreeing, 100), per_step=per_step, steps=steps)
    assert check.holds is (agreeing > 10)  # as a judge sees it
    (line,) = check_lines([check])
    assert "To change: " in str(line)
    for word in words:
        assert word in str(line)
    assert ("more epochs" in str(line)) == ("109.2 times" not in str(line))


def test_forgers_of_whom_none_was_tried_are_not_kept_out():
    told = str(check_lines(embedding_of(replace(GOOD, forged=0, accuracy_forged_max=None), chance=0.1))[1])
    assert "not tried" in told
    assert "verification.forged=50" in told
    assert "yes" not in told


def test_images_of_one_class_tell_nothing():
    """Any answer that is always the same gets all of them."""
    checks = embedding_of(replace(GOOD, accuracy_genuine=1.0, accuracy_without=1.0), chance=1.0)
    assert failed(checks)[0] == "embedded"
    assert "one class" in checks[0].remedy
    assert not as_given_away(Accuracies(claimed=1.0, given=1.0, target=1.0, chance=1.0), 0.03)
    assert as_given_away(Accuracies(claimed=1.0, given=1.0, target=1.0, chance=0.99), 0.03)


def test_the_limits_are_the_runs_own_and_it_is_said_where_a_judge_asks_for_more():
    lost = replace(GOOD, accuracy_genuine=0.87)
    assert failed(embedding_of(lost, chance=0.1)) == ["embedded"]
    loose = embedding_of(replace(lost, fidelity_threshold=0.2), chance=0.1)
    assert failed(loose) == []
    assert "ipr verify asks for more" in loose[0].says
    assert failed(embedding_of(replace(GOOD, fidelity_threshold=1.0, p_value_threshold=1.0), chance=0.1)) == []
    assert "ipr verify" not in embedding_of(GOOD, chance=0.1)[0].says


def test_accuracies_stand_beside_chance_and_the_baseline():
    says = embedding_of(GOOD, chance=0.102, baseline=0.981)[0].says
    for number in ("96.00 % with the passport", "97.00 % without it", "10.20 % by chance", "98.10 % of the baseline"):
        assert number in says


def test_a_lock_that_is_none_is_told():
    for scheme, without, told in (
        ("passport_v1", 0.1, False), ("passport_v1", 0.92, False), ("passport_v1", 0.94, True),
        ("passport_v2", 0.97, False),
    ):  # fmt: skip
        record = replace(GOOD, scheme=scheme, accuracy_without=without)
        assert ("no lock: what is given away" in embedding_of(record, chance=0.1)[0].says) == told


SLOW = [pytest.param(scheme, marks=pytest.mark.slow) for scheme in ("passport_v1", "passport_v3")]


@pytest.mark.parametrize("scheme", ["zhang_noise", *SLOW])
def test_a_training_fails_exactly_where_a_judge_says_so(scheme, request_for, digits):
    """The checks, from a record, come to what the judge's own path comes to, from the verdict."""
    for epochs in (1, 6):
        config = request_for(f"scheme={scheme}", "trigger_set.size=8", f"trainer.max_epochs={epochs}",
                             "dataset.limit_train=null", "verification.fidelity_threshold=0.1")  # fmt: skip
        run = train(config)
        few = digits.limited(None, 40)
        verdict = run.verdict
        claim = load_claim(run.folder.claim)
        chance = largest_class(LabelledImages(few.test_pixels, few.test_labels, few.mean, few.std))
        rule = Rule(p_value=claim.thresholds.p_value, fidelity=0.1)
        decided = decide(from_weights(verdict, claim, chance), claim.thresholds, rule=rule)
        assert run.checks[0].holds is decided.consistent
        assert run.record.consistent is (not run.failed)
        again = train(config)
        assert again.found
        assert again.checks == run.checks
        assert again.record == load_record(run.folder.record) == run.record
    assert (run.record.trigger_accuracy is None) == (scheme == "passport_v1")


@pytest.mark.system
def test_a_dashboard_is_told(request_for):
    run = train(request_for("logger=wandb"))
    told = read_finished(run.folder.path).summary
    assert told["consistent"] == 0
    embedded, kept_out, _ = run.checks
    assert embedded.holds is False
    assert (told["embedded"], told["forgers_kept_out"]) == (0, kept_out.holds)
    assert "triggers_learned" in told


def test_a_run_that_succeeded_is_not_told_of():
    assert embedding_failed(GOOD) == ""
    assert embedding_failed(replace(GOOD, consistent=None)) == ""
    assert asdict(GOOD)["consistent"] is True


def test_triggers_are_counted_from_the_claim():
    marked = torch.zeros(40, 8, 8, 1, dtype=torch.uint8)
    claim = PassportClaim(
        passport={"a": torch.zeros(2, 1, 8, 8)}, signature={"a": torch.ones(4, dtype=torch.int8)},
        thresholds=Thresholds(None), triggers=TriggerSet(marked, torch.zeros(40, dtype=torch.int64)),
        architecture={"num_classes": 10},
    )  # fmt: skip
    found = trigger_reading(claim, 0.25)
    assert found is not None
    assert (found.agreeing, found.total, found.images) == ({"trigger set": 10}, {"trigger set": 40}, True)
    assert trigger_reading(replace(claim, triggers=None), 0.25) is None
