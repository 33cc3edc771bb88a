"""An exhibit that lacks its config, its docstring, its source or its contract fails here."""

import importlib
import pkgutil
from inspect import isabstract

import pytest
import torch

import ipr.exhibits
from ipr.attacks.base import schemes_of
from ipr.claims.base import Thresholds
from ipr.config.registry import load_all
from ipr.config.shipped import shipped
from ipr.errors import InputError
from ipr.exhibits.base import Exhibit
from ipr.schemes.base import abouts
from references import passport_claim, protected, small, watermark

EXHIBITS = load_all("exhibit")


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
    assert {*kind.families} <= {"none", "passport", "projection", "key images"}
    assert kind.claims is None or len(kind.schemes()) == 1
    assert kind.schemes()


@pytest.mark.parametrize("name", EXHIBITS)
def test_an_exhibit_refuses_a_scheme_of_which_there_is_nothing_to_show(name):
    for scheme in abouts():
        exhibit = EXHIBITS[name](name=name)
        if scheme in exhibit.schemes():
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
        EXHIBITS[name](name=name, **{field: value}).check(EXHIBITS[name].schemes()[0])


def opened(scheme, data):
    """A network and a claim to it, untrained."""
    if scheme not in schemes_of("passport"):
        network = small("alexnet", "bn")
        return network, watermark(scheme, network, data)
    _, network, passport = protected("alexnet", "bn", public_affine=scheme != "passport_v1")
    bits = {name: torch.ones(network.get_submodule(name).out_channels, dtype=torch.int8) for name in passport}
    return network, passport_claim(scheme, passport, bits, Thresholds(None))


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        (name, scheme)
        for name, kind in EXHIBITS.items()
        if kind.opens in ("run", "baseline")
        for scheme in kind.schemes()
    ],
)
def test_the_contract(name, scheme, case_of, data):
    """Nothing of the run changes, the same seed shows the same, and what is shown can be kept."""
    suspect, claim = opened(scheme, data)
    case = case_of(suspect, claim, scheme, baseline=lambda: small("alexnet", "bn"), passport_images=3)
    exhibit = EXHIBITS[name](name=name)
    if hasattr(exhibit, "iterations"):
        exhibit.iterations = 2
    before, fingerprint = {k: v.clone() for k, v in suspect.state_dict().items()}, claim.fingerprint()
    modes, learning = [m.training for m in suspect.modules()], [p.requires_grad for p in suspect.parameters()]
    first, again = exhibit.show(case), exhibit.show(case)
    assert all(torch.equal(tensor, before[k]) for k, tensor in suspect.state_dict().items())
    assert [m.training for m in suspect.modules()] == modes
    assert [p.requires_grad for p in suspect.parameters()] == learning
    assert claim.fingerprint() == fingerprint
    assert first.facts == again.facts
    assert all(torch.equal(array, again.arrays[k]) for k, array in first.arrays.items())
    about = {"key", "exhibit", "run", "scheme", "model", "norm", "width", "dataset", "seed", "attack", "epochs", "tags"}
    assert not any(about & row.keys() for row in first.facts)  # what `ipr.workflows.exhibit` adds to every row
    for array in first.arrays.values():
        assert array.dtype in (torch.uint8, torch.float32)
        assert array.device.type == "cpu"
        assert not array.requires_grad
