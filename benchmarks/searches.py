"""A step of a forger's searches side by side, against a step of each, one after the other (`fake2_signature`, `fake3`).

    python benchmarks/searches.py

As many as the attacks have by default: five and four.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import measure
from ipr.attacks.ambiguity.fake2 import Fake2Signature, ScaleSearch
from ipr.attacks.ambiguity.fake3 import Fake3, PassportSearch
from ipr.attacks.ambiguity.searches import Search, SideBySide
from ipr.attacks.base import flipped
from ipr.passport.surgery import protect
from ipr.schemes.base import Scheme
from ipr.signature import draw_signature
from measure import Row, ratios, take_turns
from networks import RECIPE, batch, passport_for, plain

REACH = {"alexnet": 0.75, "resnet18": 0.6}
"""Of the time of one after the other; it follows from what share of the network is trunk."""


def searches(attack: str, name: str, norm: str, width: float) -> list[Search]:
    """The searches of an attack over one network."""
    network = plain(name, norm, width)
    passport = passport_for(network, name)
    protected = protect(network, passport, batch(1)[0], public_affine=True)
    capacities = {conv: network.get_submodule(conv).out_channels for conv in passport}
    signature = draw_signature(capacities, None, torch.Generator().manual_seed(3))  # type: ignore[arg-type]
    found: list[Search] = []
    for share in Fake2Signature().dissimilarity if attack == "fake2_signature" else Fake3().dissimilarity:
        bits, source = flipped(signature, share, torch.Generator().manual_seed(4)), torch.Generator().manual_seed(5)
        if attack == "fake2_signature":
            found.append(ScaleSearch(protected, RECIPE, 10, start=bits, signature=bits))
        else:
            found.append(
                PassportSearch(
                    protected, RECIPE, 10, genuine=passport, signature=bits, sign_loss_weight=0.1, source=source
                )
            )
    return found


def step_of(schemes: list[Scheme], clip_norm: float | None, x: Tensor, y: Tensor) -> Callable[[], None]:
    """A step of each scheme on one batch, without the loop around it."""
    optimizers = [torch.optim.SGD(scheme.trained(), RECIPE.lr, momentum=0.9) for scheme in schemes]
    for scheme in schemes:
        scheme.train()
        scheme.on_train_epoch_start()

    def step() -> None:
        for scheme, optimizer in zip(schemes, optimizers, strict=True):
            optimizer.zero_grad()
            scheme.loss(x, y).backward()
            if clip_norm is not None:
                scheme.clip(scheme.trained(), clip_norm)
            optimizer.step()

    return step


def rows_of(attack: str, name: str, norm: str, rounds: int, width: float) -> list[Row]:
    """The row of an attack on one network."""
    clip_norm, (x, y) = Fake3().clip_norm if attack == "fake3" else None, batch()
    named = {str(number): search for number, search in enumerate(searches(attack, name, norm, width))}
    works = {
        "together": step_of([SideBySide(named, x[:1])], clip_norm, x, y),
        "alone": step_of([*searches(attack, name, norm, width)], clip_norm, x, y),
        "control": step_of([*searches(attack, name, norm, width)], clip_norm, x, y),
    }
    seconds = take_turns(works, rounds)
    what = f"step of {attack}, {len(named)} searches side by side / one after the other, {norm.upper()} {name}"
    return [Row(what, REACH[name], ratios(seconds, "together", "alone"), ratios(seconds, "control", "alone"))]


def main(rounds: int, width: float) -> None:
    """Prints the rows of both attacks on both networks."""
    measure.show(
        [
            row
            for name in ("alexnet", "resnet18")
            for attack, norm in (("fake2_signature", "bn"), ("fake2_signature", "gn"), ("fake3", "bn"), ("fake3", "gn"))
            for row in rows_of(attack, name, norm, rounds, width)
        ]
    )


if __name__ == "__main__":
    main(*measure.rounds_and_width(__doc__, 7))
