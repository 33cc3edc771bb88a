"""The three kinds of passports, as pictures (Figures 6 and 7)."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from ipr.attacks.base import example_of
from ipr.config.registry import register
from ipr.data.images import normalise
from ipr.exhibits.base import Contents, Exhibit, Fact, OpenedRun
from ipr.passport.generate import draw_passport, energies, feature_maps
from ipr.passport.surgery import find_layers
from ipr.randomness import generator

PASSPORT_KINDS = ("random", "image", "shuffled")

CHANNELS = 4
"""How many channels of a passport are drawn, as in Figure 7."""


def as_images(maps: Tensor) -> Tensor:
    """Each map from its smallest to its largest value as 0..255; uint8. A map of one value is black.

    Args:
        maps: (C, H, W).
    """
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    scaled = (maps - low) / (high - low).clamp(min=torch.finfo(maps.dtype).tiny)
    return (255 * scaled).round().to(torch.uint8)


@register("passport_kinds")
@dataclass
class PassportKinds(Exhibit):
    """Random, fixed image and shuffled passports of one seed, whatever kind the run has.

    They are what `ipr train passport=KIND` draws for the same seed, before `passport.energy` scales them; P_gamma is
    shown. Images come from the training set. `layers` shows other layers than the scheme protects, which needs no
    training of its own: Figure 7 has `exhibit.layers=[conv1,conv2,conv3,conv4,conv5]`.

    Arrays: `KIND_LAYER` uint8 (up to 4, H, W), the first channels, each scaled to 0..255; `image_input` uint8
    (1, H, W, channels); `shuffled_input` (layers, H, W, channels), the image that was drawn at each layer.
    Facts: a row by `kind` and `layer` with `mean`, `std` and `zeros` (the share of zeros) of P_gamma, and `energy`,
    |S| as published; a row by `kind` with `images` (N), `passport_layers` (L) and `combinations` for each of P_gamma
    and P_beta: N^L for shuffled ones, 1 for a fixed image, None for random ones.
    """

    source = "Figures 6 and 7"
    opens = "baseline"

    layers: list[str] | None = None  # null for those that the scheme protects

    def show(self, opened: OpenedRun) -> Contents:
        """See `Exhibit.show`."""
        network = opened.baseline().cpu()
        layers = find_layers(network, example_of(opened.data, network), self.layers or opened.layers)
        arrays: dict[str, Tensor] = {}
        facts: list[Fact] = []
        for kind in PASSPORT_KINDS:
            source = generator(opened.seed, f"{kind} passport")
            passport, pixels = draw_passport(kind, layers, opened.data, opened.passport_images, lambda: network, source)
            energy = energies(passport, network)
            for name, (scales, _) in passport.items():
                arrays[f"{kind}_{name}"] = as_images(scales[:CHANNELS])
                row: Fact = {"kind": kind, "layer": name, "mean": float(scales.mean()), "std": float(scales.std())}
                facts.append(row | {"zeros": float((scales == 0).float().mean()), "energy": float(energy[name][0])})
            half = pixels.shape[0] // 2
            if kind == "image":
                arrays["image_input"] = pixels[:half]
            if kind == "shuffled":
                images = normalise(pixels, opened.data.mean, opened.data.std)
                maps = feature_maps(copy.deepcopy(network).double(), layers, images.double())  # as they were drawn
                drawn = [
                    (maps[name].to(images) == passport[name][0]).flatten(1).all(1).int().argmax() for name in passport
                ]
                arrays["shuffled_input"] = pixels[torch.stack(drawn)]
            combinations = {"random": None, "image": half, "shuffled": half ** len(layers)}[kind]
            facts.append({"kind": kind, "images": half, "passport_layers": len(layers), "combinations": combinations})
        return Contents(arrays, facts)
