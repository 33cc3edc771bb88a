"""Why V2 and V3 stay behind their baseline: do the two branches want features of opposite sign?

Trains as `ipr reproduce` does, but with a signature of +1 in every bit, so that the private branch wants features of
the same sign as the public one, whose scales start at 1. Runs go to a folder of their own: a run's name does not tell.

    python benchmarks/sign_conflict.py study=cifar10_part scheme=passport_v2 images=FOLDER
    ipr report paths.runs=runs/same_sign
"""

from __future__ import annotations

import sys
from unittest.mock import patch

import torch
from torch import Generator, Tensor

from ipr.cli import main
from ipr.schemes import passport


def same_sign(capacities: dict[str, int], text: str | None, generator: Generator) -> dict[str, Tensor]:
    """In place of `ipr.signature.draw_signature`: +1 in every bit."""
    return {name: torch.ones(channels, dtype=torch.int8) for name, channels in capacities.items()}


if __name__ == "__main__":
    with patch.object(passport, "draw_signature", same_sign):
        main(["reproduce", *sys.argv[1:], "paths.runs=runs/same_sign"])
