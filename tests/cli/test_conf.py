"""Every option under conf/ and every study composes into the schema and passes the checks."""

from dataclasses import asdict
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ipr.cli.reproduce import enter
from ipr.config.rule import Rule
from ipr.config.schema import EndpointConfig, PathsConfig
from ipr.config.shipped import shipped, studies
from ipr.requests.compose import as_texts, register, typed
from ipr.studies.config import ReproduceConfig
from ipr.studies.plan import plan
from ipr.studies.study import load_scale, load_study
from ipr.workflows.request import check, without_secrets

CONF = shipped("conf")
OPTIONS = [
    f"{path.parent.relative_to(CONF)}={path.stem}" for path in sorted(CONF.glob("*/*.yaml")) if path.parent != CONF
]


def composed(*overrides, command="train"):
    register(command)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(command, list(overrides))


def test_the_groups_are_those_people_type():
    groups = {option.split("=")[0] for option in OPTIONS}
    assert {
        "model",
        "scheme",
        "dataset",
        "passport",
        "trigger_set",
        "optimizer",
        "trainer",
        "logger",
        "paths",
    } <= groups
    for option in (
        "model=alexnet", "model=resnet18", "model=resnet50", "model=torchvision", "model=timm", "scheme=baseline",
        "scheme=passport_v1", "dataset=digits_rgb",
        "scheme=passport_v2", "scheme=passport_v3", "dataset=digits", "dataset=cifar10", "dataset=cifar100",
        "dataset=caltech101", "dataset=image_folder", "passport=random", "passport=image", "passport=shuffled",
        "trigger_set=abstract", "trigger_set=folder", "optimizer=published", "logger=wandb", "logger=csv",
    ):  # fmt: skip
        assert option in OPTIONS


@pytest.mark.sampled(6)
@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes(option):
    group = option.split("=")[0]
    if group == "scale":
        assert typed(composed(option, "study=all", command="reproduce")).scale.name == option.split("=")[1]
        return
    if group == "rule":
        asked = typed(composed(option, "suspect=a", "claim=b", command="verify"))
        assert Rule(**asdict(asked.rule)) == Rule(option.split("=")[1])
        return
    if group == "endpoint":  # of `ipr verify`
        assert (
            typed(OmegaConf.merge(EndpointConfig, OmegaConf.load(CONF / "endpoint/default.yaml"))) == EndpointConfig()
        )
        return
    check(
        typed(
            composed(option, command={"attack": "attack", "search": "attack", "exhibit": "exhibit"}.get(group, "train"))
        )
    )


@pytest.mark.parametrize("name", [name for name, path in studies().items() if load_study(path).scale])
@pytest.mark.sampled(3)
def test_every_study_of_its_own_scale_composes_with_each_scheme_and_attack(name):
    study = load_study(studies()[name])
    cells = {(c.about["scheme"], c.about.get("norm")): c for c in plan(study, load_scale(study.scale))}
    cells |= {c.about.get("attack"): c for c in plan(study, load_scale(study.scale))}
    request = ReproduceConfig(study=name, scale=load_scale(study.scale), paths=PathsConfig(cache="cache"))
    enter(request, [*cells.values()])
    for cell in cells.values():
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = typed(compose("cell", as_texts("cell", [f"cell={cell.name}"])))
        check(config)
        assert config.tags == [name]


@pytest.mark.parametrize("scheme", ["baseline", "passport_v1", "passport_v2", "passport_v3"])
def test_a_network_has_batch_norms_unless_others_are_asked_for(scheme):
    assert typed(composed(f"scheme={scheme}")).model.norm == "bn"
    assert typed(composed(f"scheme={scheme}", "model.norm=gn")).model.norm == "gn"


def test_passports_are_random_and_hidden_unless_others_are_asked_for():
    for command in ("train", "protect", "attack", "cell", "exhibit"):
        needed = ["weights=mine.pt"] if command == "protect" else []
        asked = typed(composed(*needed, command=command)).passport
        assert (asked.name, asked.energy, asked.step_energy) == ("random", 30.0, None)


def test_published_is_table_iv():
    recipe = typed(composed("optimizer=published")).optimizer
    assert (recipe.lr, recipe.momentum, recipe.batch_size, recipe.schedule) == (0.01, 0.9, 64, "step")
    assert (recipe.warmup, recipe.clip_norm) == (0, None)
    assert recipe.weight_decay == 1e-4  # the authors' code


def test_every_field_is_named_in_a_yaml_file_or_has_a_default():
    """No option hides a field that must be given: only what a command is about must."""
    for command, missing in (
        ("train", set()),
        ("protect", {"weights"}),
        ("attack", set()),
        ("exhibit", set()),
        ("verify", {"suspect", "claim"}),
        ("verdict", set()),
        ("dispute", {"suspect", "claims"}),
        ("calibrate", {"claim"}),
        ("claim", {"claim"}),
        ("export", {"run"}),
        ("unlock", {"weights", "claim"}),
        ("report", set()),
        ("dashboard", set()),
        ("reproduce", {"study"}),
        ("status", set()),
        ("gc", set()),
        ("cell", set()),
    ):
        register(command)
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose(command)
        assert {k for k in config if config._get_node(k)._is_missing()} == missing


def test_secrets_are_shown_as_such():
    config = typed(composed("scheme.signature=mine", "passport.key=k"))
    assert config.scheme.signature == "mine"
    shown = without_secrets(config)
    assert shown["scheme"]["signature"] == shown["passport"]["key"] == "<hidden>"
    assert without_secrets(typed(composed()))["scheme"]["signature"] is None
    assert without_secrets(typed(composed("scheme.signature=bound")))["scheme"]["signature"] == "<hidden>"
    bound = without_secrets(typed(composed("scheme.bound=true")))["scheme"]
    assert (bound["bound"], bound["signature"]) == (True, None)


def test_the_judges_key_is_where_the_user_says(monkeypatch):
    monkeypatch.delenv("IPR_JUDGE_KEY")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    asked = ("suspect=x", "claim=y")
    assert typed(composed(*asked, command="verify")).paths.judge == "~/.config/ipr/judge.pem"
    monkeypatch.setenv("XDG_CONFIG_HOME", "/some where")
    assert typed(composed(*asked, command="verify")).paths.judge == "/some where/ipr/judge.pem"
    monkeypatch.setenv("IPR_JUDGE_KEY", "mine.pem")
    assert typed(composed(*asked, command="verify")).paths.judge == "mine.pem"
    assert typed(composed(*asked, "paths.judge=other.pem", command="verify")).paths.judge == "other.pem"


def test_no_path_of_this_machine_is_in_the_configuration():
    for path in Path(CONF).rglob("*.yaml"):
        assert "/home/" not in path.read_text()
