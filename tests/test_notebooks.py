"""The notebooks run from beginning to end, and are stored without outputs."""

import os
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from traitlets.config import Config

import ipr

TOP = Path(__file__).parents[1]
NOTEBOOKS = sorted((TOP / "notebooks").glob("*.ipynb"))
LIMIT = 300  # seconds for a cell; a notebook takes some ten
ERRORS = "import warnings\nwarnings.simplefilter('error')"


@pytest.fixture
def execute(monkeypatch, tmp_path, cache):
    """Runs a notebook in an empty folder, in a kernel of this Python that reads no configuration of the user's.

    It is reached over sockets in a folder (no ports), and a warning in it is an error.
    """
    environment = {
        "IPR_CACHE": cache, "OMP_NUM_THREADS": 1, "MPLCONFIGDIR": cache, "JUPYTER_PLATFORM_DIRS": 1,
        "PYTHONPATH": os.pathsep.join([str(Path(ipr.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
    }  # fmt: skip
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
                resources={"metadata": {"path": str(empty)}},
                config=Config({"KernelManager": sockets}),
            )
            client.execute()
            return notebook, empty

        yield run


def test_there_are_four():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_leaves_nothing_behind(path, execute):
    """Its own assertions hold, and it writes to a temporary folder alone."""
    notebook, folder = execute(nbformat.read(path, as_version=4))
    assert list(folder.iterdir()) == []
    said = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    assert any(output.output_type == "stream" and output.name == "stdout" for output in said)
    assert [o.text for o in said if o.get("name") == "stderr"] == []
