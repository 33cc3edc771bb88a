"""Inference of an exported file against the plain network, in torch and in ONNX Runtime.

    python benchmarks/exported.py

V1 folded against the plain network with batch norm, V2 and V3 against it with group norm: the weights of `ipr export`
in the plain class, and the ONNX file against the plain network's own.
"""

from __future__ import annotations

import onnxruntime
import torch
from torch import Tensor

import measure
from inference import answering
from ipr.models.as_onnx import onnx_bytes
from ipr.passport.layer import Branch
from ipr.passport.surgery import protect, strip
from measure import Row, Work, ratios, take_turns
from networks import batch, passport_for, plain


def running(content: bytes, x: Tensor) -> Work:
    """One pass of an ONNX file in ONNX Runtime, on as many threads as torch has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting is no work
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    images = x.contiguous().numpy()
    return lambda: session.run(None, {"input": images})


def rows_of(name: str, norm: str, rounds: int, width: float) -> list[Row]:
    """Two rows, torch and ONNX Runtime: of V1 folded where the norm is `bn`, of V2 and V3 where it is `gn`."""
    x, _ = batch()
    network, again, given = (plain(name, norm, width) for _ in range(3))
    branch = Branch.PRIVATE if norm == "bn" else Branch.PUBLIC
    protected = protect(network, passport_for(network, name), x[:1], public_affine=branch is Branch.PUBLIC)
    given.load_state_dict(strip(protected, branch).state_dict())
    plain_file, given_file = (onnx_bytes(one, x.shape[1], x.shape[2]) for one in (network, given))
    works: dict[str, dict[str, Work]] = {
        "torch": {"plain": answering(network, x), "control": answering(again, x), "given": answering(given, x)},
        "ONNX Runtime": {
            "plain": running(plain_file, x),
            "control": running(plain_file, x),
            "given": running(given_file, x),
        },
    }
    what, rows = "V1, folded" if norm == "bn" else "V2 and V3", []
    for runtime, three in works.items():
        seconds = take_turns(three, rounds, warm=3)
        measured, control = (ratios(seconds, which, "plain") for which in ("given", "control"))
        work = f"exported {what} / {norm.upper()} baseline, {name}, {runtime}"
        rows.append(Row(work, 1.0, measured, control, alike=True))
    return rows


if __name__ == "__main__":
    asked = measure.rounds_and_width(__doc__, 31)
    measure.show(
        [row for name in ("alexnet", "resnet18") for norm in ("bn", "gn") for row in rows_of(name, norm, *asked)]
    )
