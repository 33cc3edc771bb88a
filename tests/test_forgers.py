"""Every way to a wrong verdict that was found, through `ipr verify`: none ends with exit code 0.

`forgers.WAYS` holds them, and `benchmarks/forgers.py` prints them as a table; here each is tried on small
networks.

| what was done (the red team's table) | here |
|---|---|
| lift; ones; top singular vectors; train scales and lift | rows of the same names |
| own thresholds | row `thresholds of one's own`; and again with each limit by itself |
| zero passport | row `a passport of zeros`; and with numbers next to nothing |
| universal watermark, DeepSigns and Uchida, dated 2020 | two rows; and with the judge's own calibration |
| grind; grind and flip groups | rows `grinding`; the cost in `judging/test_forging.py`; 157 and 165 bits below |
| batch norm: flip channel by channel | rows `turning channels over`, to bound, relative and drawn bits |
| calibration by hand; rotated labels; the day of the release | rows, and everything is dated that day below |
| free removal: flipped, half flipped, permuted, scaled | the owner's tests |
"""

from __future__ import annotations

import copy
import json
import os
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import forgers
from ipr.attacks.base import freedom_of
from ipr.attacks.removal.same_answers import permuted, rescaled, with_flipped_groups
from ipr.attacks.removal.structural_obfuscation import WAYS, hidden, obfuscated
from ipr.claims.base import Thresholds, reading
from ipr.claims.commitment import commit, save_commitment
from ipr.data.images import normalise
from ipr.judging.claim_kinds import load_claim
from ipr.judging.decision import decide
from ipr.judging.evidence import Evidence, Provenance
from ipr.judging.fidelity import Accuracies
from ipr.judging.redraw import GRANTED
from ipr.judging.registration import IN_TIME as IN_TIME_STATUS
from ipr.passport.bound import NONCE_BYTES, Binding, bound_signature
from ipr.passport.lift import lift, public_scales
from ipr.passport.surgery import fold
from ipr.randomness import generator
from ipr.store.weights import as_safetensors
from one_line import assert_one_line
from stamp_authority import OPENSSL, Authority, issue, serving

pytestmark = pytest.mark.slow

SMALL = ("dataset.image_size=8", "optimizer.batch_size=32", "trainer.max_epochs=6", "trainer.accelerator=cpu")
IN_TIME, RELEASED = forgers.IN_TIME, forgers.RELEASED


@pytest.fixture(scope="session")
def victim(tmp_path_factory, cache):
    """Trained victims of `forgers.VICTIMS` by name, each trained when it is first asked for."""
    folder, found = tmp_path_factory.mktemp("victims"), {}

    def find(name):
        if name not in found:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("IPR_CACHE", str(cache))
                patch.setattr(forgers, "REQUEST", (*forgers.REQUEST, *SMALL))
                (found[name],) = forgers.places(folder, [name])
        return found[name]

    return find


class Found:
    """What `ipr verify` said: the outcome, and the names of the required conditions that fail or are missing."""

    def __init__(self, outcome, folder):
        self.code, self.out, self.outcome = outcome.code, outcome.out, outcome
        self.failing, self.missing = set(), set()
        if outcome.code != 2:
            facts = json.loads((folder / "verdict.json").read_text())
            required = [one for one in facts["conditions"] if one["required"]]
            self.failing = {one["name"] for one in required if one["holds"] is False}
            self.missing = {one["name"] for one in required if one["holds"] is None}
            assert {"verified": 0, "not verified": 1, "inconclusive": 3}[facts["decision"]] == outcome.code


@pytest.fixture
def verify(ipr, tmp_path):
    """Brings a claim, committed to or not, to the judge."""
    count = iter(range(1000))

    def call(place, claim, *more, registered=None, network=None, edit=None):
        folder = tmp_path / f"case-{next(count)}"
        folder.mkdir()
        claim.save(folder / "claim")
        suspect = place.weights
        if network is not None:
            suspect = folder / "suspect.safetensors"
            suspect.write_bytes(as_safetensors(network.state_dict()))
        dates = []
        if registered is not None:
            commitment = commit(claim, load_file(place.weights))
            save_commitment(commitment, folder / "claim")
            dates = dated(commitment.digest, registered)
        if edit is not None:
            edit(folder / "claim")
        asked = ("dataset.image_size=8", "forged=3", f"out={folder}", *dates, *more)
        return Found(ipr("verify", f"suspect={suspect}", f"claim={folder / 'claim'}", *asked), folder)

    return call


def dated(digest, registered):
    days = (f"commitment.registered={registered}", f"commitment.released={RELEASED}")
    return [f"commitment.digest={digest}", *days]


REFUSED = {
    "a passport of zeros": "are all equal",
    "the same of one row throughout, but for its sign": "equal up to sign",
    "a calibration of the claimant's own": "was not made by this judge",
    "other labels in the judge's cached images": "cached images are not those",
}
"""What is no claim that could be judged, and what the one line says."""

FAILING = {
    "thresholds of one's own": {"fidelity", "signature"},
    "grinding a signature bound by a fast hash": {"signature"},
    "the same, by a slow hash": {"signature"},
    "grinding a fast hash, and turning groups over": {"signature"},
    "the same, bits relative to the public scales' signs": {"signature"},
}
"""What fails even without a date."""

CONSISTENT = (
    "`lift_passport`",
    "the same, dated on that day",
    "a universal key, dated 2020",
    "`forge_uchida`, dated that day",
    "`forge_deepsigns`, dated that day",
    "turning channels over to match a bound signature",
    "the same to match bits that were drawn from a seed",
)
"""What is consistent with the network, so that nothing but what is missing keeps it from being verified."""

TRAINED = {("plain", "2 %", "V2"), ("cerb", "10 %", "V2"), ("cerb", "100 %", "V1")}
"""Of the rows that train; the benchmark has all of them, and a ResNet-18, which takes longer to train."""


def tried_here(way, name):
    block, share = way.what.rpartition(", ")[2], way.needs.removeprefix("weights, ").partition(" of")[0]
    trains = way.what.startswith("`erb`") and "rows" not in way.what
    apart = way.what.startswith(("removal", "nothing", "a mark of 2020")) or "ResNet" in name
    return not apart and (not trains or (block, share, name) in TRAINED)


ROWS = [(way, name) for way in forgers.WAYS for name in way.victims if tried_here(way, name)]


@pytest.mark.parametrize(("way", "name"), ROWS, ids=lambda value: getattr(value, "what", value))
def test_no_forger_is_verified(verify, victim, monkeypatch, tmp_path, way, name):
    """Undated, and dated when a forger can be, at the earliest on the day of the release."""
    monkeypatch.setattr(forgers, "GRINDING_SECONDS", 0.5)
    place = victim(name)
    tried = way.done(place)
    claim, more = tried.claims[0], []
    if way.what not in REFUSED:
        claim, _ = forgers.furthest(place, tried)
    if tried.brings is not None:
        more = [f"{name}={value}" for name, value in tried.brings(tmp_path, claim).items()]
    undated = verify(place, claim, *more, network=tried.network)
    that_day = verify(place, claim, *more, network=tried.network, registered=RELEASED)
    if way.what in REFUSED:
        for found in (undated, that_day):
            assert_one_line(found.outcome, REFUSED[way.what])
        return
    assert that_day.code == 1
    assert that_day.failing == undated.failing | {"commitment"}
    assert undated.code == (1 if undated.failing else 3)
    assert "commitment" in undated.missing
    if way.what in FAILING:
        assert undated.failing == FAILING[way.what]
    elif way.what in CONSISTENT:
        assert undated.code == 3
        assert "anybody who holds these weights can make such a claim" in undated.out
    else:  # passports that are guessed or trained may come near enough, or not
        assert undated.failing <= {"fidelity", "signature"}


def test_what_the_rows_say_is_tried():
    whats = {way.what for way, _ in ROWS}
    assert {*REFUSED, *FAILING, *CONSISTENT} <= whats
    assert len(ROWS) >= 27


# Dates.


def lifted(place):
    return forgers.by_attack(forgers.LiftPassport("lift_passport"))(place).claims[0]


@pytest.mark.parametrize(
    ("registered", "released"),
    [
        (RELEASED, "2026-03-01T23:59:59Z"),
        ("2026-03-01T12:00:00Z", RELEASED),
        ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z"),
        ("2026-03-01T01:00:00+02:00", "2026-02-28T23:00:00Z"),
        ("2026-03-02", RELEASED),
        ("9999-12-31", RELEASED),
    ],
)
def test_no_date_that_is_not_surely_earlier_counts(verify, victim, registered, released):
    place = victim("V2")
    found = verify(place, lifted(place), f"commitment.released={released}", registered=registered)
    assert (found.code, found.failing) == (1, {"commitment"})


def test_what_a_claim_says_of_its_own_date_is_nothing(verify, victim):
    """The date in the commitment's file, a date without its digest, and one without a day of release."""
    place = victim("V2")

    def committed(folder):
        save_commitment(commit(lifted(place), load_file(place.weights)), folder)
        path = folder / "commitment.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"date": "2020-01-01", "registered": "2020-01-01"}))

    for days in ((), (f"commitment.released={RELEASED}",), ("commitment.registered=2020-01-01",)):
        found = verify(place, lifted(place), *days, edit=committed)
        assert (found.code, found.failing) == (3, set())
        assert "commitment" in found.missing
    found = verify(place, lifted(place), *dated("0" * 64, IN_TIME), edit=committed)
    assert (found.code, found.failing) == (1, {"commitment"})


def test_nobody_takes_anothers_commitment(verify, victim):
    """The owner's commitment, beside a forger's claim; and a forger's, for which the owner's digest is registered."""
    place = victim("V2")
    owners = commit(place.claim, load_file(place.weights))
    found = verify(place, lifted(place), *dated(owners.digest, IN_TIME), edit=lambda f: save_commitment(owners, f))
    assert (found.code, found.failing) == (1, {"commitment"})
    mine = commit(lifted(place), load_file(place.weights))
    found = verify(place, lifted(place), *dated(owners.digest, IN_TIME), edit=lambda f: save_commitment(mine, f))
    assert (found.code, found.failing) == (1, {"commitment"})
    lie = replace(mine, digest=owners.digest)
    found = verify(place, lifted(place), *dated(owners.digest, IN_TIME), edit=lambda f: save_commitment(lie, f))
    assert (found.code, found.failing) == (1, {"commitment"})


@pytest.mark.parametrize("swapped", ["secrets.safetensors", "claim.json"])
def test_files_of_two_claims_make_none(verify, victim, tmp_path, swapped):
    """A forger's secrets, or facts, in the folder of the owner, whose date is true."""
    place = victim("V2")
    lifted(place).save(tmp_path / "forged")
    place.claim.save(tmp_path / "owner")
    owners = commit(place.claim, load_file(place.weights))

    def swap(folder):
        save_commitment(owners, folder)
        shutil.copy(tmp_path / "forged" / swapped, folder / swapped)

    found = verify(place, place.claim, *dated(owners.digest, IN_TIME), edit=swap)
    assert found.code in (1, 2)
    assert found.code == 2 or "commitment" in found.failing


# Thresholds, and passports of every size.


@pytest.mark.parametrize(
    "limits",
    [Thresholds(None), Thresholds(0.0), Thresholds(0.1, 1.0), Thresholds(0.1, 0.03, 1.0), Thresholds(1.0, 1.0, 1.0)],
)
def test_a_claimant_sets_no_threshold(verify, victim, limits):
    """A random passport to a network without a mark, dated before it: whatever limits it declares."""
    place = victim("baseline")
    (claim,) = forgers.own_thresholds(place).claims
    found = verify(place, replace(claim, thresholds=limits), registered=IN_TIME)
    assert found.code == 1
    assert {"fidelity", "signature"} <= found.failing


@pytest.mark.parametrize("size", [0.0, -0.0, 1e-45, 1e-38, 1e-30, 1e30, 3e38])
def test_passports_next_to_nothing_or_beyond_everything(verify, victim, size):
    """Dated before a network without a mark, with the bits that are read where scales are 0, but for one."""
    place = victim("baseline")
    (claim,) = forgers.zero_passport(place).claims
    signature = {name: torch.cat([-bits[:1], bits[1:]]) for name, bits in claim.signature.items()}
    passport = {name: torch.full_like(maps, size) for name, maps in claim.passport.items()}
    found = verify(place, replace(claim, passport=passport, signature=signature), registered=IN_TIME)
    assert found.code in (1, 2)
    if found.code == 2:
        assert_one_line(found.outcome, "claim")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_no_claim(verify, victim, value):
    place = victim("V2")

    def edit(folder):
        path = folder / "secrets.safetensors"
        tensors = load_file(path)
        tensors["passport/conv3"][0, 0, 0, 0] = value
        save_file(tensors, path)

    assert_one_line(verify(place, lifted(place), edit=edit).outcome, "not finite")


# Keys that fit every network, and the judge who asks other networks.


@pytest.mark.parametrize("name", ["uchida", "deepsigns"])
def test_a_key_that_fits_every_network_is_found_by_asking_some(ipr, verify, victim, tmp_path, name):
    """Dated long before; a calibration with three networks that never saw it."""
    place = victim(name)
    claim, _ = forgers.furthest(place, forgers.dated_universal(place))
    claim.save(tmp_path / "claim")
    small = [*SMALL, "trainer.progress_bar=false", "logger=csv", "networks=3", "wrong=40", "rate=0.2", "copies=0"]
    made = ipr("calibrate", f"claim={tmp_path / 'claim'}", *small, f"paths.runs={tmp_path / 'runs'}", "out=calibration")
    assert made.code == 0, made.err
    more = ("calibration=calibration/calibration.json", "rule.networks=3")
    found = verify(place, claim, *more, registered="2020-01-01")
    assert found.code == 1
    assert "independent networks" in found.failing
    shutil.copy("calibration/calibration.json", tmp_path / "mine.json")  # without the seal; then another judge's
    assert_one_line(verify(place, claim, "calibration=mine.json", registered="2020-01-01").outcome, "this judge")
    other = (*more, f"paths.judge={tmp_path / 'another.pem'}")
    assert_one_line(verify(place, claim, *other, registered="2020-01-01").outcome, "this judge")


# Ground signatures.


@pytest.mark.parametrize("agreeing", [157, 165, 185])
def test_bits_that_were_ground_are_too_few_whatever_the_date(agreeing):
    """2^-30, 2^-40 and the best of 2^80 tries, at the default of a judge."""
    seen = evidence_of(agreeing)
    provenance = Provenance(IN_TIME_STATUS, "a notary", GRANTED, bound=True, same=True)
    decision = decide(seen, Thresholds(0.9, 0.03, 2.0**-40), provenance=provenance)
    assert (decision.outcome, [one.name for one in decision.deciding]) == ("not verified", ["signature"])
    more = decide(evidence_of(186), Thresholds(0.9, 0.03, 2.0**-40), provenance=provenance)
    assert more.verified


def evidence_of(agreeing):
    signature = reading({"conv": agreeing}, {"conv": 224})
    return Evidence(Accuracies(0.9, 0.9, 0.9, 0.1), signature, None, True)


def test_a_claim_that_was_ground_for_a_hundred_tries_is_refused_even_with_a_date(verify, victim):
    """The fast hash of version 1, which nobody writes any more, and a date that he cannot have."""
    place = victim("V2")
    scales = public_scales(place.network, place.layers)
    passport = lift(scales, place.network, place.layers).passport
    sizes = {layer.conv: layer.channels for layer in place.layers}
    spelled = {name: torch.where(pair[0] > 0, 1, -1) for name, pair in scales.items()}
    bindings = [Binding(index.to_bytes(NONCE_BYTES), slow=False) for index in range(100)]

    def agreeing(binding):
        bits = bound_signature(passport, sizes, "Mallory", binding)
        return sum(int((bits[name] == spelled[name]).sum()) for name in sizes)

    best = max(bindings, key=agreeing)
    assert agreeing(best) >= 120  # of 224, where one try in two reads 112
    bits = bound_signature(passport, sizes, "Mallory", best)
    forged = place.claim.forged(passport=passport, text_bytes=0)
    claim = replace(forged, signature=bits, owner="Mallory", binding=str(best))
    found = verify(place, claim, "rule.bound=required", registered=IN_TIME)
    assert (found.code, found.failing) == (1, {"signature"})


# Claims and files of every other kind.


def test_links_and_references_help_nobody(verify, victim, tmp_path):
    """A reference that is the suspect itself; a claim whose files are the owner's by a link."""
    place = victim("V2")
    suspect = f"reference={place.weights}"
    assert_one_line(verify(place, lifted(place), suspect).outcome, "reference", "no commitment")
    found = verify(place, lifted(place), suspect, registered=RELEASED)
    assert (found.code, found.failing) == (1, {"commitment"})
    other = f"reference={victim('V3').weights}"
    assert_one_line(verify(place, lifted(place), other, registered=RELEASED).outcome, "reference", "other weights")
    place.claim.save(tmp_path / "owner")

    def link(name):
        def edit(folder):
            (folder / name).unlink(missing_ok=True)
            os.symlink(tmp_path / "owner" / name, folder / name)

        return edit

    for name in ("claim.json", "secrets.safetensors", "commitment.json"):
        assert_one_line(verify(place, lifted(place), edit=link(name)).outcome, "link")


def test_claims_without_an_origin_or_an_owner_are_judged_alike(verify, victim):
    """Version 3, with true dates of an insider: the signature may have been chosen."""
    place = victim("V2")
    for claim in (lifted(place), replace(place.claim, origin=None), replace(place.claim, origin=None, owner="")):
        found = verify(place, claim, registered=IN_TIME)
        assert (found.code, found.missing) == (3, {"drawn secrets"})
        assert verify(place, claim).code == 3


def test_a_seed_that_gives_other_bits_is_a_lie(verify, victim):
    """The owner's origin, with a signature that a lifted passport spells."""
    place = victim("V2")
    found = verify(place, replace(lifted(place), origin=place.claim.origin), registered=IN_TIME)
    assert (found.code, found.failing) == (1, {"drawn secrets"})


def test_an_old_mark_in_a_copy_of_a_younger_network_is_dated_and_counts_for_nothing(ipr, verify, victim, tmp_path):
    """Everything of it is genuine, but for the network: alone, and in a dispute with the owner."""
    place = victim("V2")
    tried = forgers.old_mark(place, epochs=10, lr=0.003)  # on every processor tried, both passports to 0.014
    (claim,) = tried.claims
    (tmp_path / "old.safetensors").write_bytes(as_safetensors(tried.committed.state_dict()))
    (tmp_path / "copy.safetensors").write_bytes(as_safetensors(tried.network.state_dict()))
    digests = []
    for name, one, weights in (("his", claim, tmp_path / "old.safetensors"), ("hers", place.claim, place.weights)):
        one.save(tmp_path / name)
        commitment = commit(one, load_file(weights))
        save_commitment(commitment, tmp_path / name)
        digests.append(commitment.digest)
    his = (f"suspect={tmp_path / 'copy.safetensors'}", f"claim={tmp_path / 'his'}", *dated(digests[0], "2020-01-01"))
    for reference, code, names in ((None, 3, "not compared"), (tmp_path / "old.safetensors", 1, "another")):
        more = [] if reference is None else [f"reference={reference}"]
        outcome = ipr("verify", *his, *more, "dataset.image_size=8", "forged=3", f"out=alone-{code}")
        assert outcome.code == code, outcome.out
        conditions = json.loads((tmp_path / f"alone-{code}" / "verdict.json").read_text())["conditions"]
        assert [one["name"] for one in conditions if one["required"] and one["holds"] is not True] == ["network"]
        assert [one["value"] for one in conditions if one["name"] == "network"] == [names]
    both = [
        f"claims=[{tmp_path / 'his'},{tmp_path / 'hers'}]", f"commitment.digest=[{','.join(digests)}]",
        f"commitment.registered=[2020-01-01,{IN_TIME}]", f"commitment.released={RELEASED}",
        f"reference=[{tmp_path / 'old.safetensors'},{place.weights}]",
    ]  # fmt: skip
    settled = ipr("dispute", f"suspect={tmp_path / 'copy.safetensors'}", *both, "dataset.image_size=8", "forged=3")
    assert settled.code == 0, settled.out
    assert "claim 2 stands" in settled.out.replace("\n", " ")


# The owner.


def together(network, found, images, source):
    flipped = with_flipped_groups(network, found, 0.5, source)
    return permuted(rescaled(flipped, found, 8.0, 1.0, images, source), found, source)


REMOVALS = {
    "untouched": lambda network, found, images, source: network,
    "all turned": lambda network, found, images, source: with_flipped_groups(network, found, 1.0, source),
    "half turned": lambda network, found, images, source: with_flipped_groups(network, found, 0.5, source),
    "permuted": lambda network, found, images, source: permuted(network, found, source),
    "rescaled": lambda network, found, images, source: rescaled(network, found, 8.0, 1.0, images, source),
    "all of it": together,
    "widened": lambda network, found, images, source: hidden(
        obfuscated(network, found, 0.25, WAYS, source), images, source
    ),
    "without norms": lambda network, found, images, source: fold(together(network, found, images, source), images[:1]),
}


@pytest.mark.parametrize("removal", REMOVALS)
@pytest.mark.parametrize("name", ["V1", "V2", "V3", "V2 with batch norm"])
def test_the_owner_is_verified_after_every_free_removal(verify, victim, name, removal):
    place = victim(name)
    images = normalise(place.data.train_pixels[:64], place.data.mean, place.data.std)
    found = freedom_of(place.network, images[:1])
    thiefs = REMOVALS[removal](place.network, found, images, generator(0, removal))
    forgers._check_same(place, thiefs)
    reference = f"reference={place.weights}"
    assert verify(place, place.claim, reference, network=thiefs, registered=IN_TIME).code == 0
    if removal == "untouched":
        assert verify(place, place.claim, reference, network=thiefs, registered=RELEASED).code == 1


@pytest.mark.parametrize("name", ["V1", "V2", "V3"])
@pytest.mark.parametrize("removal", ["all turned", "permuted"])
def test_without_the_reference_nothing_is_undone_and_it_says_how(verify, victim, name, removal):
    place = victim(name)
    example = normalise(place.data.train_pixels[:1], place.data.mean, place.data.std)
    thiefs = REMOVALS[removal](place.network, freedom_of(place.network, example), example, generator(0, removal))
    found = verify(place, place.claim, network=thiefs, registered=IN_TIME)
    assert found.code == 1
    assert "signature" in found.failing
    assert "reference=FILE" in found.out


def test_a_network_of_other_widths_needs_a_reference_and_no_stranger_gets_by_one(verify, victim):
    place = victim("V2 with batch norm")
    images = normalise(place.data.train_pixels[:64], place.data.mean, place.data.std)
    found = freedom_of(place.network, images[:1])
    widened = obfuscated(place.network, found, 0.25, WAYS, generator(0, "widened"))
    alone = verify(place, place.claim, network=widened, registered=IN_TIME)
    assert_one_line(alone.outcome, "suspect", "other widths, or without their norms", "give reference=FILE")
    assert_one_line(verify(place, place.claim, network=fold(place.network, images[:1])).outcome, "give reference=FILE")
    stranger = copy.deepcopy(widened)
    for layer in stranger.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(layer.in_channels))
    reference = f"reference={place.weights}"
    refused = verify(place, place.claim, reference, network=stranger, registered=IN_TIME)
    assert_one_line(refused.outcome, "suspect", "it is another network than the reference")


@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
def test_an_owner_with_a_stamp_is_verified_and_a_forger_with_a_later_one_is_not(ipr, verify, victim, tmp_path):
    """A real authority on loopback: the release is later than the owner's stamp, and earlier than the forger's."""
    place = victim("V3")
    root = issue("Root", ca=True)
    (tmp_path / "root.pem").write_bytes(root.pem)
    authority = Authority(tmp_path / "authority", issue("Stamps, Inc.", root), [])
    trusted = f"authority_certificate={tmp_path / 'root.pem'}"
    with serving(lambda handler, body: handler.give(authority.stamp(body))) as server:

        def stamp(folder):
            claim = load_claim(folder)
            save_commitment(commit(claim, load_file(place.weights)), folder)
            stamped = ipr("claim", "stamp", f"claim={folder}", f"authority={server.url}", trusted)
            assert stamped.code == 0, stamped.err

        found = verify(place, place.claim, trusted, "commitment.released=9999-12-31", edit=stamp)
        assert found.code == 0, found.out
        found = verify(place, lifted(place), trusted, f"commitment.released={RELEASED}", edit=stamp)
        assert (found.code, found.failing) == (1, {"commitment"})
        kept = load_stamp(tmp_path)

        def copied(folder):
            save_commitment(commit(load_claim(folder), load_file(place.weights)), folder)
            shutil.copy(kept, folder / "stamp.tsr")

        found = verify(place, lifted(place), trusted, "commitment.released=9999-12-31", edit=copied)
        assert_one_line(found.outcome, "stamp")


def load_stamp(folder):
    """The stamp of the owner's claim, whom `verify` judged first."""
    return folder / "case-0" / "claim" / "stamp.tsr"
