"""A key is named by file or environment, and stands in no file, message or command line that ipr makes."""

import os
from pathlib import Path

import pytest

from ipr import configuration
from ipr.config.secrets import revealed
from ipr.data.images import ImageData
from ipr.errors import InputError
from ipr.requests.compose import as_texts, register
from ipr.requests.texts import hiding
from ipr.studies.plan import Cell
from ipr.workflows.request import key_of

SECRET = "hush = a secret, née 1.10 'quoted' ${x}"


def name_of(data, *arguments):
    return key_of(configuration("train", "scheme=uchida", *arguments), data)


def test_a_run_is_named_by_the_secret_and_not_by_its_place(data: ImageData, monkeypatch):
    plain = name_of(data, f"passport.key={SECRET}")
    Path("a b.key").write_text(f"{SECRET}\n")
    Path("windows.key").write_bytes(f"\ufeff{SECRET}\r\n".encode())
    monkeypatch.setenv("MY_KEY", SECRET)
    for place in ("file:a b.key", "file:windows.key", f"file:{Path('a b.key').absolute()}", "env:MY_KEY"):
        assert name_of(data, f"passport.key={place}") == plain
    Path("a b.key").write_text(f"{SECRET} ")
    assert name_of(data, "passport.key=file:a b.key") != plain


def test_what_is_found_is_the_secret_whatever_it_looks_like(monkeypatch):
    for text in ("env:OTHER", "null", "$X", " 1.10 ", "a\nb"):
        monkeypatch.setenv("MY_KEY", text)
        assert configuration("train", "passport.key=env:MY_KEY").passport.key == text


def test_a_text_may_be_named_too():
    Path("text").write_text("1.10")
    config = configuration("train", "scheme.signature=file:text")
    assert config.scheme.signature == "1.10"


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("file:nowhere-hush", "No such file"),
        ("file:.", "cannot be read"),
        ("file:pipe", "no regular file"),
        ("file:large", "larger than 4096 bytes"),
        ("file:empty", "holds nothing"),
        ("file:bytes", "UTF-8"),
        ("file:", "cannot be read"),
        ("env:hush", "not set"),
        ("env:", "not set"),
        ("env:EMPTY", "holds nothing"),
    ],
)
def test_a_secret_that_is_not_there_is_one_line_without_it(place, words, monkeypatch):
    os.mkfifo("pipe")
    Path("large").write_text("x" * 4097)
    Path("empty").write_text("\n")
    Path("bytes").write_bytes(b"\xff\xfe")
    monkeypatch.setenv("EMPTY", "")
    with pytest.raises(InputError, match=r"^passport\.key=<hidden>: ") as raised:
        revealed("passport.key", place)
    assert words in str(raised.value)
    assert "hush" not in str(raised.value)


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    "arguments",
    [
        ["passport.kye=hush"],
        ["++passport.kye=hush"],
        ["++passport.key.x=hush"],
        ["+key=hush"],
        ["passport_key=hush"],
        ["Passport.key=hush"],
        ["passport.key =hush"],
        ["passport=hush"],
        ["passport={key:hush"],
        ["passport={key:hush}"],
        ["--passport.key=hush"],
        ["--passport.key", "hush"],
        ["-passport.key=hush"],
        ["scheme.signature=hush", "scheme=baseline"],
        ["passport.key=hush", "seed=x"],
        ["passport.key=hush", "nonsense"],
        ["passport.key=hush", "optimizer.lr=[1"],
        ["-m", "passport.key=hush,hush2", "seed=x,y"],
        ["++passport.key=hush", "optimizer.batch_size=0"],
    ],
    ids=" ".join,
)
def test_no_refusal_tells_a_secret(ipr, tiny, arguments):
    asked = [a for a in tiny if not (a.startswith("passport=") and any(b.startswith("passport=") for b in arguments))]
    outcome = ipr("train", *asked, *arguments)
    assert outcome.code == 2
    assert "hush" not in outcome.out + outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("flag", [["--cfg", "job"], ["--cfg=all"], ["-c", "job"]])
def test_the_configuration_that_is_printed_holds_no_secret(ipr, flag):
    outcome = ipr("train", *flag, "passport.key=hush", "scheme.signature=hush2")
    assert outcome.code == 0
    assert "hush" not in outcome.out + outcome.err
    assert "<hidden>" in outcome.out


def test_no_file_of_hydra_holds_a_secret(ipr, tiny):
    """Neither its folders, where somebody asks for them, nor the file of a sweep; and nothing is left behind."""
    kept = ("hydra.sweep.dir=kept", "hydra.output_subdir=.hydra")
    asked = [*tiny, "scheme=uchida", "scheme.bits=64", "scheme.signature=hush1,hush2", "passport.key=hush, hush"]
    outcome = ipr("train", "-m", *asked, *kept)
    assert outcome.code == 0
    assert "hush" not in outcome.err
    files = [path for path in Path().rglob("*") if path.is_file() and not {"claim", "checkpoints"} & {*path.parts}]
    assert {"multirun.yaml", "overrides.yaml", "config.yaml"} <= {path.name for path in files}
    assert not [path for path in files if b"hush" in path.read_bytes()]
    assert not [name for name in os.environ if name.startswith("IPR_HIDDEN")]
    assert len(list(Path("runs/train").glob("uchida-*"))) == 2  # two texts; the two keys are one text


def test_what_jobs_in_other_processes_get_holds_no_secret():
    register("train")
    with hiding() as hide:
        asked = as_texts("train", ["-m", "passport.key=hush,null", "+scheme.bound=true", "owner=a"], hide)
        key = asked[1].partition("=")[2].split(",")
        assert "hush" not in " ".join(asked)
        assert asked[2:] == ["+scheme.bound=true", "owner='a'"]
        assert key[1] == "null"
        assert revealed("passport.key", key[0].strip("'")) == "hush"
    with pytest.raises(InputError, match="not set"):
        revealed("passport.key", key[0].strip("'"))


def test_a_cell_is_named_by_the_secret(monkeypatch):
    monkeypatch.setenv("MY_KEY", "mine")
    about, choices = {"scheme": "uchida", "seed": 0}, {"scheme": "uchida"}
    cells = [Cell(about, choices, {}, (change,)) for change in ("passport.key=mine", "passport.key=env:MY_KEY")]
    assert cells[0].name == cells[1].name
    assert cells[0].name != Cell(about, choices, {}, ("passport.key=other",)).name
    assert "MY_KEY" not in cells[1].command
