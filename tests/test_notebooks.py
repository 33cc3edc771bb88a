"""The notebooks run from beginning to end, and are stored without outputs."""

import os
import re
import runpy
import tempfile
from pathlib import Path

import matplotlib.font_manager  # noqa: F401 (makes its list of fonts now: a notebook that has to would say so)
import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from traitlets.config import Config

import ipr

TOP = Path(__file__).parents[1]
NOTEBOOKS = sorted((TOP / "notebooks").glob("*.ipynb"))
LIMIT = 300  # seconds for a cell; a notebook takes some ten
ERRORS = "import warnings\nwarnings.simplefilter('error')"


@pytest.fixture
def execute(monkeypatch, tmp_path, cache):
    """Runs a notebook in an empty folder, in a kernel of this Python that reads no configuration of the user's.

    It is reached over sockets in a folder; the one port that ipykernel opens for itself is on 127.0.0.1. A warning in
    it is an error.
    """
    path = [str(Path(ipr.__file__).parents[1]), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    environment = {
        "IPR_CACHE": cache,
        "OMP_NUM_THREADS": 1,
        "JUPYTER_PLATFORM_DIRS": 1,
        "PYTHONPATH": os.pathsep.join(path),
    }
    with tempfile.TemporaryDirectory(prefix="ipr-") as place:  # short: the name of a socket has at most 107 characters
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
            environment[name] = Path(place, name.lower())
        for name, value in environment.items():
            monkeypatch.setenv(name, str(value))
        empty = tmp_path / "empty"
        empty.mkdir()

        def run(notebook):
            notebook.cells.insert(0, nbformat.v4.new_code_cell(ERRORS))
            sockets = {"transport": "ipc", "ip": f"{place}/socket", "connection_file": f"{place}/kernel.json"}
            client = NotebookClient(
                notebook,
                kernel_name="python3",
                timeout=LIMIT,
                startup_timeout=LIMIT,
                resources={"metadata": {"path": str(empty)}},
                config=Config({"KernelManager": sockets}),
            )
            client.execute()
            return notebook, empty

        yield run


def test_there_are_five():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05"]


@pytest.mark.system
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_leaves_nothing_behind(path, execute):
    """Its own assertions hold, and it writes to a temporary folder alone."""
    notebook, folder = execute(nbformat.read(path, as_version=4))
    assert list(folder.iterdir()) == []
    said = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any(output.get("name") == "stdout" for output in said)
    assert [output.text for output in said if output.get("name") == "stderr"] == []


@pytest.mark.system
@pytest.mark.parametrize("code", ["assert 1 == 2", "import warnings; warnings.warn('careful', stacklevel=1)"])
def test_a_failed_assertion_and_a_warning_would_be_seen(code, execute):
    with pytest.raises(CellExecutionError):
        execute(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)]))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_without_what_running_it_leaves(path):
    text = path.read_text()
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert all(cell.metadata == {} for cell in notebook.cells)
    assert notebook.metadata.keys() == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.language_info == {"name": "python"}
    assert runpy.run_path(str(TOP / "docs" / "strip.py"))["stripped"](text) == text, "run `make notebooks`"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_asserts_what_it_claims_and_names_no_folder_of_a_machine(path):
    cells = nbformat.read(path, as_version=4).cells
    assert any(re.search(r"^ *assert ", cell.source, re.MULTILINE) for cell in cells if cell.cell_type == "code")
    assert not any(re.search(r"(?<![\w.])(/(home|tmp|root|work|Users)\b|[A-Z]:\\)", cell.source) for cell in cells)
    assert f"({path.name})" in (path.parent / "README.md").read_text()


def test_stripping_keeps_text_and_code_alone():
    strip = runpy.run_path(str(TOP / "docs" / "strip.py"))["stripped"]
    clean = NOTEBOOKS[0].read_text()
    used = nbformat.reads(clean, as_version=4)
    used.metadata["authors"] = ["somebody"]
    used.metadata.kernelspec.name = "somebody's"
    for cell in used.cells:
        cell.metadata["collapsed"] = True
        if cell.cell_type == "code":
            cell.execution_count = 7
            cell.outputs = [nbformat.v4.new_output("stream", text="a secret")]
    assert strip(nbformat.writes(used)) == clean
