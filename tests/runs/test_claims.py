"""What a request makes of owner and signature."""

import pytest
import torch
import yaml

from ipr.errors import InputError
from ipr.passport.bound import Binding, bound_signature
from ipr.runs.build import open_images
from ipr.runs.request import check, identity_of, key_of
from ipr.runs.train import train
from ipr.verification.claims import load_claim


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
