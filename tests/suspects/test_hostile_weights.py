"""What becomes of files that are broken or meant to do harm: one line, exit code 2, and nothing else happens."""

import hashlib
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from hostile_weights import BOMBS, CASES

pytestmark = pytest.mark.fuzz


def facts_of(place):
    """Every path below a folder with what it is and holds."""
    found = {}
    for path in sorted(place.rglob("*")):
        status = path.lstat()
        held = path.readlink() if path.is_symlink() else status.st_size
        if stat.S_ISREG(status.st_mode) and status.st_size < 2**28:
            held = hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path)] = (status.st_mode, held)
    return found


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_file_is_refused_in_one_line(name, ipr, victim, tmp_path):
    make, words = CASES[name]
    make(Path("suspect"), load_file(victim / "public.safetensors"))
    before = facts_of(tmp_path), facts_of(victim)
    outcome = ipr("verify", "suspect=suspect", f"claim={victim}/claim", "dataset.image_size=8", "forged=0")
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    lines = outcome.err.splitlines()
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("ipr: error: suspect=suspect: ")
    assert lines[0].isprintable()
    assert lines[0].count("; ") >= 1, "no remedy"
    for word in words:
        assert word in lines[0]
    assert (facts_of(tmp_path), facts_of(victim)) == before  # nothing ran, and nothing was written or changed


CHILD = """
import json, resource, sys
from pathlib import Path
import torch
import ipr.suspects.onnx_file
from ipr.errors import InputError
from ipr.suspects.suspect import open_suspect
architecture = json.loads(sys.argv[1])
torch.set_num_threads(1)  # every thread would take addresses of its own
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
used = int(status["VmSize"].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + 2**30,) * 2)
for path in sorted(Path().iterdir()):
    try:
        open_suspect(path, architecture)
    except InputError:
        print(path)
"""


@pytest.mark.system
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_what_asks_for_memory_without_end_gets_less_than_a_gibibyte(victim, tmp_path):
    for name in BOMBS:
        CASES[name][0](tmp_path / name, {})
    architecture = json.loads((victim / "claim" / "claim.json").read_text())["architecture"]
    command = [sys.executable, "-c", CHILD, json.dumps(architecture)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == sorted(BOMBS)
    assert done.stderr == ""
