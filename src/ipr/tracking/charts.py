"""Charts of the W&B workspace that W&B does not have: a heat map of schemes and attacks, and accuracy against bits.

Each is a Vega-Lite specification which W&B keeps under a name and fills with the data of a panel's query: what a panel
says of `${field:...}` and `${string:...}` takes their place, and the rows are the data set `wandb`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2.interface import CustomChart

SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
SHARE = {"type": "quantitative", "scale": {"domain": [0, 1]}, "axis": {"format": ".0%"}}


@dataclass(frozen=True)
class Chart:
    """A chart that W&B keeps.

    Attributes:
        title: what people read in its list of charts.
        spec: the Vega-Lite specification.
    """

    title: str
    spec: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What panels ask for; it ends in a digest of the specification, so that another one has another name."""
        digest = hashlib.sha256(self.text.encode()).hexdigest()
        return f"{self.title.lower().replace(' ', '-')}-{digest[:8]}"

    @property
    def text(self) -> str:
        """The specification as JSON."""
        return json.dumps(self.spec, sort_keys=True)


def _valid(*names: str) -> str:
    return " && ".join(f"isValid(datum['{name}'])" for name in names)


ROW, COLUMN, VALUE = "${field:row}", "${field:column}", "${field:value}"

HEAT_MAP = Chart(
    "ipr heat map",
    {
        "$schema": SCHEMA,
        "description": "The mean over the runs of each row and column of the largest fraction that a run has.",
        "title": "${string:title}",
        "data": {"name": "wandb"},
        "transform": [
            {"filter": _valid(ROW, COLUMN, VALUE)},  # a training has no attack
            {"aggregate": [{"op": "max", "field": VALUE, "as": "most"}], "groupby": [ROW, COLUMN, "name"]},
            {
                "aggregate": [{"op": "mean", "field": "most", "as": "mean"}, {"op": "count", "as": "runs"}],
                "groupby": [ROW, COLUMN],
            },
        ],
        "encoding": {
            "x": {"field": COLUMN, "type": "nominal", "title": None, "axis": {"labelAngle": -45}},
            "y": {"field": ROW, "type": "nominal", "title": None},
            "tooltip": [
                {"field": ROW, "type": "nominal"},
                {"field": COLUMN, "type": "nominal"},
                {"field": "mean", "type": "quantitative", "format": ".1%"},
                {"field": "runs", "type": "quantitative"},
            ],
        },
        "layer": [
            {
                "mark": "rect",
                "encoding": {
                    "color": {
                        "field": "mean",
                        "type": "quantitative",
                        "scale": {"domain": [0, 1], "scheme": "blues"},
                        "legend": {"format": ".0%", "title": None},
                    }
                },
            },
            {
                "mark": {"type": "text", "fontSize": 10},
                "encoding": {
                    "text": {"field": "mean", "type": "quantitative", "format": ".0%"},
                    "color": {"condition": {"test": "datum.mean > 0.6", "value": "white"}, "value": "black"},
                },
            },
        ],
    },
)
"""Fields `row`, `column` and `value`, a fraction; a string `title`. W&B adds the `name` of the run to every row."""

ACCURACY_BY_BITS = Chart(
    "ipr accuracy by bits",
    {
        "$schema": SCHEMA,
        "description": "Judged points: accuracy against the share of bits read. A cross: the attack succeeded.",
        "title": "${string:title}",
        "data": {"name": "wandb"},
        "transform": [
            {"filter": _valid("${field:agreeing}", "${field:total}", "${field:accuracy}")},
            {"calculate": "datum['${field:agreeing}'] / datum['${field:total}']", "as": "bits read"},
            {"calculate": "datum['${field:succeeded}'] ? 'succeeded' : 'failed'", "as": "outcome"},
        ],
        "mark": {"type": "point", "filled": True, "opacity": 0.7},
        "encoding": {
            "x": {"field": "bits read", "title": "share of bits read", **SHARE},
            "y": {"field": "${field:accuracy}", "title": "accuracy", **SHARE},
            "color": {"field": "${field:scheme}", "type": "nominal", "title": "scheme"},
            "shape": {
                "field": "outcome",
                "type": "nominal",
                "scale": {"domain": ["failed", "succeeded"], "range": ["circle", "cross"]},
                "title": "attack",
            },
            "tooltip": [
                {"field": "${field:scheme}", "type": "nominal"},
                {"field": "${field:attack}", "type": "nominal"},
                {"field": "${field:point}", "type": "nominal"},
                {"field": "bits read", "type": "quantitative", "format": ".1%"},
                {"field": "${field:accuracy}", "type": "quantitative", "format": ".1%"},
                {"field": "outcome", "type": "nominal"},
            ],
        },
    },
)
"""Fields `agreeing`, `total`, `accuracy`, `succeeded`, `scheme`, `attack` and `point`; a string `title`."""

CHARTS = (HEAT_MAP, ACCURACY_BY_BITS)


SUMMARY, POINTS = "summary", "points"
"""Where a panel's rows come from: the summary of each run, or its table of points, which a training does not have."""


def heat_map(title: str, metric: str, source: str, entity: str) -> CustomChart:
    """A panel: the mean of a metric over runs, a fraction, for every attack (down) and scheme (across).

    Args:
        title: of the panel.
        metric: a field of `AttackRow`, or of a summary `bits_share`.
        source: `SUMMARY`, or `POINTS` for the largest of a run's points.
        entity: under whom W&B keeps the chart; may be empty in a workspace that is not saved.
    """
    from wandb_workspaces.reports.v2.interface import CustomChart

    summary = {"summary": {"keys": ["scheme", "attack", metric]}}
    return CustomChart(
        query=summary if source == SUMMARY else {"summaryTable": {"tableKey": POINTS}},
        chart_name=f"{entity}/{HEAT_MAP.name}",
        chart_fields={"row": "attack", "column": "scheme", "value": metric},
        chart_strings={"title": title},
    )


def accuracy_by_bits(title: str, entity: str) -> CustomChart:
    """A panel: every judged point of the runs' tables `points` that has bits. Arguments: see `heat_map`."""
    from wandb_workspaces.reports.v2.interface import CustomChart

    same = {name: name for name in ("scheme", "attack", "point")}
    own = {"agreeing": "bits_agreeing", "total": "bits_total", "accuracy": "accuracy_after"}
    return CustomChart(
        query={"summaryTable": {"tableKey": POINTS}},
        chart_name=f"{entity}/{ACCURACY_BY_BITS.name}",
        chart_fields=same | own | {"succeeded": "attack_succeeded"},
        chart_strings={"title": title},
    )


def schemes_by_attacks(entity: str) -> list[CustomChart]:
    """The panels that set schemes against attacks. `entity`: see `heat_map`."""
    return [
        heat_map("Share of runs where the attack succeeded", "attack_succeeded", POINTS, entity),
        accuracy_by_bits("Accuracy by share of bits read, every judged point", entity),
        heat_map("Accuracy after the attack, or with the forged claim", "accuracy_after", SUMMARY, entity),
        heat_map("Share of bits read after the attack", "bits_share", SUMMARY, entity),
    ]


def save_charts(api: Any, entity: str) -> str | None:
    """Has W&B keep the charts under an entity, to be used by it alone.

    Args:
        api: `wandb.Api()`.
        entity: the W&B team or user.

    Returns:
        Why it does not; None where it does, or has them already.
    """
    why = None
    for chart in CHARTS:
        try:
            api.create_custom_chart(entity, chart.name, chart.title, "vega2", "private", chart.text)
        except Exception as error:  # noqa: BLE001 (whatever W&B raises is its refusal)
            told = " ".join(str(error).split()) or type(error).__name__
            why = why if "already" in told.lower() else told
    return why
