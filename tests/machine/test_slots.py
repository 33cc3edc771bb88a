"""How many runs a machine has room for at a time."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ipr.errors import InputError
from ipr.machine.slots import runs_per_gpu, shared_memory, slots, smallest

H100 = "81559, Disabled, Default"


def never() -> float:
    raise AssertionError("nobody has to ask the GPUs")


@pytest.mark.parametrize(
    ("memory", "cores", "runs"),
    [
        (0.0, 64, 1), (8.0, 64, 1), (15109 / 1024, 64, 1), (24564 / 1024, 64, 2), (40.0, 64, 4), (81559 / 1024, 64, 7),
        (140.0, 64, 8), (81559 / 1024, 16, 7), (81559 / 1024, 4, 4), (81559 / 1024, 0, 1),
    ],
)  # fmt: skip
def test_one_run_for_each_ten_gib_at_most_eight_and_one_for_each_core(memory, cores, runs):
    assert runs_per_gpu(memory, cores) == runs


def test_as_many_places_as_the_gpus_hold_or_else_cores():
    assert slots(None, ("0", "1"), 64, "k", memory=lambda: 0.0).count == 2
    assert (slots(None, (), 6, "k").count, slots(None, (), 6, "k").threads) == (6, 1)
    shared = slots(None, ("0", "1"), 32, "k", memory=lambda: 80.0)
    assert (shared.count, shared.threads, shared.gpus) == (16, 2, ("0", "1"))
    assert slots(None, ("0", "1"), 6, "k", memory=lambda: 80.0).count == 6
    assert slots(None, ("0", "1", "2"), 2, "k", memory=lambda: 80.0).count == 3


def test_who_says_how_many_has_them_and_no_gpu_is_asked():
    assert slots(8, ("0", "1", "2", "3"), 64, "k", memory=never).count == 8
    assert slots(8, ("0",), 64, "k", memory=never).threads == 8
    assert slots(8, (), 2, "k").threads == 1
    assert slots(1, ("0",), 64, "k", each=5, memory=never).count == 1
    assert slots(None, ("0", "1"), 2, "k", each=3, memory=never).count == 6
    assert slots(None, (), 4, "k", each=3, memory=never).count == 4  # there is none to share
    with pytest.raises(InputError, match="k=0: must be at least 1"):
        slots(0, (), 2, "k")
    with pytest.raises(InputError, match=r"hydra.launcher.runs_per_gpu=0: must be at least 1"):
        slots(None, ("0",), 2, "k", each=0)


def test_a_training_over_several_gpus_has_them_for_itself_unless_it_is_told_to_share():
    def of(count, **more):
        return slots(None, tuple(map(str, range(count))), 64, "k", devices=2, memory=never, **more)

    assert (of(4).count, of(4).gpus, of(4).threads) == (2, ("0,1", "2,3"), 32)
    assert (of(5).count, of(5).gpus) == (2, ("0,1", "2,3"))
    assert (of(4, each=3).count, of(4, each=3).gpus) == (6, ("0,1", "2,3"))
    assert (of(1).count, of(1).gpus) == (1, ("0",))  # the training says that there are too few
    assert slots(None, (), 8, "k", devices=4).count == 2
    assert slots(None, (), 2, "k", devices=4).count == 1


@pytest.mark.parametrize(
    ("answer", "mps", "gib"),
    [
        (H100, False, 81559 / 1024),
        (f"{H100}\n15109, [N/A], Default\n", False, 15109 / 1024),
        ("81559, Enabled, Default", True, 0.0),
        (f"{H100}\n81559, Disabled, Exclusive_Process", False, 0.0),
        ("81559, Disabled, Exclusive_Process", True, 81559 / 1024),
        ("81559, Disabled, Prohibited", True, 0.0),
        ("[N/A], [N/A], Default", False, 0.0),
        ("No devices were found", False, 0.0),
        ("", False, 0.0),
    ],
)
def test_the_smallest_gpu_counts_and_one_that_cannot_be_shared_counts_as_nothing(answer, mps, gib):
    assert smallest(answer, mps=mps) == gib


def test_nvidia_smi_is_asked_where_there_is_one(tmp_path):
    script = tmp_path / "nvidia-smi"
    script.write_text("#!/bin/sh\necho 40960, Disabled, Default\n")
    script.chmod(0o755)
    surroundings = {"PATH": f"{tmp_path}{os.pathsep}{os.defpath}"}
    assert shared_memory(surroundings) == 40.0
    script.write_text("#!/bin/sh\necho 40960, Disabled, Default; exit 9\n")
    assert shared_memory(surroundings) == 0.0
    assert shared_memory({"PATH": str(tmp_path / "nowhere")}) == 0.0


@pytest.mark.system
def test_torch_is_not_begun_with():
    code = (
        "import os, sys, ipr.machine.slots; ipr.machine.slots.shared_memory(os.environ); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout == b"False\n"
