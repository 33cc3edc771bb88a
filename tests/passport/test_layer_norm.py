"""Passports of transformers, beside the same networks written by hand in float64."""

import copy

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional

import ipr
from ipr.claims.base import Thresholds
from ipr.errors import InputError
from ipr.models import build_model
from ipr.models.feeding import readers_of
from ipr.passport.begin import begun
from ipr.passport.fork import fork
from ipr.passport.generate import feature_maps, random_passport
from ipr.passport.layer import Branch, affines_of, passport_layers, patch_mean
from ipr.passport.lift import lift, passport_of, public_scales
from ipr.passport.normal_form import public_signs
from ipr.passport.surgery import find_layers, protect, strip
from references import spread_norms

LAST = [f"encoder.layers.encoder_layer_{n}" for n in (4, 5)]


def vit(channels=3):
    torch.manual_seed(1)
    network = build_model("vit", norm="bn", width=0.17, channels_in=channels, image_size=16, num_classes=5).double()
    nn.init.normal_(network.heads.head.weight)
    return spread_norms(network)


class Rms(nn.Module):
    """Two blocks without attention, with RMS norms, then pooling."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.embed = nn.Linear(6, 12)
        self.norms = nn.ModuleList(nn.RMSNorm(12) for _ in range(3))
        self.up = nn.ModuleList(nn.Linear(12, 20) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(20, 12) for _ in range(2))
        self.head = nn.Linear(12, 4)
        for norm in self.norms:
            nn.init.normal_(norm.weight, 1, 0.3)
        self.double()

    def forward(self, x):
        x = self.embed(x)
        for norm, up, down in zip(self.norms, self.up, self.down, strict=False):
            x = x + down(functional.gelu(up(norm(x))))
        return self.head(self.norms[2](x).mean(1))


def example(network, count=1):
    source = torch.Generator().manual_seed(5)
    shape = (count, 7, 6) if isinstance(network, Rms) else (count, 3, 16, 16)
    return torch.randn(shape, generator=source, dtype=torch.float64)


def passport_for(network, layers=None):
    found = find_layers(network, example(network), layers)
    drawn = random_passport(found, torch.Generator().manual_seed(2))
    return found, {name: maps.double() for name, maps in drawn.items()}


def test_a_norm_is_given_to_the_projection_that_was_added_last():
    found = {layer.norm: (layer.conv, layer.input_shape) for layer in find_layers(vit(), example(vit()))}
    inside = "encoder.layers.encoder_layer"
    assert found[f"{inside}_0.ln_1"] == ("conv_proj", (3, 16, 16))
    assert found[f"{inside}_3.ln_1"] == (f"{inside}_2.mlp.3", (128, 65, 1))
    assert found[f"{inside}_3.ln_2"] == (f"{inside}_3.self_attention.out_proj", (32, 65, 1))
    assert found["encoder.ln"] == (f"{inside}_5.mlp.3", (128, 65, 1))
    assert len(found) == 13
    rms = [(layer.conv, layer.norm) for layer in find_layers(Rms(), example(Rms()))]
    assert rms == [("embed", "norms.0"), ("down.0", "norms.1"), ("down.1", "norms.2")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vit_tiny_patch16_224", {"blocks.4.norm2": "blocks.4.attn.proj", "norm": "blocks.11.mlp.fc2"}),
        ("convnext_atto", {"stages.3.blocks.1.norm": "stages.3.blocks.1.conv_dw", "stem.1": "stem.0"}),
        ("swin_tiny_patch4_window7_224", {"layers.0.blocks.1.norm1": "layers.0.blocks.0.mlp.fc2"}),
    ],
)
def test_those_of_timm(name, expected):
    with torch.device("meta"):
        network = timm.create_model(name, num_classes=3)
        found = {layer.norm: layer.conv for layer in find_layers(network, torch.zeros(1, 3, 224, 224))}
    assert {norm: found[norm] for norm in expected} == expected


@pytest.mark.parametrize("make", [vit, Rms])
def test_an_answer_is_that_of_scales_multiplied_in_by_hand(make):
    """The norm's own scale and shift come after the passport's; RMS norm has no place for a shift."""
    network = make().eval()
    found, passport = passport_for(network)
    protected = protect(network, passport, example(network), public_affine=True).eval()
    by_hand = make().eval()
    for layer in found:
        maps = passport[layer.conv]
        means = maps.mean((2, 3)) if layer.conv != "conv_proj" else patch_mean(maps, by_hand.conv_proj)[:, 0]
        weight = by_hand.get_parameter(f"{layer.conv}.weight")
        rows = weight.detach() if weight.dim() == 2 else weight.detach().movedim(1, -1).flatten(1)
        gamma, beta = rows @ means[0], rows @ means[1]
        norm = by_hand.get_submodule(layer.norm)
        if isinstance(norm, nn.LayerNorm):
            norm.bias.data += norm.weight.data * beta
        norm.weight.data *= gamma
    x = example(network, 3)
    with torch.no_grad():
        torch.testing.assert_close(protected(x), by_hand(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("make", [vit, Rms])
@pytest.mark.parametrize("public", [True, False])
def test_fork_and_strip_answer_as_full_passes_do(make, public):
    network, x = make().eval(), example(make(), 3)
    _, passport = passport_for(network, LAST if make is vit else None)
    protected = protect(network, passport, x[:1], public_affine=public).eval()
    forked = fork(protected, x[:1])
    with torch.no_grad():
        given, own = forked(x, [affines_of(protected, Branch.PUBLIC), affines_of(protected, Branch.PRIVATE)])
        assert forked.shares_trunk
        torch.testing.assert_close(own, protected(x), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(strip(protected, Branch.PRIVATE)(x), own, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(strip(protected)(x), given, rtol=1e-12, atol=1e-12)
        assert not torch.allclose(given, own)
        if public:
            assert torch.equal(strip(protected)(x), network(x))
    assert [*strip(protected).state_dict()] == [*network.state_dict()]
    assert type(strip(protected)) is type(network)


def test_gradients_of_both_branches_are_those_of_eq_4_by_hand():
    network, x = vit(), example(vit(), 3)
    found, passport = passport_for(network, LAST)
    protected = protect(network, passport, x[:1], public_affine=True)
    layers = passport_layers(protected)
    protected(x).square().sum().backward()
    by_hand = vit()
    hooks = []
    for layer in found:
        projection, norm = by_hand.get_submodule(layer.conv), by_hand.get_submodule(layer.norm)
        means = passport[layer.conv].mean((2, 3))

        def instead(module, args, output, projection=projection, means=means):
            plain = functional.layer_norm(args[0], module.normalized_shape, None, None, module.eps)
            inner = plain * (projection.weight @ means[0]) + projection.weight @ means[1]
            return module.weight * inner + module.bias

        hooks.append(norm.register_forward_hook(instead))
    by_hand(x).square().sum().backward()
    wanted = dict(by_hand.named_parameters())
    assert layers
    for name, parameter in protected.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name].grad, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("make", [vit, Rms])
def test_folding_a_norm_into_its_readers_changes_no_branch_and_no_bit(make):
    """Why the passport's scale comes before the norm's: else whoever folds would change what is read."""
    network, x = make().eval(), example(make(), 3)
    found, passport = passport_for(network)
    signature = {one.conv: torch.ones(one.channels, dtype=torch.int8) for one in found}
    claim = ipr.PassportClaim(passport, signature, thresholds=Thresholds(0.5, 0.03))
    with torch.no_grad():
        before = protect(network, passport, x[:1], public_affine=True).eval()(x)
        bits = claim.signed_scales(network, found)
        for layer in found:
            norm = network.get_submodule(layer.norm)
            readers, factor = readers_of(network, x[:1], norm), torch.linspace(-2, 3, norm.weight.numel()).double()
            norm.weight *= factor
            if isinstance(norm, nn.LayerNorm):
                norm.bias *= factor
            for weight, _ in readers:
                weight /= factor
        torch.testing.assert_close(network(x), make().eval()(x), rtol=1e-9, atol=1e-9)
        after = protect(network, passport, x[:1], public_affine=True).eval()(x)
    torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)
    for name, scales in claim.signed_scales(network, found).items():
        assert torch.equal(scales, bits[name])
    assert all(bool((signs == 1).all()) for signs in public_signs(network, found).values())


def test_v1_begins_as_the_trained_network_and_without_its_passport_as_none():
    network, x = vit().eval(), example(vit(), 3)
    found, passport = passport_for(network, LAST)
    source = torch.Generator().manual_seed(4)
    signs = {one.conv: torch.randint(0, 2, (one.channels,), generator=source).to(torch.int8) * 2 - 1 for one in found}
    there = begun(network, passport, signs, x[:1], turned=True)
    protected = protect(there, passport, x[:1], public_affine=False).eval()
    moved = vit().eval()  # the trained network, but for what each projection moved along the passport
    for one in found:
        moved.get_submodule(one.conv).weight = there.get_submodule(one.conv).weight
    with torch.no_grad():
        torch.testing.assert_close(protected(x), moved(x), rtol=1e-9, atol=1e-9)
        assert not torch.allclose(strip(protected)(x), moved(x), rtol=0.1)
    for name, layer in passport_layers(protected).items():
        gamma = layer.passport_affine()[0][0]
        assert torch.equal(gamma.sign(), signs[name].to(gamma))
        trained = network.get_submodule({one.conv: one.norm for one in found}[name]).weight.abs()
        torch.testing.assert_close(gamma.abs(), trained, rtol=1e-9, atol=1e-9)


def test_v2_begins_at_plus_or_minus_one_and_leaves_the_public_branch_as_it_was():
    network, x = vit().eval(), example(vit(), 3)
    found, passport = passport_for(network, LAST)
    signs = {one.conv: torch.tensor([1, -1]).repeat(one.channels // 2).to(torch.int8) for one in found}
    there = begun(network, passport, signs, x[:1])
    protected = protect(there, passport, x[:1], public_affine=True)
    for name, layer in passport_layers(protected).items():
        gamma, beta = layer.passport_affine()
        torch.testing.assert_close(gamma[0], signs[name].double(), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(beta, torch.zeros_like(beta), rtol=1e-9, atol=1e-9)


def test_scales_are_lifted_from_a_linear_layer():
    """Exact where a layer has as many columns as rows; what `passport_of` finds has the mean patch asked for."""
    network = vit()
    found, _ = passport_for(network, ["encoder.layers.encoder_layer_5"])
    assert {one.conv.rpartition(".")[2] for one in found} == {"out_proj", "3"}
    scales = public_scales(network, found)
    assert all(torch.equal(pair, torch.stack([torch.ones(32), torch.zeros(32)]).double()) for pair in scales.values())
    lifted = lift(scales, network, found)
    assert max(lifted.residual.values()) < 1e-9
    for name, maps in lifted.passport.items():
        weight = network.get_parameter(f"{name}.weight").detach()
        torch.testing.assert_close(maps.mean((2, 3)) @ weight.T, scales[name], rtol=1e-8, atol=1e-8)
    means = {one.conv: torch.randn(2, 1, one.input_shape[0]).double() for one in found}
    for name, maps in passport_of(means, network, found).items():
        torch.testing.assert_close(patch_mean(maps, network.get_submodule(name)), means[name])


def test_feature_maps_are_what_a_linear_layer_receives():
    network, x = vit().eval(), example(vit(), 2)
    found, _ = passport_for(network, ["encoder.layers.encoder_layer_5.mlp"])
    seen = []
    network.encoder.layers.encoder_layer_5.mlp[3].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    (maps,) = feature_maps(network, found, x).values()
    assert torch.equal(maps.squeeze(-1), seen[0].mT)
    attention, _ = passport_for(network, ["encoder.layers.encoder_layer_5.self_attention"])
    with pytest.raises(InputError, match=r"passport=\['encoder.*out_proj'\]: what they receive cannot be looked at"):
        feature_maps(network, attention, x)


def test_a_projection_that_feeds_two_norms_is_the_firsts():
    class Twice(Rms):
        def forward(self, x):
            x = self.embed(x)
            return self.head(self.norms[1](x + self.norms[0](x)).mean(1))

    found = find_layers(Twice(), example(Rms()))
    assert [(one.conv, one.norm) for one in found] == [("embed", "norms.0")]


def test_it_trains_under_autocast():
    """Scales are computed in float32, outside it."""
    network = vit().float()
    found = find_layers(network, example(network).float())
    passport = random_passport(found, torch.Generator().manual_seed(2))
    protected = protect(network, passport, example(network).float(), public_affine=True)
    with torch.autocast("cpu", torch.bfloat16):
        protected(example(network, 2).float()).sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in protected.parameters())


def test_what_a_module_notes_in_a_recorded_pass_is_forgotten():
    """timm's EfficientFormer keeps biases of attention by their device: with a graph behind, it could not be copied."""

    class Notes(Rms):
        def __init__(self):
            super().__init__()
            self.cache = {}

        def forward(self, x):
            self.seen = self.cache["bias"] = self.embed.weight.sum()
            return super().forward(x)

    network = Notes()
    hooks = dict(network.embed._forward_hooks)
    assert len(find_layers(network, example(network))) == 3
    assert network.cache == {}
    assert not hasattr(network, "seen")
    assert network.embed._forward_hooks == hooks
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert copy.deepcopy(network) is not network
