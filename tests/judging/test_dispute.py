"""Which of several claims stands: every rule by itself, whatever the order in which claims are given."""

import itertools
from datetime import UTC, datetime, timedelta, timezone

import pytest
import torch

from ipr.errors import InputError
from ipr.judging.dispute import Party, same_signature, settle, told
from ipr.judging.registration import read_registration
from ipr.schemes.deepmarks import code_book

VERIFIED, NOT, INCONCLUSIVE = "verified", "not verified", "inconclusive"


def bits(seed, count=224):
    return (torch.randint(2, (count,), generator=torch.Generator().manual_seed(seed)) * 2 - 1).to(torch.int8)


def changed(marks, count):
    """The same bits but for so many of them."""
    other = marks.clone()
    other[:count] *= -1
    return other


def party(name, outcome=VERIFIED, day=None, marks=None):
    moment = None if day is None else datetime(2026, 1, day, 12, tzinfo=UTC)
    own = bits(sum(map(ord, name))) if marks is None else marks
    return Party(name, name.title(), "passport", f"fingerprint of {name}", outcome, moment, own)


ADA = bits(1)

CASES = {
    "the one that is verified": (
        [party("ada", day=5), party("bob", NOT, day=2), party("eve", INCONCLUSIVE)],
        "stands",
        {"ada": "stands", "bob": NOT, "eve": INCONCLUSIVE},
    ),
    "the first of those with a date": (
        [party("ada", day=5), party("bob", day=6), party("eve", day=7)],
        "stands",
        {"ada": "stands", "bob": "later", "eve": "later"},
    ),
    "a date before none": (
        [party("ada", day=30), party("bob"), party("eve")],
        "stands",
        {"ada": "stands", "bob": "undated", "eve": "undated"},
    ),
    "alone without a date": (
        [party("ada"), party("bob", NOT, day=1)],
        "stands",
        {"ada": "stands", "bob": NOT},
    ),
    "nobody": (
        [party("ada", NOT, day=1), party("bob", INCONCLUSIVE, day=2)],
        "none",
        {"ada": NOT, "bob": INCONCLUSIVE},
    ),
    "two without a date": (
        [party("ada"), party("bob"), party("eve", NOT)],
        "undecided",
        {"ada": "tied", "bob": "tied", "eve": NOT},
    ),
    "two at the same time, and a third": (
        [party("ada", day=2), party("bob", day=2), party("eve", day=3)],
        "undecided",
        {"ada": "tied", "bob": "tied", "eve": "later"},
    ),
    "a copy that is better dated than nothing": (
        [party("ada", day=2, marks=ADA), party("bob", day=3, marks=changed(ADA, 22))],
        "stands",
        {"ada": "stands", "bob": "copy"},
    ),
    "a copy without a date": (
        [party("ada", day=2, marks=ADA), party("bob", marks=ADA)],
        "stands",
        {"ada": "stands", "bob": "copy"},
    ),
    "a copy with all bits flipped": (
        [party("ada", day=2, marks=ADA), party("bob", day=3, marks=-changed(ADA, 22))],
        "stands",
        {"ada": "stands", "bob": "copy"},
    ),
    "23 of 224 bits changed are marks of one's own": (
        [party("ada", day=2, marks=ADA), party("bob", day=3, marks=changed(ADA, 23))],
        "stands",
        {"ada": "stands", "bob": "later"},
    ),
    "a copy does not stand in for one that is not verified": (
        [party("ada", INCONCLUSIVE, day=2, marks=ADA), party("bob", day=3, marks=ADA)],
        "none",
        {"ada": INCONCLUSIVE, "bob": "copy"},
    ),
    "but a third does": (
        [party("ada", NOT, day=2, marks=ADA), party("bob", day=3, marks=ADA), party("eve", day=4)],
        "stands",
        {"ada": NOT, "bob": "copy", "eve": "stands"},
    ),
    "one without a date makes no other a copy": (
        [party("ada", day=2, marks=ADA), party("bob", NOT, marks=ADA)],
        "stands",
        {"ada": "stands", "bob": "copy"},
    ),
    "the same marks at the same time": (
        [party("ada", day=2, marks=ADA), party("bob", day=2, marks=ADA)],
        "undecided",
        {"ada": "tied", "bob": "tied"},
    ),
    "the same marks without dates": (
        [party("ada", marks=ADA), party("bob", marks=ADA)],
        "undecided",
        {"ada": "tied", "bob": "tied"},
    ),
    "a copy of a copy": (
        [
            party("ada", day=1, marks=ADA),
            party("bob", day=2, marks=changed(ADA, 20)),
            party("eve", day=3, marks=changed(ADA, 40)),
        ],
        "stands",
        {"ada": "stands", "bob": "copy", "eve": "copy"},
    ),
}


@pytest.mark.parametrize(("parties", "outcome", "words"), CASES.values(), ids=CASES)
def test_who_stands_whatever_the_order(parties, outcome, words):
    for order in itertools.permutations(parties):
        found = settle(order)
        assert found.outcome == outcome
        assert [one.party for one in found.standings] == list(order)
        assert {one.party.name: one.word for one in found.standings} == words
        winners = [name for name, word in words.items() if word == "stands"]
        assert [found.winner.name] == winners if winners else found.winner is None
        for one in found.standings:
            assert one.because.startswith(f"{one.party.name} ")
            assert one.because.endswith(".")


def test_the_reasons_name_who_and_when():
    ada, bob = party("ada", day=2, marks=ADA), party("bob", day=3, marks=ADA)
    found = settle([bob, ada, party("eve", day=4), party("joe", INCONCLUSIVE, day=1)])
    assert found.says == "ada stands."
    assert [one.because for one in found.standings] == [
        "bob has the marks of ada, who registered them first (dated 2026-01-02T12:00:00+00:00): a copy.",
        "ada is verified, has marks of its own, and is dated 2026-01-02T12:00:00+00:00.",
        "eve is verified, and dated 2026-01-04T12:00:00+00:00; before it: ada, dated 2026-01-02T12:00:00+00:00.",
        "joe is inconclusive, and dated 2026-01-01T12:00:00+00:00: what it lacks may still be shown, and would decide "
        "otherwise.",
    ]
    assert settle([party("ada"), party("bob", NOT)]).says.startswith("ada stands. No date speaks for it")
    assert settle([party("ada"), party("bob")]).says.startswith(
        "Undecided: ada and bob are verified, and none is dated"
    )
    three = settle([party(name, day=1) for name in ("ada", "bob", "eve")])
    assert three.says.startswith("Undecided: ada, bob and eve are registered at the same time.")


def test_moments_are_compared_wherever_they_were_told():
    late = datetime(2026, 1, 2, 1, tzinfo=timezone(timedelta(hours=2)))  # 23:00 of the day before, UTC
    one, other = party("ada", day=1), party("bob")
    other = Party(other.name, other.owner, other.kind, other.fingerprint, other.outcome, late, other.marks)
    assert settle([other, one]).winner is one
    day = read_registration(None, "2026-01-01", None).registered.last
    assert late < day < datetime(2026, 1, 2, tzinfo=UTC)
    assert told(day) == "dated 2026-01-01"
    assert told(None) == "not dated"


def test_what_is_no_dispute_is_refused():
    for few in ([], [party("ada")]):
        with pytest.raises(InputError, match="is no dispute"):
            settle(few)
    ada = party("ada")
    again = Party("bob", "Bob", "passport", ada.fingerprint, NOT, None, bits(9))
    with pytest.raises(InputError, match="claims=bob: brings the same claim as ada"):
        settle([ada, party("eve"), again])


def test_bits_of_independent_owners_are_not_one_signature():
    assert not any(same_signature(bits(2 * i, 64), bits(2 * i + 1, 64)) for i in range(2000))
    assert same_signature(bits(0), bits(0))
    assert not same_signature(bits(0, 224), bits(0, 256))
    ones = torch.ones(64, dtype=torch.int8)
    assert same_signature(ones, ones)
    assert same_signature(ones, -ones)
    assert not same_signature(ones, bits(0, 64))


def test_words_of_one_code_are_not_one_signature():
    """Any two of DeepMarks' words of 381 bits agree in nine of ten."""
    words = code_book(19)
    assert float((words[0] == words[1]).float().mean()) > 0.9
    assert not same_signature(words[0], words[1])
    assert not same_signature(words[0], -words[1])
    assert same_signature(words[0], words[0])
    assert same_signature(words[0], -words[0])


def images(seed, count=50, size=12):
    return torch.randint(256, (count, size), generator=torch.Generator().manual_seed(seed))


def test_images_are_compared_in_whatever_order():
    own = images(0)
    assert not same_signature(own, images(1))  # that none agrees is what independent images do
    shuffled = own[torch.randperm(50, generator=torch.Generator().manual_seed(1))]
    assert same_signature(own, shuffled)
    mixed = shuffled.clone()
    mixed[:5, -1] += 1000  # other labels
    assert same_signature(own, mixed)
    mixed[5, -1] += 1000
    assert not same_signature(own, mixed)
    assert same_signature(own, own[:20])  # a part
    assert not same_signature(own, own[:, 1:])
    assert not same_signature(own, bits(0, 50))
