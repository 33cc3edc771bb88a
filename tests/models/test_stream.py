"""The residual stream of a transformer: rotated, no answer changes; what has none is refused."""

import pytest
import timm
import torch
from torch import nn

from ipr.errors import InputError
from ipr.models import build_model
from ipr.models.stream import fold_norms, random_rotation, rotate, stream_of
from references import spread_norms


def vit():
    torch.manual_seed(1)
    network = build_model("vit", norm="bn", width=0.17, channels_in=3, image_size=16, num_classes=5).double().eval()
    nn.init.normal_(network.heads.head.weight)
    return spread_norms(network)


IMAGES = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("centred", [True, False])
def test_a_rotation_is_orthogonal_and_leaves_the_mean_where_it_is(centred):
    q = random_rotation(7, torch.Generator().manual_seed(1), centred=centred)
    torch.testing.assert_close(q @ q.T, torch.eye(7, dtype=torch.float64))
    ones = torch.ones(7, dtype=torch.float64)
    assert torch.allclose(q @ ones, ones) == centred
    assert (q - torch.eye(7)).abs().max() > 0.3


def test_everything_that_adds_and_reads_is_found():
    network = vit()
    stream = stream_of(network, IMAGES[:1])
    names = {module: name for name, module in network.named_modules()}
    blocks = [f"encoder.layers.encoder_layer_{n}" for n in range(6)]
    ends = {f"{block}.{part}" for block in blocks for part in ("mlp.3", "self_attention.out_proj")}
    assert {names[one] for one in stream.writers} == {"conv_proj"} | ends
    assert sorted(tuple(one.shape) for one in stream.added) == [(1, 1, 32), (1, 65, 32)]
    assert stream.centred
    read = {names[norm]: [tuple(weight.shape) for weight, _ in found] for norm, found in stream.readers.items()}
    expected = {f"{block}.ln_1": [(96, 32)] for block in blocks} | {f"{block}.ln_2": [(128, 32)] for block in blocks}
    assert read == expected | {"encoder.ln": [(5, 32)]}


@pytest.mark.parametrize(
    "build", [vit, lambda: timm.create_model("vit_tiny_patch16_224", img_size=16, patch_size=4, num_classes=5, depth=2)]
)
def test_the_answers_stay_and_every_row_is_another(build):
    torch.manual_seed(2)
    network = build().double().eval()
    with torch.no_grad():
        before = network(IMAGES)
        state = {name: value.clone() for name, value in network.state_dict().items()}
        stream = stream_of(network, IMAGES[:1])
        rotate(network, stream, random_rotation(stream.channels, torch.Generator(), centred=True), IMAGES[:1])
        torch.testing.assert_close(network(IMAGES), before, rtol=1e-10, atol=1e-10)
    for writer in stream.writers:
        name = next(name for name, module in network.named_modules() if module is writer)
        old, new = state[f"{name}.weight"].flatten(1), writer.weight.flatten(1)
        assert nn.functional.cosine_similarity(old, new).abs().mean() < 0.6


def test_folded_norms_have_neither_scale_nor_shift():
    network = vit()
    with torch.no_grad():
        before = network(IMAGES)
        fold_norms(stream_of(network, IMAGES[:1]))
        torch.testing.assert_close(network(IMAGES), before, rtol=1e-10, atol=1e-10)
    norms = [module for module in network.modules() if isinstance(module, nn.LayerNorm)]
    assert len(norms) == 13
    assert all(bool((norm.weight == 1).all()) and not bool(norm.bias.any()) for norm in norms)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("resnet18", "its norms do not all see one stream"),
        ("swin_tiny_patch4_window7_224", "its norms do not all see one stream"),
        ("deit3_small_patch16_224", "what is added to its stream cannot be followed"),  # scales of layers
    ],
)
def test_what_has_none_is_refused(name, why):
    network = timm.create_model(name, num_classes=3).eval()
    with pytest.raises(InputError, match=rf"has no residual stream to rotate \({why}\); choose a transformer"):
        stream_of(network, torch.zeros(1, 3, 224, 224))


def test_a_shift_that_nothing_can_take_is_refused():
    network = vit()
    block = network.encoder.layers.encoder_layer_3
    block.mlp[0].bias = None
    with pytest.raises(InputError, match="has a norm whose shift nothing behind it can take"):
        fold_norms(stream_of(network, IMAGES[:1]))
