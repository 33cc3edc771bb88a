"""Who gains by a judge's statistics for batch norms? Genuine and forged passports, with them and without.

    python benchmarks/branch_statistics.py runs/train/passport_v2-alexnet-bn-... [more runs] [attack_epochs=5]

A judge has batch norms behind passport layers use the statistics of his own images for whatever is presented
(`judging/fidelity.py: statistics_of`). For each run, a passport scheme on batch norm, a table in Markdown tells the
accuracies with them, with the averages that the weights file keeps instead, and with statistics of fewer or more
images: of the genuine passport, of random ones (fake1), and of forgeries that are trained against the same rule (fake2,
fake3). Forgeries go to a folder that is deleted.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch
import yaml
from torch import nn

import ipr
from ipr.attacks.ambiguity import searches
from ipr.config.schema import DatasetConfig, PathsConfig
from ipr.data.images import ImageData, LabelledImages
from ipr.data.opening import open_images
from ipr.judging import fidelity
from ipr.judging.claim_kinds import load_claim
from ipr.judging.fidelity import accuracies, statistics_of
from ipr.judging.verdict import forged_at_random
from ipr.passport.claim import PassportClaim
from ipr.passport.fork import Forked, fork
from ipr.passport.surgery import protect
from ipr.suspects.suspect import open_suspect

COUNTS = (50, 100, 250, 500, 1000, 2000)
"""How many images statistics are taken from."""

FORGED = 50
ATTACKS = ("fake2", "fake3")


@contextmanager
def kept_averages() -> Iterator[None]:
    """Inside, nobody takes statistics: neither the judge nor a forger who trains."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(Forked, "norms", ()))
        stack.enter_context(patch.object(searches, "norms_behind", lambda network: ()))
        yield


@contextmanager
def judged_by(images: int | None) -> Iterator[None]:
    """Inside, a judge takes statistics from so many images, or keeps the file's where that is None."""
    with kept_averages() if images is None else patch.object(fidelity, "STATISTICS_IMAGES", images):
        yield


def images_of(folder: Path, **other: int) -> ImageData:
    """The images of a run, as it asked for them but for what is `other`."""
    asked = yaml.safe_load((folder / "config.yaml").read_text())
    return open_images(DatasetConfig(**(asked["dataset"] | other)), PathsConfig(**asked["paths"]))


def opened(folder: Path, **other: int) -> tuple[nn.Module, PassportClaim, ImageData, LabelledImages]:
    """What a run gave away, its claim, its data (`images_of`), and the images that it was judged on."""
    data = images_of(folder, **other)
    claim = load_claim(folder / "claim")
    assert isinstance(claim, PassportClaim)
    images = LabelledImages(data.test_pixels, data.test_labels, data.mean, data.std)
    return open_suspect(folder / "public.safetensors", claim.architecture).network, claim, data, images


def presented(network: nn.Module, claims: Sequence[PassportClaim], images: LabelledImages) -> list[float]:
    """The accuracy with each claim's passport, as a judge measures it."""
    example = next(images.batches(1, torch.device("cpu")))[0]
    forked = fork(protect(network, claims[0].passport, example, public_affine=True), example)
    affines = [claim.affines(forked.network) for claim in claims]
    return accuracies(forked, images, affines, statistics_of(forked, images, affines))


def forged(folder: Path, attack: str, epochs: str, data: ImageData) -> dict[str, float]:
    """The accuracy that a forger reaches, at every point of an attack on a run."""
    with tempfile.TemporaryDirectory() as runs:
        arguments = ["attack=" + attack, f"run={folder.absolute()}", epochs, f"paths.runs={runs}", "logger=csv"]
        config = ipr.configuration("attack", *arguments, "trainer.progress_bar=false", "trainer.accelerator=cpu")
        config = replace(config, paths=replace(config.paths, cache=runs))
        return {f"{attack} {row.point}".strip(): row.accuracy_after for row in ipr.attack(config, data).rows}


def rows_of(folder: Path, epochs: str) -> Iterator[str]:
    """The lines of a run's table."""
    network, claim, data, images = opened(folder)
    example = next(images.batches(1, torch.device("cpu")))[0]
    random = forged_at_random(network, claim, example, FORGED, 0)
    trained: dict[int | None, dict[str, float]] = {}
    for count in (None, 1000):
        with judged_by(count):
            trained[count] = {k: v for attack in ATTACKS for k, v in forged(folder, attack, epochs, data).items()}
    names = list(trained[None])
    heads = ["statistics", "genuine", "random: mean", "best", *names]
    yield f"{folder.name}, {epochs}, accuracies in %:\n"
    yield f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}"
    for count in (None, *COUNTS):
        with judged_by(count):
            genuine, *others = presented(network, [claim, *random], images)
        numbers = [genuine, sum(others) / len(others), max(others)]
        told = [f"{100 * number:.1f}" for number in [*numbers, *trained.get(count, {}).values()]]
        says = "the file's averages" if count is None else f"of {count} of the judge's images"
        yield f"| {says} | {' | '.join([*told, *[''] * (len(heads) - 1 - len(told))])} |"
    yield ""


def main(arguments: Sequence[str]) -> None:
    """Prints the table of each run."""
    folders = [Path(argument) for argument in arguments if "=" not in argument]
    epochs = next((argument for argument in arguments if argument.startswith("attack_epochs=")), "attack_epochs=5")
    for folder in folders:
        for line in rows_of(folder, epochs):
            print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
