"""How cost grows: with the number of protected layers, forged passports, images in a batch, and pixels.

    python benchmarks/growth.py docs/images/growth.png

AlexNet with group norm; each point is the median of its rounds, against what the number of floating-point operations
(torch's own count, matrix products and convolutions) lets one expect.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch.utils.flop_counter import FlopCounterMode

import measure
from ipr.data.images import LabelledImages
from ipr.passport.fork import fork
from ipr.passport.layer import passport_layers
from ipr.passport.surgery import protect
from ipr.schemes.baseline import Baseline
from ipr.schemes.passport_v1 import PassportV1
from ipr.schemes.passport_v2 import PassportV2
from judging import judging
from measure import Work, take_turns
from networks import batch, passport_for, plain, scheme, training_step

ALL = ["conv1", "conv2", "conv3", "conv4", "conv5"]


def operations(work: Work) -> int:
    """Floating-point operations of a work."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def medians(works: Mapping[str, Work], rounds: int) -> dict[str, float]:
    """CPU seconds of each work."""
    return {name: statistics.median(seconds) for name, seconds in take_turns(works, rounds).items()}


def layers_panel(rounds: int, width: float, counts: Sequence[int]) -> dict[str, list[float]]:
    """Steps of V1 and V2 against the baseline, with the last n layers protected."""
    x, y = batch()
    found: dict[str, list[float]] = {"V1": [], "V2": [], "V2, operations": []}
    for count in counts:
        works = {
            "baseline": training_step(scheme(Baseline, "alexnet", "gn", width), x, y),
            "V1": training_step(scheme(PassportV1, "alexnet", "gn", width, ALL[-count:]), x, y),
            "V2": training_step(scheme(PassportV2, "alexnet", "gn", width, ALL[-count:]), x, y),
        }
        seconds = medians(works, rounds)
        found["V1"].append(seconds["V1"] / seconds["baseline"])
        found["V2"].append(seconds["V2"] / seconds["baseline"])
        found["V2, operations"].append(operations(works["V2"]) / operations(works["baseline"]))
    return found


def passports_panel(rounds: int, width: float, counts: Sequence[int]) -> dict[str, list[float]]:
    """Judging K passports, as a multiple of judging one."""
    network = plain("alexnet", "gn", width)
    protected = protect(network, passport_for(network, "alexnet"), batch(1)[0], public_affine=True).eval()
    forked = fork(protected, batch(1)[0])
    channels = {name: layer.conv.weight.shape[0] for name, layer in passport_layers(protected).items()}
    pixels = torch.zeros(64, 32, 32, 3, dtype=torch.uint8)
    images = LabelledImages(pixels, torch.zeros(64, dtype=torch.int64), (0.5,) * 3, (0.25,) * 3)
    works: dict[str, Work] = {}
    for k in counts:
        affines = {name: (torch.randn(k, c), torch.randn(k, c)) for name, c in channels.items()}
        works[str(k)] = partial(judging, forked, images, affines)
    seconds = medians(works, rounds)
    one = works[str(counts[0])]
    return {
        "forged passports": [seconds[str(k)] / seconds[str(counts[0])] for k in counts],
        "operations": [operations(works[str(k)]) / operations(one) for k in counts],
    }


def sizes_panel(rounds: int, width: float, sizes: Sequence[tuple[int, int]]) -> dict[str, list[float]]:
    """Milliseconds an image of baseline and V2, for batches of so many images of so many pixels."""
    found: dict[str, list[float]] = {"baseline": [], "V2": []}
    for count, pixels in sizes:
        x, y = batch(count, pixels)
        works = {
            "baseline": training_step(scheme(Baseline, "alexnet", "gn", width, image_size=pixels), x, y),
            "V2": training_step(scheme(PassportV2, "alexnet", "gn", width, image_size=pixels), x, y),
        }
        for name, seconds in medians(works, rounds).items():
            found[name].append(1000 * seconds / count)
    return found


def draw(panels: Sequence[tuple[str, str, Sequence[int], dict[str, list[float]]]]) -> Figure:
    """One panel each: what grows, what is measured, the points, and the lines by name."""
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    for axes, (what, unit, points, lines) in zip(figure.subplots(2, 2).flat, panels, strict=True):
        for name, values in lines.items():
            counted = "operations" in name
            axes.plot(points, values, linestyle="--" if counted else "-", marker="" if counted else "o", label=name)
        axes.set(xlabel=what, ylabel=unit, ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def main(out: Path, rounds: int, width: float, small: bool = False) -> None:
    """Measures, prints every point, and draws."""
    layers, passports = ([1, 5], [1, 3]) if small else ([1, 2, 3, 4, 5], [1, 5, 10, 25, 50])
    batches, pixels = ([8, 16], [16, 32]) if small else ([16, 32, 64, 128, 256], [16, 24, 32, 48, 64])
    unit = "ms of CPU time an image"
    panels = [
        ("protected layers, from the last on", "step / baseline's step", layers, layers_panel(rounds, width, layers)),
        ("forged passports", "time / that of one", passports, passports_panel(rounds, width, passports)),
        ("images in a batch, 32 pixels", unit, batches, sizes_panel(rounds, width, [(b, 32) for b in batches])),
        ("pixels of an edge, 32 images", unit, pixels, sizes_panel(rounds, width, [(32, p) for p in pixels])),
    ]
    for what, unit, points, lines in panels:
        print(f"\n{what}; {unit}")
        for name, values in lines.items():
            pairs = zip(points, values, strict=True)
            print(f"  {name}: " + ", ".join(f"{point}: {value:.3f}" for point, value in pairs))
    draw(panels).savefig(out, dpi=110)
    print(f"\n{measure.facts()}\nwritten: {out}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the picture")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--small", action="store_true", help="two points a panel, to try it")
    arguments = parser.parse_args()
    main(arguments.out, arguments.rounds, arguments.width, arguments.small)
