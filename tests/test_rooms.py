"""Imports point one way: up the table of rooms in docs/architecture.md."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
SOURCE = TOP / "src" / "ipr"


def rooms():
    """The rooms as the page lists them, from the ground up; several of a line in its order."""
    page = (TOP / "docs" / "architecture.md").read_text()
    table = page[page.index("## Rooms, from the ground up") :]
    lines = re.findall(r"^\| (`[^|]+) \|", table[: table.index("\n\n`hydra")], re.MULTILINE)
    return [name.removesuffix("/").removesuffix(".py") for line in lines for name in re.findall(r"`([^`]+)`", line)]


def imported(code):
    """The rooms that a module imports from, on whatever line, each with the line."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module == "ipr":
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ipr."):
            yield node.module.split(".")[1], node.lineno
        elif isinstance(node, ast.Import):
            yield from ((a.name.split(".")[1], node.lineno) for a in node.names if a.name.startswith("ipr."))


def test_the_page_names_every_room():
    there = {path.stem for path in SOURCE.iterdir() if path.name[0] not in "._" and path.suffix in ("", ".py")}
    there -= {"conf", "experiments"}
    assert {*rooms()} == there
    assert len(rooms()) == len(there)


def test_imports_point_one_way():
    order = rooms()
    wrong = [
        f"{path.relative_to(SOURCE)}:{line} imports {room}"
        for path in sorted(SOURCE.rglob("*.py"))
        if (here := path.relative_to(SOURCE).parts[0].removesuffix(".py")) in order
        for room, line in imported(path.read_text())
        if room in order and order.index(room) > order.index(here)
    ]
    assert wrong == []


def test_no_module_imports_itself_by_way_of_others():
    modules = {
        ".".join(("ipr", *path.relative_to(SOURCE).with_suffix("").parts)): path for path in SOURCE.rglob("*.py")
    }
    graph = {}
    for name, path in modules.items():
        found = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)} & modules.keys()
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names} & modules.keys()
        graph[name] = found - {name}
    tuple(TopologicalSorter(graph).static_order())  # CycleError names them


@pytest.mark.parametrize(
    "code", ["from ipr.cli.jobs import invoke", "import ipr.cli.jobs", "def f():\n    from ipr import cli"]
)
def test_every_form_of_import_is_seen(code):
    assert [room for room, _ in imported(code)] == ["cli"]


def test_functions_stay_below_fifty_lines():
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    long = [
        f"{path.relative_to(SOURCE)}: {node.name}"
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, kinds) and node.end_lineno - node.lineno >= 49
    ]
    assert long == []
