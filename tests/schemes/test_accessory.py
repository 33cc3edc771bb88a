"""Schemes whose scales pass through what is trained: their formulas written out, and what becomes of their secrets."""

import hashlib
import stat
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from ipr.attacks.removal.same_answers import with_flipped_groups
from ipr.claims.base import Thresholds
from ipr.config.recipe import Recipe
from ipr.config.registry import load
from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.judging.alignment import align
from ipr.judging.claim_kinds import load_claim
from ipr.judging.control import BEHIND, control, forgeries
from ipr.judging.redraw import redraw
from ipr.judging.verdict import judge
from ipr.models.channels import symmetry
from ipr.passport.accessory import draw_f, through_f
from ipr.passport.claim import PassportClaim
from ipr.passport.layer import passport_layers, patch_mean
from ipr.schemes.passport import SignatureLoss
from ipr.schemes.start import example_image, load_suspect
from ipr.schemes.steganographic import hashed_signature
from ipr.signature import draw_signature
from ipr.training.metrics import MetricsFile
from ipr.workflows.draw_claim import make_claim
from ipr.workflows.train import train
from reference_forms import naive_affine, naive_protect
from references import protected

RECIPE = Recipe(0.01, 0.9, 1e-4, "step", 0.0, None)
CONSTANTS = SignatureLoss(sign_loss_weight=0.1, gamma_0=0.1, gamma_regulariser=0.0)
LATER = ["passport_aware", "steganographic", "chip"]


class Mapped(nn.Module):
    """The private branch as the articles print it, channel by channel, beside the public one."""

    def __init__(self, naive, own, scheme):
        super().__init__()
        self.naive, self.own, self.scheme, self.idx = naive, own, scheme, 1

    def f(self, values):
        hidden = self.own["into"] @ values
        return self.own["out"] @ torch.where(hidden > 0, hidden, 0.01 * hidden)

    def forward(self, x):
        if not self.idx:
            return self.naive.gamma_public(x)
        gamma, beta = (self.f(v) for v in self.naive.own())
        normalised = self.naive.norm(x)
        if self.scheme == "steganographic":
            inner = self.own["scale"].view(1, -1, 1, 1) * normalised + self.own["shift"].view(1, -1, 1, 1)
            return gamma.view(1, -1, 1, 1) * inner + beta.view(1, -1, 1, 1)
        if self.scheme == "chip":
            gamma, beta = gamma + self.added(0), beta + self.added(1)
        return gamma.view(1, -1, 1, 1) * normalised + beta.view(1, -1, 1, 1)

    def added(self, half):
        """The passport itself: the mean of each channel, standardised, clipped, and repeated to C numbers."""
        means = [float(channel.mean()) for channel in self.naive._passport[0][half]]
        middle = sum(means) / len(means)
        deviation = (sum((m - middle) ** 2 for m in means) / (len(means) - 1)) ** 0.5
        standard = [max(-3.0, min(3.0, (m - middle) / (deviation + 1e-6))) for m in means]
        return torch.tensor([standard[i % len(means)] for i in range(self.own["out"].shape[0])], dtype=torch.float64)


def setting(scheme, norm, **more):
    """A scheme in float64, and its layers' secrets."""
    kind = load("scheme", scheme)
    network, plain, passport = protected("alexnet", norm)
    network, passport = network.double(), {name: maps.double() for name, maps in passport.items()}
    layers = passport_layers(network)
    for name, layer in layers.items():
        layer.patch_means = patch_mean(passport[name], layer.conv)[None]
    capacities = {name: layer.conv.out_channels for name, layer in layers.items()}
    signature = draw_signature(capacities, None, torch.Generator().manual_seed(4))
    source = torch.Generator().manual_seed(5)
    own = {
        name: {part: t.double() for part, t in kind.claim_kind.drawn(c, source).items()}
        for name, c in capacities.items()
    }
    for parts in own.values():
        if "scale" in parts:
            nn.init.normal_(parts["scale"])
            nn.init.normal_(parts["shift"])
    claim = kind.claim_kind(passport, signature, accessories=own, thresholds=Thresholds(None))
    x, y = torch.randn(6, 3, 16, 16, dtype=torch.float64), torch.arange(6)
    made = kind(network, RECIPE, 10, signature=signature, signature_loss=CONSTANTS, example=x[:1], claim=claim,
                accessories=own, **more)  # fmt: skip
    return made.train(), plain.double(), claim, x, y


def expected(scheme, plain, claim, x, y):
    """The loss as its authors write it, and the parameters of the accessories that it is differentiated by."""
    own = {
        name: {part: t.clone().requires_grad_() for part, t in one.items()} for name, one in claim.accessories.items()
    }
    naive, total = naive_protect(plain, claim.passport), 0.0
    for name in claim.passport:  # in the place of each naive norm
        where = name.replace("conv", "norm")
        norm = naive.get_submodule(where)
        norm.own = lambda norm=norm: naive_affine(norm._conv[0], norm._passport[0])
        norm.gamma_public = lambda x, norm=norm: (
            norm.weight.view(1, -1, 1, 1) * norm.norm(x) + norm.bias.view(1, -1, 1, 1)
        )
        setattr(naive, where, Mapped(norm, own[name], scheme))
    mapped = [module for module in naive.modules() if isinstance(module, Mapped)]
    for idx in (0, 1):
        for module in mapped:
            module.idx = idx
        total = total + functional.cross_entropy(naive(x), y)
    for module, (name, bits) in zip(mapped, claim.signature.items(), strict=True):
        gamma = module.naive.own()[0]
        written = gamma * own[name]["scale"] if scheme == "steganographic" else gamma
        total = total + 0.1 * torch.clamp(0.1 - written * bits, min=0).sum()
    return total, naive, own


@pytest.mark.parametrize("norm", ["bn", "gn"])
@pytest.mark.parametrize("scheme", LATER)
def test_it_is_the_formula_with_its_gradients(scheme, norm):
    made, plain, claim, x, y = setting(scheme, norm)
    loss = torch.stack(list(made.terms(x, y).values())).sum()
    wanted, naive, own = expected(scheme, plain, claim, x, y)
    assert loss.item() == pytest.approx(wanted.item(), abs=1e-9)
    loss.backward()
    wanted.backward()
    for name, mine in zip(claim.layers, made.accessories, strict=True):
        for part, parameter in mine.named_parameters():
            torch.testing.assert_close(parameter.grad, own[name][part].grad, rtol=1e-9, atol=1e-9)
    named = {
        k.replace(".naive", "").replace("norm.", ""): p.grad for k, p in naive.named_parameters() if ".own" not in k
    }
    for name, parameter in made.network.named_parameters():
        torch.testing.assert_close(parameter.grad, named[name], rtol=1e-9, atol=1e-9)


def test_the_balance_of_branches_is_the_l1_distance_of_what_they_answer_with():
    made, *_ = setting("steganographic", "bn")
    affines = made.passport_affines()
    assert "balance" not in made.regulariser(affines)
    made.balance_weight = 0.5
    wanted = 0.0
    for (name, layer), own in zip(made.layers.items(), made.accessories, strict=True):
        s, t = (through_f(values, dict(own.named_parameters()))[0] for values in affines[name])
        wanted += (layer.weight - own["scale"] * s).abs().mean() + (layer.bias - (own["shift"] * s + t)).abs().mean()
    assert made.regulariser(affines)["balance"].item() == pytest.approx(0.5 * wanted.item(), abs=1e-12)


def test_with_an_f_that_changes_nothing_it_is_v2():
    """F(v) = v has two numbers for each channel between its matrices: max(v, 0) and max(-v, 0), less what leaks."""
    made, _, claim, x, y = setting("passport_aware", "bn")
    v2 = load("scheme", "passport_v2")(
        made.network, RECIPE, 10, signature=claim.signature, signature_loss=CONSTANTS, example=x[:1]
    ).train()
    for own, layer in zip(made.accessories, made.layers.values(), strict=True):
        one = torch.eye(layer.conv.out_channels, dtype=torch.float64)
        own["into"] = nn.Parameter(torch.cat([one, -one]))
        own["out"] = nn.Parameter(torch.cat([one, -one], dim=1) / 1.01)
    mine, plain = made.terms(x, y), v2.terms(x, y)
    assert mine.keys() == plain.keys()
    for name in plain:
        torch.testing.assert_close(mine[name], plain[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scheme", LATER)
def test_alternating_it_trains_one_branch_a_step_with_what_the_scales_pass_through(scheme, monkeypatch):
    joint, _, _, x, y = setting(scheme, "gn")
    both = joint.terms(x, y)
    made, *_ = setting(scheme, "gn", alternation="alternate")
    for step, branch in ((0, "public"), (1, "private")):
        monkeypatch.setattr(type(made), "global_step", step)
        terms = made.terms(x, y)
        assert terms[f"cross_entropy_{branch}"].item() == pytest.approx(
            both[f"cross_entropy_{branch}"].item(), abs=1e-9
        )
    assert terms["sign_loss"].item() == pytest.approx(both["sign_loss"].item(), abs=1e-12)


def test_f_begins_within_the_bounds_of_linear_layers():
    drawn = draw_f(64, torch.Generator().manual_seed(0))
    assert {name: tuple(t.shape) for name, t in drawn.items()} == {"into": (16, 64), "out": (64, 16)}
    assert 0.9 / 8 < drawn["into"].abs().max() <= 1 / 8
    assert 0.9 / 4 < drawn["out"].abs().max() <= 1 / 4
    assert tuple(draw_f(3, torch.Generator())["into"].shape) == (1, 3)


@pytest.mark.parametrize("channels", [5, 512, 513, 1100])
def test_bits_are_sha_512_of_the_bytes_of_p_gamma(channels):
    maps = torch.randn(2, 3, 4, 4)
    content = b"".join(bytes(memoryview(row.numpy())) for row in maps[0].flatten())  # little endian, as it is stored
    octets, block = hashlib.sha512(content).digest(), 1
    while 8 * len(octets) < channels:
        octets += hashlib.sha512(content + block.to_bytes(4, "big")).digest()
        block += 1
    bits = [1 if octets[i // 8] >> (7 - i % 8) & 1 else -1 for i in range(channels)]
    assert hashed_signature({"conv": maps}, {"conv": channels})["conv"].tolist() == bits
    other = maps.clone()
    other[1] += 1
    assert hashed_signature({"conv": other}, {"conv": channels})["conv"].tolist() == bits  # of P_gamma alone


@pytest.mark.parametrize("scheme", LATER)
def test_training_completes_the_claim_and_gives_nothing_of_it_away(request_for, scheme, trained):
    asked = request_for(f"scheme={scheme}", "trainer.max_epochs=3")
    run = trained(asked)
    claim = load_claim(run.folder.claim)
    kind = load("scheme", scheme)
    begun = kind.first_accessories(asked, claim.signature)
    for name, own in claim.accessories.items():
        for part, tensor in own.items():
            assert not torch.equal(tensor, begun[name][part]), f"{part} of {name} was not trained"
    assert stat.S_IMODE(run.folder.checkpoint.parent.stat().st_mode) == 0o700
    public = load_file(run.folder.weights)
    secrets = {t.numpy().tobytes() for own in claim.accessories.values() for t in own.values()}
    assert not secrets & {t.contiguous().numpy().tobytes() for t in public.values()}
    written = [path for path in run.folder.path.iterdir() if path.is_file()]
    assert not any(secret in path.read_bytes() for secret in secrets for path in written)
    state = torch.load(run.folder.checkpoint, weights_only=True)["state_dict"]
    for (name, own), number in zip(claim.accessories.items(), range(3), strict=True):
        for part, tensor in own.items():
            assert torch.equal(state[f"accessories.{number}.{part}"], tensor), name


@pytest.mark.parametrize("scheme", LATER)
def test_a_training_that_lost_its_weights_comes_to_the_same_claim(request_for, scheme):
    """As after a kill between claim and weights; where the checkpoint is lost, too, it begins with what was drawn."""
    run = train(request_for(f"scheme={scheme}"))
    claim, weights = load_claim(run.folder.claim), load_file(run.folder.weights)
    for lost in ([run.folder.weights], [run.folder.weights, run.folder.checkpoint]):
        for path in (*lost, run.folder.record):
            path.unlink()
        again = train(request_for(f"scheme={scheme}"))
        assert not again.found
        assert load_claim(again.folder.claim).fingerprint() == claim.fingerprint()
        assert all(torch.equal(tensor, weights[name]) for name, tensor in load_file(again.folder.weights).items())


def test_an_interrupted_training_goes_on_with_what_it_had_trained(request_for, tmp_path, monkeypatch):
    asked = ["scheme=passport_aware", "trainer.max_epochs=3"]
    whole = train(request_for(*asked, f"paths.runs={tmp_path / 'whole'}"))
    plain = MetricsFile.on_train_epoch_start

    def stop(self, trainer, module):
        if trainer.current_epoch == 2:
            raise KeyboardInterrupt
        plain(self, trainer, module)

    broken = request_for(*asked, f"paths.runs={tmp_path / 'broken'}")
    with monkeypatch.context() as patch:
        patch.setattr(MetricsFile, "on_train_epoch_start", stop)
        with pytest.raises(KeyboardInterrupt):
            train(broken)
    resumed = train(broken)
    assert load_claim(resumed.folder.claim).fingerprint() == load_claim(whole.folder.claim).fingerprint()
    one, two = (load_file(run.folder.weights) for run in (whole, resumed))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("scheme", [*LATER, "trapdoor"])
def test_it_learns_and_is_read_and_random_passports_fail(request_for, scheme):
    asked = request_for(
        f"scheme={scheme}", "trainer.max_epochs=12", "dataset.limit_train=400", "dataset.limit_test=100"
    )
    run = train(asked)
    assert run.record.bits_agreeing == run.record.bits_total == 224
    assert run.record.accuracy_genuine > run.record.accuracy_without - 0.05 > 0.85
    assert run.record.accuracy_forged_max < 0.5
    data = open_images(asked.dataset, asked.paths)
    verdict = judge(load_suspect(asked.model, data, run.folder.weights), load_claim(run.folder.claim), data.test_images)
    assert verdict.fidelity.accuracy == run.record.accuracy_genuine


@pytest.mark.parametrize(
    ("scheme", "word", "remedy"),
    [
        ("steganographic", "signature=mine", "every bit hashes the passport"),
        ("steganographic", "bits=40", "every bit hashes the passport"),
        ("steganographic", "bound=true", "every bit hashes the passport"),
        ("chip", "signature=mine", "every bit hashes the passport"),
        ("trapdoor", "bound=false", "choose scheme=passport_v2"),
    ],
)
def test_a_signature_that_the_scheme_leaves_no_choice_of_is_refused(request_for, scheme, word, remedy):
    with pytest.raises(InputError, match=remedy):
        train(request_for(f"scheme={scheme}", f"scheme.{word}"))


def test_trapdoor_is_v2_with_bound_bits(request_for, trained):
    one = trained(request_for("scheme=trapdoor"))
    two = trained(request_for("scheme=passport_v2", "scheme.bound=true"))
    assert load_claim(one.folder.claim).fingerprint() == load_claim(two.folder.claim).fingerprint()
    first, second = (load_file(run.folder.weights) for run in (one, two))
    assert all(torch.equal(first[name], second[name]) for name in second)


def test_a_completed_claim_replaces_no_other(request_for, trained, tmp_path):
    claim = load_claim(trained(request_for("scheme=passport_aware")).folder.claim)
    claim.save(tmp_path / "claim")
    with pytest.raises(InputError, match="is not the claim that this training began with"):
        replace(claim, owner="Eve").complete(tmp_path / "claim")
    assert load_claim(tmp_path / "claim").fingerprint() == claim.fingerprint()


@pytest.mark.parametrize("scheme", LATER)
def test_the_control_presents_random_passports_through_the_claims_own_accessory(request_for, trained, scheme):
    asked = request_for(f"scheme={scheme}", "trainer.max_epochs=3")
    run = trained(asked)
    data, claim = open_images(asked.dataset, asked.paths), load_claim(run.folder.claim)
    suspect = load_suspect(asked.model, data, run.folder.weights)
    _, rows = control(suspect, claim, data.test_images, random=2)
    (row,) = (row for row in rows if row.kind == "accessory")
    assert (row.tried, row.consistent) == (BEHIND, 0)
    forged = forgeries(suspect, claim, data.test_images, random=2)
    for kind, claims in forged.items():
        for one in claims:
            assert type(one) is (type(claim) if kind == "accessory" else PassportClaim)
            assert all(not torch.equal(one.passport[name], claim.passport[name]) for name in claim.passport)
    behind = forged["accessory"][0]
    assert behind.accessories == claim.accessories
    assert read_all(suspect, behind, data) == 224  # it claims what its scales spell


def read_all(suspect, claim, data):
    return sum(judge(suspect, claim, data.test_images, forged=0).reading.agreeing.values())


@pytest.mark.parametrize("scheme", LATER)
def test_a_copy_whose_channels_were_turned_is_read_once_it_is_matched(request_for, trained, scheme):
    """F is not linear: turned channels change all scales, so fidelity and bits are lost until they are turned back."""
    asked = request_for(f"scheme={scheme}", "trainer.max_epochs=12", "dataset.limit_train=400")
    run = trained(asked)
    data, claim = open_images(asked.dataset, asked.paths), load_claim(run.folder.claim)
    suspect = load_suspect(asked.model, data, run.folder.weights)
    example = example_image(data)
    moved = with_flipped_groups(suspect, symmetry(suspect, example), 0.5, torch.Generator().manual_seed(0))
    before = judge(suspect, claim, data.test_images, forged=0)
    lost = judge(moved, claim, data.test_images, forged=0)
    assert not lost.mark_read
    assert lost.fidelity.accuracy < before.fidelity.accuracy - 0.2
    again = judge(align(moved, suspect, example).network, claim, data.test_images, forged=0)
    assert again.reading.agreeing == before.reading.agreeing
    assert again.fidelity.accuracy == pytest.approx(before.fidelity.accuracy, abs=0.026)  # an image of 40


@pytest.mark.parametrize("scheme", LATER)
def test_whoever_brings_a_passport_of_his_own_lacks_the_accessory(request_for, trained, scheme):
    claim = load_claim(trained(request_for(f"scheme={scheme}", "trainer.max_epochs=3")).folder.claim)
    other = {name: maps + 1 for name, maps in claim.passport.items()}
    stranger, insider = claim.forged(passport=other), claim.insiders(passport=other)
    assert (type(stranger), type(insider)) == (PassportClaim, type(claim))
    assert insider.accessories == claim.accessories
    assert (stranger.owner, stranger.origin, stranger.binding) == (insider.owner, insider.origin, insider.binding)
    assert stranger.binding is None
    assert type(claim.forged(text_bytes=0)) is type(claim)  # of somebody who knows the genuine passport
    assert stranger.dissimilarity(claim) == 0  # of kinds that differ, and the same bits


@pytest.mark.parametrize(
    ("words", "holds"),
    [(["passport_aware"], True), (["passport_aware", "scheme.signature=mine"], True), (["chip"], True),
     (["passport_aware", "scheme.bound=true"], True), (["steganographic"], None)],
)  # fmt: skip
def test_a_judge_draws_again_what_was_drawn(request_for, words, holds):
    """The bits of `steganographic` are a hash, but what is read of them is its claimant's to turn."""
    asked = request_for(f"scheme={words[0]}", *words[1:])
    data = open_images(asked.dataset, asked.paths)
    claim = make_claim(asked, data, lambda: None)
    assert redraw(claim, data).holds is holds
    if holds and claim.binding is None:
        turned = {name: -bits for name, bits in claim.signature.items()}
        assert redraw(replace(claim, signature=turned), data).holds is False
