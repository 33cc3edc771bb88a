"""False claims, and claims that are missed, on five architectures, with data of the judge's own.

    python benchmarks/false_claims.py runs/false_claims

trains an owner's V3 network of each architecture on one half of the digits' training images (`dataset.part=1/2`),
calibrates its claim on the other half, as `ipr calibrate` does, and writes what comes out as `false_claims.md` into
that folder. What is there already is found: trainings in the store, calibrations under the seal of the folder's key.
About 25 minutes of CPU time.

    python docs/generate.py runs/false_claims/false_claims.md

puts it into docs/verdicts.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ipr.config.rule import Rule
from ipr.config.schema import CalibrateConfig, TrainConfig
from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.files import write_atomically
from ipr.judging.binomial import lower_limit, upper_limit
from ipr.judging.calibration import RISK, Calibration, WrongClaims
from ipr.judging.calibration_file import load_calibration
from ipr.judging.claim_kinds import load_claim
from ipr.judging.fidelity import percent
from ipr.judging.signing import judge_key
from ipr.machine.device import device_for
from ipr.reports.calibration import write_calibration
from ipr.requests.compose import configuration
from ipr.store.record import Record, hardware, versions
from ipr.workflows.calibrate import calibrate
from ipr.workflows.missed_claims import UNCHANGED
from ipr.workflows.train import train

REQUEST = (
    "logger=csv", "trainer.progress_bar=false", "scheme=passport_v3", "scheme.bound=true", "passport=random",
    "passport.energy=3", "passport.key=benchmark", "trigger_set.per_step=8", "verification.forged=10",
    "dataset.part=1/2",
)  # fmt: skip
"""The owner's, of every architecture."""

ARCHITECTURES = {
    "AlexNet": ("model=alexnet", "model.width=0.25", "model.norm=gn"),
    "AlexNet, batch norm": ("model=alexnet", "model.width=0.25", "model.norm=bn"),
    "ResNet-18": ("model=resnet18", "model.width=0.25", "model.norm=gn"),
    "ResNet-50": ("model=resnet50", "model.width=0.125", "model.norm=gn", "dataset.image_size=8"),
    "torchvision's ResNet-18": (
        *("model=torchvision", "model.norm=bn", "model.passport_layers=[layer4.0]"),
        *("dataset=digits_rgb", "dataset.image_size=8", "dataset.crop_padding=1", "dataset.limit_test=180"),
    ),
}
"""The rest of it, by the name that they have in the tables."""

EVIDENCE = ("signature", "images")

NETWORKS, WRONG, COPIES = 4, 600, 3
"""Of each calibration. Of 3,000 wrong claims none may be verified to show a rate below 0.1 %."""


@dataclass(frozen=True)
class Found:
    """An owner's run, and what a judge found."""

    owner: Record
    calibration: Calibration

    def holds(self, evidence: str) -> bool:
        """Whether the owner's claim is verified on the network as it was given away."""
        rows = [row for row in self.calibration.missed if (row.evidence, row.change) == (evidence, UNCHANGED)]
        return all(row.missed == 0 for row in rows)


def calibrated(name: str, runs: Path) -> Found:
    """The owner's run and the calibration of one architecture: found, or made."""
    owner: TrainConfig = configuration("train", *REQUEST, *ARCHITECTURES[name], f"paths.runs={runs}")
    run = train(owner)
    owned = run.folder
    asked = CalibrateConfig(
        claim=str(owned.claim),
        suspect=str(owned.weights),
        dataset=replace(owner.dataset, part="2/2"),
        optimizer=owner.optimizer,
        trainer=owner.trainer,
        logger=owner.logger,
        paths=owner.paths,
        rule=Rule(name="sound"),
        networks=NETWORKS,
        wrong=WRONG,
        copies=COPIES,
    )
    out, judge = runs / "calibrations" / f"{owned.key}-{NETWORKS}-{WRONG}-{COPIES}", runs / "judge.pem"
    path, key = out / "calibration.json", judge_key(judge)
    if not path.exists():
        write_calibration(calibrate(asked), out, runs, key)
    images = open_images(asked.dataset, asked.paths)
    calibration = load_calibration(path, load_claim(owned.claim), images.fingerprint, key.public_key())
    return Found(run.record, calibration)


def tables(found: Mapping[str, Found]) -> str:
    """Wrong claims by architecture and in all, the owners, and missed claims by what was done, as Markdown."""
    each = {name: one.calibration for name, one in found.items()}
    lines = _head(
        *("architecture", "by", "independent networks", "fit the genuine claim", "wrong claims, dated", "consistent"),
        *("verified", "undated", "consistent", "verified"),
    )
    for evidence in EVIDENCE:
        for name, one in each.items():
            lines.append(_row(name, evidence, [one]))
        lines.append(_row("**all**", evidence, [*each.values()]))
    lines.append("")
    lines += [_rate(evidence, [*each.values()]) for evidence in EVIDENCE]
    return "\n".join([*lines, "", *_owners(found), "", *_missed([*found.values()])])


def _head(*names: str) -> list[str]:
    return [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]


def _wrong(found: Calibration, evidence: str) -> Iterator[WrongClaims]:
    return (row for row in found.wrong if row.evidence == evidence and row.kind != "genuine")


def _row(name: str, evidence: str, found: Sequence[Calibration]) -> str:
    rows = [row for one in found for row in _wrong(one, evidence)]
    asked = [one.genuine(evidence) for one in found]
    cells = [name, evidence, sum(networks for networks, _ in asked), sum(consistent for _, consistent in asked)]
    for dated in (True, False):
        own = [row for row in rows if row.dated == dated]
        cells += [sum(getattr(row, what) for row in own) for what in ("judged", "consistent", "verified")]
    return "| " + " | ".join(map(str, cells)) + " |"


def _rate(evidence: str, found: Sequence[Calibration]) -> str:
    dated = [row for one in found for row in _wrong(one, evidence) if row.dated]
    verified, judged = sum(row.verified for row in dated), sum(row.judged for row in dated)
    upper = 100 * upper_limit(verified, judged, RISK)
    return (
        f"- By {evidence}: {verified} of {judged} wrong claims that could be dated are verified; with 95 % the rate is "
        f"at most {upper:.4f} %."
    )


def _owners(found: Mapping[str, Found]) -> Iterator[str]:
    yield from _head("the owner's network", "accuracy", "with the passport", "bits", "trigger images", "verified by")
    for name, one in found.items():
        run = one.owner
        by = ", ".join(evidence for evidence in EVIDENCE if one.holds(evidence)) or "neither"
        shares = [percent(share or 0.0) for share in (run.accuracy_without, run.accuracy_genuine)]
        cells = (name, *shares, f"{run.bits_agreeing} of {run.bits_total}", percent(run.trigger_accuracy or 0.0), by)
        yield f"| {' | '.join(cells)} |"


def _missed(found: Sequence[Found]) -> Iterator[str]:
    yield from _head("changed copies", "by", "judged", "missed", "that held: judged", "missed", "95 % limits")
    for change in dict.fromkeys(row.change for one in found for row in one.calibration.missed):
        for evidence in EVIDENCE:
            cells, limits = [change, evidence], [""]
            for owners in (found, [one for one in found if one.holds(evidence)]):
                rows = [row for one in owners for row in one.calibration.missed]
                rows = [row for row in rows if (row.change, row.evidence) == (change, evidence)]
                judged, missed = sum(row.judged for row in rows), sum(row.missed for row in rows)
                cells += [str(judged), str(missed)]
                limits = [percent(limit(missed, judged, RISK)) for limit in (lower_limit, upper_limit) if judged]
            yield f"| {' | '.join(cells)} | {', '.join(limits) or '-'} |"


def main(runs: Path) -> None:
    """Trains, calibrates, prints and writes."""
    started, found = time.perf_counter(), {}
    for name in ARCHITECTURES:
        found[name] = calibrated(name, runs)
        print(f"{name}: {time.perf_counter() - started:.0f} s so far", file=sys.stderr, flush=True)
    told = f"{tables(found)}\n\n{hardware(device_for('auto'))}; {versions()}.\n"
    print(told)
    write_atomically(runs / "false_claims.md", told)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(
            str(InputError("runs", sys.argv[1:], "one folder of runs is wanted", "give runs/false_claims"))
        )
    main(Path(sys.argv[1]))
