"""Clipping: what is bounded, and that nothing unscales gradients after it."""

from types import SimpleNamespace

import pytest
import torch

from ipr.config.recipe import Recipe
from ipr.schemes.base import Scheme
from ipr.schemes.baseline import Baseline
from references import small


@pytest.fixture
def scheme():
    return Baseline(small("alexnet", "gn"), Recipe(0.1, 0.9, 0.0, "constant", 0.0, 1.0), 10)


def test_the_norm_over_all_that_is_trained_is_bounded(scheme):
    scheme.network.conv1.requires_grad_(False)
    for parameter in scheme.network.parameters():
        parameter.grad = torch.randn_like(parameter)
    frozen = scheme.network.conv1.weight.grad.clone()
    before = [parameter.grad.clone() for parameter in scheme.trained()]
    norm = torch.stack([gradient.square().sum() for gradient in before]).sum().sqrt()
    optimizer = torch.optim.SGD(scheme.trained(), 0.1)
    scheme.configure_gradient_clipping(optimizer, None)
    assert all(torch.equal(p.grad, was) for p, was in zip(scheme.trained(), before, strict=True))
    scheme.configure_gradient_clipping(optimizer, 2.0)
    for parameter, was in zip(scheme.trained(), before, strict=True):
        torch.testing.assert_close(parameter.grad, was * 2 / norm)
    assert torch.equal(scheme.network.conv1.weight.grad, frozen)


@pytest.mark.parametrize("scaler", [None, object()])
def test_on_a_gpu_sgd_is_fused_unless_a_loss_is_scaled(scaler, scheme, monkeypatch):
    """torch's fused SGD divides by the scale itself: after clipping, which Lightning refuses."""
    monkeypatch.setattr(Scheme, "device", torch.device("cuda"))
    monkeypatch.setattr(Scheme, "trainer", SimpleNamespace(scaler=scaler, estimated_stepping_batches=1))
    (group,) = scheme.configure_optimizers()["optimizer"].param_groups
    assert group["fused"] == (scaler is None)
