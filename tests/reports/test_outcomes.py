"""What became of schemes under attacks, from rows worked out by hand."""

import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from scipy.stats import binomtest

from ipr.reports.outcomes import OUTCOMES, PAPER, outcome_figure, outcomes_of
from ipr.reports.study import table_of
from ipr.reports.units import counted
from ipr.studies.columns import COLUMNS
from ipr.studies.study import Paper, TableDrawing


def points(*rows):
    base = {"model": "alexnet", "scheme": "passport_v2", "attack": "prune", "seed": 0, "whose": "genuine",
            "fidelity_kept": 1.0, "upheld": 0.0, "inconclusive": 0.0, "succeeded": 0.0}  # fmt: skip
    return pd.DataFrame([base | row for row in rows], columns=list(COLUMNS))


@pytest.mark.parametrize(
    ("rows", "outcome"),
    [
        ([{"upheld": 1.0}], "stands"),
        ([{}], "broken"),
        ([{"inconclusive": 1.0, "deciding": "null"}], "uncalibrated"),
        ([{"inconclusive": 1.0, "deciding": "drawn secrets, null"}], "open"),
        ([{"fidelity_kept": 0.0}], "too costly"),
        ([{"fidelity_kept": 0.0}, {"upheld": 1.0}], "stands"),  # a worthless network is no success
        ([{"fidelity_kept": 0.0, "upheld": 1.0}, {"inconclusive": 1.0, "deciding": "fidelity"}], "open"),
        ([{"upheld": 1.0}, {}], "broken"),  # the worst of all points
        ([{"whose": "forged", "upheld": 1.0}], "broken"),
        ([{"whose": "forged", "upheld": 1.0, "fidelity_kept": 0.0}], "broken"),
        ([{"whose": "forged", "inconclusive": 1.0, "deciding": "null"}], "open"),
        ([{"whose": "forged", "succeeded": 1.0}], "stands"),
    ],
)
def test_the_worst_for_an_honest_owner_counts(rows, outcome):
    (found,) = outcomes_of(points(*rows))["outcome"]
    assert found == outcome
    assert list(outcomes_of(points(*rows))["succeeded"]) == [any(row.get("succeeded") for row in rows)]


def test_results_that_nobody_decided_are_passed_over():
    trained, other_task = {"attack": None, "upheld": None}, {"upheld": None, "inconclusive": None}
    assert outcomes_of(points(trained, other_task)).empty
    assert outcome_figure(points(trained, other_task)) is None


def test_a_square_for_each_cell_with_its_colour_count_and_mark():
    both = ({"attack": "overwrite", "upheld": 1.0}, {"attack": "overwrite", "whose": "forged", "succeeded": 1.0})
    frame = points({}, {"seed": 1, "upheld": 1.0}, {"scheme": "uchida", "fidelity_kept": 0.0}, *both)
    figure = outcome_figure(frame, ["prune"])
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "prune", "overwrite, owner's claim", "overwrite, second claim",
    ]  # fmt: skip
    assert [label.get_text() for label in axes.get_xticklabels()] == ["V2", "Uchida"]
    colours = {(round(p.get_x() + 0.46), round(p.get_y() + 0.44)): p.get_facecolor() for p in axes.patches}
    assert len(colours) == 4
    expected = {(0, 0): "broken", (1, 0): "too costly", (0, 1): "stands", (0, 2): "stands"}
    assert colours == {place: to_rgba(OUTCOMES[name][0]) for place, name in expected.items()}
    assert [text.get_text() for text in axes.texts] == ["1/2"]  # seeds
    marked = [tuple(line.get_xydata()[0].round().tolist()) for line in axes.lines if len(line.get_xydata())]
    assert marked == [(0.0, 2.0)]
    assert figure.legends[0].get_texts()[-1].get_text() == PAPER


def test_the_cheapest_attack_of_a_line_is_told_alone():
    frame = points(
        {"attack": "prune", "point": "rate=0.6", "seconds": 4.0, "lost": 0.02},
        {"attack": "prune", "point": "rate=0.6", "seconds": 2.0, "lost": 0.01, "seed": 1},
        {"attack": "prune", "point": "rate=0.7", "seconds": 5.0, "lost": 0.0},
        {"attack": "distill", "seconds": 3.5, "lost": 0.0},
        {"attack": "wrk", "scheme": "uchida", "seconds": 9.0, "lost": 0.0},
        {"attack": "prune", "scheme": "uchida", "seconds": None, "lost": 0.0},
    )
    values = {"attack": "attack", "point": "point", "points lost": "lost", "seconds": "seconds"}
    table = table_of(TableDrawing("t", "c", ["scheme"], values, least="seconds"), frame, Paper())
    assert [[cell.ours for cell in line.cells] for line in table.lines] == [
        ["V2", "prune", "rate=0.6", "1.5 ± 0.7", "3.0 ± 1.4"],
        ["Uchida", "wrk", "", "0.0", "9.0"],
    ]


def test_rates_are_counts_with_their_intervals():
    frame = points({"upheld": 1.0}, {"upheld": 1.0}, {"upheld": 0.0}, {"upheld": None})
    values = {"verified": "upheld", "read": "mark_read"}
    table = table_of(TableDrawing("t", "c", ["scheme"], values, intervals=True), frame, Paper())
    assert [(cell.ours, cell.n) for cell in table.lines[0].cells[1:]] == [("2 of 3 (9.4 to 99.2 %)", None), ("", None)]


@pytest.mark.parametrize(
    ("successes", "trials", "told"),
    [  # as scipy.stats.binomtest(...).proportion_ci() has them
        (0, 10, "0 of 10 (0.0 to 30.8 %)"),
        (10, 10, "10 of 10 (69.2 to 100.0 %)"),
        (3, 20, "3 of 20 (3.2 to 37.9 %)"),
    ],
)
def test_intervals_are_exact(successes, trials, told):
    assert counted(successes, trials) == told
    limits = binomtest(successes, trials).proportion_ci()
    assert told.endswith(f"({100 * limits.low:.1f} to {100 * limits.high:.1f} %)")
