"""What do a network's weights tell of its passport? Guesses of whoever holds them, beside a network that holds none.

    python benchmarks/hidden_passports.py runs/train/passport_v2-alexnet-bn-... [more runs] [plain=RUN] [vectors=all]

For each run of a passport scheme, a row of three tables in Markdown. The first has the accuracy under the genuine
passport, under 50 random ones of its energy, and under those that the weights suggest (`passport/guesses.py`): ones and
positive noise of any of `ENERGIES`; passports that are solved from scales of one size with the signs of the filters'
sums, or of what these have above their median; and singular vectors of the weights and, for whoever knows what training
began with, of what it changed. Each search chooses with 60 training images. The control of what is tried at other
energies is random ones of these, and that of the searches is the same search along directions that are drawn, three
times.

The second counts the bits of the signature that left singular vectors spell, the best of three vectors and both signs
in each layer, beside what the same count gives for 1,000 random signatures, and those that sums of filters spell.

The third says why, for W and for what changed: the norm of what lies along S, |<W, S>| / |S|, to the norm from which on
such a term shows in the singular vectors of noise, s (C D)^(1/4) with s the standard deviation of W (Baik, Ben Arous,
Peche 2005), and the largest cosine of S with a right singular vector, each in the layer where it is largest. Then,
layer by layer, the root mean square g of the scales at the start and now, and g / s, the energy at which as much stands
along S as along any direction.

`plain` is a baseline of the same architecture: the same guesses on a network without a passport, so whatever they reach
there is no mark. `vectors=all` tries every singular vector rather than two.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

import ipr
import ipr.passport.guesses as guesses_of_weights
from branch_statistics import FORGED, opened, presented
from ipr.data.images import ImageData, LabelledImages
from ipr.judging.verdict import forged_at_random
from ipr.models.inspection import convolution_of
from ipr.passport.claim import PassportClaim
from ipr.passport.generate import random_passport, with_energy
from ipr.passport.guesses import (
    SIGNS,
    changed_filters,
    lifted_passport,
    ones_passport,
    positive_passport,
    singular_passport,
    singular_patches,
)
from ipr.passport.layer import patch_mean
from ipr.passport.surgery import ConvNorm, Passport, find_layers
from ipr.randomness import generator
from ipr.schemes.start import start_network
from ipr.signature import Signature, agreeing_bits
from ipr.suspects.suspect import open_suspect
from ipr.workflows.train import started

ENERGIES = (3.0, 10.0, 30.0, 100.0)
"""Lengths |S| that guesses are tried with."""

GUESSED = (
    "random, any energy", "random directions", "ones", "positive noise", "signs of sums", "vectors of W",
    "vectors of the change",
)  # fmt: skip
SIZES = (0.5, 0.8, 1.2)
NOISE = 3
RANDOM = 12
IMAGES = 60
LEADING = 3
DRAWN = 1000


def began_with(folder: Path, data: ImageData) -> nn.Module:
    """The plain network that a run's training began with."""
    runs = f"paths.runs={folder.absolute().parents[1]}"
    config = ipr.configuration("attack", f"run={folder.absolute()}", "attack=finetune", "logger=csv", runs)
    return start_network(started(config, data), data)


def guesses(
    network: nn.Module, start: nn.Module, layers: Sequence[ConvNorm], data: ImageData, count: int | None
) -> dict[str, list[Passport]]:
    """The passports that the weights suggest, by the column they stand in."""
    few = data.limited(IMAGES, None)
    images = LabelledImages(few.train_pixels, few.train_labels, few.mean, few.std)
    made: dict[str, Sequence[Passport]] = {
        "random, any energy": [random_passport(layers, generator(0, f"random {number}")) for number in range(RANDOM)],
        "ones": [ones_passport(layers, signs) for signs in SIGNS],
        "positive noise": [positive_passport(layers, generator(0, f"noise {number}")) for number in range(NOISE)],
    }
    found: dict[str, list[Passport]] = {
        name: [with_energy(one, network, energy) for one in passports for energy in ENERGIES]
        for name, passports in made.items()
    }
    for name, known in zip(GUESSED[-2:], (None, start), strict=True):
        source = generator(0, name)
        found[name] = [singular_passport(network, layers, images, ENERGIES, source, start=known, count=count)]
    found["signs of sums"] = list(of_sums(network, layers))
    drawn: list[Passport] = []
    for number in range(NOISE):
        source = generator(0, f"directions {number}")
        with patch.object(guesses_of_weights, "singular_patches", partial(random_patches, source=source)):
            drawn.append(singular_passport(network, layers, images, ENERGIES, source, count=count))
    found["random directions"] = drawn
    return {name: found[name] for name in GUESSED}


def of_sums(network: nn.Module, layers: Sequence[ConvNorm]) -> Iterator[Passport]:
    """Passports whose scales have the signs of the filters' sums, or the other ones, and no shift."""
    sums = {layer.conv: changed_filters(network, layer.conv).flatten(0, 1).sum(1).float() for layer in layers}
    start = with_energy(random_passport(layers, generator(0, "sums")), network, 1.0)
    for size, sign, centred in product(SIZES, (1, -1), (True, False)):
        signs = {name: (own - own.median() if centred else own).sign() for name, own in sums.items()}
        scales = {name: torch.stack([sign * size * own, torch.zeros_like(own)]) for name, own in signs.items()}
        yield lifted_passport(scales, network, layers, start)


def random_patches(
    network: nn.Module, layers: Sequence[ConvNorm], *, source: torch.Generator, **asked: Any
) -> dict[str, Tensor]:
    """In place of `singular_patches`: as many directions of the same shapes, drawn, each of norm 1."""
    patches = singular_patches(network, layers, **asked)
    drawn = {name: torch.randn(own.shape, generator=source) for name, own in patches.items()}
    return {name: own / own.flatten(1).norm(dim=1)[:, None, None] for name, own in drawn.items()}


def bits_spelled(network: nn.Module, start: nn.Module | None, signatures: Sequence[Signature]) -> Tensor:
    """Of each signature, the bits that leading left singular vectors spell, the best vector and sign in each layer."""
    total = torch.zeros(len(signatures))
    for name in signatures[0]:
        matrix = changed_filters(network, name, start).flatten(0, 1)  # groups apart would be other networks'
        signs = torch.linalg.svd(matrix, full_matrices=False)[0][:, :LEADING].sign()
        bits = torch.stack([one[name].to(signs) for one in signatures])
        total += (bits.abs().sum(1) + (bits @ signs).abs().amax(1)) / 2  # channels that carry no bit are 0
    return total


def _drawn(signature: Signature) -> list[Signature]:
    source = generator(0, "signatures")
    return [
        {
            name: (torch.randint(0, 2, bits.shape, generator=source) * 2 - 1) * bits.abs()
            for name, bits in signature.items()
        }
        for _ in range(DRAWN)
    ]


def sums_spelled(network: nn.Module, signature: Signature) -> int:
    """The bits that filters spell by a sum above or below their layer's median, the better of both signs a layer."""
    total = 0
    for name, bits in signature.items():
        sums = changed_filters(network, name).flatten(0, 1).sum(1)
        agreeing = agreeing_bits(torch.where(sums > sums.median(), 1, -1), bits)
        total += max(agreeing, int(bits.count_nonzero()) - agreeing)
    return total


def written(network: nn.Module, start: nn.Module | None, claim: PassportClaim) -> tuple[float, float]:
    """What lies along S, to the norm from which on it shows, and the largest cosine of S with a singular vector."""
    shares, cosines = [], []
    for name, mean in mean_patches(network, claim).items():
        for matrix, own in zip(changed_filters(network, name, start), mean, strict=True):
            unit = own / own.norm()
            shows = float(matrix.std()) * matrix.numel() ** 0.25
            shares.append(float((matrix @ unit).norm()) / shows)
            vectors = torch.linalg.svd(matrix, full_matrices=False)[2]
            cosines.append(float((vectors @ unit).abs().max()))
    return max(shares), max(cosines)


def mean_patches(network: nn.Module, claim: PassportClaim) -> dict[str, Tensor]:
    """S_gamma of every layer, (G, D), in float64."""
    convolutions = {name: convolution_of(network, name)[1] for name in claim.passport}
    return {name: patch_mean(maps[:1], convolutions[name])[0].double() for name, maps in claim.passport.items()}


def scales_of(network: nn.Module, claim: PassportClaim) -> list[str]:
    """Root mean square g of each layer's scales under the passport, and g / s, s the deviation of its weights."""
    sizes, ideal = [], []
    for name, mean in mean_patches(network, claim).items():
        filters = changed_filters(network, name)  # (G, C / G, D)
        sizes.append(float((filters @ mean.unsqueeze(-1)).square().mean().sqrt()))
        ideal.append(sizes[-1] / float(filters.std()))
    return [" ".join(f"{size:.2f}" for size in sizes), " ".join(f"{one:.0f}" for one in ideal)]


def rows_of(folder: Path, plain: Path | None, count: int | None) -> Iterator[tuple[list[str], list[str], list[str]]]:
    """The cells of a run in all three tables, and those of the plain network under the same guesses."""
    network, claim, data, images = opened(folder)
    example = next(images.batches(1, torch.device("cpu")))[0]
    drawn = _drawn(claim.signature)
    holders = [(folder.name, network, began_with(folder, data))]
    if plain is not None:
        other = open_suspect(plain / "public.safetensors", claim.architecture).network
        holders.append((f"plain: {plain.name}", other, began_with(plain, data)))
    for name, held, start in holders:
        layers = find_layers(held, example, claim.layers)
        random = forged_at_random(held, claim, example, FORGED, 0)
        found = guesses(held, start, layers, data, count)
        tried = [claim.forged(passport=one) for made in found.values() for one in made]
        genuine, *others = presented(held, [claim, *random, *tried], images)
        blind, rest = others[:FORGED], others[FORGED:]
        best = []
        for made in found.values():
            best.append(max(rest[: len(made)]))
            rest = rest[len(made) :]
        numbers = [genuine, sum(blind) / FORGED, max(blind), *best]
        told = [f"{100 * number:.1f}" for number in numbers]
        shown = [f"{number:.2f}" for known in (None, start) for number in written(held, known, claim)]
        shown += [scales_of(start, claim)[0], *scales_of(held, claim)]
        yield [name, *told], [name, *_spelled(held, start, claim, drawn)], [name, *shown]


def _spelled(network: nn.Module, start: nn.Module, claim: PassportClaim, drawn: Sequence[Signature]) -> list[str]:
    cells = []
    for known in (None, start):
        own, *others = bits_spelled(network, known, [claim.signature, *drawn]).tolist()
        others.sort()
        cells += [f"{own:.0f}", f"{others[DRAWN // 2]:.0f}; {others[round(0.95 * DRAWN)]:.0f}"]
    return [str(claim.marks().numel()), *cells, str(sums_spelled(network, claim.signature))]


def main(arguments: Sequence[str]) -> None:
    """Prints the tables."""
    options = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    folders = [Path(argument) for argument in arguments if "=" not in argument]
    count = None if options.get("vectors") == "all" else 2
    plain = Path(options["plain"]) if "plain" in options else None
    spelled, shown = [], []
    heads = ["network", "genuine", "random: mean", "best", *GUESSED]
    print(f"accuracies in %, best of each kind:\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for number, folder in enumerate(folders):
        for row, bits, cosines in rows_of(folder, plain if number == 0 else None, count):
            print(f"| {' | '.join(row)} |", flush=True)
            spelled.append(bits)
            shown.append(cosines)
    heads = [
        "network",
        "bits",
        "spelled by W",
        "random: median; 95 %",
        "by the change",
        "random: median; 95 %",
        "by filter sums",
    ]
    print(f"\nbits of the signature:\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for bits in spelled:
        print(f"| {' | '.join(bits)} |")
    heads = [
        "network",
        "along S in W",
        "largest cosine",
        "in the change",
        "largest cosine",
        "g at the start",
        "g",
        "g / s",
    ]
    print(f"\nwhat lies along S, to the norm that shows:\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for cosines in shown:
        print(f"| {' | '.join(cosines)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
