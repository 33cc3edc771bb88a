"""The leaderboard: its entries hold, its pages are theirs, and what a stranger sends is refused in one line."""

import json
import os
import pickle
import re
import shlex
import shutil
from dataclasses import asdict, replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import markdown
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save, save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import leaderboard
from board.card import card
from board.checking import read_board
from board.entry import read_entry
from board.page import page
from board.words import literal, weakest
from hostile_weights import CASES
from ipr.digests import weights_digest
from ipr.models import build_model
from pictures import folder_of_images

TOP = Path(__file__).parents[1]
BOARD = TOP / "docs" / "results" / "leaderboard"
NAMES = sorted(path.name for path in (BOARD / "entries").iterdir())


@pytest.fixture
def call(monkeypatch, cache, capfd):
    """Calls the script: exit code, what it printed, and what it said of an error."""
    monkeypatch.setenv("IPR_CACHE", str(cache))

    def of(*arguments):
        capfd.readouterr()
        code = leaderboard.main([str(one) for one in arguments])
        return (code, *capfd.readouterr())

    return of


@pytest.fixture
def v2(tmp_path):
    """An entry of a board of its own, to be changed."""
    folder = tmp_path / "board" / "entries" / "ipr-passport_v2"
    shutil.copytree(BOARD / "entries" / "ipr-passport_v2", folder)
    return folder


@pytest.fixture
def refused(call, v2):
    """Checks the board that holds the entry: one line that names the entry, and says what is asked for."""

    def of(*words):
        code, _, told = call("--board", v2.parents[1], "check")
        assert code == 2, told
        assert len(told.splitlines()) == 1, told
        assert told.startswith(f"leaderboard: error: entry={v2.name}")
        assert "; " in told, "no remedy"
        assert "make leaderboard" not in told, "no check but that of the card saw it"
        assert told.strip().isprintable()
        assert str(v2.parent) not in told, "where it lies is nobody's business"
        for word in words:
            assert word in told
        assert not Path("executed").exists()

    return of


def edit(path, **changed):
    """Fields of a JSON file, changed."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def with_weights(folder, tensors, metadata=None):
    """Other weights, with digests that are theirs."""
    held = save(tensors, metadata)
    (folder / "public.safetensors").write_bytes(held)
    edit(folder / "network.json", sha256=sha256(held).hexdigest(), weights_digest=weights_digest(tensors))


def rows_of(folder):
    return [json.loads(line) for line in (folder / "attacks.jsonl").read_text().splitlines()]


def with_rows(folder, rows):
    (folder / "attacks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


# What is there


def test_every_entry_holds_and_every_page_is_current(call):
    """What a pull request with an entry must pass: see docs/results/leaderboard/adding.md."""
    code, told, error = call("check")
    assert (code, error) == (0, "")
    assert [line.split(":")[0] for line in told.splitlines()] == NAMES
    for name, line in zip(NAMES, told.splitlines(), strict=True):
        record = json.loads((BOARD / "entries" / name / "record.json").read_text())
        assert line.endswith("% measured") == record["dataset"].startswith("digits"), line


def test_all_of_it_is_small():
    files = [path for path in BOARD.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 3 * 10**6 + 10**6 * max(0, len(NAMES) - 4)


def digits_of(size):
    """The test images of the digits in [0, 255], (360, 1, size, size), and their labels, without ipr."""
    digits = load_digits()
    grey = [Image.fromarray(np.rint(one * (255 / 16)).astype(np.uint8)) for one in digits.images]
    pixels = np.stack([np.asarray(one.resize((size, size), Image.Resampling.BILINEAR)) for one in grey])
    places = np.arange(len(pixels))
    _, test = train_test_split(places, test_size=0.2, stratify=digits.target, random_state=0)
    return torch.from_numpy(pixels[test]).float()[:, None], torch.from_numpy(digits.target[test])


@pytest.mark.parametrize("name", NAMES)
def test_the_code_of_a_card_opens_a_network_of_the_accuracy_that_the_card_tells(name, monkeypatch):
    """The code is made here of what was checked: what a stranger's file holds is not run."""
    folder = BOARD / "entries" / name
    text = card(read_entry(folder))
    monkeypatch.chdir(folder)
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    found = {}
    exec(compile(code, "README.md", "exec"), found)
    pixels, labels = digits_of(found["sizes"]["image_size"])
    with torch.no_grad():
        answers = found["network"]((pixels / 255 - found["mean"]) / found["std"]).argmax(1)
    told = yaml.safe_load(text.split("---\n")[1])["model-index"][0]["results"][0]["metrics"][0]["value"]
    assert (answers == labels).double().mean().item() == pytest.approx(told, abs=2.5 / 360)


def test_a_card_has_what_hubs_ask_for():
    """Fields and their nesting as https://huggingface.co/docs/hub/model-cards has them."""
    front = yaml.safe_load((BOARD / "entries" / "ipr-passport_v2" / "README.md").read_text().split("---\n")[1])
    record = json.loads((BOARD / "entries" / "ipr-passport_v2" / "record.json").read_text())
    assert (front["license"], front["library_name"]) == ("apache-2.0", "ipr")
    assert front["pipeline_tag"] == "image-classification"
    (model,) = front["model-index"]
    (result,) = model["results"]
    assert model["name"] == "ipr-passport_v2"
    assert result["task"]["type"] == "image-classification"
    assert {"name", "type"} <= result["dataset"].keys()
    assert [(one["type"], one["value"]) for one in result["metrics"]] == [
        ("accuracy", pytest.approx(record["accuracy_without"], abs=1e-6))
    ]
    assert all("verified" not in one for one in result["metrics"]), "that is the hub's own word"


def test_the_page_shows_where_an_entry_is_weakest():
    v1, v2 = (read_entry(BOARD / "entries" / f"ipr-passport_{one}") for one in ("v1", "v2"))
    assert "**forged**" in weakest(v2, by_forging=True)
    assert "lift_passport" in weakest(v2, by_forging=True)
    assert "erb" in weakest(v1, by_forging=True)
    kept = [row for row in v2.rows if row.kind == "removal" and row.fidelity_kept]
    assert kept
    least = min(kept, key=lambda row: row.bits_agreeing)
    assert f"{least.attack} {least.point}" in weakest(v2, by_forging=False)
    assert weakest(replace(v2, rows=()), by_forging=False) == weakest(replace(v2, rows=()), by_forging=True) == "-"


def test_schemes_stand_in_their_order_and_the_best_of_one_first():
    v2 = read_entry(BOARD / "entries" / "ipr-passport_v2")
    better = replace(v2, folder=Path("zz-better"), record=replace(v2.record, accuracy_without=1.0))
    baseline = read_entry(BOARD / "entries" / "ipr-baseline")
    rows = re.findall(r"^\| \[([\w-]+)\]", page([v2, better, baseline]), re.MULTILINE)
    assert rows == ["ipr-baseline", "zz-better", "ipr-passport_v2"] * 2
    assert page([v2, better, baseline]) == page([baseline, better, v2])


# What a stranger sends: files


def test_a_board_that_is_as_it_was_is_taken(call, v2):
    """So that what is refused below is refused for what was changed."""
    board = v2.parents[1]
    (v2 / "README.md").unlink()  # made anew
    assert call("--board", board, "build")[0] == 0
    assert call("--board", board, "check")[0] == 0
    assert (v2 / "README.md").read_bytes() == (BOARD / "entries" / v2.name / "README.md").read_bytes()


@pytest.mark.parametrize("name", ["passport.safetensors", "claim", "secret.key", ".hidden", "x\n\x1b[31m", "ü.md"])
def test_a_file_that_has_no_place_is_refused(name, v2, refused):
    (v2 / name).touch()
    refused("has no place", "leave README.md, attacks.jsonl, network.json, public.safetensors, record.json there alone")


@pytest.mark.parametrize("name", ["record.json", "network.json", "public.safetensors"])
def test_a_missing_file_is_refused(name, v2, refused):
    (v2 / name).unlink()
    refused(f"{name}: is missing")


@pytest.mark.parametrize("name", ["record.json", "public.safetensors", "attacks.jsonl", "README.md"])
def test_a_link_is_refused_whatever_it_leads_to(name, v2, refused):
    (v2 / name).rename(v2.parents[1] / "elsewhere")
    (v2 / name).symlink_to("../../elsewhere")
    refused(f"{name}: is no plain file")


def test_a_pipe_is_not_waited_for(v2, refused):
    (v2 / "attacks.jsonl").unlink()
    os.mkfifo(v2 / "attacks.jsonl")
    refused("is no plain file")


@pytest.mark.parametrize(
    ("name", "size"), [("public.safetensors", 10**6), ("record.json", 2**16), ("attacks.jsonl", 2**19)]
)
def test_a_file_that_is_too_large_is_refused(name, size, v2, refused):
    with (v2 / name).open("ab") as file:
        file.truncate(size)
    refused(f"{name}: is larger than")


def test_an_entry_that_is_a_link_or_a_file_is_refused(v2, call):
    (v2.parent / "other").symlink_to(v2)
    code, _, told = call("--board", v2.parents[1], "check")
    assert (code, len(told.splitlines())) == (2, 1)
    assert "entry=other: is no folder" in told


@pytest.mark.parametrize("name", ["Upper", "a b", "<b>x", "a|b", "-a", "a--b", "ü", ".a", "a" * 49, "[x](y)", "a_"])
def test_an_odd_name_is_refused(name, v2, call):
    v2.rename(v2.parent / name)
    code, _, told = call("--board", v2.parents[1], "check")
    assert (code, len(told.splitlines())) == (2, 1)
    assert "is no name of an entry" in told
    code, _, told = call("--board", v2.parents[1], "add", "--", name, "run")
    assert (code, len(told.splitlines())) == (2, 1)
    assert "is no name of an entry" in told


def test_the_same_weights_are_taken_once(v2, call):
    shutil.copytree(v2, v2.with_name("mine"))
    code, _, told = call("--board", v2.parents[1], "check")
    assert code == 2
    assert "entry=mine: has the weights of ipr-passport_v2" in told


def test_a_card_or_page_by_hand_is_refused(v2, call):
    board = v2.parents[1]
    assert call("--board", board, "build")[0] == 0
    for path in (v2 / "README.md", board / "README.md"):
        before = path.read_text()
        path.write_text(f"{before}\n<script>alert(1)</script>\n")
        code, _, told = call("--board", board, "check")
        assert (code, len(told.splitlines())) == (2, 1)
        assert "README.md: is not what" in told
        assert "make leaderboard" in told
        path.write_text(before)
    assert call("--board", board, "check")[0] == 0


# Fields


NUMBERS = [
    ("accuracy_without", 1.01), ("accuracy_without", -0.1), ("accuracy_genuine", 2), ("width", 0), ("width", 17.0),
    ("epochs", -1), ("parameters", 10**400), ("p_value_log10", 1.0), ("correlation", -2), ("seed", 2**70),
    ("train_seconds", 1e300), ("bits_agreeing", 225), ("forged_passing", 51), ("test_images", 0), ("test_images", 359),
    ("parameters", 156379), ("accuracy_without", 0.97), ("bits_total", None),
]  # fmt: skip
TYPES = [
    ("accuracy_without", "0.9"),
    ("accuracy_without", True),
    ("epochs", 20.5),
    ("scheme", None),
    ("tags", ["a"]),
    ("key", {}),
]
TEXTS = [
    "<script>alert(1)</script>", "a|b", "`x`", "[x](javascript:alert(1))", "![x](y)", "http://example.org",
    "www.example.org", "line\nbreak", "\x1b[31m", "\u202e", "ü", "*b*", "#1", "a" * 201, "&lt;", "$(x)", "\\", "{{x}}",
    "'", '"',
]  # fmt: skip
NAMED = [
    ("scheme", "no_such"), ("model", "torchvision:alexnet"), ("model", "timm:hf-hub:a/b"), ("model", "../alexnet"),
    ("dataset", "image_folder"), ("norm", "ln"), ("kind", "attack"), ("schema_version", 2), ("schema_version", 7),
    ("schema_version", 6.0), ("key", "other"),
    ("scheme", "baseline"), ("scheme", "passport_v1"), ("model", "resnet18"), ("width", 0.5), ("norm", "gn"),
    ("dataset", "digits_rgb"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), NUMBERS + TYPES + NAMED)
def test_a_field_of_the_record_that_does_not_fit_is_refused(field, value, v2, refused):
    edit(v2 / "record.json", **{field: value})
    refused()


def test_what_is_refused_is_named(v2, refused):
    edit(v2 / "record.json", accuracy_without=1.5)
    refused(f"{v2.name}/record.json: accuracy_without=1.5 is no number from 0 to 1; write the entry anew: ")


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("field", ["hardware", "tags"])
def test_a_text_that_means_something_elsewhere_is_refused(field, text, v2, refused):
    edit(v2 / "record.json", **{field: text})
    refused(f"{field}=", "has other signs than")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"width": 0.25', '"width": NaN', "NaN is no number"),
        ('"width": 0.25', '"width": -Infinity', "-Infinity is no number"),
        ('"width": 0.25', '"width": 1e999', "width=inf is no number"),
        ('"width": 0.25', '"width": ' + "1" * 5000, ""),
        ('"width": 0.25', '"width": 0.25, "width": 0.25', "width is there twice"),
        ('"width": 0.25', '"width": 0.25, "passport_key": "x"', "there is no field passport_key"),
        ('"width": 0.25,', "", "width is missing"),
        ('"schema_version": 6', '"schema_version": 6, "signature": [1]', "there is no field signature"),
        (',\n  "schema_version": 6', "", "schema_version is missing"),
        ('"width": 0.25', '"width": ' + "[" * 3000 + "]" * 3000, ""),
        ("{", "[", ""),
        ("}", "", ""),
    ],
)
def test_json_that_is_none_of_ours_is_refused(old, new, words, v2, refused):
    path = v2 / "record.json"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    refused("record.json: ", words)


def test_bytes_that_are_no_text_are_refused(v2, refused):
    (v2 / "record.json").write_bytes(b"\xff\xfe{}")
    refused("record.json: is no text")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"image_size": 65}, "image_size=65"),
        ({"image_size": 8}, ""),
        ({"channels": 2}, "channels=2"),
        ({"channels": 3, "mean": [0.1] * 3, "std": [0.1] * 3}, ""),
        ({"mean": [2.0]}, "mean=[2.0]"),
        ({"std": [0.0]}, "std=[0.0]"),
        ({"mean": [0.9]}, "accuracy_without="),
        ({"classes": [str(i) for i in range(11)]}, "classes=11"),
        ({"classes": ["0"] * 10}, "classes="),
        ({"classes": list("1234567890")}, "classes="),
        ({"classes": ["<b>", *"123456789"]}, "other signs"),
        ({"schema_version": 2}, "schema_version=2"),
        ({"sha256": "0" * 64}, "sha256="),
        ({"weights_digest": "0" * 64}, "weights_digest="),
    ],
)
def test_how_images_were_read_must_fit(changed, words, v2, refused):
    edit(v2 / "network.json", **changed)
    refused(words)


# Weights


def test_other_weights_than_those_of_the_digest_are_refused(v2, refused):
    tensors = load_file(v2 / "public.safetensors")
    tensors["conv1.weight"] += 1e-3
    save_file(tensors, v2 / "public.safetensors")
    refused("public.safetensors: sha256=")


def test_weights_of_another_accuracy_are_refused(v2, refused):
    tensors = load_file(v2 / "public.safetensors")
    with_weights(v2, {name: one.flip(0) if name == "linear.weight" else one for name, one in tensors.items()})
    refused("record.json: accuracy_without=0.9944, and these weights reach ")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("conv1.weight"), "conv1.weight is missing"),
        (lambda w: w.update(passport=torch.zeros(3)), "passport has no place"),
        (lambda w: w.update({"conv1.weight": torch.full_like(w["conv1.weight"], torch.nan)}), "NaN"),
        (lambda w: w.update({"conv1.weight": w["conv1.weight"][:2].clone()}), "conv1.weight"),
        (
            lambda w: [w.pop(name) for name in [*w] if "norm3" in name and "running" not in name and "num" not in name],
            "",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(change, words, v2, refused):
    tensors = load_file(v2 / "public.safetensors")
    change(tensors)
    with_weights(v2, tensors)
    refused("public.safetensors", words)


def test_names_behind_a_prefix_are_refused(v2, refused):
    tensors = load_file(v2 / "public.safetensors")
    with_weights(v2, {f"net.{name}": one for name, one in tensors.items()})
    refused("public.safetensors", "has no place")


def test_a_network_of_another_architecture_is_refused(v2, refused):
    network = build_model("resnet18", norm="bn", width=0.1, channels_in=1, image_size=16, num_classes=10)
    with_weights(v2, network.state_dict())
    refused("public.safetensors")


def test_a_text_beside_the_tensors_is_refused(v2, refused):
    with_weights(v2, load_file(v2 / "public.safetensors"), {"note": "my secret"})
    refused("public.safetensors: holds more than its tensors")


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


@pytest.mark.parametrize("write", [pickle.dumps, lambda bomb: _torch(bomb)], ids=["pickle", "torch"])
def test_a_pickle_is_not_opened(write, v2, refused):
    held = write({"conv1.weight": Bomb()})
    (v2 / "public.safetensors").write_bytes(held)
    edit(v2 / "network.json", sha256=sha256(held).hexdigest())
    refused("public.safetensors: is no safetensors")


def _torch(content):
    torch.save(content, "bomb.pt")
    return Path("bomb.pt").read_bytes()


@pytest.mark.fuzz
@pytest.mark.parametrize("name", CASES)
def test_every_hostile_weights_file_is_refused(name, v2, refused):
    path, honest = v2 / "public.safetensors", load_file(v2 / "public.safetensors")
    path.unlink()
    CASES[name][0](path, honest)
    if path.is_file() and not path.is_symlink() and path.stat().st_size < 10**6:
        edit(v2 / "network.json", sha256=sha256(path.read_bytes()).hexdigest())
    refused()


# Attacks


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"attack": "no_such"}, "attack=no_such is unknown"),
        ({"attack": "forge_uchida"}, "attack=forge_uchida of kind=ambiguity is none on passport_v2"),
        ({"kind": "removal"}, "kind=removal is none"),
        ({"victim": "another-run"}, "victim=another-run"),
        ({"scheme": "passport_v3"}, "scheme=passport_v3 is not the record's passport_v2"),
        ({"seed": 7}, "seed=7"),
        ({"accuracy_after": 1.2}, "accuracy_after=1.2 is no number from 0 to 1"),
        ({"dissimilarity": -1}, "dissimilarity=-1"),
        ({"attack_succeeded": False}, "attack_succeeded=False does not follow"),
        ({"decision": "verified!"}, "decision="),
        ({"decision": "surely"}, "decision=surely is unknown"),
        ({"point": "<img src=x>"}, "point="),
        ({"transfer": "elsewhere"}, "transfer=elsewhere"),
        ({"hardware": "a|b"}, "hardware="),
        ({"schema_version": 5}, "schema_version=5"),
        ({"more": 1}, "there is no field more"),
    ],
)
def test_a_row_that_does_not_fit_is_refused(changed, words, v2, refused):
    rows = rows_of(v2)
    place = next(i for i, row in enumerate(rows) if row["attack"] == "lift_passport" and row["attack_succeeded"])
    rows[place] |= changed
    with_rows(v2, rows)
    refused(f"attacks.jsonl: line {place + 1}: ", words)


def test_a_removal_that_succeeded_cannot_be_told_as_one_that_did_not(v2, refused):
    rows = rows_of(v2)
    place = next(i for i, row in enumerate(rows) if row["kind"] == "removal" and row["fidelity_kept"])
    rows[place] |= {"mark_read": False}
    with_rows(v2, rows)
    refused("attack_succeeded=False does not follow from forged=False, mark_read=False and fidelity_kept=True")


def test_a_removal_from_another_network_is_refused(v2, refused):
    rows = rows_of(v2)
    place = next(i for i, row in enumerate(rows) if row["kind"] == "removal")
    rows[place] |= {"accuracy_before": 0.5}
    with_rows(v2, rows)
    refused("accuracy_before=0.5000 is not the record's")


def test_a_point_is_there_once_and_no_field_is_missing(v2, refused):
    rows = rows_of(v2)
    with_rows(v2, [*rows, rows[0]])
    refused("is there twice")
    del rows[0]["deciding"]
    with_rows(v2, rows)
    refused("line 1: deciding is missing")


def test_an_entry_of_an_earlier_version_stays(v2, call):
    """Without what version 5 of a record, and version 3 of a row, did not tell."""
    record = json.loads((v2 / "record.json").read_text()) | {"schema_version": 5}
    (v2 / "record.json").write_text(json.dumps({k: v for k, v in record.items() if k not in ("init", "step_energy")}))
    new = ("attacker_images", "shared_images", "decision", "deciding")
    rows = [{k: v for k, v in row.items() if k not in new} | {"schema_version": 3} for row in rows_of(v2)]
    with_rows(v2, rows)
    assert call("--board", v2.parents[1], "build")[0] == 0
    assert "a judge:" not in (v2.parents[1] / "README.md").read_text()
    assert {row.decision for row in read_entry(v2).rows} == {None}


def test_an_entry_without_attacks_is_taken(v2, call):
    (v2 / "attacks.jsonl").unlink()
    assert call("--board", v2.parents[1], "build")[0] == 0
    assert "None were reported." in (v2 / "README.md").read_text()


# Pages


class Tags(HTMLParser):
    """Tags and links of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links = set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links |= {value for name, value in attrs if name in ("href", "src")}


@pytest.mark.parametrize("text", TEXTS)
def test_even_a_text_that_came_past_the_checks_is_shown_as_text(text):
    """By a Markdown of others, with tables, as the site has it."""
    v2 = read_entry(BOARD / "entries" / "ipr-passport_v2")
    rows = tuple(replace(row, point=text, attack=text) for row in v2.rows)
    odd = replace(v2, rows=rows, record=replace(v2.record, model=text, norm=text))
    usual, shown = (Tags(markdown.markdown(page([one]), extensions=["tables"])) for one in (v2, odd))
    assert shown.tags <= usual.tags
    assert shown.links == usual.links
    assert literal(text) == "-" or re.fullmatch(r"`[^`|<>\n]+`", literal(text))


# Adding


def added(run, call, name="mine"):
    return call("--board", "board", "add", name, run.folder.key, "--runs", run.folder.path.parents[1])


def test_a_run_becomes_an_entry_that_holds_without_its_secrets(call, trained, request_for):
    Path("secret.key").write_text("a secret of mine, long enough to be drawn\n")
    asked = ("scheme=passport_v2", "dataset.limit_test=null", "passport.key=file:secret.key", "trainer.max_epochs=1")
    run = trained(request_for(*asked))
    code, told, error = added(run, call)
    assert code == 0, error
    assert "0 rows of attacks" in told
    place = Path("board/entries/mine")
    assert {path.name for path in place.iterdir()} == {"README.md", "network.json", "public.safetensors", "record.json"}
    assert (place / "record.json").read_bytes() == run.folder.record.read_bytes()
    assert (place / "public.safetensors").read_bytes() == run.folder.weights.read_bytes()
    assert call("--board", "board", "build")[0] == 0
    assert call("--board", "board", "check")[0] == 0
    (entry,) = read_board(Path("board"))
    assert asdict(entry.record) == asdict(run.record)
    passports = [one for path in (run.folder.path / "claim").rglob("*.safetensors") for one in load_file(path).values()]
    held = b"".join(path.read_bytes() for path in place.iterdir())
    assert passports
    assert not any(
        one.numpy().tobytes()[:64] in held for one in passports if one.numel() > 16 and one.is_floating_point()
    )

    assert added(run, call)[0] == 0  # the same again
    edit(place / "network.json", sha256="0" * 64)
    code, _, error = added(run, call)
    assert code == 2
    assert "already there with another content" in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["dataset.limit_test=null"], "passport.key=null: the run's secrets follow from its seed"),
        (["passport.key=file:secret.key"], "test_images=40, and digits has 360; train without dataset.limit_test"),
        (["passport.key=file:secret.key", "model.width=0.4"], "public.safetensors: is larger than 999999 bytes"),
    ],
)
def test_a_run_that_cannot_be_an_entry_is_refused(arguments, words, call, trained, request_for):
    Path("secret.key").write_text("a secret of mine, long enough to be drawn\n")
    run = trained(request_for("scheme=passport_v2", "trainer.max_epochs=1", *arguments))
    code, _, error = added(run, call)
    assert code == 2
    assert words in error
    assert len(error.splitlines()) == 1
    assert not Path("board/entries/mine").exists()


def test_what_is_not_at_hand_is_told_as_reported_and_measured_where_it_is(call, trained, request_for):
    folder_of_images(Path("images/cifar10"), classes=10)
    Path("secret.key").write_text("a secret of mine, long enough to be drawn\n")
    asked = ("dataset=cifar10", "dataset.root=images/cifar10", "dataset.limit_train=null", "dataset.limit_test=null")
    run = trained(request_for("scheme=passport_v2", "passport.key=file:secret.key", "trainer.max_epochs=1", *asked))
    code, _, error = added(run, call)
    assert code == 0, error
    code, told, _ = call("--board", "board", "build")
    assert (code, told) == (0, "mine: not measured, no images\n")
    assert "given away (reported)" in Path("board/README.md").read_text()
    code, told, _ = call("--board", "board", "--images", "images", "check")
    assert code == 0
    assert f"mine: {100 * run.record.accuracy_without:.2f} % measured" in told
    assert call("--board", "board", "--images", "elsewhere", "check")[1] == "mine: not measured, no images\n"
    Path("images/cifar10/test/9/0.png").unlink()
    code, _, error = call("--board", "board", "--images", "images", "check")
    assert (code, len(error.splitlines())) == (2, 1)
    assert "entry=mine/record.json: test_images=20, and cifar10 has 19" in error


def test_where_there_is_no_board_that_is_said(call):
    code, _, error = call("--board", "nowhere", "build")
    assert (code, len(error.splitlines())) == (2, 1)
    assert "board=nowhere/entries: is no folder" in error


def test_what_is_no_run_is_refused(call):
    code, _, error = call("--board", "board", "add", "mine", "nothing")
    assert code == 2
    assert "run=nothing: is no finished training" in error


@pytest.mark.system
def test_every_command_of_the_page_on_adding_a_row_runs(ipr, call):
    """At a size of seconds; the entry then lies on a board of its own, with all attacks that were run."""
    text = (BOARD / "adding.md").read_text()
    (block,) = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    small = ("dataset.image_size=8", "trainer.max_epochs=2", "logger=csv", "trainer.progress_bar=false")
    key, done = "", []
    for command in block.splitlines():
        program, *words = shlex.split(command)
        if program == "ipr":
            outcome = ipr(*words, *small)
            assert outcome.code == 0, outcome.err
            key = key or Path(outcome.out.splitlines()[-1].partition(": ")[2]).name
        elif words[0] == "-c":
            Path("secret.key").write_text("a secret of mine, long enough to be drawn\n")
        elif program == "python":
            assert words[0] == "docs/leaderboard.py"
            assert call("--board", "board", *(word.replace("KEY", key) for word in words[1:]))[0] == 0
        else:
            assert (program, words) == ("make", ["leaderboard"])
            recipe = (TOP / "Makefile").read_text().split("\nleaderboard:")[1].splitlines()[1]
            assert recipe.split("docs/leaderboard.py ")[1] == "build"
            code, _, error = call("--board", "board", "build")
            assert (code, error) == (0, "")
        done.append(program)
    assert done == ["python", "ipr", "ipr", "ipr", "python", "make"]
    (entry,) = read_board(Path("board"))
    assert {row.attack for row in entry.rows} == {"lift_passport", "prune"}
    assert "ada-passport_v2" in Path("board/README.md").read_text()
