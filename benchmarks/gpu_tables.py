"""The tables of docs/results/gpu, from what `benchmarks/gpu_check.py` found.

    python benchmarks/gpu_tables.py runs/gpu/gpu.json [MORE.json ...] [--out docs/results/gpu]

Of several files the last that holds a section is taken, a whole one before one that its time cut short. What was merged
is kept beside the page as gpu.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gpu_check import CUT

Values = dict[str, Any]

ABOUT = {
    "exact": "terms and gradients beside float64 on the CPU; scales under autocast",
    "waits": "no step of V1, V2, V3 and the baselines waits for the card (torch's sync debug mode)",
    "schemes": "V1, V2, V3 in three precisions and compiled: all bits, above 90 %; CPU and card judge alike",
    "watermarks": "every watermark trains and is judged, in float32 and bf16",
    "attacks": "every attack, and forged claims beside removals",
    "bits": "a command twice, and killed and resumed: the same weights, bit by bit",
    "graphs": "steps replayed as CUDA graphs: the bits of steps run one by one, in float32 and bf16",
    "processes": "DDP with NCCL, and two processes on one card over gloo: the weights of no DDP, in float64",
}
"""What each check looks at."""

PLAIN = {"V1": "baseline bn", "V2": "baseline gn", "V3": "baseline gn"}


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def _cut(found: Values) -> bool:
    """Whether a section's time was over before it had ended."""
    return any(CUT in problem for problem in found["problems"])


def checks(sections: Values) -> str:
    """What must be right, and what of it is not."""
    rows = []
    for name, about in ABOUT.items():
        found = sections.get(name)
        if found is None:
            word = "not run"
        elif wrong := [problem for problem in found["problems"] if CUT not in problem]:
            word = f"**no**: {wrong[0]}"
        else:
            word = f"yes, of the {len(found['values'])} cases that it had time for" if _cut(found) else "yes"
        rows.append((name, about, word, "" if found is None else found["commit"]))
    return table(("section", "what is looked at", "holds", "commit"), rows)


def errors(values: Values) -> str:
    """The largest error of each precision, over networks and schemes."""
    rows = []
    for way in ("float64", "float32", "tf32", "bf16"):
        found = [errors for name, errors in values.items() if name.endswith(f" {way}")]
        rows.append((way, f"{max(e[0] for e in found):.1e}", f"{max(e[1] for e in found):.1e}"))
    return table(("precision", "loss terms", "gradients"), rows)


def spread(ms: Sequence[float]) -> str:
    """Median, smallest and largest."""
    return f"{statistics.median(ms):.2f} [{min(ms):.2f}, {max(ms):.2f}]"


def steps(values: Values, captured: Values) -> str:
    """Milliseconds of a step, in Lightning's loop, bare, and replayed as a graph."""
    rows = []
    for what, found in values.items():
        model, size, name = what.split(" ", 2)
        ms: list[float] = found["ms"]
        plain: Values = values.get(f"{model} {size} {PLAIN.get(name, name)}") or found
        ratio = statistics.median(ms) / statistics.median(plain["ms"])
        graph = captured.get(what)
        bare = ("", "", "") if not isinstance(graph, dict) else (
            f"{graph['eager ms']:.2f}", f"{graph['replayed ms']:.2f}", f"{graph['replayed TFLOP/s']:.0f}"
        )  # fmt: skip
        epoch = statistics.median(ms) * (50000 // int(size)) / 1e3
        cells = (f"{ratio:.2f}", f"{found['kernels']:.0f}", f"{100 * found['busy']:.0f} %", f"{epoch:.1f}")
        rows.append((model, size, name, spread(ms), *cells, *bare))
    head = (
        "network", "batch", "scheme", "ms a step", "to its baseline", "kernels", "card computes",
        "s an epoch of CIFAR-10", "bare step, ms", "replayed, ms", "TFLOP/s replayed",
    )  # fmt: skip
    return table(head, rows)


def ways(values: Values) -> str:
    """What each setting changes."""
    rows = []
    for what, found in values.items():
        model, size, rest = what.split(" ", 2)
        name = " ".join(rest.split(" ")[:2]) if rest.startswith("baseline") else rest.split(" ")[0]
        way = rest.removeprefix(name).strip()
        default: Values = values.get(f"{model} {size} {name} default") or found
        ratio = statistics.median(found["ms"]) / statistics.median(default["ms"])
        cells = f"{ratio:.2f}", f"{found['kernels']:.0f}", f"{100 * found['busy']:.0f} %"
        rows.append((model, size, name, way, spread(found["ms"]), *cells))
    return table(("network", "batch", "scheme", "setting", "ms a step", "to default", "kernels", "card computes"), rows)


def _whole(captured: Values) -> bool:
    """Whether every step was replayed, at both batch sizes."""
    return len(captured) == 20 and all(isinstance(found, dict) for found in captured.values())


CIFAR, CALTECH = 50000 // 64, 8677 * 4 // 5 // 64
"""Steps of an epoch; of Caltech-101's 8,677 images (without its background) four fifths are trained on."""


def table_6(values: Values, captured: Values) -> str:
    """How long Table VI would take on this card: 20 trainings of 200 epochs of 781 steps, and 40 fine-tunings."""

    def cost(what: str) -> list[float]:
        """Of a step at batch 64: ms in the loop, ms replayed, ms at the rate of batch 512, GFLOP."""
        graph, full = captured[what], captured[what.replace(" 64 ", " 512 ")]
        rate = graph["GFLOP"] / full["replayed TFLOP/s"]
        return [statistics.median(values[what]["ms"]), graph["replayed ms"], rate, graph["GFLOP"]]

    trainings, tunings = [0.0] * 4, [0.0] * 4
    for what in captured:
        model, size, name = what.split(" ", 2)
        if size == "64":  # on both CIFAR; each is tuned, as a plain network, to the other and to Caltech-101
            plain = f"{model} {size} {PLAIN.get(name, name)}"
            trainings = [sum_ + 2 * 200 * CIFAR * one for sum_, one in zip(trainings, cost(what), strict=True)]
            steps = 2 * 100 * (CIFAR + CALTECH)
            tunings = [sum_ + steps * one for sum_, one in zip(tunings, cost(plain), strict=True)]
    ways = (
        "one after the other, as in the loop",
        "one after the other, steps replayed as graphs",
        "packed, if the card then computes as fast as at batch 512",
    )
    rows = [
        (way, f"{train / 3.6e6:.1f}", f"{(train + tune) / 3.6e6:.1f}")
        for way, train, tune in zip(ways, trainings, tunings, strict=False)
    ]
    pflop, more = trainings[3] / 1e6, tunings[3] / 1e6
    told = f"{pflop:.0f} PFLOP of trainings, {pflop + more:.0f} with the fine-tunings; float32 with TF32:"
    return told + "\n\n" + table(("how", "hours for the 20 trainings", "hours in all"), rows)


def compiled(values: Values) -> str:
    """Compiled steps."""
    rows = [
        (what, spread(f["ms"]), f"{f['kernels']:.0f}", f"{100 * f['busy']:.0f} %", f["s in all"])
        for what, f in values.items()
    ]
    return table(("network, scheme, precision", "ms a step", "kernels", "card computes", "s in all"), rows)


def page(sections: Values) -> str:
    """The page."""
    card = sections.get("card", {"values": {}})["values"]
    rest = {name: found["values"] for name, found in sections.items()}
    parts = [
        "# On a GPU",
        "Made by `make gpu-check` (see [docs/gpu.md](../../gpu.md)), from gpu.json beside this page. Batches of 64 and "
        "512, images of noise of 32 pixels, full width; float32 with TF32 convolutions (torch's default) unless a "
        "column says otherwise; deterministic. Milliseconds are medians over windows of steps [smallest, largest]; "
        "one process, one thread. At batch 64 the host decides: its speed differs from machine to machine.",
        table(("the card", ""), ((name, value) for name, value in card.items())),
        "## Is everything right?",
        checks(sections),
    ]
    if rest.get("exact"):
        parts += [
            "Largest |measured - reference| / |reference|, over two networks and five schemes:",
            errors(rest["exact"]),
        ]
    if rest.get("steps"):
        parts += ["## How fast?", steps(rest["steps"], rest.get("captured", {}))]
        parts += [
            "*Bare* is gradients and SGD on one batch, without Lightning's loop, input and clipping; *replayed* is the "
            "same step as a CUDA graph: what the card needs for it."
        ]
    if rest.get("steps") and _whole(rest.get("captured", {})):
        parts += ["## What Table VI would take", table_6(rest["steps"], rest["captured"])]
    if rest.get("judging"):
        told = ", ".join(f"{seconds:.2f} s ({model})" for model, seconds in rest["judging"].items())
        parts += [f"Judging 50 forged passports on 10,000 images: {told}."]
    if rest.get("options"):
        parts += ["## What settings change", ways(rest["options"])]
    if rest.get("fast"):
        parts += ["## Captured, and `trainer=fast`", ways(rest["fast"])]
    if rest.get("compiled"):
        parts += ["## Compiled", compiled(rest["compiled"])]
    if rest.get("packed"):
        rows = [(w.split()[0], w.split()[1], f"{f['steps a second']:.0f}") for w, f in rest["packed"].items()]
        parts += ["## Several trainings on one card", table(("precision", "trainings", "steps a second"), rows)]
    missing = [
        name for name in ("steps", "captured", "fast", "judging", "options", "packed", "compiled") if not rest.get(name)
    ]
    if missing:
        parts += [f"Not measured yet: {', '.join(missing)}."]
    return "\n\n".join(parts) + "\n"


def merged(paths: Sequence[Path]) -> Values:
    """The sections of several files, each with the commit that it ran on."""
    sections: Values = {}
    for path in paths:
        report = json.loads(path.read_text())
        known = report.get("commit")
        for name, found in report["sections"].items():
            whole_before = name in sections and not _cut(sections[name])
            if not (found.get("skipped") or (_cut(found) and whole_before)):
                sections[name] = {"commit": known} | found
    return sections


def main() -> None:
    """Writes the page and what it is made from."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "results" / "gpu")
    asked = parser.parse_args()
    sections = merged(asked.files)
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "gpu.json").write_text(json.dumps({"sections": sections}, indent=1) + "\n")
    (asked.out / "README.md").write_text(page(sections))


if __name__ == "__main__":
    main()
