"""What a request makes of owner and signature."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import yaml

from ipr.claims.origin import Origin
from ipr.config.schema import SchemeConfig
from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.judging.claim_kinds import load_claim
from ipr.passport.bound import Binding, bound_signature
from ipr.store.folder import secret_digest
from ipr.workflows.draw_claim import origin_of
from ipr.workflows.named_run import as_run, named_run
from ipr.workflows.request import check, identity_of, key_of
from ipr.workflows.train import train


def test_the_owner_names_a_run_only_where_a_claim_bears_the_name(request_for):
    config = request_for()
    data = open_images(config.dataset, config.paths)
    assert "owner" not in identity_of(config, data)  # the names of runs made before stay
    for scheme in ("passport_v1", "uchida", "trigger_set"):
        keys = {key_of(request_for(f"scheme={scheme}", *owner), data) for owner in ([], ["owner=Ada"], ["owner=Eve"])}
        assert len(keys) == 3
    assert len({key_of(request_for("scheme=baseline", f"owner={name}"), data) for name in ("", "Ada")}) == 1
    with pytest.raises(InputError, match="owner="):
        check(request_for("owner='two\nlines'"))


def test_a_part_of_the_images_names_a_run_and_its_claim_where_one_is_asked_for(request_for):
    asked = [request_for("dataset.limit_train=60", *part) for part in ([], ["dataset.part=1/2"], ["dataset.part=2/2"])]
    each = [open_images(one.dataset, one.paths) for one in asked]
    assert "part" not in identity_of(asked[0], each[0])["dataset"]  # the names of runs made before stay
    assert len({key_of(one, data) for one, data in zip(asked, each, strict=True)}) == 3
    assert len({data.fingerprint for data in each}) == 1
    origins = [origin_of(one, data) for one, data in zip(asked, each, strict=True)]
    assert [one.part for one in origins] == [None, "1/2", "2/2"]
    assert "part" not in origins[0].stored()  # likewise the fingerprints of claims
    assert [Origin.read(one.stored()) for one in origins] == origins
    for part in (3, "2/1"):
        with pytest.raises(InputError, match=r"part of the"):
            Origin.read(origins[1].stored() | {"part": part})


@pytest.mark.parametrize("scheme", ["passport_v1", "uchida", "zhang_unrelated"])
def test_the_claim_bears_the_owners_name(request_for, scheme):
    claim = load_claim(train(request_for(f"scheme={scheme}", "owner=Ada", "trainer.max_epochs=1")).folder.claim)
    assert claim.owner == "Ada"


def test_a_bound_signature_follows_from_passport_owner_seed_and_key(request_for):
    asked = ("scheme.bound=true", "owner=Ada", "trainer.max_epochs=1")
    run = train(request_for(*asked))
    claim = load_claim(run.folder.claim)
    assert claim.bound
    assert (claim.text_bytes, run.record.bits_total) == (0, 224)
    capacities = {name: bits.numel() for name, bits in claim.signature.items()}
    derived = bound_signature(claim.passport, capacities, "Ada", Binding.parse(claim.binding))
    assert all(torch.equal(derived[name], bits) for name, bits in claim.signature.items())
    stored = yaml.safe_load(run.folder.config.read_text())["scheme"]
    assert (stored["bound"], stored["signature"]) == (True, None)
    assert train(request_for(*asked)).found
    free = load_claim(train(request_for(*asked[1:])).folder.claim)
    assert all(torch.equal(free.passport[name], maps) for name, maps in claim.passport.items())
    assert not free.bound
    keyed = load_claim(train(request_for(*asked, "passport.key=k")).folder.claim)
    assert keyed.binding != claim.binding
    assert keyed.bound


def test_bound_is_a_text_like_any_other_and_whoever_meant_more_is_told(request_for, capfd):
    text = request_for("scheme.signature=bound", "trainer.max_epochs=1")
    data = open_images(text.dataset, text.paths)
    claim = load_claim(train(text).folder.claim)
    assert (claim.bound, claim.text_bytes) == (False, 5)
    assert "scheme.bound=true asks for a bound signature" in capfd.readouterr().err
    assert identity_of(text, data)["scheme"]["signature"] == secret_digest("bound")
    with pytest.raises(InputError, match=r"scheme\.bound.*leaves no bit for the text"):
        train(request_for("scheme.bound=true", "scheme.signature=mine"))


def test_a_run_is_found_that_was_asked_for_when_bound_was_said_by_the_signature(request_for):
    """Its identity, and so its folder's name, is what it was; and its configuration is read as what it is now."""
    asked = request_for("scheme.bound=true", "trainer.max_epochs=1")
    data = open_images(asked.dataset, asked.paths)
    old = {name: value for name, value in asdict(asked.scheme).items() if name not in ("bits", "bound", "norm")}
    assert identity_of(asked, data)["scheme"] == old | {"signature": "bound"}
    free = identity_of(request_for(), data)["scheme"]
    assert (free["signature"], "bound" in free) == (None, False)
    run = train(asked)
    config = yaml.safe_load(run.folder.config.read_text())
    del config["scheme"]["bound"]
    config["scheme"]["signature"] = "bound"
    run.folder.config.write_text(yaml.safe_dump(config))
    again = as_run(request_for("attack=prune", f"run={run.folder.path.name}", command="attack"), ())
    assert again.scheme == asked.scheme
    assert named_run(again).folder.path == run.folder.path


@pytest.mark.parametrize(
    ("scheme", "norm", "relative"),
    [("passport_v1", "bn", False), ("passport_v2", "gn", True), ("passport_v3", "gn", True)],
)
def test_every_bit_of_a_bound_signature_is_read_back(request_for, scheme, norm, relative):
    asked = (f"scheme={scheme}", f"model.norm={norm}", "scheme.bound=true", "owner=Ada", "trainer.max_epochs=12")
    run = train(request_for(*asked))
    assert load_claim(run.folder.claim).relative == relative
    assert (run.record.bits_agreeing, run.record.bits_total) == (224, 224)


def test_a_scheme_with_the_settings_of_another_is_refused(request_for):
    config = request_for()
    with pytest.raises(InputError, match=r"^scheme=passport_v2: is asked for with a SchemeConfig.*PassportV2Config"):
        train(replace(config, scheme=SchemeConfig("passport_v2", "gn")))
    assert not Path("runs").exists()


def test_images_of_another_request_are_refused(request_for):
    """Their run would be found under the name of a request that has other images."""
    config, more = request_for("scheme=baseline"), request_for("scheme=baseline", "dataset.limit_train=256")
    with pytest.raises(InputError, match=r"^dataset=digits: other images are given"):
        train(config, open_images(more.dataset, more.paths))
    assert not Path("runs").exists()
    assert train(config, open_images(config.dataset, config.paths)).folder.key == train(config).folder.key


def test_no_layer_is_no_layer(request_for):
    with pytest.raises(InputError, match=r"^scheme\.layers=\[\]: names no layer"):
        train(request_for("scheme.layers=[]"))
