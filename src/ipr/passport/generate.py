"""Three kinds of passports (Section III-B), and the energy that decides whether they train.

Scaling. A step of gradient descent moves gamma_c = <W_c, S> by lr * |S|^2 * gradient, so |S| is a learning rate. A
feature map of a trained network has |S| of about 20: published as it is, it trains gamma at some 400 times the rate of
everything else. `with_energy` scales a passport to a chosen |S|; neither the signs of gamma nor what a forger must
guess change.

Hiding. The longer S, the less of it stands in the weights (`damped.py`), down to less than along any other direction:
a hole, which tells S as a peak does. At |S| = g / s, with g the root mean square of a layer's scales and s the
standard deviation of its weights, as much stands along S as along the others. A hole shows among the singular vectors
where a layer has more filters than a filter has numbers, C > D, as in a shortcut of 1x1 that widens: there
`hidden_energies` goes no further. Elsewhere the smallest singular vectors span no space of their own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn

from ipr.data.images import ImageData, normalise
from ipr.errors import InputError
from ipr.models.inspection import evaluating, groups_of, projection_of
from ipr.passport.kinds import public_pair
from ipr.passport.layer import filters, patch_mean
from ipr.passport.surgery import ConvNorm, Passport, hooked
from ipr.world import own_world


@own_world()
def random_passport(layers: Sequence[ConvNorm], generator: Generator) -> dict[str, Tensor]:
    """Section III-B a): every element independently uniform in [-1, 1]."""
    return {layer.conv: torch.rand((2, *layer.input_shape), generator=generator) * 2 - 1 for layer in layers}


@own_world()
def image_passport(network: nn.Module, layers: Sequence[ConvNorm], images: Tensor) -> dict[str, Tensor]:
    """Section III-B b): one image through a trained plain network of the same architecture.

    Args:
        network: the trained plain network.
        layers: the layers to protect; a layer at the network's input takes the image itself.
        images: the image of P_gamma and the image of P_beta, normalised as in training, shape (2, C, H, W).
    """
    return feature_maps(network, layers, images)


@own_world()
def shuffled_passport(
    network: nn.Module, layers: Sequence[ConvNorm], images: Tensor, generator: Generator
) -> dict[str, Tensor]:
    """Section III-B c): at each layer, the map of one of N images, chosen at random.

    Follows the paper's text. The authors' code chooses anew for every channel of a layer; that mixes maps of different
    images within one passport, which Section III-B does not describe.

    Args:
        network: the trained plain network.
        layers: the layers to protect.
        images: N images for P_gamma, then N others for P_beta, shape (2 * N, C, H, W); N = 20 in the paper.
        generator: chooses.
    """
    maps = feature_maps(network, layers, images)
    half = images.shape[0] // 2
    passport = {}
    for name, candidates in maps.items():
        chosen = torch.randint(half, (2,), generator=generator) + torch.tensor([0, half])
        passport[name] = candidates[chosen]
    return passport


def draw_passport(
    kind: str,
    layers: Sequence[ConvNorm],
    data: ImageData,
    count: int,
    trained: Callable[[], nn.Module],
    generator: Generator,
) -> tuple[dict[str, Tensor], Tensor]:
    """A passport of a kind, as published, and the training images that it was taken from.

    Args:
        kind: `random`, `image` or `shuffled`.
        layers: the layers to protect.
        data: the images to draw from, and their normalisation.
        count: N of Section III-B c), for each of P_gamma and P_beta.
        trained: finds or trains the plain network of the same architecture, on the CPU; not called for random ones.
        generator: draws.

    Returns:
        The passport, (2, C_in, H, W) per layer, and the images, uint8 (n, H, W, channels), in the order in which
        `image_passport` or `shuffled_passport` takes them; none, (0, H, W, channels), for a random one.

    Raises:
        InputError: there is no such kind, or there are not enough images.
    """
    if kind == "random":
        return random_passport(layers, generator), data.train_pixels[:0]
    if kind not in ("image", "shuffled"):
        raise InputError("passport.name", kind, "is unknown", "choose random, image or shuffled")
    needed, there = 2 * (1 if kind == "image" else count), data.train_labels.numel()
    if needed > there:
        problem, remedy = f"needs {needed} training images", f"give at most {there // 2}"
        raise InputError("passport.images", count, problem, remedy)
    network = copy.deepcopy(trained()).double()  # summed in float64 and rounded once: alike on every processor
    pixels = data.train_pixels[torch.randperm(there, generator=generator)[:needed]]
    images = normalise(pixels, data.mean, data.std)
    if kind == "image":
        passport = image_passport(network, layers, images.double())
    else:
        passport = shuffled_passport(network, layers, images.double(), generator)
    return {name: maps.to(images) for name, maps in passport.items()}, pixels


def feature_maps(network: nn.Module, layers: Sequence[ConvNorm], images: Tensor) -> dict[str, Tensor]:
    """What the given convolutions of a plain network receive for these images; layer name -> (N, C_in, H, W).

    Raises:
        InputError: a layer receives nothing of its own: torch's attention uses the weights of `out_proj` without it.
    """
    found = inputs_of(network, [layer.conv for layer in layers], images, _as_maps)
    if missing := [layer.conv for layer in layers if layer.conv not in found]:
        problem = "what they receive cannot be looked at (torch's attention uses their weights alone)"
        raise InputError("passport", missing, problem, "choose passport=random, or other layers")
    return found


def _as_maps(module: nn.Module, x: Tensor) -> Tensor:
    """What a module receives as a passport is: a linear layer's tokens, (N, ..., C_in), as maps (N, C_in, T, 1)."""
    kept = x.detach().cpu().clone()
    return kept.flatten(1, -2).mT.unsqueeze(-1) if isinstance(module, nn.Linear) else kept


def inputs_of(
    network: nn.Module, names: Sequence[str], images: Tensor, kept: Callable[[Any, Tensor], Tensor]
) -> dict[str, Tensor]:
    """What modules of a network receive for some images, by their names.

    Args:
        network: left as it was.
        names: of the modules.
        images: for the network.
        kept: makes of a module and its input what is returned.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        found[name] = kept(module, args[0])

    handles = [network.get_submodule(name).register_forward_pre_hook(partial(keep, name)) for name in names]
    with hooked(handles), evaluating(network):
        network(images)
    return found


def energies(passport: Passport, network: nn.Module) -> dict[str, Tensor]:
    """|S| of P_gamma and of P_beta at each layer of a network; layer name -> float64, shape (2,), no unit."""
    means = {name: patch_mean(maps.double(), projection_of(network, name)) for name, maps in passport.items()}
    return {name: mean.flatten(1).norm(dim=1) for name, mean in means.items()}


@torch.no_grad()
def hidden_energies(network: nn.Module, layers: Sequence[ConvNorm], energy: float | None) -> dict[str, Tensor] | None:
    """|S| at each layer of what a passport is to have: `energy`, or g / s where that is less and C > D (above).

    Args:
        network: a plain network at its start, random or trained.
        layers: the layers to protect.
        energy: above 0; None for passports as published, which have none.

    Returns:
        Layer -> float64, (2,), as `with_energy` takes it; None where there is no energy.
    """
    if energy is None:
        return None
    found = {}
    for layer in layers:
        rows = filters(network.get_parameter(f"{layer.conv}.weight")).double()
        conv = projection_of(network, layer.conv)
        scale, _ = public_pair(network.get_submodule(layer.norm), layer.channels)
        g = float(scale.double().square().mean().sqrt())
        has_hole = rows.shape[0] // groups_of(conv) > rows.shape[1]
        most = g / float(rows.std()) if has_hole and g > 0 else energy
        found[layer.conv] = torch.full((2,), min(energy, most), dtype=torch.float64)
    return found


@own_world()
def with_energy(
    passport: Passport, network: nn.Module, energy: float | Mapping[str, Tensor] | None
) -> dict[str, Tensor]:
    """The passport scaled so that |S| of every P_gamma and P_beta is `energy`.

    Args:
        passport: shape (2, C_in, H, W) per layer.
        network: whose convolutions it is for.
        energy: |S|, above 0; one number, or (2,) per layer as `energies` returns; None leaves it as published.

    Raises:
        InputError: the energy is not above 0, or a passport has none to scale (its mean patch is 0).
    """
    if energy is None:
        return dict(passport)
    if isinstance(energy, float | int) and not energy > 0:
        raise InputError("passport.energy", energy, "must be above 0", "give e.g. 3, or null for as published")
    scaled = {}
    for name, now in energies(passport, network).items():
        if not (now > 0).all():
            raise InputError("passport", name, "its mean patch is 0, so it carries no signal", "choose other images")
        target = energy[name] if isinstance(energy, Mapping) else torch.tensor(float(energy))
        factor = (target.to(now) / now)[:, None, None, None]
        scaled[name] = (passport[name] * factor).to(passport[name].dtype)
    return scaled
