import pytest
import torch

from ipr.claims.base import Thresholds
from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.exhibits.scale_signs import ScaleSigns, character, codes
from ipr.judging.claim_kinds import load_claim
from ipr.passport.presented import ScalesClaim
from ipr.schemes.start import load_suspect
from ipr.signature import draw_signature
from ipr.workflows.exhibit import exhibit
from ipr.workflows.train import train
from reference_forms import naive_affine
from references import small

TABLE_VIII = {
    "t": [-1, 1, 1, 1, -1, 1, -1, -1], "h": [-1, 1, 1, -1, 1, -1, -1, -1],
    "i": [-1, 1, 1, -1, 1, -1, -1, 1], "s": [-1, 1, 1, 1, -1, -1, 1, 1],
}  # fmt: skip


@pytest.mark.parametrize("letter", TABLE_VIII)
def test_the_papers_bytes(letter):
    assert codes(torch.tensor(TABLE_VIII[letter])) == [ord(letter)]
    assert character(ord(letter)) == letter


def test_an_incomplete_byte_is_left_out_and_no_control_character_is_shown():
    assert codes(torch.ones(15)) == [255]
    assert [character(code) for code in (0, 10, 31, 127, 200, 255)] == [""] * 6


LAYERS = {"conv3": 96, "conv4": 64, "conv5": 64}


def spelt(text, wrong=()):
    """A claim whose scales have the signs of its signature but for those at the places that are wrong."""
    signature = draw_signature(LAYERS, text, torch.Generator().manual_seed(0))
    signs = torch.cat(list(signature.values())).float()
    for place in wrong:
        signs[place] *= -1
    gamma = (signs * torch.linspace(0.1, 0.5, 224)).split(list(LAYERS.values()))
    scales = {name: torch.stack([g, torch.zeros_like(g)]) for name, g in zip(LAYERS, gamma, strict=True)}
    bytes_ = len((text or "").encode())
    return ScalesClaim(scales, signature, text_bytes=bytes_, thresholds=Thresholds(None))


def test_a_text_is_shown_over_all_layers_that_hold_it(case_of):
    text = "this is an example signature"
    shown = ScaleSigns(name="scale_signs").show(case_of(small(), spelt(text), "passport_v1"))
    channels = [row for row in shown.facts if "gamma" in row]
    assert len(channels) == 224
    assert [row["layer"] for row in channels] == ["conv3"] * 96 + ["conv4"] * 64 + ["conv5"] * 64
    assert [row["channel"] for row in channels] == [*range(96), *range(64), *range(64)]
    assert [row["sign"] for row in channels][:8] == TABLE_VIII["t"]
    assert all(row["sign"] == (1 if row["gamma"] > 0 else -1) == row["bit"] for row in channels)
    letters = [row for row in shown.facts if "code" in row]
    assert "".join(row["character"] for row in letters) == text
    assert [row["code"] for row in letters] == list(text.encode())
    assert [row["bits_share"] for row in shown.facts if "agreement" in row] == [1, 1]


def test_channels_that_carry_no_bit_are_left_out(case_of):
    signature = draw_signature(LAYERS, "this", torch.Generator().manual_seed(0), 60)
    scales = {name: torch.stack([bits + 0.5 * (bits == 0), 0.0 * bits]) for name, bits in signature.items()}
    claim = ScalesClaim(scales, signature, text_bytes=4, thresholds=Thresholds(None))
    shown = ScaleSigns(name="scale_signs").show(case_of(small(), claim, "passport_v2"))
    assert "".join(row["character"] for row in shown.facts if "code" in row) == "this"
    channels = [row for row in shown.facts if "gamma" in row]
    assert all(signature[row["layer"]][row["channel"]] == row["bit"] == row["sign"] for row in channels)
    totals = [(row["bits_agreeing"], row["bits_total"]) for row in shown.facts if "agreement" in row]
    assert totals == [(32, 32), (60, 60)]


def test_a_wrong_sign_spells_another_letter(case_of):
    shown = ScaleSigns(name="scale_signs").show(case_of(small(), spelt("this", wrong=[2, 100]), "passport_v2"))
    letters = [row["character"] for row in shown.facts if "code" in row]
    assert letters == [chr(ord("t") - 32), "h", "i", "s"]
    agreement = {row["agreement"]: row for row in shown.facts if "agreement" in row}
    assert (agreement["shown"]["bits_agreeing"], agreement["shown"]["bits_total"]) == (31, 32)
    assert (agreement["all"]["bits_agreeing"], agreement["all"]["bits_total"]) == (222, 224)


def test_without_text_it_is_the_last_layer_or_the_one_named(case_of):
    case = case_of(small(), spelt(None), "passport_v1")
    last = ScaleSigns(name="scale_signs").show(case)
    assert [(row["layer"], row["channel"]) for row in last.facts if "gamma" in row] == [("conv5", i) for i in range(48)]
    named = ScaleSigns(name="scale_signs", layer="conv4", channels=16).show(case)
    assert [(row["layer"], row["channel"]) for row in named.facts if "gamma" in row] == [
        ("conv4", i) for i in range(16)
    ]
    assert torch.equal(named.arrays["gamma"], case.claim.scales["conv4"][0][:16])
    assert len([row for row in named.facts if "code" in row]) == 2
    with pytest.raises(InputError, match=r"exhibit\.layer=conv1"):
        ScaleSigns(name="scale_signs", layer="conv1").show(case)


def test_the_papers_signature_may_be_shown_and_no_other(exhibit_for):
    asked = ("scheme=passport_v1", "exhibit=scale_signs", "trainer.max_epochs=1")
    config = exhibit_for(*asked, "scheme.signature=this is an example signature")
    shown = exhibit(config)
    assert "this is" not in (shown.folder.path / "config.yaml").read_text()
    run, data = train(config), open_images(config.dataset, config.paths)
    suspect, claim = load_suspect(config.model, data, run.folder.weights), load_claim(run.folder.claim)
    with torch.no_grad():
        literal = torch.cat([naive_affine(suspect.get_submodule(n), p)[0] for n, p in claim.passport.items()])
    assert torch.allclose(shown.arrays["gamma"], literal, atol=1e-5)
    with pytest.raises(InputError, match="an exhibit would show what an owner really wrote"):
        exhibit(exhibit_for(*asked, "scheme.signature=mine alone"))
