"""The attack table, from rows written by hand."""

from dataclasses import fields, replace

import pytest

from ipr.config.registry import entries
from ipr.reports.attacks import _cell, attack_markdown, attacks_section, cell, forgery_figure, point_lines
from ipr.workflows.attack_rows import AttackRow

EMPTY = {f.name: None for f in fields(AttackRow) if f.default.__class__.__name__ == "_MISSING_TYPE"}
ROW = AttackRow(**{
    **EMPTY,
    "accuracy_before": 0.7, "accuracy_after": 0.6, "bits_total": 100, "bits_agreeing": 80, "p_value_log10": -5.0,
    "forged": False, "mark_read": True, "fidelity_kept": True, "attack_succeeded": False,
    "attack": "prune", "point": "rate=0.6", "victim": "one", "scheme": "uchida", "norm": "bn", "seconds": 2.0,
})  # fmt: skip


def test_an_owners_claim_came_nearest_to_removal_where_least_is_read_and_fidelity_is_kept():
    rows = [
        ROW,
        replace(ROW, point="rate=0.7", bits_agreeing=70, accuracy_after=0.5),
        replace(ROW, point="rate=0.9", bits_agreeing=10, accuracy_after=0.1, fidelity_kept=False),
    ]
    assert (cell(rows).marks, cell(rows).accuracies) == ((0.7,), (0.5,))
    rows.append(replace(ROW, point="rate=0.8", bits_agreeing=75, attack_succeeded=True))
    assert (cell(rows).succeeded, cell(rows).points, cell(rows).marks) == (1, 4, (0.75,))
    other = replace(ROW, victim="two", fidelity_kept=None, bits_total=None, bits_agreeing=None, trigger_accuracy=0.25)
    assert cell([*rows, other]).marks == (0.75, 0.25)


def test_a_forged_claim_came_nearest_where_it_is_read_and_most_accurate():
    forged = replace(ROW, attack="fake3", forged=True, accuracy_after=0.2)
    rows = [forged, replace(forged, accuracy_after=0.4), replace(forged, accuracy_after=0.69, mark_read=False)]
    assert cell(rows).accuracies == (0.4,)
    rows.append(replace(forged, accuracy_after=0.3, attack_succeeded=True))
    assert cell(rows).accuracies == (0.3,)


def test_every_cell_is_filled_or_says_why_not():
    forged = replace(
        ROW, attack="forge_uchida", point="way=gradient", iterations=11, forged=True, attack_succeeded=True
    )
    second = [replace(row, seed=1, victim="two", accuracy_after=0.64) for row in (ROW, forged)]
    text = attack_markdown([ROW, forged, *second, replace(ROW, scheme="passport_v2", norm="gn", victim="three")])
    header, _, *lines = [line for line in text.splitlines() if line.startswith("|")][:5]
    assert header == "| attack | v2 (gn) | uchida (bn) |"
    table = {line.split(" | ")[0].removeprefix("| "): line.removesuffix(" |").split(" | ")[1:] for line in lines}
    assert table["prune, 60 %"] == ["0/1; 60.0; 80", "0/2; 62.0 ± 2.8; 80 ± 0"]
    assert table["forge_uchida"][1] == "**2/2**; 62.0 ± 2.8; 80 ± 0"
    assert table["forge_uchida"][0] == "n/a (a)"
    assert "(a) does not apply, because nothing in it is read by a projection" in text
    without = text.split("Not tried here: ")[1].split(".\n")[0].split(", ")
    assert {*without} == {*entries("attack")} - {"prune", "forge_uchida"}
    assert "| forge_uchida | uchida | gradient | 11 | 2.00 | 0.00 |" in text
    assert "2 seeds" in text
    assert len(table) == 3  # prune takes two lines
    partly = attack_markdown([ROW, replace(ROW, scheme="passport_v2", norm="gn", attack="finetune", victim="three")])
    assert "| finetune | 0/1; 60.0; 80 | not run |" in partly


def test_what_a_package_that_is_gone_has_brought_is_shown_behind_what_is_known():
    rows = [
        ROW,
        replace(ROW, attack="theirs", point="x"),
        replace(ROW, attack="another", point="x", scheme="foreign"),
        replace(ROW, scheme="foreign"),
        replace(ROW, scheme="baseline", attack="finetune"),
    ]
    text = attack_markdown(rows)
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table[0] == "| attack | uchida (bn) | foreign (bn) |"
    assert [line.split(" | ")[0] for line in table[2:]] == [
        "| finetune", "| prune, 60 %", "| prune, any rate", "| another", "| theirs",
    ]  # fmt: skip
    assert table[-2:] == ["| another | not run | 0/1; 60.0; 80 |", "| theirs | 0/1; 60.0; 80 | not run |"]
    assert [tuple(cells[:2]) for _, cells in point_lines(rows)][-2:] == [("another", "foreign"), ("theirs", "uchida")]


@pytest.mark.parametrize("field", ["dataset", "width", "victim_epochs", "init"])
def test_settings_are_not_mixed(field):
    other = replace(ROW, **{field: "x" if field in ("dataset", "init") else 3})
    text = attack_markdown([ROW, other])
    assert text.count("Each cell:") == 2
    assert text.count("from weights x") == (field == "init")


def test_victims_of_one_scheme_that_differ_are_not_mixed():
    own = replace(ROW, scheme="passport_v2", passport="random", energy=30.0, step_energy=3.0, victim_bits=224)
    others = [
        replace(own, energy=3.0, step_energy=None, accuracy_after=0.5),
        replace(own, energy=None, step_energy=None, accuracy_after=0.4),
        replace(own, passport="shuffled", accuracy_after=0.3),
        replace(own, victim_bits=128, accuracy_after=0.2),
        replace(own, norm="gn", accuracy_after=0.1),
        replace(own, passport=None, energy=None, step_energy=None, victim_bits=None, accuracy_after=0.05),
    ]
    header, _, *lines = [line for line in attack_markdown([ROW, own, *others]).splitlines() if line.startswith("|")]
    cells = dict(zip(header.split(" | ")[1:], lines[0].split(" | ")[1:], strict=True))
    assert {head.strip(" |"): cell.split("; ")[1] for head, cell in cells.items()} == {
        "v2 (bn), random, energy 30, steps 3, 224 bits": "60.0",
        "v2 (bn), random, energy 3, 224 bits": "50.0",
        "v2 (bn), random, energy as published, 224 bits": "40.0",
        "v2 (bn), shuffled, energy 30, steps 3, 224 bits": "30.0",
        "v2 (bn), random, energy 30, steps 3, 128 bits": "20.0",
        "v2 (gn)": "10.0",
        "v2 (bn), not told": "5.0",
        "uchida (bn)": "60.0",
    }
    told = [cells[1] for _, cells in point_lines([ROW, own, *others])]
    assert len(told) == len({*told}) == 8


def test_the_picture_shows_the_best_forgery_that_is_read_of_each_forger():
    fake1 = replace(ROW, attack="fake1", scheme="passport_v1", forged=True, accuracy_after=0.1)
    better, unread = replace(fake1, accuracy_after=0.15), replace(fake1, accuracy_after=0.6, mark_read=False)
    fake2, insider = replace(fake1, attack="fake2", accuracy_after=0.5), replace(fake1, attack="fake3")
    other = replace(better, victim="two", accuracy_after=0.25, accuracy_before=0.8)
    uchida = replace(fake1, attack="forge_uchida", scheme="uchida", accuracy_after=0.7)
    figure = forgery_figure([fake1, better, unread, fake2, insider, other, uchida, ROW])
    heights = {bars.get_label(): [round(bar.get_height()) for bar in bars] for bars in figure.axes[0].containers
               if bars.get_label().endswith("claim")}  # fmt: skip
    assert heights == {
        "the owner's claim": [75, 70],  # V1, Uchida
        "weights alone: best forged claim": [20, 70],
        "weights and training data: best forged claim": [50],
    }
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["V1", "Uchida"]
    assert forgery_figure([ROW, unread, insider]) is None


def test_every_point_is_listed_with_its_range():
    less = replace(ROW, victim="two", accuracy_after=0.4, bits_agreeing=70, attack_succeeded=True)
    key = replace(ROW, scheme="trigger_set", point="", bits_total=None, bits_agreeing=None, trigger_accuracy=0.25)
    fakes = [replace(ROW, attack="fake1", scheme="passport_v1", point=f"passport={n}") for n in range(3)]
    lines = [" | ".join(cells) for _, cells in point_lines([ROW, less, key, *fakes])]
    assert lines == [
        "fake1 | passport_v1 | all | 3 | 60.0 ± 0.0 | 10.0 ± 0.0 | 10.0; 10.0 | 80 of 100 | 0",
        "prune | uchida | rate=0.6 | 2 | 50.0 ± 14.1 | 20.0 ± 14.1 | 10.0; 30.0 | 70 to 80 of 100 | 1",
        "prune | trigger_set |  | 1 | 60.0 | 10.0 | 10.0; 10.0 | 25 % | 0",
    ]


def test_a_scheme_and_an_attack_of_another_package_come_last():
    theirs = [replace(ROW, attack="theirs", scheme="theirs"), replace(ROW, scheme="theirs"), ROW]
    header, _, *lines = [line for line in attack_markdown(theirs).splitlines() if line.startswith("|")]
    assert header == "| attack | uchida (bn) | theirs (bn) |"
    assert [line.split(" | ")[0] for line in lines] == ["| prune, 60 %", "| prune, any rate", "| theirs"]
    assert lines[-1] == "| theirs | not run | 0/1; 60.0; 80 |"
    assert [cells[:2] for _, cells in point_lines(theirs)] == [
        ["prune", "uchida"], ["prune", "theirs"], ["theirs", "theirs"],
    ]  # fmt: skip
    assert len(attacks_section(theirs).tables[0].lines) == 3


@pytest.mark.parametrize(("known", "letter"), [(0, "a"), (12, "m"), (25, "z"), (26, "aa")])
def test_every_reason_has_a_letter(known, letter):
    reasons = {f"reason {number}": str(number) for number in range(known)}
    assert _cell([], "fake1", "uchida", reasons) == f"n/a ({letter})"
    assert _cell([], "fake1", "deepmarks", reasons) == f"n/a ({letter})"  # for the same reason
    assert len(reasons) == known + 1


def test_rows_of_other_images_are_lines_of_their_own_and_say_whose_they_are():
    own = replace(ROW, transfer="cifar10", attacker_images=500, shared_images=0)
    same = replace(own, shared_images=500)
    tuned = replace(own, transfer="cifar100", fidelity_kept=None)
    told = [cells[2] for _, cells in point_lines([ROW, own, same, tuned, own])]
    assert sorted(told) == [
        "rate=0.6",
        "rate=0.6 (cifar100)",
        "rate=0.6 (cifar10: 0 of 500 images are the victim's)",
        "rate=0.6 (cifar10: 500 of 500 images are the victim's)",
    ]


def test_networks_of_two_norms_are_told_apart_at_their_points():
    rows = [replace(ROW, key=norm, norm=norm) for norm in ("bn", "gn")]
    assert [cells[1] for _, cells in point_lines(rows)] == [f"{ROW.scheme} (bn)", f"{ROW.scheme} (gn)"]
    assert [cells[1] for _, cells in point_lines(rows[:1])] == [ROW.scheme]


def test_victims_of_one_seed_that_a_line_averages_are_told():
    own = replace(ROW, seed=0, model="alexnet", width=0.25, dataset="digits", victim_epochs=2, tags="")
    alike = [own, replace(own, victim="two", seed=1), replace(own, attack="finetune", point="")]
    assert not attacks_section(alike).notes
    (note,) = attacks_section([*alike, replace(own, victim="three")]).notes
    assert note.startswith("uchida: 3 networks of 2 seeds are averaged.")
