"""Records and rows that somebody else may have written are data that fits, or one line."""

import json
from dataclasses import asdict

import pytest

from ipr.errors import InputError
from ipr.store.record import load_record


@pytest.mark.parametrize(
    ("field", "value"),
    [("seed", "zero"), ("seed", 1.5), ("tags", ["a"]), ("scheme", None), ("compile", 1), ("accuracy_without", "high")],
)
def test_a_field_of_another_type_is_one_line(request_for, trained, field, value):
    folder = trained(request_for("scheme=baseline")).folder
    record = load_record(folder.record)
    assert asdict(record) == json.loads(folder.record.read_text())
    folder.record.write_text(json.dumps(asdict(record) | {field: value}))
    with pytest.raises(InputError, match="cannot be read"):
        load_record(folder.record)


def test_a_scheme_that_is_not_known_here_comes_last(ipr, request_for, trained):
    folder = trained(request_for("scheme=baseline")).folder
    folder.record.write_text(json.dumps(asdict(load_record(folder.record)) | {"scheme": "=theirs"}))
    outcome = ipr("report")
    assert outcome.code == 0, outcome.err
