"""What is read from a transformer whose streams, hidden units and values were turned, before and after alignment.

    python benchmarks/turned_transformers.py RUN [RUN ...] [--draws N]

Each RUN is a training of a passport scheme by `ipr train model=vit`, with its images where they were. Its public
weights are turned at random (`attack=rotate`), judged as they are, and judged once more when they are aligned with the
weights that its owner committed to. The networks of the other runs are aligned with them, too: they ought not to be.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch
from torch import nn

import ipr
from branch_statistics import opened
from ipr.attacks.removal.rotate import turned_about
from ipr.data.images import LabelledImages
from ipr.judging.alignment import align
from ipr.judging.fidelity import percent
from ipr.models.claimed import network_of
from ipr.passport.claim import PassportClaim
from ipr.store.record import load_record, versions


def judged(network: nn.Module, claim: PassportClaim, images: LabelledImages) -> str:
    """Accuracy as it is and with the passport, and bits, of one network."""
    verdict = ipr.judge(network, claim, images, forged=0)
    read, asked = (sum(parts.values()) for parts in (verdict.reading.agreeing, verdict.reading.total))
    return f"{percent(verdict.accuracy_without)}, {percent(verdict.fidelity.accuracy)}, {read} of {asked} bits"


def started(run: Path) -> str | None:
    """What a run began with."""
    return load_record(run / "record.json").init


def main() -> None:
    """Prints a line for each run and draw, and what the other networks are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--draws", type=int, default=3)
    asked = parser.parse_args()
    for run in asked.runs:
        reference, claim, _, pictures = opened(run)
        example = next(pictures.batches(1, torch.device("cpu")))[0]
        print(f"{run.name}: {judged(reference, claim, pictures)} as given away")
        for draw in range(asked.draws):
            turned = turned_about(reference, example, torch.Generator().manual_seed(draw))
            aligned = align(turned, reference, example)
            print(f"  turned {judged(turned, claim, pictures)}; aligned {judged(aligned.network, claim, pictures)}")
        strangers = [other for other in asked.runs if started(other) != started(run)]
        others = [network_of(claim.architecture), *(opened(other)[0] for other in strangers)]
        found = [align(other.eval(), reference, example) for other in others]
        likeness = max(statistics.median(one.similarity.values()) for one in found)
        print(f"  {len(others)} unrelated: aligned {sum(one.similar for one in found)}, likeness up to {likeness:.2f}")
    print(versions())


if __name__ == "__main__":
    main()
