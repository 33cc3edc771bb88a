"""A data set that is larger than the memory is decoded, opened, trained on and judged on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import memory

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="what a process allocates is told and limited there")

CHILD = """
import resource, sys
from pathlib import Path
import torch
import ipr.cli.train, ipr.workflows.train
import memory
from ipr.data import rows

images, pixels = Path(sys.argv[1]), int(sys.argv[2])
status = Path("/proc/self/status").read_text()
taken = 1024 * int(status.split("VmData:")[1].split()[0])
resource.setrlimit(resource.RLIMIT_DATA, (taken + pixels // 2,) * 2)
try:
    torch.empty(pixels, dtype=torch.uint8)
except RuntimeError:
    print("no room for all pixels")
rows.COPIED = pixels // 10
for stage in memory.STAGES:
    memory.work(stage, images, 112, sys.argv[3:])
    print(stage)
"""


@pytest.mark.system
@LINUX
def test_images_larger_than_the_memory(tmp_path):
    """Half of the pixels' bytes is all that the process may allocate, its own libraries apart."""
    images = memory.pictures(tmp_path / "data", 8000)
    pixels = 8800 * 112 * 112 * 3
    part = ["dataset.part=1/2", "dataset.validation=0.005"]
    child = [sys.executable, "-c", CHILD, str(images), str(pixels), *part]
    path = os.pathsep.join([str(Path(memory.__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    ran = subprocess.run(child, capture_output=True, text=True, timeout=300, cwd=tmp_path, env=environment)
    assert ran.returncode == 0, ran.stderr
    said = [line for line in ran.stdout.splitlines() if line in ("no room for all pixels", *memory.STAGES)]
    assert said == ["no room for all pixels", *memory.STAGES]
    (cached,) = (tmp_path / "data" / "cache").glob("*.safetensors")
    assert cached.stat().st_size > pixels


@pytest.mark.system
@LINUX
def test_the_benchmark_prints_its_table(monkeypatch, capsys):
    monkeypatch.setattr(memory, "STAGES", memory.STAGES[:1])
    monkeypatch.setattr(sys, "argv", ["memory.py", "--images", "20", "--size", "8"])
    memory.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["0 MiB of pixels", ""]
    assert lines[-1].startswith("| decoded | ")


TAKEN_AND_GIVEN_BACK = """
import memory
with memory.peak() as most:
    before = most()
    taken = bytearray(2**26)
    within = most()
    del taken
print(before, within, most())
"""


@pytest.mark.system
@LINUX
def test_the_most_memory_is_seen_though_it_is_given_back():
    """In a process of its own, as the benchmark measures: in this one, what other tests leave is freed meanwhile."""
    environment = os.environ | {"PYTHONPATH": str(Path(memory.__file__).parent)}
    child = [sys.executable, "-c", TAKEN_AND_GIVEN_BACK]
    ran = subprocess.run(child, capture_output=True, text=True, timeout=60, env=environment, check=True)
    before, within, most = (int(word) for word in ran.stdout.split())
    assert before < 2**24
    assert 2**26 <= within <= most
