"""Why does the private branch of V2 and V3 stay behind the plain network? Trainings in which one thing is otherwise.

    python benchmarks/private_branch.py same_sign study=photographs scheme=passport_v2 images=FOLDER
    python benchmarks/private_branch.py teacher study=photographs scheme=passport_v2 images=FOLDER
    ipr report paths.runs=runs/same_sign

Everything after the first word is as for `ipr reproduce`. `same_sign`: a signature of +1 in every bit but the
first of each layer (one that says nothing is refused), so that both branches want features of the same sign, as the
public scales begin positive. `teacher`: the private branch learns the
public one's answers (softened by a temperature of 2, Hinton, Vinyals and Dean 2015) as much as the labels. Runs go to a
folder of their own, runs/same_sign or runs/teacher, as their names do not tell.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from unittest.mock import patch

import torch
from torch import Generator, Tensor
from torch.nn import functional

from ipr.cli import main
from ipr.passport.layer import Branch, affines_of
from ipr.schemes import passport, passport_v2

TEMPERATURE = 2.0


def same_sign(
    capacities: Mapping[str, int], text: str | None, generator: Generator, count: int | None = None
) -> dict[str, Tensor]:
    """In place of `ipr.signature.draw_signature`: +1 in every bit but the first of each layer."""
    signature = {name: torch.ones(channels, dtype=torch.int8) for name, channels in capacities.items()}
    for bits in signature.values():
        bits[0] = -1
    return signature


def taught(self: passport_v2.PassportV2, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """In place of `PassportV2.terms`: half of the private branch's loss is the distance to the public answers."""
    x, y = self.with_triggers(x, y)
    affines = self.passport_affines()
    public, private = self.forked(x, [affines_of(self.layers, Branch.PUBLIC), affines])
    self.means.count(public, y)
    soft = functional.log_softmax(public.detach() / TEMPERATURE, dim=1)
    mine = functional.log_softmax(private / TEMPERATURE, dim=1)
    distance = TEMPERATURE**2 * functional.kl_div(mine, soft, reduction="batchmean", log_target=True)
    return {
        "cross_entropy_public": functional.cross_entropy(public, y),
        "cross_entropy_private": (functional.cross_entropy(private, y) + distance) / 2,
        **self.regulariser(affines),
    }


VARIANTS = {
    "same_sign": (passport, "draw_signature", same_sign),
    "teacher": (passport_v2.PassportV2, "terms", taught),
}

if __name__ == "__main__":
    variant, *arguments = sys.argv[1:]
    with patch.object(*VARIANTS[variant]):
        main(["reproduce", *arguments, f"paths.runs=runs/{variant}"])
