"""The tables of docs/reference/configuration.md against the dataclasses and what Hydra makes of a request."""

import re

import pytest
from hydra import compose, initialize_config_dir

import key_tables
from ipr.config.ranges import RANGES, Range
from ipr.config.registry import load_all
from ipr.config.shipped import shipped
from ipr.requests.compose import register
from ipr.requests.keys import SCHEMAS, groups_of, keys_of


@pytest.fixture(scope="module")
def parts():
    """The text below every heading of the generated page."""
    found = re.split(r"^##+ (.+)$", key_tables.configuration(), flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


def rows(text):
    """The rows of a table by the key in their first column."""
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("| `")]
    return {row[0].strip(" `"): [cell.strip() for cell in row[1:]] for row in cells}


@pytest.mark.parametrize("command", [command for command in SCHEMAS if command != "cell"])
def test_every_key_of_a_command_is_there(command, parts):
    own = {*rows(parts[f"`ipr {command}`"])}
    sections = {name: {*rows(text)} for name, text in parts.items() if not name.startswith("`ipr ")}
    choices = [keys for name, keys in sections.items() if re.match(r"`(scheme|attack|exhibit)=", name)]
    filled_by = {group.field: name.partition("@")[0] for name, group in groups_of(command).items()}
    for key in keys_of(command):
        section, dot, name = key.path.rpartition(".")
        folder = filled_by.get(section, section)
        if not dot:
            assert name in own, key.path
        elif folder in ("scheme", "attack", "exhibit"):
            assert name == "name" or any(f"{folder}.{name}" in keys for keys in choices), key.path
        else:
            places = [keys for title, keys in sections.items() if title.startswith(f"`{folder}`")]
            assert any(f"{folder}.{name}" in keys for keys in places), key.path


def test_defaults_are_what_hydra_makes_of_a_request(parts):
    register("train")
    with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
        asked = compose("train", ["scheme=uchida"])
    assert rows(parts["`trainer`"])["trainer.max_epochs"][:3] == [
        "whole number",
        f"`{asked.trainer.max_epochs}`",
        "1 to 1,000,000",
    ]
    assert rows(parts["`dataset`"])["dataset.image_size"][1] == f"`{asked.dataset.image_size}`"
    uchida = rows(parts["`scheme=uchida`"])
    assert uchida["scheme.bits"][1] == f"`{asked.scheme.bits}`"
    assert uchida["scheme.layer"][1] == "`${model.watermark_layer}`"
    assert "`trainer.max_epochs=10`" in parts["`ipr protect`"]
    assert "defaults that differ" not in parts["`ipr train`"]


def test_every_attack_has_its_fields_with_their_defaults(parts):
    for name, kind in load_all("attack").items():
        if (heading := f"`attack={name}`") not in parts:
            continue  # of another package
        found = {key.removeprefix("attack."): row[1].strip("`") for key, row in rows(parts[heading]).items()}
        for field, value in vars(kind(name=name)).items():
            if isinstance(value, int) and not isinstance(value, bool):
                assert found[field] == str(value), f"{name}.{field}"
    assert sum(heading.startswith("`attack=") for heading in parts) >= 40


@pytest.mark.parametrize(
    ("allowed", "said"),
    [
        (Range(0, 1, ""), "0 to 1"),
        (Range(0, 1, "", below=True), "0 to below 1"),
        (Range(0, 3, "", above=True), "above 0, at most 3"),
        (Range(0, 1, "", above=True, below=True), "above 0 to below 1"),
        (RANGES["energy"], "above 0"),
        (RANGES["decay"], "from 0 on"),
        (RANGES["epochs"], "1 to 1,000,000"),
        (RANGES["seed"], ""),
        (Range(None, None, ""), ""),
    ],
)
def test_a_range_in_words(allowed, said):
    assert key_tables._range(allowed) == said


def test_no_cell_is_taken_for_markup(parts):
    for text in parts.values():
        for line in text.splitlines():
            if line.startswith("|"):
                assert len(re.findall(r"(?<!\\)\|", line)) == 6, line
                assert not re.search(r"<[a-z]", re.sub(r"`[^`]*`", "", line)), line
