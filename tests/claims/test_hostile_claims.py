"""Claims from somebody whom nobody trusts: each gets one line and exit code 2, and stays as it was.

Every case of `hostile_claims.py` is a good claim, changed in one place, and goes through the real command.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import save_file

from hostile_claims import CASES, KINDS
from ipr.judging.claim_kinds import load_claim
from ipr.models.claimed import network_of

pytestmark = pytest.mark.fuzz


def snapshot(place: Path) -> dict[str, tuple]:
    """Everything that lies below a place, without following or opening what is no file; of a file the first MiB."""
    found = {}
    for path in place.rglob("*"):
        about, content = path.lstat(), b""
        if stat.S_ISREG(about.st_mode):
            with path.open("rb") as file:
                content = file.read(2**20)
        link = os.readlink(path) if path.is_symlink() else ""
        found[str(path.relative_to(place))] = (about.st_mode, about.st_size, about.st_mtime_ns, link, content)
    return found


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_in_one_line_and_stays_as_it_is(case, good, tmp_path, ipr):
    kind, damage, words = CASES[case]
    folder = tmp_path / "claims" / "claim"
    shutil.copytree(good / kind, folder)
    damage(folder)
    before = snapshot(folder.parent)
    outcome = ipr("claim", "check", f"claim={folder}")
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert line.startswith("ipr: error: ")
    assert words in line
    assert len(line) < 600
    assert line.isprintable()
    assert "Traceback" not in outcome.out
    assert snapshot(folder.parent) == before
    assert {path.name for path in tmp_path.iterdir()} == {"claims"}


@pytest.mark.parametrize("kind", KINDS)
def test_what_they_are_made_of_is_good(kind, good, ipr):
    outcome = ipr("claim", "check", f"claim={good / kind}")
    assert (outcome.code, outcome.err) == (0, "")
    assert all(line.startswith("ok: ") for line in outcome.out.splitlines())


def test_a_judge_refuses_them_too(good, tmp_path, ipr):
    """`ipr verify` reads a claim by the same function; here one for another network than the suspect's."""
    network = network_of(
        load_claim(good / "text").architecture | {"model": {"name": "alexnet", "norm": "bn", "width": 1}}
    )
    save_file(network.state_dict(), "suspect")
    outcome = ipr("verify", "suspect=suspect", f"claim={good / 'text'}", "dataset.image_size=8")
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
    for case in ("claim.json is a pipe", "a tensor of 10^12 elements", "a width of 10^9", "a foreign tensor"):
        kind, damage, words = CASES[case]
        folder = shutil.copytree(good / kind, tmp_path / str(list(CASES).index(case)))
        damage(folder)
        outcome = ipr("verify", "suspect=suspect", f"claim={folder}", "dataset.image_size=8")
        assert outcome.code == 2
        (line,) = outcome.err.splitlines()
        assert words in line


@pytest.mark.system
def test_no_claim_takes_the_memory_that_it_says_it_needs(good, tmp_path):
    """In a process of its own, which may not take 3 GiB of addresses more than it has when torch is loaded."""
    folders = []
    for case in (
        "a tensor of 10^12 elements",
        "a tensor of 2^64 elements",
        "larger than 1 GiB",
        "a network beyond memory",
    ):
        folders.append(tmp_path / case / "claim")
        shutil.copytree(good / CASES[case][0], folders[-1])
        CASES[case][1](folders[-1])
    program = """
import resource, sys
from pathlib import Path
from ipr.errors import InputError
from ipr.judging.examination import examine
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 3 * 2**30,) * 2)
for folder in sys.argv[1:]:
    try:
        assert any(isinstance(found, InputError) for _, found in examine(Path(folder))), folder
    except InputError as error:
        pass
    print("refused")
"""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, folders)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split()) == (0, ["refused"] * len(folders)), done.stderr
