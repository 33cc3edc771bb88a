"""A passport of high energy whose steps are damped: gamma moves as at low energy, and little of it stands in W."""

import copy

import pytest
import torch
from torch import nn

from ipr.errors import InputError
from ipr.passport.damped import basis, damp, damped, step_energy_of
from ipr.passport.generate import with_energy
from ipr.passport.layer import filters, passport_layers, patch_mean
from ipr.passport.surgery import protect
from references import protected

CONVOLUTIONS = [dict(kernel_size=3, padding=1), dict(kernel_size=3, groups=2), dict(kernel_size=(3, 1), groups=4)]


def of_energy(energy):
    """A protected AlexNet in float64 with |S| of `energy` everywhere, always from the same passport."""
    torch.manual_seed(5)
    _, plain, passport = protected("alexnet", "bn")
    scaled = with_energy(passport, plain, energy)
    return protect(plain, scaled, torch.randn(1, 3, 16, 16), public_affine=True).double()


def stepped(network, lr=0.01):
    """One step of SGD on fixed images, with the private branch."""
    x = torch.randn(8, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    before = {name: layer.conv.weight.detach().clone() for name, layer in passport_layers(network).items()}
    network.train().zero_grad()
    nn.functional.cross_entropy(network(x), torch.arange(8)).backward()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter -= lr * parameter.grad
    return {name: layer.conv.weight.detach() - before[name] for name, layer in passport_layers(network).items()}


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_the_basis_spans_both_mean_patches(options):
    conv = nn.Conv2d(4, 8, **options).double()
    means = patch_mean(torch.randn(2, 4, 9, 7, dtype=torch.float64), conv)
    q = basis(means)
    torch.testing.assert_close(q.mT @ q, torch.eye(2, dtype=torch.float64).expand(conv.groups, 2, 2))
    for s in means:
        torch.testing.assert_close((q @ q.mT @ s.unsqueeze(-1)).squeeze(-1), s, rtol=1e-12, atol=1e-12)


def test_of_parallel_mean_patches_one_direction_is_left():
    s = torch.randn(1, 2, 18, dtype=torch.float64)
    q = basis(torch.cat([s, -3 * s]))
    torch.testing.assert_close((q.mT @ q).diagonal(dim1=-2, dim2=-1).sum(-1), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close((q @ q.mT @ s[0].unsqueeze(-1)).squeeze(-1), s[0])


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_what_lies_along_the_passport_is_scaled_and_nothing_else(options):
    """grad - share grad Q Q^T, against a projection that is computed by least squares, filter by filter."""
    conv = nn.Conv2d(4, 8, **options).double()
    means = patch_mean(torch.randn(2, 4, 9, 7, dtype=torch.float64), conv)
    gradient = torch.randn_like(conv.weight)
    got = filters(damped(gradient, basis(means), 0.75))
    rows = filters(gradient)
    for number, row in enumerate(rows):
        spanned = means[:, number // (8 // conv.groups)].T  # (D, 2)
        along = spanned @ torch.linalg.lstsq(spanned, row.unsqueeze(1)).solution.squeeze(1)
        torch.testing.assert_close(got[number], row - 0.75 * along, rtol=1e-9, atol=1e-12)


def test_gamma_moves_as_at_the_lower_energy_and_the_weights_by_less():
    """With |S| = E and steps as at e, a step through the scales alone moves gamma by what it moves at e from there."""
    high = of_energy(30.0)
    s = {name: layer.patch_means[0, :, 0] for name, layer in passport_layers(high).items()}
    plain = stepped(copy.deepcopy(high))
    handles = damp(passport_layers(high), 3.0)
    less = stepped(high)
    assert len(handles) == len(s) == 3
    for name, change in less.items():
        gamma, undamped = filters(change) @ s[name].T, filters(plain[name]) @ s[name].T
        torch.testing.assert_close(gamma, undamped / 100, rtol=1e-6, atol=1e-12)
        q = basis(passport_layers(high)[name].patch_means[0])[0]
        apart = torch.eye(q.shape[0], dtype=torch.float64) - q @ q.T
        torch.testing.assert_close(filters(change) @ apart, filters(plain[name]) @ apart, rtol=1e-6, atol=1e-12)
    for handle in handles:
        handle.remove()
    again = copy.deepcopy(high)
    torch.testing.assert_close(stepped(high), stepped(again), rtol=0, atol=0)


def test_layers_of_other_lengths_are_damped_each_by_its_own_and_short_ones_not_at_all():
    torch.manual_seed(5)
    _, plain, passport = protected("alexnet", "bn")
    lengths = dict(zip(passport, (30.0, 6.0, 3.0), strict=True))
    asked = {name: torch.full((2,), length) for name, length in lengths.items()}
    network = protect(
        plain, with_energy(passport, plain, asked), torch.randn(1, 3, 16, 16), public_affine=True
    ).double()
    undamped = stepped(copy.deepcopy(network))
    assert len(damp(passport_layers(network), 3.0)) == 2
    for name, change in stepped(network).items():
        s = passport_layers(network)[name].patch_means[0, :, 0]
        gamma = filters(undamped[name]) @ s.T * min(1.0, 3 / lengths[name]) ** 2
        torch.testing.assert_close(filters(change) @ s.T, gamma, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(("energy", "asked"), [(None, 3.0), (3.0, 3.1), (3.0, 0.0), (3.0, float("nan"))])
def test_steps_as_at_a_higher_energy_are_refused(energy, asked):
    with pytest.raises(InputError, match=r"passport\.step_energy"):
        step_energy_of(energy, asked)


@pytest.mark.parametrize(
    ("energy", "asked", "expected"),
    [
        (30.0, None, 3.0),
        (30.0, 10.0, 10.0),
        (30.0, 30.0, None),
        (3.0, None, None),
        (1.0, None, None),
        (None, None, None),
    ],
)
def test_steps_are_as_at_three_where_none_is_asked_for_and_damped_below_the_energy_alone(energy, asked, expected):
    assert step_energy_of(energy, asked) == expected


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("kernel", [1, 3])
def test_a_damped_gradient_lies_in_memory_as_the_gradient_does(kernel, memory_format):
    """Where it does not, several processes that add gradients up warn and copy."""
    conv = nn.Conv2d(4, 8, kernel).to(memory_format=memory_format)
    gradient = torch.randn_like(conv.weight)
    before = gradient.clone()
    left = damped(gradient, basis(patch_mean(torch.randn(2, 4, 9, 7), conv)), 0.99)
    assert left.stride() == gradient.stride() == conv.weight.stride()
    assert torch.equal(gradient, before)
    assert left.data_ptr() != gradient.data_ptr()
