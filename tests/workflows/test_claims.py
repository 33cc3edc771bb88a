"""What a request makes of owner and signature."""

import pytest
import torch
import yaml

from ipr.claims.origin import Origin
from ipr.errors import InputError
from ipr.judging.claim_kinds import load_claim
from ipr.passport.bound import Binding, bound_signature
from ipr.workflows.build import open_images
from ipr.workflows.draw_claim import origin_of
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
    asked = ("scheme.signature=bound", "owner=Ada", "trainer.max_epochs=1")
    run = train(request_for(*asked))
    claim = load_claim(run.folder.claim)
    assert claim.bound
    assert (claim.text_bytes, run.record.bits_total) == (0, 224)
    capacities = {name: bits.numel() for name, bits in claim.signature.items()}
    derived = bound_signature(claim.passport, capacities, "Ada", Binding.parse(claim.binding))
    assert all(torch.equal(derived[name], bits) for name, bits in claim.signature.items())
    assert yaml.safe_load(run.folder.config.read_text())["scheme"]["signature"] == "bound"
    assert train(request_for(*asked)).found
    free = load_claim(train(request_for(*asked[1:])).folder.claim)
    assert all(torch.equal(free.passport[name], maps) for name, maps in claim.passport.items())
    assert not free.bound
    keyed = load_claim(train(request_for(*asked, "passport.key=k")).folder.claim)
    assert keyed.binding != claim.binding
    assert keyed.bound


@pytest.mark.parametrize(
    ("scheme", "norm", "relative"),
    [("passport_v1", "bn", False), ("passport_v2", "gn", True), ("passport_v3", "gn", True)],
)
def test_every_bit_of_a_bound_signature_is_read_back(request_for, scheme, norm, relative):
    asked = (f"scheme={scheme}", f"model.norm={norm}", "scheme.signature=bound", "owner=Ada", "trainer.max_epochs=12")
    run = train(request_for(*asked))
    assert load_claim(run.folder.claim).relative == relative
    assert (run.record.bits_agreeing, run.record.bits_total) == (224, 224)
