"""What precision, memory format and compilation do to accuracy: V2 on a part of CIFAR-10, each option with three seeds.

    python benchmarks/options_accuracy.py dataset.root=FOLDER

Further arguments are those of `ipr train`; runs are kept in runs/options and found again.
"""

from __future__ import annotations

import statistics
import sys

from hydra import compose, initialize_config_dir

from ipr.cli.jobs import reporting
from ipr.config.shipped import shipped
from ipr.requests.compose import register, typed
from ipr.store.record import versions
from ipr.workflows.train import train

OPTIONS = {
    "default": [],
    "trainer.precision=bf16-mixed": ["trainer.precision=bf16-mixed"],
    "trainer.memory_format=contiguous": ["trainer.memory_format=contiguous"],
    "trainer.compile=true": ["trainer.compile=true"],
}
SETTING = [
    "dataset=cifar10", "dataset.limit_train=10000", "dataset.limit_test=2000", "model=alexnet", "model.width=0.25",
    "scheme=passport_v2", "model.norm=gn", "passport=random", "passport.energy=3", "trainer.max_epochs=5",
    "paths.runs=runs/options", "trainer.progress_bar=false", "logger=csv", "verification.forged=10",
]  # fmt: skip


def main(arguments: list[str], seeds: int = 3) -> None:
    """Prints a row for each option."""
    register()
    print("| option | given away | with passport | bits read | n |\n|---|---|---|---|---|")
    for name, option in OPTIONS.items():
        records = []
        for seed in range(seeds):
            with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
                config = typed(compose("train", [*SETTING, *option, f"seed={seed}", *arguments]))
            records.append(train(config).record)
        cells = []
        for values in ([r.accuracy_without for r in records], [r.accuracy_genuine or 0.0 for r in records]):
            cells.append(f"{100 * statistics.fmean(values):.1f} ± {100 * statistics.stdev(values):.1f}")
        bits = f"{sum(r.bits_agreeing or 0 for r in records)} of {sum(r.bits_total or 0 for r in records)}"
        print(f"| {name} | {' | '.join(cells)} | {bits} | {len(records)} |", flush=True)
    print(f"\n{records[-1].hardware}; {versions()}")


if __name__ == "__main__":
    codes: list[int] = []
    with reporting(codes):
        main(sys.argv[1:])
    sys.exit(max(codes, default=0))
