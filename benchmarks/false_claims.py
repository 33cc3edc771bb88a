"""False claims, and claims that are missed, on five architectures, with data of the judge's own.

    python benchmarks/false_claims.py runs/false_claims

trains an owner's V3 network of each architecture on one half of the digits' training images (`dataset.part=1/2`),
calibrates its claim on the other half, as `ipr calibrate` does, and writes what comes out as `false_claims.md` into
that folder. What is there already is found: trainings in the store, calibrations under the seal of the folder's key.
About 25 minutes on two cores.

    python docs/generate.py runs/false_claims/false_claims.md

puts it into docs/verdicts.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ipr.cli.compose import configuration
from ipr.errors import InputError
from ipr.files import write_atomically
from ipr.reports.calibration import write_calibration
from ipr.reports.terminal import percent
from ipr.runs.build import open_images
from ipr.runs.calibrate import calibrate
from ipr.runs.config import CalibrateConfig, RuleConfig, TrainConfig
from ipr.runs.record import hardware, versions
from ipr.runs.train import train
from ipr.signing import judge_key
from ipr.verification.binomial import lower_limit, upper_limit
from ipr.verification.calibration import RISK, Calibration, MissedClaims, WrongClaims
from ipr.verification.calibration_file import load_calibration
from ipr.verification.claims import load_claim

REQUEST = (
    "logger=csv", "trainer.progress_bar=false", "scheme=passport_v3", "scheme.signature=bound", "passport=random",
    "passport.key=benchmark", "trigger_set.per_step=8", "verification.forged=10", "dataset.part=1/2",
)  # fmt: skip
"""The owner's, of every architecture."""

ARCHITECTURES = {
    "AlexNet": ("model=alexnet", "model.width=0.25"),
    "AlexNet, batch norm": ("model=alexnet", "model.width=0.25", "model.norm=bn"),
    "ResNet-18": ("model=resnet18", "model.width=0.25"),
    "ResNet-50": ("model=resnet50", "model.width=0.125", "dataset.image_size=8"),
    "torchvision's ResNet-18": (
        *("model=torchvision", "model.norm=bn", "model.passport_layers=[layer4.0]"),
        *("dataset=digits_rgb", "dataset.image_size=8", "dataset.crop_padding=1", "dataset.limit_test=180"),
    ),
}
"""The rest of it, by the name that they have in the tables."""

NETWORKS, WRONG, COPIES = 4, 600, 3
"""Of each calibration. Of 3,000 wrong claims none may be verified to show a rate below 0.1 %."""


def calibrated(name: str, runs: Path) -> Calibration:
    """The calibration of one architecture: read back, or made."""
    owner: TrainConfig = configuration("train", *REQUEST, *ARCHITECTURES[name], f"paths.runs={runs}")
    owned = train(owner).folder
    asked = CalibrateConfig(
        claim=str(owned.claim),
        suspect=str(owned.weights),
        dataset=replace(owner.dataset, part="2/2"),
        optimizer=owner.optimizer,
        trainer=owner.trainer,
        logger=owner.logger,
        paths=owner.paths,
        rule=RuleConfig(name="sound"),
        networks=NETWORKS,
        wrong=WRONG,
        copies=COPIES,
    )
    out, judge = runs / "calibrations" / f"{owned.key}-{NETWORKS}-{WRONG}-{COPIES}", runs / "judge.pem"
    path, key = out / "calibration.json", judge_key(judge)
    if not path.exists():
        write_calibration(calibrate(asked), out, runs, key)
    images = open_images(asked.dataset, asked.paths)
    return load_calibration(path, load_claim(owned.claim), images.fingerprint, key.public_key())


def tables(found: Mapping[str, Calibration]) -> str:
    """Wrong claims by architecture and in all, and missed ones by what was done, as Markdown."""
    lines = [
        "| architecture | by | independent networks | of them consistent with the genuine claim | wrong claims, dated "
        "| consistent | verified | undated | consistent | verified |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for evidence in ("signature", "images"):
        for name, one in found.items():
            lines += _row(name, evidence, [one])
        lines += _row("**all**", evidence, [*found.values()])
    lines.append("")
    for evidence in ("signature", "images"):
        dated = [row for one in found.values() for row in _wrong(one, evidence) if row.dated]
        if dated:
            lines.append(_rate(evidence, sum(row.verified for row in dated), sum(row.judged for row in dated)))
    lines += ["", *_missed([row for one in found.values() for row in one.missed])]
    return "\n".join(lines)


def _wrong(found: Calibration, evidence: str) -> Iterator[WrongClaims]:
    return (row for row in found.wrong if row.evidence == evidence and row.kind != "genuine")


def _row(name: str, evidence: str, found: Sequence[Calibration]) -> list[str]:
    rows = [row for one in found for row in _wrong(one, evidence)]
    if not rows:
        return []
    asked = [one.genuine(evidence) for one in found]
    cells = [name, evidence, sum(networks for networks, _ in asked), sum(consistent for _, consistent in asked)]
    for dated in (True, False):
        own = [row for row in rows if row.dated == dated]
        cells += [sum(getattr(row, what) for row in own) for what in ("judged", "consistent", "verified")]
    return ["| " + " | ".join(map(str, cells)) + " |"]


def _rate(evidence: str, verified: int, judged: int) -> str:
    upper = upper_limit(verified, judged, RISK)
    return (
        f"- By {evidence}: {verified} of {judged} wrong claims that could be dated are verified; with 95 % the rate is "
        f"at most {100 * upper:.3f} %."
    )


def _missed(rows: Sequence[MissedClaims]) -> list[str]:
    lines = [
        "| changed copies | by | judged | missed | share missed, 95 % limits | accuracy |",
        "|---|---|---|---|---|---|",
    ]
    for change in dict.fromkeys(row.change for row in rows):
        for evidence in ("signature", "images"):
            own = [row for row in rows if (row.change, row.evidence) == (change, evidence)]
            if not own:
                continue
            judged, missed = sum(row.judged for row in own), sum(row.missed for row in own)
            limits = f"{percent(lower_limit(missed, judged, RISK))}, {percent(upper_limit(missed, judged, RISK))}"
            accuracy = sum(row.accuracy * row.judged for row in own) / judged
            lines.append(f"| {change} | {evidence} | {judged} | {missed} | {limits} | {percent(accuracy)} |")
    return lines


def main(runs: Path) -> None:
    """Trains, calibrates, prints and writes."""
    started, found = time.perf_counter(), {}
    for name in ARCHITECTURES:
        found[name] = calibrated(name, runs)
        print(f"{name}: {time.perf_counter() - started:.0f} s so far", file=sys.stderr, flush=True)
    told = f"{tables(found)}\n\n{hardware()}; {versions()}.\n"
    print(told)
    write_atomically(runs / "false_claims.md", told)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(
            str(InputError("runs", sys.argv[1:], "one folder of runs is wanted", "give runs/false_claims"))
        )
    main(Path(sys.argv[1]))
