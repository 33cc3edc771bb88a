"""Stores of earlier versions: their records and rows are read, and their runs are found, not made or judged again."""

import json
from dataclasses import asdict, replace

import pytest
import yaml

from ipr.errors import InputError
from ipr.store.record import find_records, load_record, without_times
from ipr.workflows.attack import attack
from ipr.workflows.attack_rows import load_rows
from ipr.workflows.named_run import as_run
from ipr.workflows.train import train

VERSION_3 = {
    "key": "passport_v2-alexnet-gn-digits-0123456789", "kind": "train", "scheme": "passport_v2", "model": "alexnet",
    "norm": "gn", "width": 0.25, "dataset": "digits", "train_images": 1437, "test_images": 360,
    "optimizer": "default", "epochs": 20, "precision": "32-true", "memory_format": "channels_last", "compile": False,
    "seed": 0, "passport": "random", "energy": 3.0, "alternation": "together", "tags": "quickstart",
    "parameters": 151306, "accuracy_without": 0.989, "accuracy_genuine": 0.992, "accuracy_forged_mean": 0.116,
    "accuracy_forged_std": 0.05, "accuracy_forged_max": 0.306, "forged": 50, "forged_passing": 0,
    "fidelity_holds": True, "fidelity_threshold": 0.03, "bits_total": 224, "bits_agreeing": 224, "correlation": None,
    "p_value": 3.7e-68, "p_value_log10": -67.4, "p_value_threshold": 9.1e-13, "trigger_accuracy": None,
    "trigger_accuracy_passport": None, "verified": True, "train_seconds": 9.0, "judge_seconds": 1.0,
    "hardware": "a machine", "threads": 2, "versions": "python 3.11", "commit": "", "finished": "2026-11-20T10:00:00",
    "schema_version": 3,
}  # fmt: skip
"""A record as it was written before measurements and decisions had names of their own."""
ROUNDING = {"deterministic": None, "tf32": None, "autotune": False, "capture": False}
"""What records of versions 3 and 4 do not tell."""
NOT_TOLD = {**ROUNDING, "init": None, "step_energy": None}
"""And what those of version 5 do not tell."""
PLAIN = {"scheme": "baseline", "p_value": None, "p_value_log10": None, "p_value_threshold": None, "verified": None}


def as_version_3(path):
    """Rewrites the record of this version that lies there."""
    row = json.loads(path.read_text())
    assert row.pop("mark_read") in (True, False, None)
    old = {**row, "verified": row["consistent"], "schema_version": 3}
    for name in ("consistent", *NOT_TOLD):
        del old[name]
    assert old.keys() == VERSION_3.keys()
    path.write_text(json.dumps(old, indent=2) + "\n")


def as_before(path, version):
    """Rewrites the rows of this version that lie there as an earlier one wrote them."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        for name in ("attacker_images", "shared_images", "decision", "deciding"):
            del row[name]
        for name in ("init", "passport", "energy", "step_energy", "victim_bits") if version < 3 else ():
            del row[name]
        row["schema_version"] = version
        if version == 1:
            row["verified"] = row.pop("mark_read")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def undecided(rows):
    """Rows without what earlier ones did not tell, nor the victim: what a judge would decide."""
    return [replace(row, decision=None, deciding="") for row in rows]


@pytest.mark.parametrize(
    ("changed", "mark_read", "consistent"),
    [
        ({}, True, True),
        ({"fidelity_holds": False, "verified": False}, True, False),
        ({"p_value": 9.1e-13}, True, True),  # at the threshold, a mark is read
        ({"p_value": 9.2e-13, "p_value_log10": -12.0, "verified": False}, False, False),
        ({"p_value": 0.0, "p_value_log10": -602.0}, True, True),  # below what a float holds
        (PLAIN, None, None),
    ],
)
def test_what_was_verified_is_consistent(changed, mark_read, consistent, tmp_path):
    path = tmp_path / "train" / "one" / "record.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(VERSION_3 | changed))
    record = load_record(path)
    assert (record.mark_read, record.consistent, record.schema_version) == (mark_read, consistent, 6)
    kept = {name: value for name, value in (VERSION_3 | changed).items() if name not in ("verified", "schema_version")}
    now = {"mark_read": mark_read, "consistent": consistent, "schema_version": 6}
    assert asdict(record) == kept | NOT_TOLD | now
    version_4 = kept | now | {"schema_version": 4}
    path.write_text(json.dumps(version_4))
    assert load_record(path) == record
    path.write_text(json.dumps(kept | now | ROUNDING | {"schema_version": 5}))
    assert load_record(path) == record
    path.write_text(json.dumps(VERSION_3 | changed))
    assert json.loads(path.read_text())["schema_version"] == 3  # reading changes no file
    assert list(find_records(tmp_path)) == [record]
    record.save(path)
    assert load_record(path) == record


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 2}, {"schema_version": 5}, {"schema_version": 6}, {"schema_version": 7},
        {"verified": ...}, {"p_value": ...}, {"p_value_threshold": None},
        {"seed": ...}, {"another": 1}, {"schema_version": 4},
    ],
)  # fmt: skip
def test_what_is_of_no_version_is_refused(change, tmp_path):
    row = {name: value for name, value in (VERSION_3 | change).items() if value is not ...}
    (tmp_path / "record.json").write_text(json.dumps(row))
    with pytest.raises(InputError, match=r"^record=.*delete it; the same command judges the run again"):
        load_record(tmp_path / "record.json")


@pytest.mark.parametrize("scheme", ["passport_v2", "baseline", "uchida"])
def test_an_old_run_is_found_again(scheme, request_for, trained):
    made = trained(request_for(f"scheme={scheme}"))
    as_version_3(made.folder.record)
    before = {p: p.read_bytes() for p in made.folder.path.rglob("*") if p.is_file() and p.name != ".lease"}
    again = train(request_for(f"scheme={scheme}"))
    assert again.found
    assert again.record == replace(made.record, **NOT_TOLD)
    assert before == {p: p.read_bytes() for p in before}
    tagged = train(request_for(f"scheme={scheme}", "tags=[new]"))
    assert tagged.found
    assert tagged.record.tags == "new"
    assert json.loads(made.folder.record.read_text()) == asdict(tagged.record)  # written anew, in this version


def test_an_old_run_is_attacked_by_its_name(request_for, trained):
    """Its configuration says nothing of published weights, of which there was no word."""
    made = trained(request_for("scheme=uchida"))
    written = yaml.safe_load(made.folder.config.read_text())
    assert written["model"].pop("weights") is None
    made.folder.config.write_text(yaml.safe_dump(written))
    asked = request_for("attack=prune", "attack.rates=[0.5]", f"run={made.folder.key}", command="attack")
    assert attack(as_run(asked, ())).victim.folder == made.folder


@pytest.mark.parametrize("version", [1, 2, 3])
def test_an_old_attack_is_found_again_or_gone_on_with(version, request_for, trained):
    asked = request_for("scheme=uchida", "attack=prune", command="attack")
    trained(asked)
    made = attack(asked)
    path = made.folder.path / "rows.jsonl"
    as_before(path, version)
    before = path.read_bytes()
    again = attack(asked)
    assert again.found
    assert undecided(again.rows) == undecided(made.rows)  # the victim's record tells what they did not
    assert made.rows[0].victim_bits
    assert path.read_bytes() == before
    (made.folder.path / "finished").unlink()
    path.write_bytes(b"".join(before.splitlines(keepends=True)[:3]))  # as of an attack that was stopped
    resumed = attack(asked)
    assert not resumed.found
    assert resumed.rows[:3] == undecided(made.rows[:3])
    assert [without_times(asdict(row)) for row in resumed.rows[3:]] == [
        without_times(asdict(row)) for row in made.rows[3:]
    ]
    assert [json.loads(line)["schema_version"] for line in path.read_text().splitlines()] == [4] * len(made.rows)


def test_old_rows_whose_victim_is_gone_tell_nothing_of_it(request_for, trained, tmp_path):
    asked = request_for("scheme=uchida", "attack=prune", command="attack")
    trained(asked)
    made = attack(asked)
    path = tmp_path / "attack" / made.folder.key / "rows.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes((made.folder.path / "rows.jsonl").read_bytes())
    as_before(path, 2)
    assert [*load_rows(path).values()] == [replace(row, victim_bits=None) for row in undecided(made.rows)]


def test_rows_of_no_version_are_refused(request_for, trained):
    asked = request_for("scheme=uchida", "attack=prune", command="attack")
    trained(asked)
    path = attack(asked).folder.path / "rows.jsonl"
    as_before(path, 1)
    row = json.loads(path.read_text().splitlines()[0])
    for change in (
        {"schema_version": 3},
        {"verified": ...},
        {"schema_version": 2},
        {"schema_version": 4},
        {"schema_version": 5},
        {"another": 1},
    ):
        values = {name: value for name, value in (row | change).items() if value is not ...}
        path.write_text(json.dumps(values) + "\n")
        with pytest.raises(InputError, match=r"^rows=.*delete the folder; the same command attacks anew"):
            load_rows(path)
