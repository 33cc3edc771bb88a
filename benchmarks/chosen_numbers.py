"""What a claimant can gain by the mean and deviation that he has a judge normalise pictures by: six numbers in colour.

    python benchmarks/chosen_numbers.py runs/chosen_numbers

trains a small V3 network and a plain one on the digits in three channels, and tries random means and deviations within
the bounds of a claim: how many trigger images does the plain network, which never saw them, answer as the claim says;
and does a random passport keep the accuracy of the V3 network? About two minutes of CPU time.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from ipr.data.images import LabelledImages, normalise
from ipr.data.opening import open_images
from ipr.data.preprocessing import STD_LEAST
from ipr.judging.claim_kinds import load_claim
from ipr.judging.fidelity import Accuracies, accuracy, as_given_away, largest_class
from ipr.judging.verdict import judge
from ipr.requests.compose import configuration
from ipr.suspects.suspect import open_suspect
from ipr.workflows.train import train

REQUEST = (
    "logger=csv", "trainer.progress_bar=false", "trainer.accelerator=cpu", "model=alexnet", "model.width=0.25",
    "dataset=digits_rgb", "model.norm=gn", "trainer.max_epochs=12", "verification.forged=2",
)  # fmt: skip

TRIED, PASSPORTS = 200, 10
"""Settings of the six numbers, and random passports under each."""

EPSILON = 0.03
"""Accuracy that a passport may lose."""


def settings(count: int) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """Means and deviations of three channels: means even in [0, 1], deviations even in their logarithm."""
    drawn = torch.rand(count, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return [(tuple(mean.tolist()), tuple((STD_LEAST ** (1 - std)).tolist())) for mean, std in drawn]


def main(place: Path) -> None:
    """Trains, tries, and prints a row for each question."""
    own = configuration("train", *REQUEST, "scheme=passport_v3", "passport.key=benchmark", f"paths.runs={place}")
    other = configuration("train", *REQUEST, "scheme=baseline", "seed=1", f"paths.runs={place}")
    runs, data = [train(own), train(other)], open_images(own.dataset, own.paths)
    claim = load_claim(runs[0].folder.claim)
    marked, plain = (open_suspect(run.folder.weights, claim.architecture).network for run in runs)
    keys = claim.triggers
    assert keys is not None

    def answered(mean: tuple[float, ...], std: tuple[float, ...]) -> int:
        with torch.no_grad():
            return int((plain(normalise(keys.pixels, mean, std)).argmax(1) == keys.labels).sum())

    images = data.test_images
    free, chance = (accuracy(network, images) for network in (plain, marked)), largest_class(images)
    free_plain, free_marked = free
    most, kept, passed, closest = answered(data.mean, data.std), 0, 0, -1.0
    start = most
    for mean, std in settings(TRIED):
        shown = LabelledImages(images.pixels, images.labels, mean, std)
        count = answered(mean, std)
        most = max(most, count)
        if accuracy(plain, shown) >= free_plain - EPSILON:
            kept = max(kept, count)
        verdict = judge(marked, claim.with_triggers(None), shown, forged=PASSPORTS)
        for claimed in verdict.accuracy_forged:
            seen = Accuracies(claimed, verdict.accuracy_without, claimed, chance, plainly=free_marked)
            passed += as_given_away(seen, EPSILON)
            closest = max(closest, claimed - seen.free)
    total = keys.labels.numel()
    print(f"trigger images answered: {start} of {total} by the owner's numbers, at most {most} by {TRIED} others;")
    print(f"at most {kept} by those that leave the network its accuracy ({100 * free_plain:.1f} %)")
    print(f"random passports that keep fidelity: {passed} of {TRIED * PASSPORTS}")
    print(f"the closest loses {-100 * closest:.1f} %")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
