"""Inference of what an owner gives away or licenses, against the plain network (Table X).

    python benchmarks/inference.py

V1 with its passport folded into the convolutions (`ipr.fold(ipr.strip(network, Branch.PRIVATE), example)`) against the
plain network with batch norm as it is; V2 and V3 as exported (`ipr.strip`) against the plain network with group norm.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import measure
from ipr.passport.layer import Branch
from ipr.passport.surgery import fold, protect, strip
from measure import Row, Work, ratios, take_turns
from networks import batch, passport_for, plain
from reference_forms import naive_protect

REACH = {"alexnet": 0.93, "resnet18": 0.88}


def answering(network: nn.Module, x: Tensor) -> Work:
    """One pass in evaluation mode."""
    network.eval()

    @torch.no_grad()
    def answer() -> Tensor:
        logits: Tensor = network(x)
        return logits

    return answer


def share_of_norms(network: nn.Module, x: Tensor) -> float:
    """What of a plain network's inference is batch norm: all that folding can save, as a fraction."""
    answer = answering(network, x)
    answer()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(5):
            answer()
    seconds = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
    return float(seconds["aten::native_batch_norm"] / sum(seconds.values()))


NOTES: list[str] = []
"""Lines below the table."""


def table_rows(rounds: int, width: float) -> list[Row]:
    """Rows for V1, and for V2 and V3, on both networks."""
    rows = []
    x, _ = batch()
    for name in ("alexnet", "resnet18"):
        for norm in ("bn", "gn"):
            network = plain(name, norm, width)
            passport, v1 = passport_for(network, name), norm == "bn"
            protected = protect(network, passport, x[:1], public_affine=not v1)
            given = fold(strip(protected, Branch.PRIVATE), x[:1]) if v1 else strip(protected)
            works = {
                "plain": answering(plain(name, norm, width), x),
                "control": answering(plain(name, norm, width), x),
                "given": answering(given, x),
            }
            if v1:
                share = share_of_norms(plain(name, norm, width), x)
                NOTES.append(f"{name}: batch norm is {100 * share:.1f} % of the plain network's inference (profiler).")
                works["printed"] = answering(naive_protect(network, passport), x)
            seconds = take_turns(works, rounds, warm=3)
            what = "V1, folded / BN baseline" if v1 else "V2 and V3, exported / GN baseline"
            control = ratios(seconds, "control", "plain")
            rows.append(
                Row(
                    f"inference {what}, {name}",
                    REACH[name] if v1 else 1.0,
                    ratios(seconds, "given", "plain"),
                    control,
                    ratios(seconds, "printed", "plain") if v1 else (),
                    alike=not v1,
                )
            )
    return rows


if __name__ == "__main__":
    measure.show(table_rows(*measure.rounds_and_width(__doc__, 31)))
    print("\n".join(NOTES))
