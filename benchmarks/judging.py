"""Judging 50 forged passports, against one full pass for each.

python benchmarks/judging.py
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

import measure
from ipr.data.images import LabelledImages
from ipr.judging.fidelity import accuracies
from ipr.passport.fork import Forked, fork
from ipr.passport.layer import Affine, passport_layers
from ipr.passport.surgery import protect
from measure import Row, Work, ratios, take_turns
from networks import passport_for, plain
from reference_forms import SideBySideNorm, side_by_side

REACH = {"alexnet": 0.47, "resnet18": 0.20}
FORGED = 50


def judging(forked: Forked, images: LabelledImages, affines: dict[str, Affine]) -> list[float]:
    """Accuracies of all K passports; affines: layer -> scales and shifts, each (K, C)."""
    rows = {name: list(zip(gamma.split(1), beta.split(1), strict=True)) for name, (gamma, beta) in affines.items()}
    count = len(next(iter(rows.values())))
    return accuracies(forked, images, [{name: pairs[k] for name, pairs in rows.items()} for k in range(count)])


@torch.no_grad()
def judging_side_by_side(network: nn.Module, images: LabelledImages, affines: dict[str, Affine]) -> None:
    """The same with all passports as rows of one batch."""
    layers = [module for module in network.modules() if isinstance(module, SideBySideNorm)]
    for layer, pair in zip(layers, affines.values(), strict=True):
        layer.affine = pair
    for x, _ in images.batches(64, torch.device("cpu")):
        network(x).argmax(-1)


NOTES: list[str] = []
"""Lines below the table."""


def table_rows(rounds: int, width: float) -> list[Row]:
    """A row for each network."""
    rows = []
    source = torch.Generator().manual_seed(5)
    pixels = torch.randint(256, (64, 32, 32, 3), dtype=torch.uint8, generator=source)
    images = LabelledImages(pixels, torch.arange(64) % 10, (0.5,) * 3, (0.25,) * 3)
    for name in ("alexnet", "resnet18"):
        network = plain(name, "gn", width)
        example = torch.zeros(1, 3, 32, 32)
        protected = protect(network, passport_for(network, name), example, public_affine=True).eval()

        def drawn(channels: int) -> tuple[Tensor, Tensor]:
            return torch.randn(FORGED, channels, generator=source), torch.randn(FORGED, channels, generator=source)

        affines = {conv: drawn(layer.conv.weight.shape[0]) for conv, layer in passport_layers(protected).items()}
        together, apart = fork(protected, example), Forked(protected, shares_trunk=False)
        assert judging(together, images, affines) == judging(apart, images, affines)
        passes, shared = partial(judging, apart, images, affines), partial(judging, together, images, affines)
        rows_of_one = partial(judging_side_by_side, side_by_side(network, affines).eval(), images, affines)
        works: dict[str, Work] = {"passes": passes, "control": passes, "together": shared, "side by side": rows_of_one}
        seconds = take_turns(works, rounds, warm=0)
        apart_or_not = measure.spread(ratios(seconds, "together", "side by side"))
        NOTES.append(f"judging on {name}: tails one after the other / side by side {apart_or_not}, n={rounds}.")
        measured, control = (ratios(seconds, work, "passes") for work in ("together", "control"))
        work = f"judging {FORGED} forged passports / {FORGED} full passes, {name}"
        rows.append(Row(work, REACH[name], measured, control))
    return rows


if __name__ == "__main__":
    measure.show(table_rows(*measure.rounds_and_width(__doc__, 3)))
    print("\n".join(NOTES))
