"""The wheel works without the checkout: its configuration and studies are inside."""

import importlib
import inspect
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from hydra.plugins.plugin import Plugin

TOP = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel, unpacked as pip does it, in a folder that comes before the checkout."""
    place = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", place, TOP], check=True)
    (wheel,) = place.glob("ipr_passports-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", place / "site", wheel], check=True)
    return wheel, place / "site"


@pytest.mark.system
def test_it_holds_code_configuration_studies_and_licence_only(installed):
    wheel, _ = installed
    names = zipfile.ZipFile(wheel).namelist()
    assert "ipr/conf/train.yaml" in names
    assert "ipr/experiments/quickstart.yaml" in names
    assert {f"ipr/reports/assets/page.{end}" for end in ("css", "js", "html.jinja")} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"ipr", "ipr_passports", "hydra_plugins"}
    assert {name for name in names if name.startswith("hydra_plugins")} == {
        "hydra_plugins/ipr_launchers.py",
        "hydra_plugins/ipr_search_path.py",
    }


def test_every_plugin_of_hydra_has_an_entry_point(installed):
    """As hydra-core 1.4 finds them: one for each class that a module of `hydra_plugins` defines, and not imports."""
    _, site = installed
    (ipr,) = metadata.distributions(name="ipr-passports", path=[str(site)])
    named = {(point.module, point.attr) for point in ipr.entry_points.select(group="hydra.plugins")}
    modules = [importlib.import_module(f"hydra_plugins.{path.stem}") for path in (site / "hydra_plugins").glob("*.py")]
    defined = {
        (item.__module__, item.__name__)
        for module in modules
        for item in vars(module).values()
        if inspect.isclass(item) and issubclass(item, Plugin) and item.__module__ == module.__name__
    }
    assert named == defined
    assert len(named) >= 4


@pytest.mark.system
def test_it_trains_from_any_folder(installed, tmp_path, cache):
    _, site = installed
    environment = os.environ | {"PYTHONPATH": str(site), "IPR_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    code = "import ipr, sys; print(ipr.__file__); from ipr.cli import main; main(sys.argv[1:])"
    request = [
        "reproduce", "study=quickstart", "scheme=baseline", "norm=bn", "dataset.image_size=8", "trainer.max_epochs=1",
        "logger=csv", "trainer.progress_bar=false",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code, *request], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(site))
    assert len(list(tmp_path.glob("runs/train/baseline-*/record.json"))) == 1


@pytest.mark.system
def test_import_and_help_do_not_load_torch():
    code = "import sys, ipr; from ipr.cli import usage; usage(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_public_name_can_be_imported():
    import ipr

    assert set(ipr.__all__) == set(ipr._HOMES)
    for name in ipr.__all__:
        assert getattr(ipr, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ipr.nothing  # noqa: B018


def test_what_stands_beside_the_code_fits_it():
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((TOP / "CITATION.cff").read_text())
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    workflow = yaml.safe_load((TOP / ".github/workflows/ci.yml").read_text())
    assert workflow["jobs"]["all"]["steps"][-1] == {"run": "bash .ci/run"}
    copied = re.findall(r"^COPY (.+) \S+$", (TOP / "Dockerfile").read_text(), re.MULTILINE)
    assert all((TOP / name).exists() for line in copied for name in line.split())
    assert f"pip install '{project['name']}" not in (TOP / "README.md").read_text()  # it is on no index yet


@pytest.mark.system
@pytest.mark.skipif(not (TOP / ".git").exists(), reason="asks git what there is")
def test_the_tests_run_from_the_source_distribution(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    subprocess.run(build, check=True, cwd=TOP, capture_output=True)
    (archive,) = tmp_path.glob("ipr_passports-*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    place = tmp_path / archive.name.removesuffix(".tar.gz")
    git = ["git", "ls-files"]
    listed = subprocess.run(git, cwd=TOP, capture_output=True, text=True, check=True).stdout.splitlines()
    left_out = {name for name in listed if not (place / name).exists()}
    assert left_out <= {".gitignore", ".dockerignore"}, left_out
    chosen = ["tests/test_docs.py::test_links_and_pictures_of_the_documents_exist", "tests/test_signature.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *chosen], cwd=place, env=os.environ | {"PYTHONPATH": str(place / "src")},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
