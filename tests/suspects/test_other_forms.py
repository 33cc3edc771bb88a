"""Files of other widths, or without norms: opened as what they are, where that was asked for, and else refused."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ipr.attacks.base import freedom_of
from ipr.attacks.removal.structural_obfuscation import WAYS, obfuscated
from ipr.errors import InputError
from ipr.models.as_onnx import onnx_bytes
from ipr.models.channels import symmetry
from ipr.models.widths import gather
from ipr.passport.surgery import fold
from ipr.suspects.suspect import open_suspect
from references import small

X = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
MODELS = [("alexnet", "bn"), ("alexnet", "gn"), ("resnet18", "bn"), ("resnet18", "gn")]


def architecture(model, norm):
    return {
        "model": {"name": model, "norm": norm, "width": 0.25},
        "channels_in": 3,
        "image_size": 16,
        "num_classes": 10,
    }


def used(model, norm):
    network = small(model, norm)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return network.eval()


def wide(network):
    return obfuscated(network, freedom_of(network, X[:1]), 0.5, list(WAYS), torch.Generator().manual_seed(0))


def assert_same_answers(one, other):
    with torch.no_grad():
        torch.testing.assert_close(one.eval()(X), other.eval()(X), rtol=1e-4, atol=1e-4)


def written(network, path, how):
    if how == "safetensors":
        save_file(network.state_dict(), path)
    elif how == "torch":
        torch.save({"state_dict": network.state_dict()}, path)
    else:
        path.write_bytes(onnx_bytes(network, 3, 16))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("how", ["safetensors", "torch", "onnx"])
@pytest.mark.parametrize(("model", "norm"), MODELS)
def test_a_wider_file_is_the_network_that_it_was(model, norm, how, tmp_path):
    network = wide(used(model, norm))
    written(network, tmp_path / "w", how)
    with pytest.raises(InputError, match=r"^suspect=.*: does not fit"):
        open_suspect(tmp_path / "w", architecture(model, norm))
    suspect = open_suspect(tmp_path / "w", architecture(model, norm), other_forms=True)
    assert suspect.format == how
    assert_same_answers(suspect.network, network)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("how", ["safetensors", "torch", "onnx"])
@pytest.mark.parametrize("wider", [False, True])
@pytest.mark.parametrize("model", ["alexnet", "resnet18"])
def test_a_file_without_norms_is_the_network_that_it_was(model, wider, how, tmp_path):
    network = used(model, "bn")
    folded = fold(wide(network) if wider else network, X[:1])
    written(folded, tmp_path / "w", how)
    suspect = open_suspect(tmp_path / "w", architecture(model, "bn"), other_forms=True)
    assert not any("running" in name for name in suspect.network.state_dict())
    assert_same_answers(suspect.network, network)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("model", ["alexnet", "resnet18"])
@pytest.mark.parametrize("dynamo", [True, False])
def test_norms_that_an_exporter_folded_are_no_obstacle(model, dynamo, tmp_path):
    """Torch's own exporters: one keeps the names of filters, the other calls them by numbers and shares constants."""
    network = used(model, "bn")
    more = {"optimize": True, "verbose": False} if dynamo else {}
    torch.onnx.export(network, (X,), tmp_path / "w", dynamo=dynamo, external_data=False, **more)
    with pytest.raises(InputError, match="norms folded"):
        open_suspect(tmp_path / "w", architecture(model, "bn"))
    suspect = open_suspect(tmp_path / "w", architecture(model, "bn"), other_forms=True)
    assert_same_answers(suspect.network, network)


def test_a_file_of_the_claimed_form_is_opened_as_ever(tmp_path):
    network = used("resnet18", "bn")
    written(network, tmp_path / "w", "safetensors")
    one, other = (open_suspect(tmp_path / "w", architecture("resnet18", "bn"), other_forms=f) for f in (False, True))
    assert one.weights_digest == other.weights_digest
    assert_same_answers(one.network, other.network)


def test_scales_that_a_wider_file_lacks_are_one(tmp_path):
    """Scheme V1 gives protected norms away without scale and shift."""
    network = wide(used("alexnet", "gn"))
    nn.init.ones_(network.norm4.weight)
    nn.init.zeros_(network.norm4.bias)
    state = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("norm4")}
    save_file(state, tmp_path / "w")
    suspect = open_suspect(tmp_path / "w", architecture("alexnet", "gn"), other_forms=True)
    assert suspect.absent == ("norm4.weight", "norm4.bias")
    assert_same_answers(suspect.network, network)


def five_times(state, network):
    for one in symmetry(network, X[:1]).free:
        gather(network, one, torch.arange(5 * one.channels) % one.channels)
    return network.state_dict()


def one_less(state, network):
    one = symmetry(network, X[:1]).free[1]
    gather(network, one, torch.arange(one.channels - 1))
    return network.state_dict()


def rows_alone(state, network):
    return state | {"conv3.weight": state["conv3.weight"].repeat(2, 1, 1, 1)}


def half_a_norm(state, network):
    return {name: tensor for name, tensor in state.items() if name != "norm3.running_mean"}


def another_kernel(state, network):
    return state | {"conv3.weight": state["conv3.weight"][..., :2]}


def no_dimensions(state, network):
    return state | {"conv3.weight": torch.tensor(1.0)}


def a_stray(state, network):
    return five_times(state, network) | {"else": torch.ones(3)}


def other_classes(state, network):
    return state | {"linear.weight": state["linear.weight"].repeat(2, 1), "linear.bias": state["linear.bias"].repeat(2)}


BROKEN = (five_times, one_less, rows_alone, half_a_norm, another_kernel, no_dimensions, a_stray, other_classes)


@pytest.mark.parametrize("broken", BROKEN)
def test_what_fits_no_form_is_refused_as_ever(broken, tmp_path):
    network = used("alexnet", "bn")
    state = broken(network.state_dict(), network)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "w")
    with pytest.raises(InputError, match=r"^suspect=.*: does not fit AlexNet"):
        open_suspect(tmp_path / "w", architecture("alexnet", "bn"), other_forms=True)


def test_groups_of_another_size_are_refused(tmp_path):
    """A set of 96 channels in groups of 16: 104 are no whole groups."""
    network = used("alexnet", "gn")
    state = network.state_dict()
    more = {name: torch.cat([state[name], state[name][:8]]) for name in ("conv3.weight", "norm3.weight", "norm3.bias")}
    more["conv4.weight"] = torch.cat([state["conv4.weight"], state["conv4.weight"][:, :8]], 1)
    save_file(state | more, tmp_path / "w")
    with pytest.raises(InputError, match=r"^suspect=.*: does not fit AlexNet"):
        open_suspect(tmp_path / "w", architecture("alexnet", "gn"), other_forms=True)
