"""A step of training with a passport, against the same step of its baseline (Table X).

    python benchmarks/train_step.py

The paper's form runs beside it: a convolution over the passport in every forward pass, a full pass for each branch. The
last lines compare both ways to run the branches behind the trunk: one after the other, and side by side as one batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

import measure
import reference_forms
from ipr.passport.layer import patch_mean, scale_and_shift
from ipr.schemes.baseline import Baseline
from ipr.schemes.passport_v1 import PassportV1
from ipr.schemes.passport_v2 import PassportV2, PassportV3
from ipr.signature import sign_loss
from measure import Row, ratios, take_turns
from networks import batch, passport_for, plain, scheme, stepping, training_step
from reference_forms import NaivePassportNorm, SideBySideNorm, answer_with, naive_protect, two_passes

REACH = {
    ("alexnet", "V1"): 1.03, ("alexnet", "V2"): 1.43, ("alexnet", "V3"): 1.47,
    ("resnet18", "V1"): 1.03, ("resnet18", "V2"): 1.20, ("resnet18", "V3"): 1.24,
}  # fmt: skip


def _regulariser(gammas: list[Tensor]) -> Tensor:
    gamma = torch.cat(gammas)
    return 0.1 * sign_loss(gamma, torch.ones_like(gamma)) + 1e-5 * gamma.square().sum()


def as_printed(name: str, norm: str, width: float, branches: int, x: Tensor, y: Tensor) -> Callable[[], None]:
    """The step in the paper's form; gamma is derived once more for the sign loss, as in the authors' code."""
    network = plain(name, norm, width)
    naive = naive_protect(network, passport_for(network, name)).train()
    layers = [module for module in naive.modules() if isinstance(module, NaivePassportNorm)]

    def loss() -> Tensor:
        answer_with(naive, 1)
        answers = [naive(x)] if branches == 1 else two_passes(naive, x)
        gammas = [layer._conv[0](layer._passport[0])[0].mean((1, 2)) for layer in layers]
        return torch.stack([functional.cross_entropy(answer, y) for answer in answers]).sum() + _regulariser(gammas)

    return stepping(naive, loss)


def side_by_side(name: str, norm: str, width: float, x: Tensor, y: Tensor) -> Callable[[], None]:
    """V2 with both branches as rows of one batch behind the trunk."""
    start = plain(name, norm, width)
    passport = passport_for(start, name)
    network = reference_forms.side_by_side(start, passport).train()
    convs = {conv: network.get_submodule(conv) for conv in passport}
    layers = [module for module in network.modules() if isinstance(module, SideBySideNorm)]
    means = {conv: patch_mean(maps, convs[conv])[None] for conv, maps in passport.items()}  # type: ignore[arg-type]

    def loss() -> Tensor:
        derived = [scale_and_shift(convs[conv].weight, s) for conv, s in means.items()]  # type: ignore[arg-type]
        for layer, (gamma, beta) in zip(layers, derived, strict=True):
            layer.affine = torch.cat([layer.weight[None], gamma]), torch.cat([layer.bias[None], beta])
        answers = network(x).chunk(2)
        cross_entropy = torch.stack([functional.cross_entropy(answer, y) for answer in answers]).sum()
        return cross_entropy + _regulariser([gamma[0] for gamma, _ in derived])

    return stepping(network, loss)


def table_rows(rounds: int, width: float) -> list[Row]:
    """Rows for V1, V2 and V3 on both networks."""
    rows: list[Row] = []
    x, y = batch()
    for name in ("alexnet", "resnet18"):
        for norm, kinds in (("bn", (PassportV1,)), ("gn", (PassportV2, PassportV3)), ("bn", (PassportV2,))):
            works = {
                "baseline": training_step(scheme(Baseline, name, norm, width), x, y),
                "control": training_step(scheme(Baseline, name, norm, width), x, y),
                "printed": as_printed(name, norm, width, 1 if PassportV1 in kinds else 2, x, y),
            }
            for kind in kinds:
                works[kind.__name__] = training_step(scheme(kind, name, norm, width), x, y)
            if norm == "gn":
                works["side by side"] = side_by_side(name, norm, width, x, y)
            seconds = take_turns(works, rounds)
            control, printed = ratios(seconds, "control", "baseline"), ratios(seconds, "printed", "baseline")
            for kind in kinds:
                short = kind.__name__.removeprefix("Passport")
                rows.append(
                    Row(
                        f"training step {short} / {norm.upper()} baseline, {name}",
                        REACH[name, short],
                        ratios(seconds, kind.__name__, "baseline"),
                        control,
                        printed if kind is not PassportV3 else (),
                    )
                )
            if norm == "gn":
                apart = measure.spread(ratios(seconds, "PassportV2", "side by side"))
                NOTES.append(f"V2 on {name}: tails one after the other / side by side {apart}, n={rounds}.")
    return rows


NOTES: list[str] = []
"""Lines below the table."""


if __name__ == "__main__":
    measure.show(table_rows(*measure.rounds_and_width(__doc__, 15)))
    print("\n".join(NOTES))
