"""Every number of every request has a range, and what is out of it is refused by its name."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterator

import pytest
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

import ipr
from ipr.config.ranges import RANGES, check_numbers, range_of
from ipr.models.claimed import INTEGER_LIMITS, WIDTH_LIMIT
from ipr.requests.compose import register
from ipr.requests.keys import SCHEMAS
from ipr.requests.own_hydra import own_hydra


def schema() -> list[type]:
    """Every dataclass that a configuration may hold."""
    found: dict[type, None] = {}

    def add(kind: type) -> None:
        if kind in found or "hydra" in kind.__module__ or kind.__module__ == "ipr.requests.launchers":
            return
        found[kind] = None
        for hint in typing.get_type_hints(kind).values():
            for inner in (hint, *typing.get_args(hint)):
                if dataclasses.is_dataclass(inner):
                    add(inner)

    def nodes(group: dict) -> Iterator[object]:
        for node in group.values():
            yield from nodes(node) if isinstance(node, dict) else [node.node]

    with own_hydra():
        for command in SCHEMAS:
            register(command)
        for node in nodes(ConfigStore.instance().repo):
            kind = OmegaConf.get_type(node) if isinstance(node, DictConfig) else None
            if dataclasses.is_dataclass(kind):
                add(kind)
    return list(found)


SCHEMA = schema()


def kinds_of(hint: object) -> set[object]:
    inner = typing.get_args(hint)
    return set().union(*map(kinds_of, inner)) if inner else {hint}


def numbers() -> list[tuple[type, str]]:
    return [
        (kind, name)
        for kind in SCHEMA
        for name, hint in typing.get_type_hints(kind).items()
        if {int, float} & kinds_of(hint)
    ]


def test_every_number_of_the_schema_has_a_range():
    assert len(numbers()) > 90
    assert [f"{kind.__name__}.{name}" for kind, name in numbers() if range_of(kind, name) is None] == []


def test_no_range_is_for_a_field_that_is_not_there():
    there = {name for _, name in numbers()} | {f"{kind.__name__}.{name}" for kind, name in numbers()}
    assert RANGES.keys() <= there


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_range_holds_what_is_no_number(value):
    assert all(allowed.problem(value) for allowed in RANGES.values())


def test_the_limits_of_a_request_are_those_of_its_claim():
    assert (RANGES["image_size"].least, RANGES["image_size"].most) == INTEGER_LIMITS["image_size"]
    assert RANGES["width"].most == WIDTH_LIMIT


def test_bounds_belong_to_a_range_or_not():
    width, momentum, size = RANGES["width"], RANGES["momentum"], RANGES["image_size"]
    assert [width.problem(v) for v in (0, 1e-9, 16, 16.1)] == ["must be above 0", None, None, "must be at most 16"]
    assert [momentum.problem(value) for value in (-0.1, 0, 0.99, 1)] == [
        "must not be negative", None, None, "must be below 1",
    ]  # fmt: skip
    assert [size.problem(value) for value in (7, 8, 512, 513)] == [
        "must be at least 8", None, None, "must be at most 512",
    ]  # fmt: skip


def test_what_is_set_in_python_is_checked_too(cache):
    config = ipr.configuration("train", "dataset=digits", f"paths.cache={cache}")
    wrong = dataclasses.replace(config, model=dataclasses.replace(config.model, width=math.inf))
    with pytest.raises(ipr.InputError, match=r"model\.width=inf: is no finite number"):
        ipr.train(wrong)
    attack = ipr.configuration("attack", "attack=prune")
    with pytest.raises(ipr.InputError, match=r"attack\.rates=2: must be at most 1"):
        check_numbers(dataclasses.replace(attack, attack=dataclasses.replace(attack.attack, rates=[0.1, 2.0])))


def test_every_choice_that_is_shipped_is_in_range():
    for command in ("train", "attack"):
        for scheme in ("passport_v3", "frontier_stitching", "deepmarks", "deepsigns", "uchida"):
            ipr.configuration(command, f"scheme={scheme}", *(["attack=rescale"] if command == "attack" else []))
