"""Results, statements, tables and figures of a study, against numbers worked out by hand."""

import math
from xml.etree import ElementTree

import pandas as pd
import pytest

from ipr.reports.drawing import figure_of, picture_of
from ipr.reports.results import of_attack, with_baselines, with_chance
from ipr.reports.selection import chosen, grouped, paper_text, with_norm
from ipr.reports.statements import check
from ipr.reports.study import table_of
from ipr.reports.svg import svg_file
from ipr.reports.units import written
from ipr.studies.columns import COLUMNS
from ipr.studies.facts import NAMES, as_columns
from ipr.studies.study import FigureDrawing, Paper, Statement, TableDrawing
from ipr.workflows.attack_rows import AttackRow


def frame(*rows):
    base = {"model": "alexnet", "dataset": "cifar10", "seed": 0}
    return pd.DataFrame([base | row for row in rows], columns=list(COLUMNS))


PRUNED = frame(
    *(
        {"scheme": scheme, "attack": "prune", "rate": rate, "seed": seed, "mark": mark, "accuracy": accuracy}
        for scheme, rate, seed, mark, accuracy in (
            ("passport_v1", 0.0, 0, 1.0, 0.9), ("passport_v1", 0.0, 1, 1.0, 0.8),
            ("passport_v1", 0.6, 0, 1.0, 0.5), ("passport_v1", 0.6, 1, 0.98, 0.3),
            ("passport_v2", 0.6, 0, 0.9, 0.6),
        )
    )
)  # fmt: skip


def row(**values):
    base = dict(
        accuracy_before=0.9, accuracy_after=0.5, accuracy_claimed=0.4, bits_total=100, bits_agreeing=98,
        bits_freed=None, correlation=None, p_value_log10=-20.0, dissimilarity=0.0, trigger_accuracy=None,
        trigger_accuracy_passport=None, forged=False, mark_read=True, fidelity_kept=False, attack_succeeded=False,
        attack="finetune", kind="removal", norm="bn",
    )  # fmt: skip
    return AttackRow(**{**base, **values})


def test_a_point_of_an_attack_is_parted_into_columns():
    got = of_attack(row(attack="flip_signs", point="rate=0.5 layers=conv3+conv4", forged=True, seconds=3.0))
    assert (got["rate"], got["layers"], got["layers_count"], got["whose"]) == (0.5, "conv3+conv4", 2, "forged")
    assert got["lost"] == pytest.approx(0.4)
    assert got["mark"] == pytest.approx(0.98)
    assert got["mark_over_accuracy"] == pytest.approx(0.48)
    assert set(got) <= set(COLUMNS)


def test_on_another_task_only_what_means_something_is_told():
    images = dict(bits_total=None, bits_agreeing=None, trigger_accuracy=0.25, transfer="cifar100", fidelity_kept=None)
    tuned, restored = of_attack(row(**images)), of_attack(row(**images, point="classifier=owner"))
    assert (tuned["accuracy"], tuned["mark"], tuned["triggers"], tuned["lost"]) == (0.5, None, None, None)
    assert (restored["accuracy"], restored["mark"], restored["triggers"]) == (None, 0.25, 0.25)
    other = dict(transfer="cifar100", fidelity_kept=None, trigger_accuracy=0.3)
    bits = of_attack(row(**other))
    assert (bits["mark"], bits["triggers"]) == (0.98, None)
    assert of_attack(row(**other, point="classifier=owner"))["mark"] is None
    own_images = of_attack(row(transfer="cifar10", fidelity_kept=True, trigger_accuracy=0.3))  # of the victim's task
    assert (own_images["triggers"], own_images["lost"]) == (0.3, row().accuracy_before - 0.5)
    nothing = of_attack(row(bits_total=None, bits_agreeing=None, p_value_log10=0.0, mark_read=False))
    assert (nothing["mark"], nothing["whose"]) == (None, None)


def test_gain_is_to_the_baseline_of_the_same_norm_seed_and_task():
    rows = [
        {"scheme": scheme, "norm": norm, "attack": attack, "transfer": transfer, "accuracy": accuracy}
        for scheme, norm, attack, transfer, accuracy in (
            ("baseline", "bn", None, None, 0.9), ("baseline", "bn", "finetune", "cifar100", 0.6),
            ("baseline", "gn", None, None, 0.7), ("passport_v1", "bn", None, None, 0.85),
            ("passport_v1", "bn", "finetune", "cifar100", 0.5), ("passport_v1", "bn", "prune", None, 0.1),
            ("passport_v2", "gn", "finetune", "cifar100", 0.5),
        )
    ]  # fmt: skip
    gains = with_baselines(frame(*rows))["gain"].tolist()
    assert gains[3:5] == [pytest.approx(-0.05), pytest.approx(-0.1)]
    assert all(math.isnan(g) for g in [*gains[:3], *gains[5:]])


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ({}, 5), ({"scheme": "passport_v1"}, 4), ({"rate": 0.6}, 3), ({"rate": {"at_least": 0.5}}, 3),
        ({"rate": {"at_most": 0.5}}, 2), ({"scheme": ["passport_v2", "uchida"]}, 1), ({"transfer": None}, 5),
        ({"transfer": [None, "x"], "seed": 1}, 2), ({"attack": None}, 0),
    ],
)  # fmt: skip
def test_conditions(where, count):
    assert len(chosen(PRUNED, where)) == count


def test_groups_are_in_the_papers_order():
    mixed = frame({"scheme": "uchida"}, {"scheme": "passport_v1", "transfer": "caltech101"}, {"scheme": "baseline"},
                  {"scheme": "passport_v1"}, {"scheme": "passport_v1", "transfer": "cifar100"})  # fmt: skip
    assert [key for key, _ in grouped(mixed, ["scheme", "transfer"])] == [
        ("baseline", None), ("passport_v1", None), ("passport_v1", "cifar100"), ("passport_v1", "caltech101"),
        ("uchida", None),
    ]  # fmt: skip


def statement(**values):
    return Statement(**{"name": "n", "says": "s", "value": "mark", **values})


@pytest.mark.parametrize(
    ("values", "holds"),
    [
        ({"at_least": 0.98, "where": {"scheme": "passport_v1"}}, True),
        ({"at_least": 0.99, "where": {"scheme": "passport_v1"}}, False),
        ({"at_least": 0.99, "where": {"scheme": "passport_v1"}, "by": ["scheme", "rate"]}, True),
        ({"at_least": 0.99, "by": ["scheme", "rate"]}, False),
        ({"at_most": 1.0}, True),
        ({"at_most": 0.99}, False),
        ({"at_least": 0.9, "at_most": 1.0}, True),
        ({"at_least": 0.95, "at_most": 1.0}, False),
        ({"at_least": 0.5, "where": {"scheme": "uchida"}}, None),
        ({"value": "triggers", "at_least": 0.5}, None),
    ],
)
def test_statements(values, holds):
    checked = check(statement(why={"cpu": "because"}, **values), PRUNED, "cpu")
    assert checked.holds is holds
    assert checked.why == ("because" if holds is False else "")


def test_a_statement_says_how_far_off_and_where():
    got = check(statement(at_least=0.95, by=["scheme", "rate"]), PRUNED, "smoke").measured
    expected = "90.0 % to 100.0 % in 3 averages of 5 (asked: at least 95.0 %); worst: V2, rate 0.6; 1 of 3 outside"
    assert got == expected


PAPER = Paper(["scheme", "rate", "mark"], [["passport_v1", 0.6, 100], ["passport_v1", 0.0, 99.5]])


def test_a_table_sets_our_mean_spread_and_n_beside_the_papers_number():
    drawing = TableDrawing("t", "c", ["scheme", "rate"], {"bits": "mark", "accuracy": "accuracy"})
    table = table_of(drawing, PRUNED, PAPER)
    cells = [[(v.ours, v.n, v.paper) for v in line.cells] for line in table.lines]
    assert cells[1] == [("V1", None, None), ("0.6", None, None), ("99.0 ± 1.4", 2, "100"), ("40.0 ± 14.1", 2, None)]
    assert [c[2][2] for c in cells] == ["99.5", "100", None]
    assert table.lines[0].about == {
        "scheme": {"passport_v1"}, "model": {"alexnet"}, "dataset": {"cifar10"}, "attack": {"prune"},
    }  # fmt: skip
    assert table.columns["bits"] == "share of the bits, or trigger images, that is read with the claim; in %"
    assert set(table.columns) == {"scheme", "rate", "bits", "accuracy"}
    across = table_of(TableDrawing("t", "c", ["scheme"], {"bits": "mark"}, columns="rate"), PRUNED, PAPER)
    assert across.header == ["scheme", "0: bits", "0.6: bits"]
    assert [(v.ours, v.paper) for v in across.lines[0].cells[1:]] == [("100.0 ± 0.0", "99.5"), ("99.0 ± 1.4", "100")]
    assert [(v.ours, v.n) for v in across.lines[1].cells[1:]] == [("", None), ("90.0", 1)]


def test_the_papers_number_is_told_only_where_it_is_one():
    assert paper_text(PAPER, {"scheme": "passport_v1"}, "mark") is None  # two rates
    assert paper_text(PAPER, {"scheme": "passport_v2", "rate": 0.6}, "mark") is None
    assert paper_text(PAPER, {"scheme": "passport_v1", "rate": 0.6}, "accuracy") is None


def test_energies_are_rows_of_their_own_where_there_are_several():
    two = pd.concat([PRUNED.assign(energy=3.0), PRUNED.assign(energy="as published")], ignore_index=True)
    table = table_of(TableDrawing("t", "c", ["scheme"], {"bits": "mark"}), two, Paper())
    assert [[v.ours for v in line.cells][:2] for line in table.lines] == [
        ["V1", "3"], ["V1", "as published"], ["V2", "3"], ["V2", "as published"],
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["curves", "bars"])
def test_a_legend_is_a_text_and_no_formula(kind):
    """Somebody else's study may say anything; half a formula would be an error."""
    values = {r"$\frac{$": "mark", "costs $5 and $6": "accuracy", "a^2": "mark"}
    drawing = FigureDrawing("f", "c", kind, x="rate", values=values)
    text = ElementTree.fromstring(svg_file(figure_of(drawing, PRUNED, Paper())))
    shown = "\n".join("".join(part.itertext()) for part in text.iter("{http://www.w3.org/2000/svg}text"))
    for legend in values:
        assert legend in shown


def test_curves_and_bars_draw_means_spreads_and_the_papers_marks():
    drawing = FigureDrawing("f", "c", "curves", x="rate", values={"bits": "mark"}, panels=["model"])
    (axes,) = figure_of(drawing, PRUNED, PAPER).axes
    line = next(c for c in axes.containers if c.get_label() == "V1")
    assert line.lines[0].get_xydata().tolist() == [[0.0, 100.0], [0.6, pytest.approx(99.0)]]
    marks = [tuple(one.get_xydata()[0]) for one in axes.lines if one.get_marker() == "D"]
    assert (0.6, 100.0) in marks
    grouped_bars = FigureDrawing("f", "c", "bars", x="scheme", values={"accuracy": "accuracy"}, series="rate")
    (axes,) = figure_of(grouped_bars, PRUNED, Paper()).axes
    heights = sorted(round(patch.get_height(), 6) for patch in axes.patches)
    assert heights == [40.0, 60.0, 85.0]


def test_numbers_are_written_with_their_unit():
    assert written([0.5, 0.7], "accuracy") == "60.0 ± 14.1"
    assert written([1.25], "ratio") == "1.250"
    assert written([], "mark") == ""


def test_facts_of_exhibits_become_columns():
    assert all(column in COLUMNS for names in NAMES.values() for column in names.values())
    fact = {"timed": "passport_v2", "timed_norm": "gn", "work": "training", "form": None, "ratio_median": 1.4,
            "scheme": "baseline", "norm": "bn", "rounds": 5}  # fmt: skip
    assert as_columns("timing", fact) == {"scheme": "passport_v2", "norm": "gn", "phase": "training", "ratio": 1.4}


def heights(axes):
    return [round(patch.get_height(), 6) for patch in axes.patches]


def test_baselines_of_two_norms_are_two_groups_of_bars():
    both = frame(
        *({"scheme": "baseline", "norm": norm, "accuracy": a} for norm, a in (("bn", 0.9), ("bn", 0.8), ("gn", 0.5))),
        {"scheme": "passport_v1", "norm": "bn", "accuracy": 0.7},
    )  # fmt: skip
    drawing = FigureDrawing("f", "c", "bars", x="scheme", values={"accuracy": "accuracy"}, series="attack")
    paper = Paper(["scheme", "norm", "accuracy"], [["baseline", "bn", 91.12]])
    (axes,) = figure_of(drawing, both, paper).axes
    assert heights(axes) == [85.0, 50.0, 70.0]
    assert [one.get_text() for one in axes.get_xticklabels()] == [
        "baseline\nbatch\nnorm", "baseline\ngroup\nnorm", "V1",
    ]  # fmt: skip
    (mark,) = [one.get_xydata().tolist() for one in axes.lines if one.get_marker() == "D"]
    assert mark == [[0.0, 91.12]]


def test_a_norm_is_told_only_where_it_tells_groups_apart():
    schemes = frame({"scheme": "passport_v1", "norm": "bn"}, {"scheme": "passport_v2", "norm": "gn"})
    assert with_norm(schemes, ["scheme"]) == ["scheme"]
    both = frame({"scheme": "baseline", "norm": "bn"}, {"scheme": "baseline", "norm": "gn"})
    assert with_norm(both, ["scheme"]) == ["scheme", "norm"]
    assert with_norm(both, ["scheme"], ["norm"]) == ["scheme"]


def test_chance_is_that_of_the_last_task_and_of_what_stands_for_it():
    tuned = frame({"dataset": "cifar10"}, {"dataset": "cifar10", "transfer": "cifar100"}, {"dataset": "folder"})
    stands = {"cifar10": "digits", "cifar100": "digits_parity", "folder": "folder"}
    assert with_chance(tuned, stands)["by_chance"].tolist()[:2] == [0.1, 0.5]
    assert math.isnan(with_chance(tuned, stands)["by_chance"][2]), "nobody knows how many classes a folder has"
    assert with_chance(tuned)["by_chance"].tolist()[:2] == [0.1, 0.01]


def test_a_figure_says_chance_epsilon_and_units():
    pruned = with_chance(PRUNED.assign(lost=0.9 - PRUNED["accuracy"]))
    drawing = FigureDrawing("f", "c", "curves", x="rate", values={"accuracy": "accuracy", "bits": "mark"})
    picture = picture_of(drawing, pruned, PAPER)
    (axes,) = picture.figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("weights removed (fraction)", "accuracy, bits (%)")
    (legend,) = picture.figure.legends
    assert [one.get_text() for one in legend.get_texts()][-3:] == ["the paper", "chance", "within epsilon_f (3 points)"]
    bands = [patch.get_bbox() for patch in axes.patches]
    assert [(round(box.y0, 6), round(box.y1, 6)) for box in bands] == [(87.0, 90.0), (87.0, 90.0)]
    assert picture.about["attack"] == {"prune"}


def test_for_a_phone_panels_stand_below_one_another():
    drawing = FigureDrawing("f", "c", "curves", x="rate", values={"accuracy": "accuracy"}, panels=["scheme"])
    picture = picture_of(drawing, PRUNED)
    first, second = (axes.get_position() for axes in picture.narrow.axes)
    assert first.x0 == second.x0
    assert first.y0 > second.y1
    assert 96 * picture.narrow.get_figwidth() < 360 < 96 * picture.figure.get_figwidth()
