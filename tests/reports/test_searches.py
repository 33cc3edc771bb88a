"""A search in a report, from records, rows and requests written by hand."""

from dataclasses import asdict, fields, replace

import pytest
import yaml

from ipr.reports.searches import best_trials, search_figure, search_section, searches
from ipr.store.record import Record
from ipr.workflows.attack_rows import AttackRow

EMPTY = {
    kind: {f.name: None for f in fields(kind) if f.default.__class__.__name__ == "_MISSING_TYPE"}
    for kind in (Record, AttackRow)
}
PLAIN = Record(**EMPTY[Record] | {
    "key": "plain", "kind": "train", "scheme": "baseline", "model": "alexnet", "norm": "bn", "width": 0.25,
    "dataset": "digits", "train_images": 100, "test_images": 20, "optimizer": "default", "epochs": 2, "seed": 0,
    "precision": "32-true", "memory_format": "contiguous", "compile": False, "tags": "", "accuracy_without": 0.9,
})  # fmt: skip
ROW = AttackRow(**EMPTY[AttackRow] | {
    "accuracy_before": 0.9, "accuracy_after": 0.8, "bits_total": 64, "p_value_log10": -5.0, "forged": False,
    "mark_read": True, "fidelity_kept": True, "attack_succeeded": False, "attack": "finetune", "scheme": "passport_v2",
    "model": "alexnet", "norm": "bn", "dataset": "digits", "hardware": "h", "versions": "v", "commit": "c",
})  # fmt: skip
TRIED = [  # energy, layers, accuracy before the attack, bits left
    (10.0, ["conv5"], 0.89, 60), (20.0, ["conv4", "conv5"], 0.91, 32), (30.0, ["conv5"], 0.88, 60),
    (40.0, ["conv5"], 0.85, 64), (50.0, ["conv5"], 0.86, 31),
]  # fmt: skip


@pytest.fixture
def search(tmp_path):
    """Records and rows of five trials, and where their requests lie; all have the same learning rate."""
    records, rows = [PLAIN], []
    for number, (energy, layers, accuracy, left) in enumerate(TRIED):
        records.append(replace(PLAIN, key=f"v{number}", scheme="passport_v2", accuracy_without=accuracy))
        rows.append(replace(ROW, key=f"a{number}", victim=f"v{number}", bits_agreeing=left, mark_read=left > 50))
        folder = tmp_path / "runs/attack" / f"a{number}"
        folder.mkdir(parents=True)
        asked = {"passport": {"energy": energy, "key": "<hidden>"}, "scheme": {"layers": layers}, "tags": [number]}
        (folder / "config.yaml").write_text(yaml.safe_dump(asked | {"optimizer": {"lr": 0.1}}))
    return records, rows, tmp_path / "runs"


def test_the_table_has_what_differs_what_it_costs_and_which_trials_no_other_beats(search):
    (table,) = search_section(*search).tables
    assert table.header == (
        "scheme.layers", "passport.energy", "points lost", "bits read", "accuracy after", "best",
    )  # fmt: skip
    assert [[value.ours for value in line.cells] for line in table.lines] == [
        ["conv4, conv5", "20", "-1.0", "32 of 64", "80.0", "yes"],
        ["conv5", "10", "1.0", "60 of 64", "80.0", "yes"],
        ["conv5", "30", "2.0", "60 of 64", "80.0", ""],
        ["conv5", "50", "4.0", "31 of 64", "80.0", ""],
        ["conv5", "40", "5.0", "64 of 64", "80.0", "yes"],
    ]


def test_the_picture_has_every_trial_and_the_front_as_steps(search):
    (trials,) = searches(*search)
    assert [round(trial.lost) for trial in best_trials(trials)] == [-1, 1, 5]
    axes = search_figure(trials).axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    steps = lines["best: beaten by no other in both"]
    assert steps.get_drawstyle() == "steps-post"
    assert list(steps.get_ydata()) == [50.0, 93.75, 100.0]
    drawn = [(x, y) for line in axes.lines if line is not steps for x, y in zip(*line.get_data(), strict=True)]
    assert sorted(y for _, y in drawn) == sorted(100 * left / 64 for *_, left in TRIED)
    unread = [line for line in axes.lines if line is not steps and line.get_markerfacecolor() == "none"]
    assert sum(len(line.get_xdata()) for line in unread) == 2
    assert "(points)" in axes.get_xlabel()
    assert axes.get_ylabel() == "bits read after finetune (%)"


def test_what_is_no_search_has_no_section(search):
    records, rows, runs = search
    assert search_section(records, rows[:4], runs) is None  # too few
    assert search_section(records[1:], rows, runs) is None  # nothing to compare with
    same = [replace(row, victim="v1") for row in rows]
    assert search_section(records, same, runs) is None  # one network, attacked again and again
    assert search_section(records, [replace(row, forged=True) for row in rows], runs) is None
    other = [replace(row, seed=row is rows[0]) for row in rows]
    assert search_section(records, other, runs) is None


def test_a_request_that_cannot_be_read_leaves_its_cells_empty(search):
    records, rows, runs = search
    (runs / "attack" / "a2" / "config.yaml").unlink()
    (table,) = search_section(records, rows, runs).tables
    (line,) = [line for line in table.lines if line.cells[2].ours == "2.0"]
    assert [value.ours for value in line.cells][:2] == ["", ""]


def test_several_points_of_an_attack_are_one_trial(search):
    records, rows, runs = search
    more = [replace(row, point="rate=0.9", bits_agreeing=1, fidelity_kept=False) for row in rows]
    assert [asdict(t.row) for t in searches(records, [*rows, *more], runs)[0]] == [asdict(row) for row in rows]
