"""Runs by name: `ipr list`, `run=KEY`, what is chosen by, and what a sweep says, returns and leaves."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ipr import attack, configuration
from ipr.cli import main
from ipr.errors import InputError
from ipr.store.folder import folder_named, run_key, short_key
from ipr.store.survey import Found, find_run
from one_line import assert_one_line
from trained import made_once

SWEEP = ("-m", "scheme=passport_v1,uchida", "seed=0,1", "scheme.signature=hush", "passport.key=hushed")


@pytest.fixture(scope="session")
def made_runs(shared, cache, tiny) -> Path:
    """Two schemes, two seeds, with a key and a text; and a baseline."""

    def make(place: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(place)
            patch.setenv("IPR_CACHE", str(cache))
            patch.setattr("sys.argv", ["ipr"])
            for asked in (SWEEP, ("scheme=baseline", "tags=[mine]")):
                with pytest.raises(SystemExit) as stopped:
                    main(["train", *tiny, *asked])
                assert stopped.value.code == 0

    return made_once(shared / "listed", make)


@pytest.fixture
def runs(made_runs, tmp_path) -> Path:
    """A copy in the working folder."""
    shutil.copytree(made_runs / "runs", tmp_path / "runs")
    return tmp_path / "runs"


def names(outcome):
    assert outcome.code == 0, outcome.err
    return sorted(line.split()[0] for line in outcome.out.splitlines() if "-alexnet-" in line)


def test_what_is_there_is_listed_with_what_it_is(ipr, runs):
    outcome = ipr("list")
    assert names(outcome) == sorted(path.name for path in runs.glob("train/*"))
    assert "5 runs in" in outcome.out
    record = json.loads(next(runs.glob("train/passport_v1-*-s1-*/record.json")).read_text())
    (line,) = (line for line in outcome.out.splitlines() if record["key"] in line)
    assert f"{100 * record['accuracy_genuine']:.1f} %" in line
    assert f"{record['bits_agreeing']} of {record['bits_total']} bits" in line
    assert line.split()[1:4] == ["train", "1", "1"]
    assert " done " in line
    assert "hush" not in outcome.out
    (runs / "train" / "broken-alexnet-bn").mkdir()
    (runs / "train" / "broken-alexnet-bn" / "config.yaml").write_text("[")
    failed = next(runs.glob("train/uchida-*-s0-*"))
    (failed / "record.json").unlink()
    (failed / "failure.json").write_text(json.dumps({"what": "weight", "value": "nan", "epoch": 3}))
    assert names(ipr("list", "state=stopped")) == ["broken-alexnet-bn"]
    outcome = ipr("list", "state=failed")
    assert f"failed: {failed.name}: diverged: weight is nan in epoch 3" in outcome.out
    assert "1 of 6 runs" in outcome.out


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("asked", "count"),
    [
        (["scheme=passport_v1"], 2),
        (["scheme=passport_v1,uchida", "seed=1"], 2),
        (["seed=0"], 3),
        (["width=0.25"], 5),
        (["width=0.250", "norm=bn", "dataset=digits", "model=alexnet"], 5),
        (["seed=7"], 0),
        (["kind=attack"], 0),
        (["tag=mine"], 1),
        (["state=done", "kind=train,attack"], 5),
    ],
)
def test_what_is_listed_is_chosen(ipr, runs, asked, count):
    assert len(names(ipr("list", *asked))) == count


def test_what_nothing_can_have_is_refused(ipr, runs):
    assert_one_line(ipr("list", "scheme=v1"), "scheme=v1", "did you mean passport_v1?")
    assert_one_line(ipr("list", "seed=0", "paths.output=x"), "paths.output: there is no such key")
    assert_one_line(ipr("list", "state=finished"), "state=finished", "done, running")
    assert_one_line(ipr("list", "kind=training"), "kind=training", "train, attack")
    assert_one_line(ipr("report", "scheme=passport_v9"), "scheme=passport_v9", "passport_v3")
    assert ipr("list", "paths.runs=nowhere").out.startswith("0 runs in ")


def test_a_report_of_what_is_chosen(ipr, runs):
    assert ipr("report", "scheme=uchida", "seed=1").code == 0
    rows = (runs / "report" / "uchida-1" / "records.csv").read_text().splitlines()[1:]
    assert [row.split(",")[2] for row in rows] == ["uchida"]  # no baseline of this seed is there
    assert ipr("report", "scheme=passport_v1", "out=out").code == 0
    rows = Path("out/records.csv").read_text().splitlines()[1:]
    assert sorted(row.split(",")[2] for row in rows) == ["baseline", "passport_v1", "passport_v1"]
    assert_one_line(ipr("report", "seed=9"), "seed=9", "`ipr list`")
    assert_one_line(ipr("report", "study=all", "seed=0"), "seed=0", "does not go with study")


def test_an_attack_of_a_run_by_its_name_asks_for_no_secret(ipr, runs):
    """It is the attack that the groups name, whose rows and folder are the same."""
    victim = next(runs.glob("train/passport_v1-*-s1-*"))
    before = {path: path.read_bytes() for path in victim.rglob("*") if path.is_file()}
    outcome = ipr("attack", f"run={victim.name[:-4]}", "attack=prune", "attack.rates=[0.5]", "logger=csv")
    assert outcome.code == 0, outcome.err
    (folder,) = runs.glob("attack/prune-passport_v1-*-s1-*")
    (row,) = map(json.loads, (folder / "rows.jsonl").read_text().splitlines())
    assert (row["victim"], row["seed"], row["width"]) == (victim.name, 1, 0.25)
    assert "hush" not in outcome.out + outcome.err + (folder / "config.yaml").read_text()
    assert {path: path.read_bytes() for path in victim.rglob("*") if path.is_file()} == before
    tiny = ("model.width=0.25", "dataset.image_size=8", "dataset.limit_train=96", "dataset.limit_test=40")
    tiny += ("optimizer.batch_size=32", "trainer.max_epochs=1", "passport=random", *SWEEP[3:], "seed=1", "logger=csv")
    again = ipr("attack", *tiny, "scheme=passport_v1", "attack=prune", "attack.rates=[0.5]")
    assert f"found: runs/attack/{folder.name}" in again.out
    found = attack(configuration("attack", f"run={victim}", "attack=prune", "attack.rates=[0.5]"))
    assert (found.found, found.folder.key) == (True, folder.name)


def test_several_runs_are_attacked_in_a_sweep_that_ends_with_one_table(ipr, runs):
    keys = [path.name for path in sorted(runs.glob("train/uchida-*"))]
    outcome = ipr("attack", "-m", f"run={','.join(keys)}", "attack=forge_uchida,fake1", "logger=csv")
    assert outcome.code == 2  # fake1 needs a passport
    assert f"[2/4] run={keys[0]} attack=fake1" in outcome.out
    assert f"[3/4] run={keys[1]} attack=forge_uchida" in outcome.out
    table = outcome.out.partition("4 jobs")[2].splitlines()
    jobs = [line.split() for line in table if line.strip() and line.split()[0].isdigit()]
    assert [job[0] for job in jobs] == ["1", "2", "3", "4"]
    assert ["failed" in job for job in jobs] == [False, True, False, True]
    assert jobs[0][-1] == next(runs.glob("attack/forge_uchida-*-s0-*")).name


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["run=passport"], ["run=passport: is the beginning of 2 names", "passport_v1-alexnet"]),
        (["run=pasport_v1"], ["run=pasport_v1", "did you mean passport_v1-alexnet"]),
        (["run=zzz"], ["run=zzz", "`ipr list`"]),
        (["run=uchida-alexnet-bn-digits-w0.25-s0", "scheme=uchida"], ["scheme=", "says itself"]),
        (["run=uchida-alexnet-bn-digits-w0.25-s0", "model.width=1"], ["model.width=", "says itself"]),
        (["run=uchida-alexnet-bn-digits-w0.25-s0", "trainer.max_epochs=2"], ["trainer.max_epochs=", "says itself"]),
        (["run=uchida-alexnet-bn-digits-w0.25-s0", "attack=fake1"], ["attack=fake1", "no passport"]),
    ],
)
def test_a_run_that_cannot_be_named_so(ipr, runs, asked, said):
    assert_one_line(ipr("attack", *asked), *said)
    assert not (runs / "attack").exists()


def test_a_run_that_says_nothing_of_itself(ipr, runs):
    victim = next(runs.glob("train/uchida-*-s0-*"))
    (victim / "config.yaml").write_text("scheme: {name: uchida}\n")
    assert_one_line(ipr("attack", f"run={victim.name}", "attack=prune"), "config.yaml", "is damaged")
    (victim / "record.json").unlink()
    assert_one_line(ipr("attack", f"run={victim.name}", "attack=prune"), "is no finished training")
    one, other = (path.name for path in sorted(runs.glob("train/passport_v1-*")))
    with pytest.raises(InputError, match="was made with another seed"):
        attack(replace(configuration("attack", f"run={one}", "attack=prune"), run=other))


def test_an_exhibit_of_a_run_by_its_name(ipr, runs, tiny, run_of):
    run_of(*tiny, "scheme=passport_v1")
    (open_one,) = (
        path for path in runs.glob("train/passport_v1-*-s0-*") if "key: null" in (path / "config.yaml").read_text()
    )
    outcome = ipr("exhibit", f"run={open_one.name}", "exhibit=distributions", "logger=csv")
    assert outcome.code == 0, outcome.err
    (folder,) = runs.glob("exhibit/distributions-passport_v1-*-s0-*")
    assert json.loads((folder / "facts.json").read_text())[0]["run"] == open_one.name
    secret = next(runs.glob("train/passport_v1-*-s1-*"))
    assert_one_line(ipr("exhibit", f"run={secret.name}", "exhibit=distributions"), "passport.key=<hidden>", "is set")


def test_a_run_is_found_by_its_beginning(runs):
    (one,) = runs.glob("train/baseline-*")
    for asked in ("baseline", one.name, str(one)):
        assert find_run(asked, runs) == one
    (runs / "train" / "base").mkdir()
    assert (
        find_run("base", runs) == runs / "train" / "base"
    )  # the whole name of one goes before the beginning of another


def test_names_tell_width_and_seed_and_old_names_are_found(tmp_path):
    key = run_key("passport_v1-torchvision:resnet18-bn-digits", {"a": 1}, width=0.25, seed=-3)
    assert key == f"passport_v1-torchvision-resnet18-bn-digits-w0.25-s-3-{short_key(key)[-12:]}"
    assert short_key(key) == f"passport_v1-torchvision-resnet18-bn-digits-{key[-12:]}"
    assert short_key(short_key(key)) == short_key(key)
    for width, said in ((1.0, "w1"), (0.0625, "w0.0625"), (1e-5, "w1e-05"), (2e20, "w2e+20")):
        other = run_key("x", {}, width=width, seed=10)
        assert f"-{said}-s10-" in other
        assert short_key(other) == f"x-{other[-12:]}"
    assert folder_named(tmp_path, key).key == key
    (tmp_path / short_key(key)).mkdir()
    assert folder_named(tmp_path, key).key == short_key(key)


def test_a_store_of_the_old_names_goes_on(ipr, runs, tiny):
    """Neither is the victim trained again, nor its attack carried out again, nor the baseline of a report missed."""
    asked = ("scheme=uchida", "seed=1", "scheme.signature=hush", "passport.key=hushed")
    attacked = ("attack", *tiny, *asked, "attack=prune", "attack.rates=[0.5]")
    assert ipr(*attacked).code == 0
    for folder in [*runs.glob("train/uchida-*-s1-*"), *runs.glob("attack/*")]:
        for file in ("record.json", "rows.jsonl"):
            if (folder / file).exists():
                (folder / file).write_text((folder / file).read_text().replace("-w0.25-s1", ""))
        folder.rename(folder.with_name(short_key(folder.name)))
    assert "found: " in ipr("train", *tiny, *asked).out
    assert "found: " in ipr(*attacked).out
    assert len(list(runs.glob("train/*"))) == 5
    (old,) = runs.glob("attack/*")
    assert Found(old).uses == {next(path.name for path in runs.glob("train/uchida-*") if "-s" not in path.name)}
