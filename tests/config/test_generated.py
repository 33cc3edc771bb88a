"""What `make docs` writes is what stands in the checkout."""

import runpy
from pathlib import Path

import pytest
import yaml

from ipr.config.registry import load_all
from ipr.config.shipped import shipped

GENERATE = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "generate.py"))


@pytest.mark.parametrize("name", GENERATE["GENERATED"])
def test_every_table_is_current(name):
    path, table = GENERATE["GENERATED"][name]
    assert GENERATE["with_table"](path.read_text(), name, table()) == path.read_text()


def test_the_yaml_of_attacks_and_exhibits_lists_every_field_with_its_default():
    written = dict(GENERATE["option_files"]())
    assert {path: path.read_text() for path in written} == written
    for group in ("attack", "exhibit"):
        for name, kind in load_all(group).items():
            path = shipped("conf") / group / f"{name}.yaml"
            assert path in written
            values = yaml.safe_load(path.read_text())
            del values["defaults"]
            assert values == vars(kind(name=name))
