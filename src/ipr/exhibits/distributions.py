"""Weights, scales and shifts of one layer, in a passport network and in its baseline (Figure 10)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ipr.attacks.base import example_of
from ipr.config.registry import register
from ipr.errors import InputError
from ipr.exhibits.base import Contents, Exhibit, Fact, OpenedRun
from ipr.exhibits.distances import ks_distance
from ipr.passport.kinds import own_pair
from ipr.passport.surgery import ConvNorm, find_layers


def layer_parts(network: nn.Module, layer: ConvNorm) -> tuple[Tensor, Tensor, Tensor]:
    """What an ordinary layer holds: the weights of its convolution, flat, and its norm's scale and shift, (C,)."""
    conv, norm = network.get_submodule(layer.conv), network.get_submodule(layer.norm)
    parts = conv.get_parameter("weight").flatten(), *own_pair(norm, layer.channels)
    weight, scale, shift = (part.detach().cpu().float() for part in parts)
    return weight, scale, shift


def chosen_layer(layers: list[ConvNorm], wanted: str | None) -> ConvNorm:
    """The layer of that name, or the middle one.

    Raises:
        InputError: there is no such layer.
    """
    if wanted is None:
        return layers[len(layers) // 2]
    named = {layer.conv: layer for layer in layers}
    if wanted not in named:
        raise InputError("exhibit.layer", wanted, "is not a passport layer", f"choose among: {', '.join(named)}")
    return named[wanted]


@register("distributions")
@dataclass
class Distributions(Exhibit):
    """One layer of a passport network (what the passport gives: the private branch in V2 and V3) beside its baseline.

    The baseline is the plain network of the same norm, seed and settings.

    Arrays: `weights_NAME` (C C_in k k,), `scales_NAME` and `shifts_NAME` (C,), NAME being `baseline` or `passport`.
    Facts: a row by `network` and `of` (`weights`, `scales`, `shifts`) with `mean` and `std`; scales also with
    `share_large`, the share of |gamma| >= `gamma_0`; shifts with `share_negative`; a row by `compared` (`weights`,
    `weights in units of their std`) with `ks_distance`. Every row names the `layer`.
    """

    source = "Figure 10"

    layer: str | None = None  # a passport layer; null for the middle one
    gamma_0: float = 0.1  # scales of this magnitude count as large

    def show(self, opened: OpenedRun) -> Contents:
        """See `Exhibit.show`."""
        claim = opened.passport_claim
        layers = find_layers(opened.suspect, example_of(opened.data, opened.suspect), claim.layers)
        layer = chosen_layer(layers, self.layer)
        weight, _, _ = layer_parts(opened.suspect, layer)
        gamma, beta = (part[0].detach().cpu().float() for part in claim.affines(opened.suspect)[layer.conv])
        networks = {"baseline": layer_parts(opened.baseline(), layer), "passport": (weight, gamma, beta)}

        arrays: dict[str, Tensor] = {}
        facts: list[Fact] = []
        for network, parts in networks.items():
            for of, values in zip(("weights", "scales", "shifts"), parts, strict=True):
                arrays[f"{of}_{network}"] = values
                row: Fact = {"layer": layer.conv, "network": network, "of": of}
                row |= {"mean": float(values.mean()), "std": float(values.std())}
                if of == "scales":
                    row["share_large"] = float((values.abs() >= self.gamma_0).float().mean())
                if of == "shifts":
                    row["share_negative"] = float((values < 0).float().mean())
                facts.append(row)
        one, other = arrays["weights_baseline"], arrays["weights_passport"]
        for compared, apart in (
            ("weights", ks_distance(one, other)),
            ("weights in units of their std", ks_distance(one / one.std(), other / other.std())),
        ):
            facts.append({"layer": layer.conv, "compared": compared, "ks_distance": apart})
        return Contents(arrays, facts)
