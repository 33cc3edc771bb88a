"""What a step of training spends its time on, by operation: every scheme against its baseline.

    python benchmarks/profile_step.py

Milliseconds of each operation itself, without what it calls, as torch's profiler counts them; schemes take turns. The
last line counts floating-point operations (torch's own count).
"""

from __future__ import annotations

from collections import Counter, defaultdict

from torch.profiler import ProfilerActivity, profile

import measure
from growth import operations
from ipr.schemes.baseline import Baseline
from ipr.schemes.passport_v1 import PassportV1
from ipr.schemes.passport_v2 import PassportV2, PassportV3
from measure import Work
from networks import batch, scheme, training_step

GROUPS = {
    "convolutions, forward": ("mkldnn_convolution",),
    "convolutions, backward": ("convolution_backward",),
    "norms": ("native_group_norm", "native_group_norm_backward", "native_batch_norm", "native_batch_norm_backward"),
    "activations and pools": (
        "clamp_min",
        "threshold_backward",
        "max_pool2d_with_indices",
        "max_pool2d_with_indices_backward",
    ),
    "sums of gradients, additions": ("add", "add_", "sum"),
    "copies": ("copy_", "cat", "fill_"),
    "products of matrices (scales, classifier)": ("mm", "addmm", "bmm"),
}


def milliseconds(step: Work) -> Counter[str]:
    """Of each group, in one step."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        step()
    found: Counter[str] = Counter()
    for event in profiled.key_averages():
        name = event.key.removeprefix("aten::")
        group = next((group for group, names in GROUPS.items() if name in names), "everything else")
        found[group] += event.self_cpu_time_total / 1000
    return found


def main(rounds: int, width: float) -> None:
    """Prints a table for each network and norm."""
    x, y = batch()
    for name in ("alexnet", "resnet18"):
        for norm, kinds in (("bn", (Baseline, PassportV1)), ("gn", (Baseline, PassportV2, PassportV3))):
            steps = {kind.__name__: training_step(scheme(kind, name, norm, width), x, y) for kind in kinds}
            for step in steps.values():
                step()
            found: dict[str, Counter[str]] = defaultdict(Counter)
            for _ in range(rounds):
                for what, step in steps.items():
                    found[what].update(milliseconds(step))
            print(f"\n| {name}, {norm} | " + " | ".join(steps) + " |\n|---" + "|---" * len(steps) + "|")
            for group in [*GROUPS, "everything else"]:
                print(f"| {group} | " + " | ".join(f"{found[what][group] / rounds:.1f}" for what in steps) + " |")
            totals = [sum(found[what].values()) / rounds for what in steps]
            print("| all, ms | " + " | ".join(f"{total:.1f}" for total in totals) + " |")
            counts = [operations(step) for step in steps.values()]
            shares = " | ".join(f"{count / counts[0]:.3f}" for count in counts)
            print(f"| floating-point operations, to the baseline | {shares} |")
    print(f"\n{measure.facts()}")


if __name__ == "__main__":
    main(*measure.rounds_and_width(__doc__, 7))
