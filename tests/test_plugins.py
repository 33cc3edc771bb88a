"""Another package adds a scheme, an attack, a model and a data set: nothing of ipr changes for it.

The package is tests/plugin_package; docs/extending.md explains it, and its commands are run here.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

TOP = Path(__file__).parents[1]
PAGE = (TOP / "docs" / "extending.md").read_text()
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
SMALL = ("trainer.max_epochs=10", "logger=csv", "trainer.progress_bar=false", "verification.forged=2")

RUN = """
import shlex, sys
from pathlib import Path
from ipr.cli import main

for line in sys.stdin:
    print("$", line.strip(), flush=True)
    key = next((path.name for path in Path("runs/train").glob("*")), "")  # there is one
    try:
        main(shlex.split(line.replace("KEY", key))[1:])
    except SystemExit as ended:
        print("exit", ended.code, flush=True)
    sys.stderr.flush()
    sys.stdout.flush()
print("loaded", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The package, installed by pip into a folder of its own."""
    site = tmp_path_factory.mktemp("site")
    source = shutil.copytree(TOP / "tests" / "plugin_package", tmp_path_factory.mktemp("source") / "package")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--target", site, source], check=True)
    return site


@pytest.fixture
def ipr_with(tmp_path, cache):
    """Runs commands in one process that has a folder of packages: command -> (exit code, all that it printed)."""

    def run(site, *commands):
        paths = [str(TOP / "src"), *([str(site)] if site is not None else [])]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(paths), "IPR_CACHE": str(cache), "OMP_NUM_THREADS": "1", "COLUMNS": "200",
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", RUN], input="\n".join(commands), env=environment, cwd=tmp_path, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True,
        )  # fmt: skip
        text, _, run.loaded = done.stdout.rpartition("\nloaded ")
        found = re.findall(r"^\$ (.+?)\n(.*?)^exit (\d+)$", text, re.DOTALL | re.MULTILINE)
        assert [command for command, _, _ in found] == [command.strip() for command in commands]
        return {command: (int(code), out) for command, out, code in found}

    return run


def test_the_page_shows_the_package_file_by_file():
    package = TOP / "tests" / "plugin_package"
    for path in package.rglob("*.*"):
        if path.suffix in (".py", ".toml", ".yaml") and path.name != "__init__.py":
            assert path.read_text().strip() in PAGE, path


def test_its_scheme_attack_model_and_data_set_are_trained_attacked_judged_and_reported(installed, ipr_with, tmp_path):
    pip, *commands = COMMANDS
    assert pip == "pip install ./tests/plugin_package"
    small = [" ".join([c, *SMALL]) if c.startswith(("ipr train", "ipr attack")) else c for c in commands]
    outcomes = ipr_with(installed, *small)
    assert [code for code, _ in outcomes.values()] == [0] * len(commands), outcomes
    told = {re.search(r"attack=(\w+)|$", c)[1] or c.split()[1]: out for c, (_, out) in outcomes.items()}
    assert "64 of 64 bits" in told["train"]
    assert "noise on pairs, small_net" in told["noise"]
    assert "succeeded at 1 of 2 points" in told["permute"]  # as it is, and not aligned: read from weights
    assert "drawn again from the seed that is named, and equal" in " ".join(told["verify"].split())
    assert told["verify"].splitlines()[-1] == "verified"
    assert "| attack | pairs (bn) |" in told["report"]
    assert "| noise | 0/3; " in told["report"]

    asked = ["ipr report", "ipr claim show claim=runs/train/KEY/claim", "ipr attack run=KEY attack=ones"]
    (code, report), (refused, claim), (stopped, attack) = ipr_with(None, *asked).values()
    assert (code, refused, stopped) == (0, 2, 2)
    assert "| noise | 0/3; " in report  # records need no package
    problem = "is a kind that nothing installed knows; install the package that made the claim"
    assert claim == f"ipr: error: claim kind='pairs': {problem}\n"
    assert attack.startswith("ipr: error: scheme=pairs: there is no such scheme; ")
    assert attack.count("\n") == 1


def test_help_completion_and_what_was_meant_know_its_choices_without_importing_them(installed, ipr_with):
    words = {
        "ipr --complete train scheme=pa": ["scheme=pairs", "scheme=passport_v1"],
        "ipr --complete train scheme=pairs scheme.m": ["scheme.margin="],
        "ipr --complete attack attack=noise attack.": ["attack.strengths="],
        "ipr --complete train model=small": ["model=small_alexnet", "model=small_net"],
        "ipr --complete train dataset=s": ["dataset=stripes"],
        "ipr train model=smallnet": ["ipr: error: model=smallnet: there is no such choice; did you mean small_net?"],
        "ipr train pairs": ["ipr: error: argument=pairs: is no assignment; did you mean scheme=pairs?"],
    }
    refused = [line for line in words if "--complete" not in line]
    outcomes = ipr_with(installed, *(line for line in words if line not in refused), "ipr train pairs")
    assert not {"torch", "ipr_example"} & {*ipr_with.loaded.split()}
    outcomes |= ipr_with(installed, "ipr train model=smallnet", "ipr train scheme=pairs scheme.margins=1")
    for line, wanted in words.items():
        code, out = outcomes[line]
        assert code == (2 if line in refused else 0)
        assert all(one in out for one in wanted), (line, out)
    assert "did you mean margin?" in outcomes["ipr train scheme=pairs scheme.margins=1"][1]


BROKEN = {
    "fails.py": 'raise RuntimeError("in\\ntwo lines")\n',
    "torn.py": "class Torn(\n",
    "fine.py": '''
from dataclasses import dataclass

from ipr.attacks.base import Attack

NUMBER = 7


class Stranger:
    """No attack."""


@dataclass
class Halfway(Attack):
    """It lacks run."""


@dataclass
class Fine(Halfway):
    """It has all that an attack needs."""

    kind = "removal"
    section = "-"
    attacker_has = "the weights"

    share: float = 1.0  # of the weights

    def run(self, victim, data, fit, seed):
        yield from ()
''',
    "marks.py": '''
from ipr.schemes.base import About
from ipr.schemes.uchida import UchidaClaim
from ipr.schemes.watermark import InFilters


class Undrawn(InFilters):
    """It lacks draw_claim."""

    about = About("projection", "-", "-", "bits")
    claim_kind = UchidaClaim

    def embedding_loss(self, w):
        return w.sum()
''',
    "bare.py": '''
from ipr.schemes.baseline import Baseline
from ipr.schemes.uchida import UchidaClaim


class Bare(Baseline):
    """A scheme from the ground up, whose claims nothing draws."""

    claim_kind = UchidaClaim
''',
}
POINTS = """
[ipr.attacks]
fails = broken.fails:Fails
torn = broken.torn:Torn
lacks = broken.fine:Nothing
stranger = broken.fine:Stranger
halfway = broken.fine:Halfway
unparsed = broken.fine:Fine
fine = broken.fine:Fine
nowhere = nowhere_at_all.x:Y
fake1 = broken.fine:Fine
a-b = broken.fine:Fine
module = broken.fine
garbage = not a value!

[ipr.schemes]
undrawn = broken.marks:Undrawn
bare = broken.bare:Bare

[ipr.models]
number = broken.fine:NUMBER

[ipr.datasets]
fails = broken.fails:Fails
"""
SHELL = "defaults:\n  - /schema/{1}@_here_: {0}\n  - _self_\n\nname: {0}\n"
MODEL = "name: number\nnorm: bn\npassport_layers: [a]\nwatermark_layer: a\nfidelity_threshold: 0.1\n"


@pytest.fixture
def broken(tmp_path):
    """A package of which one attack works, as an installer would leave it."""
    site = tmp_path / "site"
    about, conf = site / "broken-1.dist-info", site / "broken" / "conf"
    for folder in (about, conf / "attack", conf / "scheme", conf / "model", conf / "dataset"):
        folder.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (about / "entry_points.txt").write_text(POINTS)
    for name, code in {"__init__.py": "", **BROKEN}.items():
        (site / "broken" / name).write_text(code)
    for name in ("fails", "torn", "lacks", "stranger", "halfway", "fine", "nowhere", "orphan"):
        (conf / "attack" / f"{name}.yaml").write_text(SHELL.format(name, "attack"))
    for name in ("undrawn", "bare"):
        (conf / "scheme" / f"{name}.yaml").write_text(SHELL.format(name, "scheme") + "norm: bn\n")
    (conf / "attack" / "unparsed.yaml").write_text("name: unparsed\n share: [1\n")
    (conf / "attack" / "fake1.yaml").write_text("name: not ours\n")
    (conf / "model" / "number.yaml").write_text(MODEL)
    (conf / "dataset" / "fails.yaml").write_text("name: fails\n")
    return site


def test_what_cannot_be_loaded_is_said_in_one_line_and_takes_nothing_else_down(broken, ipr_with):
    refused = {
        "ipr attack attack=fails": "of the package broken cannot be loaded (RuntimeError: in two lines)",
        "ipr attack attack=torn": "of the package broken cannot be loaded (SyntaxError: ",
        "ipr attack attack=lacks": "of the package broken cannot be loaded (AttributeError: ",
        "ipr attack attack=nowhere": "of the package broken cannot be loaded (ModuleNotFoundError: ",
        "ipr attack attack=stranger": "of the package broken is no ipr.attacks.base.Attack",
        "ipr attack attack=halfway": "of the package broken lacks run",
        "ipr attack attack=orphan": "there is no such attack; choose among: ",
        "ipr attack attack=unparsed": "unparsed.yaml: cannot be read as YAML (line 2: ",
        "ipr train scheme=undrawn": "of the package broken lacks draw_claim",
        "ipr train scheme=bare": "cannot be loaded (TypeError: Bare lacks draw_claim, and has claims)",
        "ipr train model=number": "of the package broken is no function and no class",
        "ipr train dataset=fails": "of the package broken cannot be loaded (RuntimeError: in two lines)",
    }
    works = ["ipr attack --help attack=fine", "ipr attack --help", "ipr --complete attack attack=torn attack.x"]
    outcomes = ipr_with(broken, *works, *refused)
    for command, problem in refused.items():
        code, out = outcomes[command]
        assert code == 2
        assert out.strip().splitlines()[-1].startswith("ipr: error: ")
        assert problem in out.strip().splitlines()[-1]
        assert "Traceback" not in out
    for command in works:
        assert outcomes[command][0] == 0
    assert "  attack.share=1.0" in outcomes[works[0]][1]
    assert "  attack.passports=50" in outcomes[works[1]][1]  # fake1 is ours
    everything = "".join(out for _, out in outcomes.values())
    for name, problem in {
        "fake1": "has a name that ipr has taken", "a-b": "is no name of letters, digits and _",
        "module": "broken.fine names no class", "garbage": "not a value! names no class",
    }.items():  # fmt: skip
        line = f"ipr: warning: attack={name} of broken: {problem}, and is left out\n"
        assert everything.count(line) == 1
    for name in ("fails", "torn", "lacks", "nowhere", "stranger", "halfway"):  # of all, whichever is chosen; once
        assert everything.count(f"ipr: warning: attack={name}: of the package broken ") == 1


def test_packages_add_nothing_to_programs_of_others(installed, tmp_path):
    """Their own Hydra finds what is theirs."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "main.yaml").write_text("dataset: theirs\n")
    code = (
        "from hydra import compose, initialize_config_dir\n"
        "from hydra.core.global_hydra import GlobalHydra\n"
        f"with initialize_config_dir({str(tmp_path / 'conf')!r}, version_base='1.3'):\n"
        "    found = GlobalHydra.instance().config_loader().get_search_path().get_path()\n"
        "    print(compose('main'), [one.provider for one in found])\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TOP / "src"), str(installed)])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "{'dataset': 'theirs'} ['hydra', 'main', 'schema']\n"
