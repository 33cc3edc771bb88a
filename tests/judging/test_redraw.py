"""The judge draws the secrets of every scheme again, and tells what was drawn from what was chosen."""

import hashlib
from dataclasses import replace

import pytest
import torch

from ipr.claims.base import reading
from ipr.claims.commitment import commit, opens
from ipr.claims.folder import read_parts
from ipr.claims.origin import Origin
from ipr.data.cache import load_images
from ipr.data.images import ImageData
from ipr.data.sources import DatasetRequest
from ipr.errors import InputError
from ipr.judging.claim_kinds import load_claim
from ipr.judging.redraw import Redrawn, is_keyless, redraw
from ipr.randomness import derive_seed
from ipr.requests.compose import configuration
from ipr.schemes.neuralmark import key_bits
from ipr.schemes.start import plain_network
from ipr.workflows.draw_claim import make_claim
from references import memorise

SMALL = (
    "model.width=0.25", "dataset.image_size=8", "passport=random", "trigger_set.size=6", "owner=Ada", "passport.key=k",
)  # fmt: skip
FREE = {
    "v1": ("scheme=passport_v1",),
    "v2": ("scheme=passport_v2",),
    "v3": ("scheme=passport_v3",),
    "fewer_bits": ("scheme=passport_v2", "scheme.bits=90"),
    "uchida": ("scheme=uchida", "scheme.bits=64"),
    "deepmarks": ("scheme=deepmarks", "scheme.order=5"),
    "neuralmark": ("scheme=neuralmark", "scheme.bits=64", "scheme.pooled=96"),
    "greedy_residuals": ("scheme=greedy_residuals", "scheme.bits=64", "scheme.signature=mine"),
    "zhang_unrelated": ("scheme=zhang_unrelated",),
    "trigger_set": ("scheme=trigger_set",),
}
"""Drawn without images."""

OF_IMAGES = {
    "deepsigns": ("scheme=deepsigns", "scheme.images=4", "scheme.bits=8"),
    "zhang_content": ("scheme=zhang_content",),
    "zhang_noise": ("scheme=zhang_noise",),
    "ewe": ("scheme=ewe",),
    "guo_potkonjak": ("scheme=guo_potkonjak",),
    "message": ("scheme=guo_potkonjak", "scheme.signature=mine"),
}
"""Drawn from the training images."""

WORDS = {
    "text": ("scheme=passport_v1", "scheme.signature=mine"),
    "text_in_fewer_bits": ("scheme=passport_v1", "scheme.signature=mine", "scheme.bits=90"),
    "uchida_text": ("scheme=uchida", "scheme.bits=64", "scheme.signature=mine"),
    "bound": ("scheme=passport_v3", "scheme.bound=true"),
    "fewer_bound": ("scheme=passport_v3", "scheme.bound=true", "scheme.bits=90"),
}
ALL = FREE | OF_IMAGES | WORDS


@pytest.fixture(scope="module")
def digits(cache) -> ImageData:
    return load_images(DatasetRequest("digits", None, 8, download=False, data_folder=cache), cache)


def made(digits, *asked):
    config = configuration("train", *SMALL, *asked)
    return make_claim(config, digits, lambda: trained(config, digits))


def trained(config, digits):
    network = plain_network(config.model, digits, 0)
    memorise(network, digits.limited(128, None), steps=20)
    return network


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ALL)
def test_without_training_images_what_was_drawn_from_them_is_not_known(name, digits):
    """And everything else is drawn again as ever."""
    claim = made(digits, *ALL[name])
    none = replace(digits, train_pixels=digits.train_pixels[:0], train_labels=digits.train_labels[:0])
    for one, other in zip(redraw(claim, digits).parts, redraw(claim, none).parts, strict=True):
        if getattr(claim, "of_training_images", False):
            assert (other.holds, "no training images" in other.says) == (None, True)
        else:
            assert one == other


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ALL)
def test_what_training_writes_is_drawn_again_from_the_stored_claim(digits, tmp_path, name):
    claim = made(digits, *ALL[name])
    claim.save(tmp_path / "claim")
    stored = load_claim(tmp_path / "claim")
    assert stored.fingerprint() == claim.fingerprint()
    assert stored.origin == claim.origin
    found = redraw(stored, digits)
    assert found.holds is True, found.says
    assert found.chosen_bits == (32 if "text" in name else 0)
    assert not is_keyless(stored)
    assert {part.evidence for part in found.parts} <= {"signature", "images"}
    secret = [str(seed) for seed in claim.origin.seeds.values()]
    assert not any(number in found.says + repr(claim.origin) + str(found) for number in secret)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", [name for name in ALL if "bound" not in name])
def test_another_seed_gives_other_secrets(digits, name):
    claim = made(digits, *ALL[name])
    for purpose, seed in claim.origin.seeds.items():
        other = replace(claim, origin=replace(claim.origin, seeds=claim.origin.seeds | {purpose: seed ^ 1}))
        assert redraw(other, digits).holds is False, purpose
        assert other.fingerprint() != claim.fingerprint()
    again = made(digits, *ALL[name], "passport.key=other")
    assert redraw(replace(claim, origin=again.origin), digits).holds is False


def with_tensor(claim, name, tensor):
    """A claim with another tensor in one place, put together as it is read."""
    return type(claim).from_parts(claim.facts(), claim.tensors() | {name: tensor}, claim.thresholds)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", [name for name in ALL if "bound" not in name])
def test_every_tensor_counts(digits, name):
    """One bit, label or class, one byte of an image by two, one number of a projection: each is seen."""
    claim = made(digits, *ALL[name])
    changed = 0
    for place, tensor in claim.tensors().items():
        if place.startswith("passport/"):
            continue
        flat = tensor.clone().flatten()
        if tensor.dtype == torch.int8:
            last = int(flat.nonzero()[-1])  # of a channel that carries one
            flat[last] = -flat[last]
        elif tensor.dtype == torch.int64:
            if place == "chosen":
                continue
            flat[-1] = flat[0] = (flat[0] + 1) % 10
        elif tensor.dtype == torch.uint8:
            flat[-1] = flat[-1] + 2 if flat[-1] < 128 else flat[-1] - 2
        else:
            flat[-1] += 0.01
        try:
            other = with_tensor(claim, place, flat.reshape(tensor.shape))
        except InputError as error:  # a class of DeepSigns without an image; bits that are no hash of the rest
            changed += "hash" in str(error) or "the public key's" in str(error)
            continue
        assert redraw(other, digits).holds is False, place
        changed += 1
    assert changed


def test_which_channels_carry_a_bit_is_drawn_too(digits):
    """Or a forger would leave out the bits that are wrong."""
    claim = made(digits, *ALL["fewer_bits"])
    assert claim.marks().numel() == 90
    for count in (89, 91):
        signature = {name: bits.clone() for name, bits in claim.signature.items()}
        last = list(signature.values())[-1]
        if count == 89:
            last[last.nonzero()[-1]] = 0
        else:
            last[(last == 0).nonzero()[0]] = 1
        other = replace(claim, signature=signature)
        assert other.marks().numel() == count
        assert redraw(other, digits).holds is False
    moved = {name: bits.flip(0) for name, bits in claim.signature.items()}
    assert redraw(replace(claim, signature=moved), digits).holds is False


def test_last_bits_of_another_processor_are_forgiven(digits):
    claim = made(digits, *ALL["uchida"])
    near = replace(claim, projection=claim.projection * (1 + 2e-7))
    assert redraw(near, digits).holds is True
    hashed = made(digits, *ALL["neuralmark"])
    key = hashed.key * (1 + 2e-7)
    assert not torch.equal(key_bits(key), hashed.bits)
    assert redraw(replace(hashed, key=key, bits=key_bits(key)), digits).holds is True
    assert redraw(replace(hashed, key=key * 1.01, bits=key_bits(key * 1.01)), digits).holds is False
    images = made(digits, *ALL["trigger_set"])
    pixels = images.pixels.clone()
    pixels.flatten()[7] ^= 1  # by one
    assert redraw(replace(images, pixels=pixels), digits).holds is True
    assert redraw(replace(images, pixels=images.pixels ^ 1), digits).holds is False  # all by one


@pytest.mark.slow
def test_keys_of_other_training_images_cannot_be_drawn_again(digits):
    part, source = digits.limited(200, None), torch.Generator().manual_seed(0)
    shuffled = replace(digits, train_labels=digits.train_labels[torch.randperm(1437, generator=source)])
    for name, asked in OF_IMAGES.items():
        claim = made(digits, *asked)
        assert redraw(claim, part).holds is None, name
        assert redraw(claim, replace(digits, fingerprint="of another set")).holds is None
        assert redraw(made(part, *asked), part).holds is True
        # A claim that says that it is of the judge's images, and is not.
        liar = replace(made(shuffled, *asked), origin=claim.origin)
        assert redraw(liar, digits).holds is False, name
    for asked in FREE.values():
        assert redraw(made(part, *asked), digits).holds is True


def test_what_is_not_drawn_is_not_known(digits, tmp_path):
    old = replace(made(digits, *ALL["v3"]), origin=None)
    assert redraw(old, digits).holds is None
    assert "nothing tells what was drawn" in redraw(old, digits).says

    # A free signature and a trigger set from a folder: the signature alone was drawn.
    claim = made(digits, *ALL["v3"])
    seeds = {"signature": claim.origin.seeds["signature"]}
    folder = replace(claim, origin=replace(claim.origin, seeds=seeds))
    found = redraw(folder, digits)
    assert (found.holds, found.of("signature").holds, found.of("images").holds) == (None, True, None)
    assert "of the claimant's choice" in found.of("images").says

    stitched = made(digits, "scheme=frontier_stitching", "scheme.epsilon=0.1")
    assert {*stitched.origin.seeds} == {"frontier_stitching watermark"}
    assert redraw(stitched, digits).holds is None

    text = made(digits, "scheme=uchida", "scheme.bits=32", "scheme.signature=mine")
    assert (redraw(text, digits).holds, redraw(text, digits).chosen_bits) == (None, 32)
    assert Redrawn(()).holds is None


def test_a_claim_of_a_size_that_is_never_drawn(digits):
    claim = made(digits, *ALL["deepmarks"])
    odd = replace(claim, bits=claim.bits[:-1], projection=claim.projection[:-1], basis=torch.eye(30))
    assert redraw(odd, digits).holds is False  # 30 bits are of no projective plane
    keys = made(digits, *ALL["zhang_unrelated"])
    many = replace(keys, pixels=keys.pixels.repeat(2000, 1, 1, 1), labels=keys.labels.repeat(2000))
    found = redraw(many, digits)
    assert found.holds is False
    assert "never drawn" in found.says


def test_the_bits_of_a_text_count_for_nothing():
    """At least as strict as counting the others bit by bit, whichever bits agree."""
    source = torch.Generator().manual_seed(0)
    for _ in range(200):
        agree = torch.rand(64, generator=source) < torch.rand(1, generator=source)
        whole = reading({"conv": int(agree.sum())}, {"conv": 64})
        exact = reading({"conv": int(agree[24:].sum())}, {"conv": 40})
        counted = Redrawn((), 24).counted(whole)
        assert counted.p_value >= exact.p_value
        assert sum(counted.total.values()) == 40
    full = reading({"conv": 64}, {"conv": 64})
    assert Redrawn((), 24).counted(full).p_value == 2.0**-40
    assert Redrawn((), 0).counted(full) is full


def test_seeds_are_those_of_the_documentation(digits):
    claim = made(digits, *ALL["v3"], "seed=7")
    for purpose, seed in claim.origin.seeds.items():
        assert seed == int.from_bytes(hashlib.sha256(f"7\0{purpose}\0k".encode()).digest()[:8], "big") >> 1
    assert {*claim.origin.seeds} == {"signature", "trigger set"}
    assert (claim.origin.data, claim.origin.train_images) == (digits.fingerprint, len(digits.train_labels))
    assert {*made(digits, *ALL["bound"]).origin.seeds} == {"trigger set"}
    assert {*made(digits, *ALL["message"]).origin.seeds} == {"guo_potkonjak watermark"}


@pytest.mark.parametrize("name", ["v1", "bound", "uchida", "trigger_set"])
@pytest.mark.sampled(2)
def test_keyless_is_measured(digits, name):
    keyless = made(digits, *ALL[name], "passport.key=null", "seed=99999")
    assert keyless.origin.keyless
    assert is_keyless(keyless)
    liar = replace(keyless, origin=replace(keyless.origin, keyless=False))
    assert is_keyless(liar)
    assert is_keyless(replace(liar, origin=None)) == (name == "bound")  # its nonce tells
    config = configuration("train", *SMALL, *ALL[name])
    config = replace(config, passport=replace(config.passport, key=""))  # a command line is refused this
    empty = make_claim(config, digits, lambda: trained(config, digits))
    assert empty.origin.keyless
    beyond = made(digits, *ALL[name], "passport.key=null", "seed=100000")
    assert is_keyless(beyond)
    assert not is_keyless(replace(beyond, origin=replace(beyond.origin, keyless=False)))


def test_a_claim_without_an_origin_is_what_it_was(digits, tmp_path):
    """Commitments made by earlier versions still open; with an origin, or with how images are read, the claim is
    another, and of version 4, or 5.
    """
    claim = made(digits, *ALL["v2"])
    old, older = replace(claim, images=None), replace(claim, origin=None, images=None)
    old.save(tmp_path / "former")
    facts, _ = read_parts(tmp_path / "former")
    assert (facts["schema_version"], "origin" in facts, "images" in facts) == (4, True, False)
    assert opens(commit(old, {}), load_claim(tmp_path / "former"))
    assert not opens(commit(old, {}), claim)
    old = older
    old.save(tmp_path / "old")
    facts, _ = read_parts(tmp_path / "old")
    assert (facts["schema_version"], "origin" in facts) == (3, False)
    committed = commit(old, {"weight": torch.ones(3)})
    assert opens(committed, load_claim(tmp_path / "old"))
    assert not opens(committed, claim)
    claim.save(tmp_path / "new")
    assert read_parts(tmp_path / "new")[0]["schema_version"] == 5
    seeds = {purpose: seed + 1 for purpose, seed in claim.origin.seeds.items()}
    assert not opens(commit(claim, {}), replace(claim, origin=replace(claim.origin, seeds=seeds)))


@pytest.mark.slow
def test_a_forger_names_no_seed(digits):
    claim = made(digits, *ALL["v2"])
    assert claim.forged(text_bytes=0).origin is None
    for name in ("uchida", "deepmarks", "trigger_set", "deepsigns"):
        owner = made(digits, *ALL[name])
        network = plain_network(configuration("train", *SMALL).model, digits, 0)
        assert owner.redrawn(network, digits, 1).origin is None


def test_an_origin_is_whole():
    good = Origin({"signature": derive_seed(0, "signature")}, False, "f", 3)
    assert Origin.read(good.stored()) == good
    assert Origin.read(None) is None
    with pytest.raises(InputError, match="63 bits"):
        replace(good, seeds={"signature": 2**63})
