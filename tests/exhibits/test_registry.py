"""An exhibit that lacks its config, its docstring, its source or its contract fails here."""

import importlib
import pkgutil
from inspect import isabstract

import pytest

import ipr.exhibits
from ipr.cli.compose import shipped
from ipr.errors import InputError
from ipr.exhibits import EXHIBITS
from ipr.exhibits.base import Exhibit
from ipr.schemes import SCHEMES


def subclasses(kind):
    return {kind, *(d for sub in kind.__subclasses__() for d in subclasses(sub))}


def test_every_exhibit_is_registered_and_has_its_yaml():
    for module in pkgutil.walk_packages(ipr.exhibits.__path__, "ipr.exhibits."):
        importlib.import_module(module.name)
    ours = {k for k in subclasses(Exhibit) if k.__module__.startswith("ipr.exhibits.") and not isabstract(k)}
    assert ours == set(EXHIBITS.values())
    assert {path.stem for path in shipped("conf").glob("exhibit/*.yaml")} == EXHIBITS.keys()


@pytest.mark.parametrize("name", EXHIBITS)
def test_every_exhibit_says_what_it_shows_and_where_the_paper_does(name):
    kind = EXHIBITS[name]
    assert kind.__module__ == f"ipr.exhibits.{name}"
    for part in ("Arrays:", "Facts:"):
        assert part in kind.__doc__
    assert kind.source.startswith(("Figure", "Table"))
    assert kind.needs
    assert set(kind.schemes) <= SCHEMES.keys()


@pytest.mark.parametrize("name", EXHIBITS)
def test_an_exhibit_refuses_a_scheme_of_which_there_is_nothing_to_show(name):
    for scheme in SCHEMES:
        exhibit = EXHIBITS[name](name=name)
        if scheme in exhibit.schemes:
            exhibit.check(scheme)
        else:
            with pytest.raises(InputError, match=f"exhibit={name}: has nothing to show of scheme={scheme}, because"):
                exhibit.check(scheme)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("watermark_distributions", "lr", 0.0), ("watermark_distributions", "iterations", 0),
        ("trigger_images", "eta", 0.0), ("trigger_images", "bound", 0.0), ("trigger_images", "lr", -1.0),
        ("trigger_images", "iterations", 0), ("distributions", "gamma_0", 0.0), ("scale_signs", "channels", 0),
        ("convergence", "channels", 0), ("timing", "rounds", 0), ("timing", "steps", 0), ("timing", "batch_size", 0),
    ],
)  # fmt: skip
def test_a_setting_out_of_range_is_refused_by_name(name, field, value):
    with pytest.raises(InputError, match=rf"exhibit\.{field}="):
        EXHIBITS[name](name=name, **{field: value}).check(EXHIBITS[name].schemes[0])
