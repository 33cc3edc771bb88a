"""A scheme that lacks its YAML, its docstring, its claim or its contract fails here."""

import stat
from dataclasses import replace
from importlib import import_module

import pytest
import torch
from hydra.core.config_store import ConfigStore

from ipr.attacks.base import schemes_of
from ipr.config.recipe import Recipe
from ipr.config.registry import entries
from ipr.config.shipped import shipped
from ipr.data.images import LabelledImages
from ipr.errors import InputError
from ipr.judging.claim_kinds import kind_of, load_claim
from ipr.judging.fidelity import accuracy
from ipr.judging.verdict import judge, judge_claims
from ipr.requests.compose import register
from ipr.schemes.base import abouts
from references import BY_IMAGES, embedding, memorise, small, watermark

WATERMARKS = [scheme for scheme in abouts() if scheme not in (*schemes_of("passport"), "baseline")]
TRAINED = {"seal": {"up", "down"}}
"""What is trained beside the network, and is in its checkpoints."""


def test_every_scheme_has_its_yaml_its_schema_and_its_kind_of_claim():
    register()
    assert {path.stem for path in shipped("conf").glob("scheme/*.yaml")} == abouts().keys()
    schemas = {name.removesuffix(".yaml") for name in ConfigStore.instance().list("schema/scheme")}
    assert schemas == abouts().keys() == entries("scheme").keys()
    assert {name for name in WATERMARKS if "choices" in kind_of(name).__dataclass_fields__} == {
        *schemes_of("key images"),
        "ipguard",
    }
    for other in ("baseline", "passport_v1", "no such kind"):
        with pytest.raises(InputError, match="nothing installed knows"):
            kind_of(other)


@pytest.mark.parametrize("name", abouts())
def test_every_scheme_says_where_it_comes_from_and_how_it_is_read(name):
    about = abouts()[name]
    assert all((about.family, about.source, about.embeds, about.reads))
    kind = kind_of("passport" if name in schemes_of("passport") else name) if name != "baseline" else None
    assert kind is None or (kind.__doc__ and not kind.__doc__.startswith(f"{kind.__name__}("))
    first = (shipped("conf") / "scheme" / f"{name}.yaml").read_text().splitlines()[0]
    if name in WATERMARKS:
        assert first.startswith("# ")
        author = about.source.split()[0]
        assert author in first
        module = import_module(entries("scheme")[name].module)
        assert author in module.__doc__


@pytest.fixture
def network(data):
    made = small("alexnet", "bn")
    memorise(made, data)
    return made


@pytest.mark.parametrize("name", WATERMARKS)
@pytest.mark.sampled(3)
def test_the_contract(name, network, data, tmp_path):
    """A claim survives its folder, is read the same from there, and reading leaves the network as it was."""
    claim = watermark(name, network, data)
    claim.save(tmp_path / "claim")
    assert stat.S_IMODE((tmp_path / "claim").stat().st_mode) == 0o700
    loaded = load_claim(tmp_path / "claim")
    assert type(loaded) is type(claim)
    assert loaded.fingerprint() == claim.fingerprint()
    assert loaded.dissimilarity(claim) == 0
    before = {k: v.clone() for k, v in network.state_dict().items()}
    assert loaded.read(network, data.mean, data.std) == claim.read(network, data.mean, data.std)
    second = claim.redrawn(network, data, 1)
    assert type(second) is type(claim)
    assert second.marks().shape == claim.marks().shape
    assert (second.dissimilarity(claim) > 0) != (name == "lineage")  # which is the network: nothing is drawn
    assert second.fingerprint() == claim.redrawn(network, data, 1).fingerprint()
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert network.training

    module = embedding(claim, network, Recipe(0.01, 0.9, 0.0, "constant", 0.0, None), data)
    theirs = {f"network.{k}" for k in network.state_dict()} | TRAINED.get(name, set())
    assert module.state_dict().keys() == theirs  # no secret that was drawn is in a checkpoint
    module.on_train_epoch_start()
    terms = module.terms(torch.randn(8, *data.train_pixels.permute(0, 3, 1, 2).shape[1:]), torch.arange(8))
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.trained())


@pytest.mark.parametrize(
    ("name", "field", "broken"),
    [
        ("uchida", "bits", lambda t: t[:-1]), ("uchida", "bits", lambda t: 0 * t),
        ("uchida", "projection", torch.ravel), ("uchida", "projection", lambda t: t * torch.nan),
        ("deepmarks", "basis", lambda t: t[:, 1:]),
        ("deepmarks", "projection", lambda t: t.long()), ("deepsigns", "bits", torch.ravel),
        ("deepsigns", "labels", lambda t: t[:1].expand_as(t)), ("deepsigns", "pixels", lambda t: t[1:]),
        ("neuralmark", "bits", torch.neg), ("neuralmark", "key", lambda t: t.nextafter(t + 1)),
        ("neuralmark", "key", lambda t: t.double()), ("neuralmark", "key", lambda t: t * torch.nan),
        ("neuralmark", "rounds", lambda n: 0), ("neuralmark", "rounds", lambda n: 10**9),
        ("greedy_residuals", "bits", torch.neg), ("greedy_residuals", "message", lambda t: "hers"),
        ("greedy_residuals", "message", lambda t: "a\nb"), ("greedy_residuals", "message", lambda t: "a" * 201),
        ("greedy_residuals", "signature", lambda t: t.flip(0)), ("greedy_residuals", "signature", lambda t: t[1:]),
        ("greedy_residuals", "public_key", lambda t: 0 * t), ("greedy_residuals", "public_key", lambda t: t.char()),
        ("greedy_residuals", "columns", lambda n: 0), ("greedy_residuals", "dropped", lambda x: 1.0),
        ("trigger_set", "labels", lambda t: t.float()), ("trigger_set", "pixels", lambda t: t[0]),
        ("trigger_set", "pixels", lambda t: t.float()), ("trigger_set", "choices", lambda n: 0),
        ("trigger_set", "choices", lambda n: "10"),
        ("seal", "passports", lambda t: t.float()), ("seal", "passports", lambda t: t[:, :, 1:]),
        ("seal", "up", lambda t: t[:, 1:]), ("seal", "down", lambda t: t * torch.nan), ("seal", "scale", lambda x: 0.0),
    ],
)  # fmt: skip
@pytest.mark.sampled(3)
def test_a_claim_whose_parts_do_not_fit_is_refused_when_it_is_loaded(name, field, broken, network, data, tmp_path):
    claim = watermark(name, network, data)
    object.__setattr__(claim, field, broken(getattr(claim, field)))  # as a damaged or hostile folder would hold it
    claim.save(tmp_path / "claim")
    with pytest.raises(InputError, match=r"^claim=.*restore"):
        load_claim(tmp_path / "claim")


@pytest.mark.parametrize("name", [name for name in WATERMARKS if kind_of(name).brings_passport is None])
@pytest.mark.sampled(3)
def test_a_watermark_is_judged_by_the_same_path(name, network, data):
    claim = watermark(name, network, data)
    images = LabelledImages(data.test_pixels, data.test_labels, data.mean, data.std)
    verdict = judge(network, claim, images)
    assert verdict.accuracy_without == verdict.fidelity.accuracy == accuracy(network, images)
    assert verdict.accuracy_forged == ()
    assert verdict.fidelity.holds
    read = claim.read(network, data.mean, data.std)
    assert verdict.reading == read
    assert verdict.trigger_accuracy == (read.agreement if name in BY_IMAGES else None)
    assert verdict.consistent == verdict.mark_read == (read.p_value <= claim.thresholds.p_value)
    strict = replace(claim, thresholds=replace(claim.thresholds, target_accuracy=1.0, p_value=1.0))
    first, second = judge_claims(network, [claim, strict], images)
    assert first == verdict
    assert not second.fidelity.holds
    assert second.mark_read
    assert not second.consistent


def test_passports_and_watermarks_are_not_judged_together(network, data):
    from ipr.claims.base import Thresholds
    from ipr.passport.claim import PassportClaim
    from references import protected

    _, _, passport = protected("alexnet", "bn")
    bits = {n: torch.ones(network.get_submodule(n).out_channels, dtype=torch.int8) for n in passport}
    owner = PassportClaim(passport, bits, thresholds=Thresholds(None))
    images = LabelledImages(data.test_pixels, data.test_labels, data.mean, data.std)
    with pytest.raises(InputError, match="not judged together"):
        judge_claims(network, [owner, watermark("uchida", network, data)], images)
