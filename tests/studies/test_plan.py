"""From studies and scales to cells, and what a study or scale that does not fit gets."""

import hashlib
import json
from dataclasses import replace

import pytest
import yaml

from ipr.config.registry import load_all
from ipr.config.shipped import studies
from ipr.errors import InputError
from ipr.studies.plan import WAVES, plan, with_changes
from ipr.studies.scale import DataScale, ModelScale, Scale
from ipr.studies.study import Study, Sweep, find_studies, load_scale, load_study

SCALE = Scale(
    what="small",
    seeds=[3, 4],
    models={"alexnet": ModelScale({"model.width": 0.5}), "resnet18": ModelScale(seeds=[9], attacks=["prune"])},
    datasets={
        "cifar10": DataScale("digits", limit_train=100),
        "cifar100": DataScale("digits_parity", limit_test=20, victims=False),
    },
    set={"trainer.max_epochs": 2, "attack_epochs": 1},
    attacks={"prune": {"rates": [0.5]}},
)


def study(*sweeps):
    return Study("t", list(sweeps), name="mine")


def test_the_issue_names_these_tables_and_figures():
    tables = {f"table_{n:02d}" for n in (1, 2, 5, 6, 7, 8, 9, 10, 11)}
    figures = {f"figure_{n:02d}" for n in (2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16)}
    assert {name for name, path in studies().items() if not load_study(path).scale} == tables | figures
    assert {path.stem for path, _ in find_studies("all")} == tables | figures
    assert [path.stem for path, _ in find_studies("all")] == [*sorted(tables), *sorted(figures)]


OWN = ("quickstart", "beyond", "cifar10_part", "cifar10_part_attacks", "cifar10_part_energy", "cifar100_part_insider",
       "findings", "forged_passports", "published", "photographs", "photographs_attacks",
       "photographs_bits", "photographs_margin")  # fmt: skip
"""Studies that are made for one scale."""


@pytest.mark.parametrize("name", OWN)
def test_a_study_that_is_made_for_a_scale_has_cells_there_that_carry_its_tag(name):
    found = load_study(studies()[name])
    cells = plan(found, load_scale(found.scale))
    assert {cell.about["scheme"] for cell in cells if cell.about.get("norm") in (None, "bn")} & {
        "passport_v1",
        "passport_v2",
    }
    assert all(cell.values["tags"] == [name] for cell in cells)
    assert {*studies()} - {path.stem for path, _ in find_studies("all")} == {*OWN}


def test_the_attacks_of_a_part_of_cifar10_are_all_that_apply():
    found = load_study(studies()["cifar10_part_attacks"])
    attacked = {(cell.about["scheme"], cell.about["attack"]) for cell in plan(found, load_scale(found.scale))
                if cell.wave == "attack"}  # fmt: skip
    schemes, attacks = {scheme for scheme, _ in attacked}, {attack for _, attack in attacked}
    assert (len(schemes), len(attacks)) == (12, 13)
    assert attacked == {(s, a) for s in schemes for a in attacks if not load_all("attack")[a].inapplicable(s)}


def test_beyond_is_every_attack_on_every_scheme_that_it_applies_to_with_images_of_its_own():
    cells = plan(load_study(studies()["beyond"]), load_scale("cpu"))
    attacked = {(cell.about["scheme"], cell.about["attack"]) for cell in cells if cell.wave == "attack"}
    everything = {(s, name) for name, kind in load_all("attack").items() for s in kind.schemes()}
    left = {("baseline", "finetune")} | {(s, "rotate") for s in load_all("scheme")}  # nothing embedded; transformers
    assert everything - attacked <= left
    assert attacked <= everything
    for cell in cells:
        assert cell.values["dataset.part"] == "1/2"
        if cell.wave == "attack":
            assert cell.choices["dataset@transfer"] == cell.choices["dataset"]
            assert cell.values["transfer.part"] == "2/2"
            same = ("limit_train", "limit_test")
            assert [cell.values[f"transfer.{n}"] for n in same] == [cell.values[f"dataset.{n}"] for n in same]


def test_passports_of_several_energies_are_cells_of_their_own():
    found = load_study(studies()["cifar10_part_energy"])
    cells = [cell for cell in plan(found, load_scale(found.scale)) if cell.wave == "victim"]
    assert len(cells) == 2 * 3 * 4
    assert {cell.about["energy"] for cell in cells} == {1.0, 3.0, 6.0, "as published"}


@pytest.mark.parametrize("path", [path for name, path in studies().items() if name not in OWN], ids=lambda p: p.stem)
def test_every_study_says_what_it_asks_draws_and_claims(path):
    found = load_study(path)
    assert found.title.split(":")[0].split()[0] in ("Table", "Figure")
    assert found.question.endswith("?")
    assert found.source
    assert found.statements
    assert found.tables or found.figures
    names = [s.name for s in found.statements]
    assert len(set(names)) == len(names)
    for name in ("smoke", "cpu", "paper"):
        scale = load_scale(name)
        assert scale.name == name
        assert plan(found, scale), f"{found.name} has no cell at {name}"


def test_a_variant_tells_cells_apart_and_is_no_part_of_what_they_are():
    plain, set_ = Sweep(scheme=["uchida"]), {"scheme.bits": 64}
    (first, *_), (second, *_), (third, *_) = (
        plan(study(sweep), SCALE)
        for sweep in (
            plain,
            Sweep(scheme=["uchida"], variant="as it is"),
            Sweep(scheme=["uchida"], set=set_, variant="64"),
        )
    )
    assert first.name == second.name != third.name
    assert ("variant" in first.about, second.about["variant"], third.about["variant"]) == (False, "as it is", "64")


def test_a_sweep_is_every_combination_once_and_trainings_come_first():
    sweeps = [
        Sweep(scheme=["passport_v1"], attack=["prune"]),
        Sweep(scheme=["baseline"], norm=["bn", "gn"]),
        Sweep(scheme=["passport_v1", "uchida"]),
        Sweep(scheme=["uchida"]),
    ]
    cells = plan(study(*sweeps), SCALE)
    found = [(c.wave, c.about["scheme"], c.about.get("norm"), c.about["seed"]) for c in cells]
    assert found == [
        ("baseline", "baseline", "bn", 3), ("baseline", "baseline", "bn", 4),
        ("baseline", "baseline", "gn", 3), ("baseline", "baseline", "gn", 4),
        ("victim", "passport_v1", None, 3), ("victim", "passport_v1", None, 4),
        ("victim", "uchida", None, 3), ("victim", "uchida", None, 4),
        ("attack", "passport_v1", None, 3), ("attack", "passport_v1", None, 4),
    ]  # fmt: skip
    assert [WAVES.index(c.wave) for c in cells] == sorted(WAVES.index(c.wave) for c in cells)
    assert len({c.name for c in cells}) == len(cells)
    attacked = cells[-1]
    assert attacked.values["attack.rates"] == [0.5]
    assert attacked.values["attack_epochs"] == 1
    assert "attack_epochs" not in cells[0].values
    assert attacked.command == (
        "ipr attack scheme=passport_v1 model=alexnet dataset=digits attack=prune trainer.max_epochs=2 attack_epochs=1 "
        "model.width=0.5 dataset.limit_train=100 seed=4 'attack.rates=[0.5]'"
    )


def test_a_scale_leaves_out_what_it_does_not_hold():
    sweep = Sweep(
        scheme=["passport_v1"], model=["alexnet", "resnet18", "resnet50"],
        dataset=["cifar10", "cifar100", "caltech101"],
        attack=["finetune", "prune"], transfer=["cifar10", "cifar100", "caltech101"],
    )  # fmt: skip
    cells = plan(study(sweep), SCALE)
    assert {(c.about["model"], c.about["dataset"], c.about["attack"], c.about["transfer"]) for c in cells} == {
        ("alexnet", "cifar10", "finetune", "cifar100"), ("alexnet", "cifar10", "prune", "cifar100"),
        ("resnet18", "cifar10", "prune", "cifar100"),
    }  # fmt: skip
    assert {c.about["seed"] for c in cells if c.about["model"] == "resnet18"} == {9}
    assert cells[0].choices["dataset@transfer"] == "digits_parity"
    assert cells[0].values["transfer.limit_test"] == 20
    assert not plan(study(sweep), replace(SCALE, models={"resnet18": ModelScale(transfer=False)}))


def test_an_attacker_may_have_a_part_of_the_victims_data_set():
    halves = {"dataset.part": "1/2", "transfer.part": "2/2"}
    sweep = Sweep(
        scheme=["passport_v1"], model=["alexnet"], dataset=["cifar10"], attack=["prune"], transfer=["cifar10"]
    )
    assert not plan(study(sweep), SCALE)
    (cell, *_) = plan(study(replace(sweep, set=halves)), SCALE)
    assert cell.choices["dataset@transfer"] == cell.choices["dataset"]
    assert halves.items() <= cell.values.items()


def test_energies_vary_for_passports_alone_and_exhibits_take_one_seed():
    scale = replace(SCALE, energies=[3.0, None])
    cells = plan(study(Sweep(scheme=["passport_v1", "uchida"])), scale)
    assert [(c.about["scheme"], c.about.get("energy"), c.values.get("passport.energy", "-")) for c in cells] == [
        ("passport_v1", 3.0, 3.0), ("passport_v1", "as published", None),
        ("passport_v1", 3.0, 3.0), ("passport_v1", "as published", None),
        ("uchida", None, "-"), ("uchida", None, "-"),
    ]  # fmt: skip
    shown = plan(study(Sweep(scheme=["uchida"], exhibit=["trigger_images"])), SCALE)
    assert [c.about["seed"] for c in shown] == [3]
    assert shown[0].wave == "exhibit"


def test_a_scale_says_the_norm_of_a_scheme_and_a_sweep_another():
    scale = replace(SCALE, norms={"passport_v2": "gn"})
    sweeps = [Sweep(scheme=["passport_v1", "passport_v2"]), Sweep(scheme=["passport_v2"], norm=["bn"])]
    cells = plan(study(*sweeps), scale, seeds=[3])
    assert [(c.about["scheme"], c.about.get("norm"), c.values.get("model.norm")) for c in cells] == [
        ("passport_v1", None, None), ("passport_v2", "gn", "gn"), ("passport_v2", "bn", "bn"),
    ]  # fmt: skip
    for norms in (
        {"passport_v2": "../gn"},
        {"passport_v2": 3},
        {"passport_v2": None},
        {"pasport_v2": "gn"},
        {"": "gn"},
    ):
        with pytest.raises(InputError, match=r"scale\.norms"):
            plan(study(*sweeps), replace(SCALE, norms=norms))


@pytest.mark.parametrize("name", ["paper", "cpu", "smoke"])
def test_what_reproduces_the_paper_has_the_norms_that_it_pairs(name):
    cells = [cell for _, found in find_studies("all") for cell in plan(found, load_scale(name))]
    norms = {(cell.about["scheme"], cell.values.get("model.norm")) for cell in cells}
    assert {norm for scheme, norm in norms if scheme in ("passport_v2", "passport_v3")} == {"gn"}
    assert {norm for scheme, norm in norms if scheme == "passport_v1"} == {None}


def test_a_change_beside_the_scale_is_part_of_what_a_cell_is():
    cells = plan(study(Sweep(scheme=["uchida"])), SCALE)
    changed = with_changes(cells, ["model.norm=gn"])
    assert {c.name for c in cells}.isdisjoint(c.name for c in changed)
    assert changed[0].command.endswith(" model.norm=gn")


def test_no_secret_is_in_a_cells_name_or_command():
    own = plan(study(Sweep(scheme=["uchida"], set={"scheme.signature": "mine alone"})), SCALE)
    asked = with_changes(
        plan(study(Sweep(scheme=["uchida"])), SCALE), ["passport.key=mine alone", "+scheme.signature=x"]
    )
    other = with_changes(plan(study(Sweep(scheme=["uchida"])), SCALE), ["passport.key=another", "+scheme.signature=x"])
    for cell in (*own, *asked):
        assert "mine" not in cell.command + cell.name
        assert "<hidden>" in cell.command
    assert {c.name for c in asked}.isdisjoint(c.name for c in other)
    digest = hashlib.sha256(json.dumps([own[0].choices, own[0].values], sort_keys=True).encode()).hexdigest()[:8]
    assert not own[0].name.endswith(digest)  # which a guess could be tried on quickly


def test_a_node_is_what_hydra_merges_into_the_root():
    cell = plan(study(Sweep(scheme=["uchida"], set={"scheme.bits": 8})), SCALE)[0]
    node = cell.node()
    assert node["defaults"] == [
        {"override /scheme": "uchida"}, {"override /model": "alexnet"}, {"override /dataset": "digits"}, "_self_",
    ]  # fmt: skip
    assert node["scheme"] == {"bits": 8}
    assert node["dataset"] == {"limit_train": 100}
    assert node["trainer"] == {"max_epochs": 2}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"titel": "x"}, "titel"),
        ({"sweeps": "x"}, "sweeps"),
        ({"scale": "../cpu"}, "scale=../cpu"),
        ({"tags": [""]}, "a tag is empty"),
        ({"statements": [{"name": "a", "says": "b", "value": "nothing", "at_least": 1}]}, "nothing"),
        ({"statements": [{"name": "a", "says": "b", "value": "mark"}]}, "has no bound"),
        ({"paper": {"columns": ["mark", "scheme"], "rows": [[1]]}}, "is not a row"),
        ({"figures": [{"name": "a", "caption": "b", "kind": "pie"}]}, "pie"),
    ],
)
def test_a_study_that_does_not_fit_is_refused_in_one_line(tmp_path, change, words):
    good = {"title": "t", "question": "q?", "source": "s", "sweeps": [{"scheme": ["uchida"]}], "statements": []}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(good))
    assert load_study(path).name == "mine"
    path.write_text(yaml.safe_dump({**good, **change}))
    with pytest.raises(InputError, match=words) as refused:
        load_study(path)
    assert "\n" not in str(refused.value)


def test_a_study_file_is_data_and_never_executed(tmp_path):
    path = tmp_path / "evil.yaml"
    path.write_text(f"!!python/object/apply:os.system ['touch {tmp_path}/done']\n")
    with pytest.raises(InputError, match="cannot be read"):
        load_study(path)
    assert not (tmp_path / "done").exists()
