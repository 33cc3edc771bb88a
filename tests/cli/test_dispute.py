"""`ipr dispute`: claims that are really judged, and which of them stands."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from ipr.claims.commitment import commit, load_commitment, save_commitment
from ipr.judging.claim_kinds import load_claim
from one_line import assert_one_line

RELEASED = "commitment.released=2026-03-01"


@pytest.fixture
def parties(owner):
    """`owned`, and claims on the same network that are verified as well: how `ipr dispute` is asked about them.

    In `bob` 20 of the owner's 224 bits are changed, in `eve` 30, in `joe` half: chance agrees as well.
    """
    claim, weights = load_claim(Path("owned/claim")), load_file("owned/public.safetensors")
    save_commitment(commit(claim, weights), Path("owned/claim"))
    for name, count in (("bob", 20), ("eve", 30), ("joe", 112)):
        signature = {layer: bits.clone() for layer, bits in claim.signature.items()}
        for bits in signature.values():
            bits[:count] *= -1
            count -= min(count, bits.numel())
        other = replace(claim, owner=f"<b>{name}|", signature=signature, text_bytes=0)
        other.save(Path(name))
        save_commitment(commit(other, weights), Path(name))
    judge = [a for a in owner[1:] if not a.startswith("claim=")]
    return ("dispute", *judge, "forged=0")


def about(**days):
    """The arguments for claims in these folders, registered on these days; None for one that was not."""
    folders = ["owned/claim" if name == "ada" else name for name in days]
    digests = [
        load_commitment(Path(one)).digest if day else "null" for one, day in zip(folders, days.values(), strict=True)
    ]
    return (
        f"claims=[{','.join(folders)}]",
        f"commitment.digest=[{','.join(digests)}]",
        f"commitment.registered=[{','.join(day or 'null' for day in days.values())}]",
        RELEASED,
    )


def read(folder):
    return json.loads((Path(folder) / "dispute.json").read_text())


def words(facts):
    return [one["standing"] for one in facts["claims"]]


def test_the_first_that_is_verified_and_no_copy_stands(ipr, parties):
    asked = (*parties, *about(joe="2026-01-01", bob="2026-02-02", eve="2026-01-20", ada="2026-01-10"), "out=out")
    found = ipr(*asked)
    assert found.code == 0, found.err
    facts = read("out")
    assert words(facts) == ["not verified", "copy", "later", "stands"]
    ada = load_claim(Path("owned/claim"))
    assert facts["stands"] == ada.fingerprint()
    assert facts["outcome"] == "stands"
    assert found.out.splitlines()[-1] == facts["says"] == "claim 4 stands."
    assert [one["owner"] for one in facts["claims"]] == ["<b>joe|", "<b>bob|", "<b>eve|", ""]
    assert [one["registered"][:10] for one in facts["claims"]] == [
        "2026-01-01",
        "2026-02-02",
        "2026-01-20",
        "2026-01-10",
    ]
    (fails,) = (one for one in facts["claims"][0]["conditions"] if one["required"] and not one["holds"])
    assert fails["name"] == "signature"
    assert (
        "claim 2 (<b>bob|) has the marks of claim 4, who registered them first (dated 2026-01-10): a copy." in found.out
    )
    assert Path("out").stat().st_mode & 0o777 == 0o700
    page = Path("out/dispute.md").read_text()
    assert page.startswith("# claim 4 stands.\n")
    assert "<b>" not in page
    assert "claim 2 (\\<b\\>bob\\|)" in page
    assert f"signature: {fails['says']}" in page
    table = [line for line in page.splitlines() if line.startswith("| ")]
    assert len(table) == 5
    assert {len(line.replace("\\|", "").split("|")) for line in table} == {8}
    for text in (page, Path("out/dispute.json").read_text()):
        assert "hush" not in text
        assert str(Path.cwd()) not in text
    before = Path("out/dispute.json").read_bytes()
    assert ipr(*asked).code == 0
    assert Path("out/dispute.json").read_bytes() == before
    assert_one_line(ipr(*asked, "tried=2"), "out/dispute.json", "another document")
    assert not Path("runs/verdicts").exists()


def test_without_dates_nothing_is_decided(ipr, parties):
    found = ipr(*parties, "claims=[owned/claim,eve]", "out=out")
    assert found.code == 3, found.err
    assert words(read("out")) == ["tied", "tied"]
    assert found.out.splitlines()[-1].startswith("Undecided: claim 1 and claim 2 (<b>eve|)")
    assert read("out")["stands"] is None
    # A date that is given for another digest is the date of nothing.
    digest = load_commitment(Path("bob")).digest
    day = (f"commitment.digest=[null,{digest}]", "commitment.registered=[null,2026-01-01]", RELEASED)
    assert ipr(*parties, "claims=[owned/claim,eve]", *day, "out=other").code == 3
    # One date is enough.
    assert ipr(*parties, *about(eve=None, ada="2026-01-01"), "out=dated").code == 0
    assert words(read("dated")) == ["undated", "stands"]


def test_where_nothing_is_verified_nothing_stands(ipr, parties):
    found = ipr(*parties, *about(ada="2026-01-01", bob="2026-01-02"), "rule.bound=required")
    assert found.code == 1, found.err
    (folder,) = Path("runs/disputes").iterdir()
    assert words(read(folder)) == ["not verified", "copy"]
    assert found.out.splitlines()[-1] == "None of the claims stands."


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["claims=???", "must be given"]),
        (["claims=[owned/claim]"], ["claims=['owned/claim']", "is no dispute"]),
        (["claims=[]"], ["claims=[]", "is no dispute"]),
        (["claims=owned/claim"], ["claims"]),
        (["claims=[owned/claim,owned/claim]"], ["claims=owned/claim", "is given twice"]),
        (["claims=[owned/claim,nowhere]"], ["claim=nowhere", "cannot be read"]),
        (["claims=[owned/claim,bob]", "commitment.digest=[null]"], ["commitment.digest=[None]", "each of 2 claims"]),
        (
            ["claims=[owned/claim,bob]", "commitment.registered=[null,null,null]"],
            ["commitment.registered=", "each of 2 claims"],
        ),
        (["claims=[owned/claim,bob]", "calibration=[x]"], ["calibration=['x']", "each of 2 claims"]),
        (["claims=[owned/claim,bob]", "calibration=[null,nowhere.json]"], ["nowhere.json"]),
        (["claims=[owned/claim,bob]", "commitment.registered=[soon,null]"], ["commitment.registered=soon"]),
        (["claim=owned/claim"], ["claim", "did you mean claims"]),
    ],
)
def test_what_cannot_be_settled_is_one_line(ipr, parties, arguments, words):
    assert_one_line(ipr(*parties, *arguments), *words)
    assert not Path("runs").exists()
