"""What passports cost networks of torchvision and timm that were trained before, on a folder of photographs.

    python benchmarks/own_networks.py dataset.root=FOLDER [--networks A,B] [--seeds N] [--at-once N] [--epochs N,M]
        [--table] [KEY=VALUE ...]

For each network and seed: a plain network is trained for N epochs; from its weights (`init=`) it is trained on for M,
and protected by V1, V2 and V3 in as many. Further arguments are those of `ipr train`. Runs are kept in
runs/own_networks and found again; `--table` trains nothing and makes the table of what is there. FOLDER holds
train/<class>/<image> and test/<class>/<image>.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scipy import stats

import ipr
from ipr.cli.jobs import reporting
from ipr.store.record import Record, load_record, versions

NETWORKS = {
    "torchvision:resnet18": ("torchvision", "layer4"),
    "timm:regnety_002": ("timm", "s4.b6.conv1,s4.b6.conv3,s4.b7.conv1,s4.b7.conv3"),
    "vit": ("vit", "encoder.layers.encoder_layer_4,encoder.layers.encoder_layer_5"),
}
"""What is protected: its group in conf/model, and which layers."""

SCHEMES = ("baseline", "passport_v1", "passport_v2", "passport_v3")
RUNS = Path("runs/own_networks")
SETTING = (
    "dataset=image_folder", "dataset.image_size=64", "passport=random", "logger=csv", "trainer.progress_bar=false",
)  # fmt: skip


def one(name: str, seed: int, epochs: Sequence[int], more: Sequence[str]) -> None:
    """Trains the plain network, and what comes of it, where they are not there."""
    group, layers = NETWORKS[name]
    words = (*SETTING, f"model={group}", f"model.name={name}", f"model.passport_layers=[{layers}]", f"seed={seed}")

    def made(scheme: str, length: int, *start: str) -> Path:
        asked = (f"scheme={scheme}", f"trainer.max_epochs={length}", f"paths.runs={RUNS / str(seed)}", *start)
        run = ipr.train(ipr.configuration("train", *words, *more, *asked))
        r = run.record
        told = f"{name} {seed} {scheme}: {r.accuracy_without:.4f} {r.accuracy_genuine} {r.bits_agreeing} bits"
        print(f"{told} {r.train_seconds} s; {run.failed}", flush=True)
        return run.folder.path

    trained = made("baseline", epochs[0])
    for scheme in SCHEMES:
        made(scheme, epochs[1], f"init={trained}")


def several(asked: argparse.Namespace, more: Sequence[str]) -> int:
    """One process for each network and seed, so many at once; how many failed."""
    waiting = [(name, seed) for seed in range(asked.seeds) for name in asked.networks.split(",")]
    running: list[subprocess.Popen[bytes]] = []
    codes = []
    while waiting or running:
        while waiting and len(running) < asked.at_once:
            name, seed = waiting.pop(0)
            words = [sys.executable, __file__, "--networks", name, "--one", str(seed), "--epochs", asked.epochs, *more]
            running.append(subprocess.Popen(words))
        running[0].wait()
        codes += [done.returncode for done in running if done.poll() is not None]
        running = [process for process in running if process.poll() is None]
    return sum(code != 0 for code in codes)


def _spread(values: Sequence[float | None]) -> str:
    """Mean and standard deviation in %."""
    found = [100 * value for value in values if value is not None]
    if not found:
        return ""
    return f"{statistics.fmean(found):.1f}" + (f" ± {statistics.stdev(found):.1f}" if len(found) > 1 else "")


def table() -> str:
    """A row for each network and scheme, of the seeds that have all of them."""
    records = [load_record(path) for path in sorted(RUNS.glob("*/train/*/record.json"))]
    head = (
        "network", "scheme", "n", "before", "given away", "with the passport", "best of 50 forged", "bits read",
        "triggers", "seconds, share of the training",
    )  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in dict.fromkeys(record.model for record in records):
        own = [record for record in records if record.model == name]
        begun = {record.seed: record for record in own if record.init is None}
        for scheme in SCHEMES:
            rows = [one for one in own if one.scheme == scheme and one.init is not None and one.seed in begun]
            if rows:
                lines.append("| " + " | ".join(_cells(name, scheme, rows, begun)) + " |")
    told = sorted({record.hardware for record in records})
    return "\n".join([*lines, "", f"{'; '.join(told)}; {versions()}"])


def differences() -> str:
    """What each scheme loses beside the network that was trained on, in points: mean and 95 % interval over pairs."""
    records = [load_record(path) for path in sorted(RUNS.glob("*/train/*/record.json"))]
    begun = [record for record in records if record.init is not None]
    beside = {(one.model, one.seed): one.accuracy_without for one in begun if one.scheme == "baseline"}
    lines = []
    for name, scheme in dict.fromkeys((one.model, one.scheme) for one in begun if one.scheme != "baseline"):
        rows = [one for one in begun if (one.model, one.scheme) == (name, scheme) and (name, one.seed) in beside]
        for what in ("accuracy_without", "accuracy_genuine"):
            lost = [100 * (beside[name, row.seed] - getattr(row, what)) for row in rows]
            if len(lost) > 1:
                half = stats.t.ppf(0.975, len(lost) - 1) * statistics.stdev(lost) / len(lost) ** 0.5
                mean = statistics.fmean(lost)
                lines.append(f"{name} {scheme} {what}: {mean:.1f} [{mean - half:.1f}, {mean + half:.1f}]")
    return "\n".join(lines)


def _cells(name: str, scheme: str, rows: Sequence[Record], begun: dict[int, Record]) -> list[str]:
    read, asked = (sum(getattr(row, field) or 0 for row in rows) for field in ("bits_agreeing", "bits_total"))
    forged = [100 * row.accuracy_forged_max for row in rows if row.accuracy_forged_max is not None]
    shares = [row.train_seconds / begun[row.seed].train_seconds for row in rows]
    return [
        name,
        "trained on" if scheme == "baseline" else scheme,
        str(len(rows)),
        _spread([begun[row.seed].accuracy_without for row in rows]),
        _spread([row.accuracy_without for row in rows]),
        _spread([row.accuracy_genuine for row in rows]),
        f"{max(forged):.1f}" if forged else "",
        f"{read} of {asked}" if asked else "",
        _spread([row.trigger_accuracy for row in rows]),
        f"{statistics.fmean(shares):.2f}",
    ]


def parsed() -> tuple[argparse.Namespace, list[str]]:
    """The command line, and what of it is for `ipr train`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(list(NETWORKS)[:2]), help="of which, separated by commas")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--at-once", type=int, default=1, help="processes side by side")
    parser.add_argument("--epochs", default="30,10", help="of the plain network, and of what comes of it")
    parser.add_argument("--table", action="store_true", help="the table alone")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    asked, more = parser.parse_known_args()
    unknown = [name for name in asked.networks.split(",") if name not in NETWORKS]
    if unknown:
        parser.error(f"--networks={','.join(unknown)}: choose among {', '.join(NETWORKS)}")
    return asked, more


if __name__ == "__main__":
    given, words = parsed()
    failed = 0
    if given.one is not None:
        codes: list[int] = []
        with reporting(codes):
            one(given.networks, given.one, [int(n) for n in given.epochs.split(",")], words)
        sys.exit(max(codes, default=0))
    if not given.table:
        failed = several(given, words)
    print(f"{table()}\n\n{differences()}")
    sys.exit(min(failed, 1))
