"""`ipr gc`: it removes what it is asked to of what it lists, never a run, and nothing that cannot be made again."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ipr.cli import main
from ipr.store.irreplaceable import irreplaceable
from ipr.store.lease import Lease
from ipr.store.record import find_records
from ipr.studies.collection import Item, find_unneeded, remove

HOLD = """
import sys, time
from pathlib import Path
from ipr.store.lease import Lease
with Lease(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
HEX = "0123456789abcdef"
ALL = "remove=leftovers,checkpoints,jobs"


def listed(outcome):
    """Class -> the paths that are listed under it."""
    assert outcome.code == 0, outcome.err
    found = {}
    for kind, path in re.findall(r"^(\w+): (.+?)(?: \(\d[^)]*\))?: .*$", outcome.out, re.MULTILINE):
        found.setdefault(kind, set()).add(Path(path))
    return found


def removed(outcome):
    return {Path(path) for path in re.findall(r"^removed: (.+)$", outcome.out, re.MULTILINE)}


def everything():
    """What there is, but for leases."""
    return {path for path in Path("runs").rglob("*") if not {part for part in path.parts if part.endswith(".lease")}}


def below(paths, folders):
    return {path for path in paths if any(path == folder or folder in path.parents for folder in folders)}


def only(pattern):
    (path,) = Path("runs").glob(pattern)
    return path


@pytest.mark.slow
def test_what_is_listed_is_removed_and_the_study_is_still_found(ipr, store):
    found = listed(ipr("gc"))
    assert found.keys() == {"checkpoints"}
    names = {"/".join(path.parts[1:3]).rsplit("-", 1)[0] for path in found["checkpoints"]}
    assert names == {
        "train/passport_v1-alexnet-bn-digits-w0.0625-s0", "train/uchida-alexnet-bn-digits-w0.0625-s0",
        "train/baseline-alexnet-bn-digits-w0.0625-s0", "attack/fake2-passport_v1-alexnet-bn-w0.0625-s0",
    }  # fmt: skip
    before = everything()
    outcome = ipr("gc", ALL)
    assert outcome.code == 0, outcome.err
    assert removed(outcome) == found["checkpoints"]
    assert before - everything() == below(before, found["checkpoints"])
    assert everything() <= before
    assert only("attack/finetune-*/checkpoints/finetune/last.ckpt").exists()  # exhibits look into it
    assert "nothing to remove" in ipr("gc").out
    metrics = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("metrics*.csv")}
    again = ipr(*store)
    assert again.code == 0, again.err
    assert "made in" not in again.out
    assert {path: path.stat().st_mtime_ns for path in Path("runs").rglob("metrics*.csv")} == metrics


def test_the_size_is_that_of_the_files(ipr, store):
    checkpoint = only("train/uchida-*/checkpoints")
    size = sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file())
    line = next(line for line in ipr("gc").out.splitlines() if str(checkpoint) in line)
    assert f"({size / 1000:.0f} kB)" in line


def test_a_run_of_ones_own_is_listed_and_stays(ipr, store, tiny):
    assert ipr("train", *tiny, "scheme=deepmarks", "scheme.order=3").code == 0
    assert ipr("train", *tiny, "scheme=uchida", "tags=[quickstart]").code == 0  # of a study
    own = only("train/deepmarks-*")
    outcome = ipr("gc")
    assert listed(outcome)["runs"] == {own}
    assert "hand" in outcome.out
    assert removed(ipr("gc", ALL)) == listed(outcome)["checkpoints"]
    assert (own / "record.json").exists()
    assert listed(ipr("gc")).keys() == {"runs"}


@pytest.mark.sampled(2)
def test_a_run_with_a_key_is_not_even_listed(ipr, store, tiny):
    secret = "correct horse"
    assert ipr("train", *tiny, "scheme=passport_v2", f"passport.key={secret}").code == 0
    owned = only("train/passport_v2-*")
    outcome = ipr("gc")
    assert "runs" not in listed(outcome)
    assert listed(outcome)["kept"] == {owned}
    assert "passport.key" in outcome.out
    assert secret not in outcome.out
    assert ipr("gc", ALL).code == 0
    assert (owned / "claim" / "secrets.safetensors").exists()
    assert (owned / "record.json").exists()
    (owned / "config.yaml").write_text("{ not yaml")  # nobody can tell now whether there was a key
    assert listed(ipr("gc"))["kept"] == {owned}


def test_without_its_plan_all_of_a_study_is_listed_but_its_baseline(ipr, store):
    Path("runs/studies/smoke/mine.json").unlink()
    found = listed(ipr("gc"))
    said = {*Path("runs/studies/smoke/cells").iterdir()}
    assert said <= found["leftovers"]
    runs = {path for kind in ("train", "attack", "exhibit") for path in Path("runs", kind).iterdir()}
    assert found["runs"] == runs - {only("train/baseline-*")}
    outcome = ipr("gc", "remove=leftovers")
    assert outcome.code == 0, outcome.err
    assert removed(outcome) == said
    assert all(path.exists() for path in runs)


def test_what_the_cells_of_a_study_were_made_from_is_needed(ipr, store):
    """No cell is the attack of the exhibit, or the victim of the attacks."""
    plan = Path("runs/studies/smoke/mine.json")
    read = json.loads(plan.read_text())
    kept = [cell for cell in read["cells"] if cell["name"].startswith(("watermark_distributions", "prune"))]
    plan.write_text(json.dumps(read | {"cells": kept}))
    gone = {only("attack/fake2-*"), only("exhibit/distributions-*")}
    assert listed(ipr("gc"))["runs"] == gone
    (only("attack/prune-*") / "rows.jsonl").write_text("{")  # it does not say any more of what it was made
    assert listed(ipr("gc"))["runs"] == gone | {only("train/passport_v1-*")}
    assert ipr("gc", ALL).code == 0
    assert only("train/passport_v1-*").exists()


def test_what_killed_processes_left_half_written_goes(ipr, store):
    victim, attacked = only("train/uchida-*"), only("attack/prune-*")
    left = {
        victim / f".record.json.{HEX}", victim / "claim" / f".claim.json.{HEX}", attacked / ".rows.jsonl.4711",
        victim / "checkpoints" / f".last.ckpt.{HEX}", victim / "public.part", Path(f"runs/.dashboard.json.{HEX}"),
        Path(f"runs/studies/smoke/.mine.json.{HEX}"), Path(f"runs/studies/smoke/cells/.x.json.{HEX}"),
        Path(f"runs/report/mine-smoke/.index.html.{HEX}"),
    }  # fmt: skip
    for path in left:
        path.write_text("half")
    claim = victim / f".claim.{HEX}"
    shutil.copytree(victim / "claim", claim)
    half = Path(f"runs/jobs/.abc.{HEX}"), victim / f".checkpoints.{HEX}"  # of removals that were killed
    for path in half:
        path.mkdir(parents=True)
        (path / "1_0_submitted.pkl").write_text("x")
    others = {"train": victim / ".notes", "wandb": victim / "wandb" / f".log.{HEX}"}
    for path in others.values():
        path.parent.mkdir(exist_ok=True)
        path.write_text("not ours")
    records = [record.key for record in find_records(Path("runs"))]
    assert len(records) == len(set(records))  # nobody takes what is being removed for a run
    assert listed(ipr("gc"))["leftovers"] == left | {claim, *half}
    assert removed(ipr("gc", "remove=leftovers")) == left | {claim, *half}
    assert not any(path.exists() for path in left | {claim, *half})
    assert all(path.exists() for path in others.values())
    assert (victim / "checkpoints" / "last.ckpt").exists()


def test_the_only_claim_of_a_run_is_no_leftover(ipr, store):
    victim = only("train/uchida-*")
    (victim / "claim").rename(victim / ".claim.4711.old")
    assert listed(ipr("gc"))["kept"] == {victim / ".claim.4711.old"}
    assert ipr("gc", "remove=leftovers").code == 0
    assert (victim / ".claim.4711.old" / "claim.json").exists()


@pytest.mark.system
def test_what_a_process_works_on_stays_until_it_is_gone(ipr, store, tiny):
    assert ipr("train", *tiny, "scheme=deepmarks", "scheme.order=3").code == 0
    own = only("train/deepmarks-*")
    (own / f".record.json.{HEX}").write_text("half")
    command = [sys.executable, "-c", HOLD, str(own / ".lease")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        found = listed(ipr("gc"))
        assert found["kept"] == {own}
        assert found.keys() == {"kept", "checkpoints"}
        outcome = ipr("gc", ALL)
        assert outcome.code == 0
        assert not below(removed(outcome), [own])
        assert (own / f".record.json.{HEX}").exists()
        assert (own / "checkpoints" / "last.ckpt").exists()
        process.send_signal(signal.SIGKILL)
    assert removed(ipr("gc", ALL)) == {own / "checkpoints", own / f".record.json.{HEX}"}


def test_the_jobs_of_a_sweep_stay_while_it_waits_for_them(ipr, store):
    """Their arguments may be secrets; when the sweep was killed they are listed, with how many may still be queued."""
    jobs = Path("runs/jobs/abc")
    jobs.mkdir(parents=True)
    for name in ("7_0_submitted.pkl", "7_1_submitted.pkl", "7_0_0_result.pkl", "7_0_0_log.out"):
        (jobs / name).write_text("x")
    with Lease(jobs / ".lease"):
        assert "jobs" not in listed(ipr("gc"))
        assert ipr("gc", "remove=jobs").code == 0
        assert jobs.exists()
    outcome = ipr("gc")
    assert listed(outcome)["jobs"] == {jobs}
    assert "1 of 2 may still be queued" in outcome.out
    assert removed(ipr("gc", "remove=jobs")) == {jobs}
    assert not jobs.exists()


def test_links_are_not_followed(ipr, store, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    shutil.copytree(only("train/uchida-*"), outside / "run")
    (outside / "run" / f".record.json.{HEX}").write_text("half")
    Path("runs/train/linked").symlink_to(outside / "run")
    victim = only("train/passport_v1-*")
    (victim / "checkpoints").rename(outside / "checkpoints")
    (victim / "checkpoints").symlink_to(outside / "checkpoints")
    Path("runs/report/linked").symlink_to(outside)
    Path("runs/studies/smoke/mine.json").unlink()
    before = sorted(outside.rglob("*"))
    outcome = ipr("gc", ALL)
    assert outcome.code == 0, outcome.err
    assert removed(outcome)
    assert sorted(outside.rglob("*")) == before
    assert Path("runs/train/linked").is_symlink()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["remove=all"], ["remove=all", "is unknown", "leftovers, checkpoints, jobs"]),
        (["remove=runs"], ["remove=runs", "is unknown"]),
        (["remove=jobs,everything"], ["remove=everything", "is unknown"]),
        (["remov=runs"], ["remov", "remove"]),
        (["study=table_06"], ["study"]),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_removed(ipr, store, arguments, words):
    before = everything()
    outcome = ipr("gc", *arguments)
    assert outcome.code == 2
    (line,) = outcome.err.strip().splitlines()
    assert line.startswith("ipr: error: ")
    for word in words:
        assert word in line
    assert everything() == before


def test_nothing_is_removed_where_a_plan_cannot_be_read(ipr, store):
    """What it names would look as if nobody needed it."""
    Path("runs/studies/smoke/mine.json").write_text('{"schema_version": 1')
    before = everything()
    outcome = ipr("gc", ALL)
    assert outcome.code == 2
    assert len(outcome.err.strip().splitlines()) == 1
    assert everything() == before


def test_an_empty_folder(ipr):
    outcome = ipr("gc")
    assert outcome.code == 0
    assert "nothing to remove" in outcome.out
    assert not Path("runs").exists()


@pytest.fixture(scope="module")
def made_deepmarks(tmp_path_factory, tiny, cache):
    """A run of one's own without a key, which no study needs, and how it is asked for."""
    place, asked = tmp_path_factory.mktemp("own"), ("train", *tiny, "scheme=deepmarks", "scheme.order=3")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("IPR_CACHE", str(cache))
        patch.setattr("sys.argv", ["ipr"])
        with pytest.raises(SystemExit) as stopped:
            main([*asked])
    assert stopped.value.code == 0
    return place, asked


@pytest.fixture
def deepmarks(ipr, made_deepmarks, tmp_path):
    """A copy of it in the working folder; how it is asked for."""
    shutil.copytree(made_deepmarks[0], tmp_path, dirs_exist_ok=True)
    return made_deepmarks[1]


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and ".lease" not in path.parts}


def test_what_was_committed_to_is_never_removed(ipr, deepmarks):
    own = only("train/deepmarks-*")
    assert listed(ipr("gc"))["runs"] == {own}
    committed = ipr("claim", "commit", f"claim={own / 'claim'}")
    assert committed.code == 0, committed.err
    assert ipr("export", f"run={own}").code == 0
    before = files(own / "claim")
    assert Path(own / "claim" / "commitment.json") in before
    assert not (own / ".lease").is_symlink()
    outcome = ipr("gc")
    assert listed(outcome)["kept"] == {own}
    assert "nonce" in outcome.out
    assert json.loads((own / "claim" / "commitment.json").read_text())["nonce"] not in outcome.out
    assert ipr("gc", ALL).code == 0
    assert files(own / "claim") == before
    assert (own / "public.safetensors").exists()
    assert ipr("claim", "commit", f"claim={own / 'claim'}").out == committed.out
    assert ipr("claim", "check", f"claim={own / 'claim'}").code == 0


def test_stamps_keys_and_copies_of_commitments_stay_wherever_they_lie(ipr, deepmarks):
    own = only("train/deepmarks-*")
    for name in (
        "claim/stamp.tsr", "claim/STAMP.TSR", "claim/.stamp.tsr.0123456789abcdef", "stamp.tsq", "owner.key",
        "judge.pem", "claim/commitment.json.bak", "claim-of-may/commitment.json", "notes/deep/commitment.json",
    ):  # fmt: skip
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_text("x")
        assert ipr("gc", ALL).code == 0
        assert (own / name).read_text() == "x"
        assert own in listed(ipr("gc"))["kept"]
        (own / name).unlink()
    assert (own / "claim" / "secrets.safetensors").exists()
    assert listed(ipr("gc")).get("runs") == {own}


def test_a_commitment_in_what_looks_like_a_leftover_stays(ipr, deepmarks):
    own = only("train/deepmarks-*")
    places = [own / f".claim.{HEX}", Path(f"runs/jobs/.x.{HEX}"), Path("runs/jobs/x")]
    for place in places:
        shutil.copytree(own / "claim", place)
        (place / "commitment.json").write_text("{}")
    assert ipr("gc", ALL).code == 0
    assert all((place / "commitment.json").exists() for place in places)
    (own / "record.json").unlink(missing_ok=True)
    assert ipr(*deepmarks).code == 0  # whoever makes a run tidies its folder
    assert (places[0] / "commitment.json").exists() or not own.exists()


def test_a_commitment_made_after_the_list_counts(ipr, deepmarks):
    jobs = Path("runs/jobs/x")
    jobs.mkdir(parents=True)
    (item,) = [item for item in find_unneeded(Path("runs"), []) if item.kind == "jobs"]
    (jobs / "commitment.json").write_text("{}")
    told = []
    remove([item], lambda item, why: told.append(why))
    assert len(told) == 1
    assert "commitment" in told[0]
    assert (jobs / "commitment.json").exists()


@pytest.mark.parametrize("group", ["passport", "scheme", "trigger_set", None])
def test_what_an_owner_gave_keeps_a_claim(ipr, deepmarks, group):
    """Also where `config.yaml` says that there was no key, and the claim knows better."""
    own = only("train/deepmarks-*")
    if group is None:
        facts = json.loads((own / "claim" / "claim.json").read_text())
        assert facts["origin"]["keyless"] is True
        facts["origin"]["keyless"] = False
        (own / "claim" / "claim.json").write_text(json.dumps(facts))
    else:
        name = {"passport": "key", "scheme": "signature", "trigger_set": "root"}[group]
        (own / "config.yaml").write_text(f"{group}: {{{name}: <hidden>}}\n")
    assert own in listed(ipr("gc"))["kept"]
    assert ipr("gc", ALL).code == 0
    assert (own / "claim" / "secrets.safetensors").exists()


def test_what_a_lease_that_is_a_link_points_to_is_not_touched(ipr, deepmarks, tmp_path_factory):
    outside, own = tmp_path_factory.mktemp("outside"), only("train/deepmarks-*")
    for name in ("1", "2", "7", ".note", "text"):
        (outside / name).write_text("mine")
    before = {**files(outside)}
    shutil.rmtree(own / ".lease")
    (own / ".lease").symlink_to(outside)
    jobs, words = Path("runs/jobs/x"), Path("runs/studies/smoke/cells")
    jobs.mkdir(parents=True)
    (jobs / ".lease").symlink_to(outside)
    words.mkdir(parents=True)
    (words / "x.json").write_text("{}")
    (words / "x.lease").symlink_to(outside)
    found = listed(ipr("gc"))
    assert found["kept"] >= {own, jobs}
    assert ipr("gc", ALL).code == 0
    assert files(outside) == before
    assert own.exists()
    told = []
    for lease in (own / ".lease", words / "x.lease"):
        remove([Item("jobs", own, 1, "", lease)], lambda item, why: told.append(why))
    assert ["is a link" in why for why in told[:1]] == [True]
    (own / "record.json").unlink(missing_ok=True)
    refused = ipr(*deepmarks)
    assert refused.code in (0, 2)
    assert "Traceback" not in refused.err
    assert files(outside) == before


def test_a_lease_that_is_a_pipe_a_file_or_anothers_link_stops_nothing(ipr, deepmarks, tmp_path_factory):
    outside, own = tmp_path_factory.mktemp("outside"), only("train/deepmarks-*")
    (outside / "text").write_text("mine")
    shutil.rmtree(own / ".lease")
    (own / ".lease").mkdir()
    os.mkfifo(own / ".lease" / "3")  # reading it would wait for ever
    assert listed(ipr("gc"))["kept"] == {own}  # it is new, and may be another machine's
    (own / ".lease" / "3").unlink()
    (own / ".lease" / "4").symlink_to(outside / "text")
    assert ipr("gc").code == 0
    assert ipr("gc", ALL).code in (0, 1)
    assert (outside / "text").read_text() == "mine"
    if own.exists():
        shutil.rmtree(own / ".lease")
        (own / ".lease").write_text("a file")
        assert ipr("gc").code == 0


def test_what_can_be_made_again_is_told_from_what_cannot(tmp_path):
    (tmp_path / "claim").mkdir()
    assert irreplaceable(tmp_path) == ""
    assert irreplaceable(tmp_path / "missing") == ""
    facts = tmp_path / "claim" / "claim.json"
    for text, kept in (("{}", False), ('{"origin": {"keyless": true}}', False), ("[" * 9999, False), ("x", False)):
        facts.write_text(text)
        assert bool(irreplaceable(tmp_path)) is kept
    (tmp_path / "claim" / "secrets.safetensors").write_text("x")
    for text, kept in (
        ("{}", False), ('{"origin": {"keyless": true}}', False), ('{"origin": {"keyless": 1}}', True),
        ('{"origin": {}}', True), ("[" * 9999, True), ("x", True), ("[]", True), ('{"origin": 3}', True),
    ):  # fmt: skip
        facts.write_text(text)
        assert bool(irreplaceable(tmp_path)) is kept, text
    facts.unlink()
    (tmp_path / "claim" / "commitment.json").symlink_to("/nowhere")
    assert "commitment" in irreplaceable(tmp_path)
