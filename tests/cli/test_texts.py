"""Texts are taken as they were written: nothing that a person types is made a number, a truth value or a list."""

import random
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from ipr import configuration
from ipr.cli import COMMANDS
from ipr.config.schema import DatasetConfig, TrainConfig
from ipr.data.images import ImageData
from ipr.errors import InputError
from ipr.requests.compose import register, schema_of
from ipr.requests.texts import TextArguments, quoted, split
from ipr.studies.study import load_study
from ipr.texts import types_at, without_none
from ipr.workflows.request import check, key_of
from one_line import assert_one_line

RETYPED = (
    "1.10", "12345678e90123456", "2024_06_30", "1_000", "0x10", "010", "1e5", ".5", "+1", "-0", "nan", "inf", "yes",
    "on", "true", "None", "2024-06-30", "٣", "{a: 1}", "[a]", "[a", "f(x)", "choice(1.10,2)", "range(3)", "str(1.10)",
)  # fmt: skip
HARD = (
    "a=b", "a,b", "a, b", " padded ", "née Zoë", "O'Brien", '"Ada" said', "'Ada' or 'Eve'", "# no comment", "a: b",
    "${seed}", "a ${x", r"\${x}", r"\\${x}", r"ends with \ ".strip(), r"C:\new\table", r"a\,b", "a\nb", "a\tb", "日本",
    "@home", "~", "*", "%s", "!tag", "&anchor", "\u202eabc", "x" * 500,
)  # fmt: skip


def test_a_text_is_what_was_written():
    texts = [*RETYPED, *HARD]
    written = ",".join(quoted(text) for text in texts)
    assert configuration("train", f"tags=[{written}]").tags == texts
    arguments, parser = TextArguments(TrainConfig), OverridesParser.create()
    for text in texts:
        for key in ("scheme.signature", "owner"):
            read = parser.parse_override(arguments.one(f"{key}={text}")).value()
            assert OmegaConf.create({"text": read}).text == text


@pytest.mark.parametrize("text", ["1.10", "O'Brien, née [a] # = é", r"\${x}\ ".strip(), "{a: 1}"])
def test_it_comes_through_a_composition(text):
    config = configuration("train", f"scheme.signature={text}", f"owner={text}", "tags=[1.10,no,0x10, my run ]")
    assert (config.scheme.signature, config.owner, config.tags) == (text, text, ["1.10", "no", "0x10", "my run"])


@pytest.mark.parametrize(
    ("written", "text"),
    [("'1.10'", "1.10"), ('"1.10"', "1.10"), ("'null'", "null"), (r"'it\'s'", "it's"), ("''", ""), (" 'a' ", "a"),
     ("'${seed}'", "${seed}"), (r"'a\\'", "a\\"), ("null", None), ("NULL", None)],
)  # fmt: skip
def test_quotes_of_a_user_are_kept_from_the_text(written, text):
    read = OverridesParser.create().parse_override(TextArguments(TrainConfig).one(f"scheme.signature={written}"))
    assert OmegaConf.create({"text": read.value()}).text == text


def texts_of(kind: type, prefix: str = "") -> set[str]:
    found = set()
    for name in {n for one in types_at(kind, prefix.rstrip(".")) for n in getattr(one, "__dataclass_fields__", {})}:
        for type_ in types_at(kind, prefix + name):
            bare, _ = without_none(type_)
            if bare is str:
                found.add(prefix + name)
            elif hasattr(bare, "__dataclass_fields__"):
                found |= texts_of(kind, f"{prefix}{name}.")
    return found


@pytest.mark.sampled(5)
@pytest.mark.parametrize("command", [*COMMANDS, "cell"])
def test_every_text_of_every_command_passes_the_one_place(command):
    register(command)
    arguments, parser = TextArguments(schema_of(command)), OverridesParser.create()
    found = texts_of(schema_of(command))
    assert {"paths.runs"} <= found or command in ("claim", "unlock")
    if command == "train":
        assert {"owner", "passport.key", "scheme.signature", "scheme.layer", "dataset.part", "logger.project"} <= found
    for key in found:
        override = parser.parse_override(arguments.one(f"{key}=1.10"))
        assert override.value() == "1.10"
        assert not override.is_sweep_override()


def test_any_text_survives_hydra_alone_and_in_a_sweep():
    """A thousand texts of what Hydra and OmegaConf give a meaning to."""
    source, parser = random.Random(5), OverridesParser.create()
    arguments = TextArguments(TrainConfig)
    for _ in range(1000):
        text = "".join(source.choices("\\'\"${}[](),:=# ~a1.\té\n", k=source.randint(1, 8)))
        assert parser.parse_override(f"paths.runs={quoted(text)}").value() == text
        swept = parser.parse_override(f"paths.runs={quoted(text)},{quoted('b')}")
        jobs = [parser.parse_override(f"paths.runs={job}").value() for job in swept.sweep_string_iterator()]
        assert jobs == [text, "b"]
        if text.strip() and text.strip()[0] not in "'\"" and not text.startswith("$"):
            assert parser.parse_override(arguments.one(f"paths.runs={text}")).value() == text


@pytest.mark.parametrize(
    ("written", "jobs"),
    [
        ("1.10,1.1", ["1.10", "1.1"]),
        ("'a,b',c", ["a,b", "c"]),
        (r"a\,b,c", ["a,b", "c"]),
        ("it's, that's", ["it's", "that's"]),
        ("choice(1.10, 010)", ["1.10", "010"]),
        ("f(x,y),g", ["f(x,y)", "g"]),
        ("a=b,é", ["a=b", "é"]),
        ("range(2)", ["0", "1"]),
        ("alone", ["alone"]),
    ],
)
def test_every_element_of_a_sweep_is_a_text(written, jobs):
    parser = OverridesParser.create()
    override = parser.parse_override(TextArguments(TrainConfig, sweep=True).one(f"owner={written}"))
    swept = override.sweep_string_iterator() if override.is_sweep_override() else [override.get_value_element_as_str()]
    assert [str(parser.parse_override(f"owner={job}").value()) for job in swept] == jobs


def test_lists_of_texts_are_swept_over_whole():
    assert split("[a,b],[c]") == ["[a,b]", "[c]"]
    override = OverridesParser.create().parse_override(TextArguments(TrainConfig, sweep=True).one("tags=[1.10,b],[no]"))
    assert [*override.sweep_string_iterator()] == ["['1.10','b']", "['no']"]


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("passport.key=", ["is empty", "not set"]),
        ("passport.key=  ", ["is empty"]),
        ("passport.key=$UNSET", ["env:NAME"]),
        ("passport.key=${UNSET}", ["env:NAME"]),
        ("passport.key=${oc.env:HOME}", ["env:NAME"]),
        ("passport.key=None", ["null"]),
        ("owner=", ["leave owner out"]),
        ("scheme.signature=", ["null"]),
        ("paths.runs=", ["is empty"]),
        ("paths.runs=$SCRATCH/runs", ["double quotes"]),
        ("tags=[a,,b]", ["is empty"]),
        ("tags=a", ["tags=[a]"]),
        ("--passport.key=hush", ["hyphens"]),
        ("owner=\udce9", ["UTF-8"]),
    ],
)
def test_what_cannot_be_meant_is_refused(argument, words):
    with pytest.raises(InputError) as raised:
        TextArguments(TrainConfig).one(argument)
    assert "hush" not in str(raised.value)
    for word in [argument.lstrip("-").split("=")[0], *words]:
        assert word in str(raised.value)


def test_a_key_in_quotes_with_nothing_in_them_is_refused():
    with pytest.raises(InputError, match="is empty"):
        configuration("train", "passport.key=''")


def test_two_keys_that_hydra_takes_for_infinity_are_two(data: ImageData):
    keys = ("12345678e90123456", "99999999e7654321")
    runs = {key_of(configuration("train", "scheme=uchida", f"passport.key={key}"), data) for key in keys}
    assert len(runs) == 2


def test_a_place_may_still_be_interpolated(monkeypatch):
    monkeypatch.setenv("SCRATCH", "/else where")
    assert configuration("train", "paths.runs=${oc.env:SCRATCH}/runs").paths.runs == "/else where/runs"


def test_a_folder_has_the_name_that_was_written(ipr, tiny):
    assert ipr("train", "-m", *tiny, "scheme=baseline", "paths.runs=2024_06_30,née=1.10").code == 0
    assert {path.name for path in Path().iterdir()} >= {"2024_06_30", "née=1.10"}
    assert ipr("report", "paths.runs=2024_06_30", "out=010,011").code == 0
    assert Path("010,011/index.html").exists()
    assert not Path("20240630").exists()


def test_a_mapping_on_the_command_line_is_held_to_the_same(ipr):
    asked = ("verify", "suspect=a", "claim=b", "commitment={digest: 1e5}")
    assert_one_line(ipr(*asked), "commitment.digest", "in quotes")


def test_a_temporary_folder_may_be_called_anything(ipr, tiny, monkeypatch, tmp_path):
    place = tmp_path / "a=b, née"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    assert ipr("train", "-m", *tiny, "scheme=baseline", "seed=7").code == 0
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("scheme/mine.yaml", "name: uchida\nsignature: 1.10\n", ["scheme.signature"]),
        ("passport/mine.yaml", "name: random\nkey: 12345678e90\n", ["passport.key=<hidden>"]),
        ("study/mine.yaml", "# @package _global_\nowner: no\n", ["owner=False"]),
        ("study/mine.yaml", "# @package _global_\ntags: [1.10]\n", ["tags[0]=1.1"]),
        ("study/mine.yaml", "hydra: {sweeper: {params: {owner: '1.10,b'}}}\n", ["owner=1.1"]),
        ("study/mine.yaml", "hydra: {sweeper: {params: {owner: 010}}}\n", ["owner=8"]),
    ],
)
def test_a_number_where_a_text_belongs_is_refused_in_a_file(ipr, tiny, name, content, words):
    path = Path("own") / name
    path.parent.mkdir(parents=True)
    path.write_text(content)
    group = path.parent.name
    asked = [a for a in tiny if not a.startswith(f"{group}=")]
    outcome = ipr("train", "--config-dir", "own", *asked, f"{'+' if group == 'study' else ''}{group}=mine")
    assert_one_line(outcome, path.name, *words, "write it in quotes")
    assert "12345678e90" not in outcome.err


STUDY = {"title": "Mine", "question": "?", "source": "here", "statements": [], "sweeps": [{"scheme": ["uchida"]}]}


def test_a_study_is_held_to_the_same(ipr, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(STUDY | {"title": 1.10}))
    with pytest.raises(InputError, match=r"mine\.yaml\.title=1\.1.*quotes"):
        load_study(path)
    path.write_text(yaml.safe_dump(STUDY | {"sweeps": [{"scheme": ["uchida"], "set": {"scheme.signature": 1.10}}]}))
    assert_one_line(ipr("reproduce", "study=mine.yaml"), "scheme.signature", "write it in quotes")
    assert not Path("runs").exists()


def test_a_request_built_in_python_is_held_to_the_same():
    config = configuration("train")
    config.passport.key = 12345678  # type: ignore[assignment]
    with pytest.raises(InputError, match=r"passport\.key=<hidden>: a text belongs here"):
        check(config)
    config = configuration("train")
    config.dataset = DatasetConfig("digits", part=1.5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"dataset\.part=1\.5"):
        check(config)
