"""Texts that become the names of files: they stay where they belong. And tags, which may have blanks."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from ipr import configuration, train
from ipr.errors import InputError
from ipr.store.record import load_record
from ipr.store.survey import find_folders
from ipr.store.tags import joined, parted
from ipr.texts import LONGEST_NAME, check_name, file_name
from ipr.workflows.request import check
from one_line import assert_one_line

BEYOND = ("../x", "/etc/x", "a/b", "..", ".", ".x", "-x", "a\\b", "a\0b", "a\nb", "x" * 300, "é" * 150, "")


@pytest.mark.parametrize("text", BEYOND)
def test_a_text_becomes_the_name_of_one_file(text):
    name = file_name(text)
    assert Path(name).name == name
    assert name[0] not in ".-"
    assert name.isprintable()
    assert len(name.encode()) < 255
    assert name != file_name(text + "'")
    with pytest.raises(InputError, match="cannot name a file"):
        check_name("field", text)


@pytest.mark.parametrize("text", ["table_06", "my run", "née=1.10", "a-b_c.d", "日本"])
def test_a_text_that_can_be_a_name_is_one(text):
    assert file_name(text) == text
    check_name("field", text)
    assert len(file_name("x" * 1000)) < LONGEST_NAME + 10


@pytest.mark.parametrize("tags", [["a", "b"], ["my run", "my", "run"], ["it's", 'a "b"', "c\\d"], ["=1", "../x"], []])
def test_tags_are_kept_whole(tags):
    assert parted(joined(tags)) == sorted(tags)
    assert joined(["b", "a", "b"]) == "a b"  # as it always was
    assert parted("it's old") == ["it's", "old"]


@pytest.mark.parametrize("tags", [[""], [" "], ["a\nb"], ["a\x1b[2J"]])
def test_tags_that_nobody_could_ask_for_are_refused(tags):
    with pytest.raises(InputError, match=r"^tags="):
        check(replace(configuration("train"), tags=tags))


def test_a_run_is_found_by_a_tag_with_blanks_and_its_report_stays_below(ipr, tiny, tmp_path):
    asked = ("train", *tiny, "scheme=baseline", "paths.runs=deep/runs")
    assert ipr(*asked, "tags=[my run, ../x,\"=cmd|' /C calc'!A0\"]").code == 0
    assert ipr(*asked, "tags=[1.10, my run]").code == 0  # found; one more tag
    (path,) = Path("deep/runs/train").glob("*/record.json")
    assert parted(load_record(path).tags) == ["../x", "1.10", "=cmd|' /C calc'!A0", "my run"]
    assert {"my run", "../x"} <= next(iter(find_folders(Path("deep/runs")))).tags
    assert_one_line(ipr("report", "paths.runs=deep/runs", "tag=run"), "tag=run", "my run")
    for tag in ("my run", "../x", "1.10"):
        assert ipr("report", "paths.runs=deep/runs", f"tag={tag}").code == 0
    reports = sorted(path.name for path in Path("deep/runs/report").iterdir())
    assert reports[0] == "1.10"
    assert "my run" in reports
    assert len(reports) == 3
    assert [path.name for path in Path("deep").iterdir()] == ["runs"]
    (line,) = pd.read_csv("deep/runs/report/my run/records.csv", dtype=str)["tags"]
    assert line.startswith("../x 1.10 ")


@pytest.mark.parametrize("argument", ["scheme.name=../../x", "scheme.name=/x", "scheme.name=a\x1bb"])
def test_no_name_leads_out_of_the_folder_of_runs(ipr, tiny, argument):
    assert_one_line(ipr("train", *tiny, "scheme=baseline", "paths.runs=a/b", argument), "is set by its group")
    assert not Path("a").exists()


def test_no_name_of_an_attack_does(ipr, tiny):
    outcome = ipr("attack", *tiny, "scheme=baseline", "paths.runs=a/b", "attack=fake1", "attack.name=../../x")
    assert outcome.code == 2
    assert not list(Path("a").glob("x*"))


@pytest.mark.parametrize("key", ["scheme", "model", "dataset", "attack"])
def test_no_name_of_a_study_does(ipr, key):
    sweep = {"scheme": ["uchida"], "model": ["alexnet"], "dataset": ["cifar10"]} | {key: ["../../x"]}
    study = {"title": "t", "question": "q", "source": "s", "statements": [], "sweeps": [sweep]}
    Path("mine.yaml").write_text(yaml.safe_dump(study))
    assert_one_line(ipr("reproduce", "study=mine.yaml", "dry=true"), "../../x")


def test_no_name_of_a_scale_does(ipr):
    assert_one_line(ipr("reproduce", "study=table_09", "scale.name=../../x", "dry=true"), "scale.name=../../x")


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "scheme=baseline", f"paths.runs={'x' * 300}"),
        ("export", f"run={'x' * 300}"),
        ("claim", "check", f"claim={'x' * 300}"),
        ("status", f"out={'x' * 300}"),
        ("report", f"out={'x' * 300}"),
        ("report", f"tag={'x' * 300}"),
    ],
)
def test_a_name_that_is_too_long_is_one_line(ipr, tiny, arguments):
    outcome = ipr(*arguments[:1], *(tiny if arguments[0] == "train" else ()), *arguments[1:])
    assert outcome.code == 2, outcome.err
    assert outcome.err.count("\n") == 1


def test_the_character_0_is_refused_in_python():
    with pytest.raises(InputError, match="character 0"):
        configuration("train", "paths.runs=a\0b")
    config = configuration("train")
    config.paths.runs = "a\0b"
    with pytest.raises(InputError, match=r"paths\.runs=<text>: holds the character 0"):
        train(config)
