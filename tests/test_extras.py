"""The core alone, without what extras bring: it trains, attacks and judges, and names the extra where one is needed."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest

from ipr.extras import DISTRIBUTION, EXTRAS, asked_for
from pictures import folder_of_images

TOP = Path(__file__).parents[1]
SHARED = "hydra_plugins"
"""A folder that several packages install into."""
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]


def names_of(requirements):
    return {re.split(r"[\[<>=;@ ]", one)[0].lower().replace("_", "-") for one in requirements}


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    """A folder of installed packages, of which those of extras alone are not."""
    extras = PROJECT["optional-dependencies"]
    left_out = names_of(name for extra in {*EXTRAS.values()} for name in extras[extra]) - names_of(
        PROJECT["dependencies"]
    )
    hidden = {
        "/".join(file.parts[: 2 if file.parts[0] == SHARED else 1])
        for one in distributions()
        if one.metadata["Name"].lower().replace("_", "-") in left_out
        for file in one.files or ()
    }
    place = tmp_path_factory.mktemp("core")
    (place / SHARED).mkdir()
    for folder in {Path(one.locate_file("")) for one in distributions()}:
        for entry in [*folder.iterdir(), *folder.glob(f"{SHARED}/*")]:
            link = place / entry.relative_to(folder)
            if str(link.relative_to(place)) not in hidden and not link.exists():
                link.symlink_to(entry)
    return place


def run(core, *arguments, **environment):
    code = "import sys; from ipr.cli import main; sys.argv[0] = 'ipr'; main(sys.argv[1:])"
    paths = os.pathsep.join([str(TOP / "src"), str(core)])
    own = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"} | environment
    return subprocess.run([sys.executable, "-S", "-c", code, *arguments], capture_output=True, text=True, env=own)


def test_every_module_of_an_extra_has_its_extra():
    extras = PROJECT["optional-dependencies"]
    assert PROJECT["name"] == DISTRIBUTION
    assert {*EXTRAS.values(), "all", "dev", "docs"} >= {*extras}
    assert extras["all"] == [f"{DISTRIBUTION}[{','.join(sorted({*EXTRAS.values()}))}]"]
    assert f"pip install '{DISTRIBUTION}[report]'" in str(asked_for(ModuleNotFoundError(name="matplotlib.figure")))
    assert asked_for(ModuleNotFoundError(name="ipr.nothing")) is None
    assert asked_for(ModuleNotFoundError()) is None


@pytest.mark.system
def test_the_core_trains_attacks_and_judges_and_names_what_is_missing(core, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder_of_images(tmp_path / "pictures")
    small = ["dataset=image_folder", "dataset.root=pictures", "dataset.image_size=32", "model.width=0.1",
             "trainer.max_epochs=1", "trainer.progress_bar=false", "logger=csv", "verification.forged=2"]  # fmt: skip
    trained = run(core, "train", "scheme=passport_v2", *small)
    assert trained.returncode == 0, trained.stderr
    attacked = run(core, "attack", "scheme=passport_v2", "attack=lift_passport", *small)
    assert attacked.returncode == 0, attacked.stderr
    (folder,) = Path("runs/train").iterdir()
    suspect, claim = folder / "public.safetensors", folder / "claim"
    judged = run(core, "verify", f"suspect={suspect}", f"claim={claim}", "images=pictures/test", "forged=2")
    assert judged.returncode in (1, 3), judged.stderr
    for extra, arguments in {
        "report": ("report",),
        "onnx": ("export", "run=passport_v2", "format=onnx"),
        "digits": ("train", "scheme=baseline"),
        "timm": ("train", "model=timm", "model.name=resnet18", *small),
        "optuna": ("attack", "-m", "search=passport"),
    }.items():
        refused = run(core, *arguments, IPR_CACHE=str(tmp_path / "cache"))
        assert refused.returncode == 2, (arguments, refused.stderr)
        assert "Traceback" not in refused.stderr
        said = refused.stderr.splitlines()[-1]
        assert said.startswith("ipr: error: "), refused.stderr
        assert f"pip install '{DISTRIBUTION}[{extra}]'" in said
