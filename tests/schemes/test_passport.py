"""What each scheme minimises, against the algorithms written out with naive layers."""

import lightning as L
import pytest
import torch
from torch.nn import functional

from ipr.config.recipe import Recipe
from ipr.data.trigger_sets import TriggerSet
from ipr.errors import InputError
from ipr.passport.layer import passport_layers, patch_mean
from ipr.schemes.passport import SignatureLoss
from ipr.schemes.passport_v1 import PassportV1
from ipr.schemes.passport_v2 import PassportV2, PassportV3
from ipr.schemes.triggers import TriggerSamples
from ipr.signature import draw_signature
from reference_forms import naive_affine, naive_protect, two_passes
from references import protected

RECIPE = Recipe(0.01, 0.9, 1e-4, "step", 0.0, None)
CONSTANTS = SignatureLoss(sign_loss_weight=0.1, gamma_0=0.1, gamma_regulariser=1e-5)


def setting(kind, *, norm="gn", public_affine=True, device="cpu", **options):
    """A scheme on a device, and the algorithm in its literal form on the CPU."""
    network, plain, passport = protected("alexnet", norm, public_affine=public_affine)
    passport = {name: maps.double() for name, maps in passport.items()}
    network, naive = network.double(), naive_protect(plain.double(), passport)
    layers = passport_layers(network)
    for name, layer in layers.items():
        layer.patch_means = patch_mean(passport[name], layer.conv)[None]
    signature = draw_signature(
        {name: layer.conv.out_channels for name, layer in layers.items()}, None, torch.Generator().manual_seed(4)
    )
    x, y = torch.randn(6, 3, 16, 16, dtype=torch.float64), torch.arange(6)
    if kind is not PassportV1:
        options["example"] = x[:1]
    scheme = kind(network, RECIPE, 10, signature=signature, signature_loss=CONSTANTS, **options).train().to(device)
    return scheme, naive.train(), passport, signature, x, y


def naive_regulariser(naive, passport, signature):
    total = 0.0
    for name, maps in passport.items():  # Algorithm 4, layer by layer and channel by channel
        gamma, _ = naive_affine(naive.get_submodule(name), maps)
        for value, bit in zip(gamma, signature[name], strict=True):
            total = total + 0.1 * torch.clamp(0.1 - value * bit, min=0) + 1e-5 * value**2
    return total


def assert_same_gradients(scheme, naive):
    scheme.to("cpu")
    expected = {k.replace("norm.", ""): p.grad for k, p in naive.named_parameters()}
    for name, parameter in scheme.network.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("norm", ["bn", "gn"])
def test_v1_is_algorithm_2(norm, device):
    scheme, naive, passport, signature, x, y = setting(PassportV1, norm=norm, device=device)
    loss = sum(scheme.terms(x.to(device), y.to(device)).values())
    expected = functional.cross_entropy(two_passes(naive, x)[1], y) if norm == "gn" else _private(naive, x, y)
    expected = expected + naive_regulariser(naive, passport, signature)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-9)
    loss.backward()
    expected.backward()
    for p in (*scheme.network.parameters(), *naive.parameters()):
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
    assert_same_gradients(scheme, naive)


def _private(naive, x, y):
    return functional.cross_entropy(naive(x), y)


@pytest.mark.parametrize("norm", ["bn", "gn"])
def test_v2_joint_is_algorithm_6(norm, device):
    scheme, naive, passport, signature, x, y = setting(PassportV2, norm=norm, device=device)
    terms = scheme.terms(x.to(device), y.to(device))
    public, private = (functional.cross_entropy(answer, y) for answer in two_passes(naive, x))
    assert terms["cross_entropy_public"].item() == pytest.approx(public.item(), abs=1e-9)
    assert terms["cross_entropy_private"].item() == pytest.approx(private.item(), abs=1e-9)
    expected = public + private + naive_regulariser(naive, passport, signature)
    sum(terms.values()).backward()
    expected.backward()
    assert_same_gradients(scheme, naive)


def test_v2_alternate_trains_one_branch_a_step(monkeypatch, device):
    scheme, *_, x, y = setting(PassportV2, alternation="alternate", device=device)
    x, y, seen = x.to(device), y.to(device), []
    for step in range(4):
        monkeypatch.setattr(type(scheme), "global_step", step)
        terms = scheme.terms(x, y)
        scheme.zero_grad()
        sum(terms.values()).backward()
        seen.append((sorted(terms), scheme.network.norm4.weight.grad is not None))
    public, private = ["cross_entropy_public"], ["cross_entropy_private", "gamma_penalty", "sign_loss"]
    assert seen == [(public, True), (private, False)] * 2
    both, *_ = setting(PassportV2, device=device)
    joint = both.terms(x, y)
    assert terms["cross_entropy_private"].item() == pytest.approx(joint["cross_entropy_private"].item())


def test_an_unknown_alternation_is_refused():
    with pytest.raises(InputError, match=r"scheme\.alternation=both: is unknown; choose joint or alternate"):
        setting(PassportV2, alternation="both")


def triggers(digits, per_step=2, count=10):
    pixels = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(count, 8, 8, 1).contiguous()
    return TriggerSamples(TriggerSet(pixels, torch.arange(count) % 10), per_step, digits, seed=0)


def test_two_triggers_are_appended_a_step_and_all_come_equally_often(digits):
    samples = triggers(digits)
    samples.start_epoch(0)
    x, y = torch.zeros(4, 1, 8, 8), torch.full((4,), 9)
    drawn = []
    for step in range(15):
        more_x, more_y = samples.appended(x, y, step)
        assert torch.equal(more_x[:4], x)
        assert more_x.shape == (6, 1, 8, 8)
        drawn += more_y[4:].tolist()
        pixel = more_x[4:, 0, 0, 0] * digits.std[0] + digits.mean[0]
        assert (pixel * 255).round().long().tolist() == more_y[4:].tolist()  # image and label stay together
    assert torch.tensor(drawn).bincount().tolist() == [3] * 10
    samples.start_epoch(1)
    assert sorted(samples.order.tolist()) == list(range(10))


def test_triggers_are_in_no_state_dict(digits):
    assert not triggers(digits).state_dict()


@pytest.mark.parametrize("per_step", [0, 11])
def test_impossible_trigger_samples_are_refused(digits, per_step):
    with pytest.raises(InputError, match=rf"trigger_set.per_step={per_step}: the trigger set has 10 images"):
        triggers(digits, per_step)


def test_v3_needs_a_trigger_set():
    scheme, *_ = setting(PassportV3)
    with pytest.raises(InputError, match="scheme V3 embeds a trigger set"):
        scheme.on_fit_start()


@pytest.mark.parametrize(("field", "value"), [("sign_loss_weight", -1), ("gamma_0", 0), ("gamma_regulariser", -1)])
def test_constants_out_of_range_are_refused(field, value):
    with pytest.raises(InputError, match=f"scheme.{field}={value}"):
        SignatureLoss(**{field: value}).check()


def test_a_checkpoint_holds_no_secret(tmp_path, digits, accelerator):
    scheme, *_ = setting(PassportV3, triggers=triggers(digits))
    assert set(scheme.state_dict()) == {f"network.{name}" for name in scheme.network.state_dict()}
    trainer = L.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator=accelerator)
    trainer.strategy.connect(scheme)
    trainer.save_checkpoint(tmp_path / "c.ckpt", weights_only=True)
    saved = torch.load(tmp_path / "c.ckpt", weights_only=True)
    assert set(saved["state_dict"]) == set(scheme.state_dict())


@pytest.mark.parametrize("alternation", ["joint", "alternate"])
def test_a_relative_signature_aims_at_the_signs_of_the_public_scales(alternation, device):
    scheme, _, _, signature, x, y = setting(PassportV2, alternation=alternation, relative=True, device=device)
    layers = passport_layers(scheme.network)
    for layer in layers.values():
        layer.weight.data[::3] *= -1
    turned = {name: signature[name].to(device, copy=True) for name in layers}
    for bits in turned.values():
        bits[::3] *= -1
    assert torch.equal(scheme.wanted_signs(), torch.cat(list(turned.values())).double())
    affines = {name: tuple(part.detach() for part in pair) for name, pair in scheme.passport_affines().items()}
    expected = sum(0.1 * torch.clamp(0.1 - affines[name][0][0] * bits, min=0).sum() for name, bits in turned.items())
    assert scheme.regulariser(affines)["sign_loss"].item() == pytest.approx(expected.item(), abs=1e-12)
    sum(scheme.terms(x.to(device), y.to(device)).values()).backward()  # no gradient goes through a sign
    plain, _, _, _, _, _ = setting(PassportV2, alternation=alternation)
    assert torch.equal(plain.wanted_signs(), plain.bits)
