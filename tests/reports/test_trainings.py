"""The table of trainings, from records written by hand."""

from dataclasses import fields

from ipr.reports.trainings import HEADER, records_frame, trainings_section
from ipr.store.record import Record

EMPTY = {f.name: None for f in fields(Record) if f.default.__class__.__name__ == "_MISSING_TYPE"}


def record(scheme, **changes):
    asked = {
        "key": f"{scheme}-1", "kind": "train", "scheme": scheme, "model": "alexnet", "norm": "bn", "width": 0.25,
        "dataset": "digits", "train_images": 100, "test_images": 20, "optimizer": "default", "epochs": 2, "seed": 0,
        "precision": "32-true", "memory_format": "contiguous", "compile": False, "tags": "", "accuracy_without": 0.5,
        "train_seconds": 30.0, "hardware": "h", "versions": "v", "commit": "c", "consistent": True,
    }  # fmt: skip
    return Record(**{**EMPTY, **asked, **changes})


PASSPORT = {"passport": "random", "energy": 3.0, "accuracy_genuine": 0.75, "accuracy_forged_mean": 0.1,
            "accuracy_forged_max": 0.2, "forged": 50, "bits_total": 64, "bits_agreeing": 63}  # fmt: skip


def test_a_row_is_the_mean_of_its_seeds_beside_the_baseline_of_the_same_norm_and_seed():
    found = trainings_section([
        record("passport_v1", **PASSPORT), record("passport_v1", **PASSPORT | {"accuracy_genuine": 0.65}, seed=1),
        record("baseline", accuracy_without=0.7), record("baseline", accuracy_without=0.8, seed=1),
        record("baseline", accuracy_without=0.9, norm="gn"),
    ])  # fmt: skip
    (table,) = found.tables
    assert [[value.ours for value in line.cells] for line in table.lines] == [
        ["baseline", "bn", "", "2", "75.0 ± 7.1", "", "", "", "", "", ""],
        ["passport_v1", "bn", "3", "2", "50.0 ± 0.0", "70.0 ± 7.1", "10.0 ± 0.0; 20.0", "-5.0 ± 14.1", "126 of 128",
         "", "2 of 2"],
        ["baseline", "gn", "", "1", "90.0", "", "", "", "", "", ""],
    ]  # fmt: skip
    assert [picture.name for picture in found.pictures] == ["accuracy"]
    assert found.notes == ["2.5 minutes of training in all."]


def test_settings_have_tables_of_their_own_and_energies_a_figure():
    found = trainings_section([
        record("passport_v1", **PASSPORT), record("passport_v1", **PASSPORT | {"energy": None}),
        record("baseline", width=1.0), record("baseline", width=1.0, tags="limited-3"),
    ])  # fmt: skip
    assert [table.name for table in found.tables] == ["runs-1", "runs-2", "runs-3"]
    assert [line.cells[2].ours for line in found.tables[0].lines] == ["3", "as published"]
    assert [picture.name for picture in found.pictures] == ["accuracy-1", "energy-1", "accuracy-2", "accuracy-3"]
    assert "of few batches (limited-3)" in found.tables[2].caption


def test_a_scheme_of_another_package_comes_last_and_has_its_gain():
    records = [record("theirs", bits_total=8, bits_agreeing=8), record("uchida"), record("baseline", seed=1)]
    (table,) = trainings_section(records).tables
    assert [line.cells[0].ours for line in table.lines] == ["baseline", "uchida", "theirs"]
    gains = [dict(zip(HEADER, line.cells, strict=True))["to baseline"].ours for line in table.lines]
    assert gains == ["", "-", "-"]  # the baseline has another seed
    assert records_frame([*records, record("baseline")])["gain"].tolist()[:2] == [0.0, 0.0]


def test_a_start_has_a_table_of_its_own_with_its_own_baseline_and_damped_steps_a_row():
    begun = {"init": "0123456789ab"}
    found = trainings_section([
        record("passport_v1", **PASSPORT), record("passport_v1", **PASSPORT | {"energy": 30.0, "step_energy": 3.0}),
        record("passport_v1", **PASSPORT | {"accuracy_genuine": 0.85} | begun),
        record("baseline", accuracy_without=0.7), record("baseline", accuracy_without=0.9, **begun),
    ])  # fmt: skip
    cells = [[[value.ours for value in line.cells] for line in table.lines] for table in found.tables]
    assert [[row[2] for row in table] for table in cells] == [["", "3", "30, steps 3"], ["", "3"]]
    assert [[row[7] for row in table] for table in cells] == [["", "+5.0", "+5.0"], ["", "-5.0"]]
    assert "from weights 0123456789ab" in found.tables[1].caption
    assert "from weights" not in found.tables[0].caption


def test_networks_of_one_seed_that_a_row_averages_are_told():
    alike = [record("passport_v1", **PASSPORT), record("passport_v1", **PASSPORT, seed=1)]
    assert len(trainings_section(alike).notes) == 1
    mixed, total = trainings_section([*alike, record("passport_v1", **PASSPORT)]).notes
    assert mixed.startswith("passport_v1: 3 networks of 2 seeds are averaged.")
    assert "minutes of training" in total
