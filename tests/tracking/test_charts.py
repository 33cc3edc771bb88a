"""The workspace's charts: filled as W&B fills them, and, where there is a renderer, what is drawn."""

import json
import math
import re

import pytest

from ipr.tracking.charts import (
    ACCURACY_BY_BITS,
    CHARTS,
    HEAT_MAP,
    POINTS,
    SUMMARY,
    Chart,
    accuracy_by_bits,
    heat_map,
)

PANELS = [
    (HEAT_MAP, heat_map("Success", "attack_succeeded", POINTS, "me")),
    (ACCURACY_BY_BITS, accuracy_by_bits("Points", "me")),
]


def row(name, scheme, succeeded, accuracy, bits, total=4):
    """A point of the attack that a run is."""
    told = {"attack_succeeded": succeeded, "accuracy_after": accuracy, "bits_agreeing": bits, "bits_total": total}
    return {"scheme": scheme, "attack": "prune", "name": name, **told}


ROWS = [
    row("one", "passport_v2", 1, 0.5, 3),
    row("one", "passport_v2", 0, 0.4, 3),
    row("two", "passport_v2", 0, 0.7, 4),
    row("three", "uchida", 0, 0.9, 4),
    row("four", "zhang_noise", 1, 0.9, None, None),
    {"name": "five", "scheme": "baseline", "accuracy_without": 0.9},
    {"name": "six", "scheme": "baseline", "attack": None, "attack_succeeded": None},
]
"""A scheme attacked twice, once at two points; one without bits; and trainings, which have no attack."""


def filled(chart, panel):
    """The specification with a panel's fields and strings in it, put there as text, as W&B does."""
    text = chart.text
    for kind, given in (("field", panel.chart_fields), ("string", panel.chart_strings)):
        for name, value in given.items():
            text = text.replace(f"${{{kind}:{name}}}", value)
    return json.loads(text)


@pytest.mark.parametrize(("chart", "panel"), PANELS, ids=["heat map", "points"])
def test_a_panel_gives_its_chart_all_that_it_asks_for_and_nothing_else(chart, panel):
    asked = {*re.findall(r"\$\{field:(\w+)\}", chart.text)}
    assert asked == panel.chart_fields.keys()
    assert {*re.findall(r"\$\{string:(\w+)\}", chart.text)} == panel.chart_strings.keys()
    assert "${" not in json.dumps(filled(chart, panel))
    assert panel.chart_name == f"me/{chart.name}"


def test_another_specification_is_another_chart():
    names = {chart.name for chart in CHARTS}
    assert len(names) == len(CHARTS)
    assert Chart(HEAT_MAP.title, {**HEAT_MAP.spec, "description": "other"}).name not in names
    assert all(re.fullmatch(r"[a-z0-9-]{1,64}", name) for name in names)


def drawn(chart, panel, mark):
    """What a renderer of Vega-Lite draws of the rows: the marks of a kind."""
    renderer = pytest.importorskip("vl_convert", reason="no renderer: pip install vl-convert-python")
    spec = filled(chart, panel) | {"data": {"name": "wandb", "values": ROWS}}
    found = []

    def look(node):
        if isinstance(node, dict):
            role = str(node.get("role")), node.get("marktype")
            if role == ("mark", mark):
                found.extend(node["items"])
            for value in node.values():
                look(value)
        elif isinstance(node, list):
            for value in node:
                look(value)

    look(renderer.vegalite_to_scenegraph(json.dumps(spec)))
    return found


def test_a_cell_of_the_heat_map_is_the_mean_of_its_runs():
    texts = drawn(HEAT_MAP, heat_map("Success", "attack_succeeded", POINTS, "me"), "text")
    assert [one["text"] for one in sorted(texts, key=lambda one: one["x"])] == ["50%", "0%", "100%"]
    accuracies = drawn(HEAT_MAP, heat_map("Accuracy", "accuracy_after", SUMMARY, "me"), "text")
    assert [one["text"] for one in sorted(accuracies, key=lambda one: one["x"])] == ["60%", "90%", "90%"]


def test_every_point_that_has_bits_is_drawn_where_they_and_its_accuracy_are():
    points = drawn(ACCURACY_BY_BITS, accuracy_by_bits("Points", "me"), "symbol")
    low, worse, *high = sorted(points, key=lambda one: (one["x"], one["y"]))
    assert len(high) == 2
    assert math.isclose(low["x"] / high[0]["x"], 0.75)
    assert low["x"] == worse["x"]
    assert low["y"] < worse["y"]  # from the top: 0.5 stands above 0.4
    assert low["shape"] == "cross"  # it succeeded
    assert {one["shape"] for one in [worse, *high]} == {"circle"}
