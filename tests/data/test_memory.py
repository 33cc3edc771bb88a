"""A data set that is larger than the memory is decoded, opened, trained on and judged on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import memory

CHILD = """
import resource, sys
from pathlib import Path
import torch
import ipr.cli.train, ipr.runs.train
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


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit what a process allocates")
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
