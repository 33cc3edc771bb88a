"""Every command that has to do with a run whose embedding failed says so."""

import json
from pathlib import Path


def test_every_command_tells_of_a_failed_embedding_and_goes_on(ipr, tiny, run_folder):
    asked = (*tiny, "scheme=passport_v2")
    for outcome in (ipr("train", *asked), ipr("train", *asked)):  # made, and found
        assert outcome.code == 0  # the training did what it was asked for
        lines = [line for line in outcome.out.splitlines() if line.startswith(("embedded:", "forgers", "triggers"))]
        assert len(lines) == 3
        assert "FAILED" in lines[0]
        assert "\x1b" not in outcome.out
        assert "yes" not in outcome.out.split("consistent with the claim")[1].splitlines()[0]
    folder = run_folder("passport_v2")
    assert json.loads((folder / "record.json").read_text())["consistent"] is False
    warned = f"ipr: warning: the embedding of {folder.name} failed"
    for command in (
        ("attack", *asked, "attack=fake1", "attack.passports=2"),
        ("exhibit", *asked, "exhibit=distributions"),
        ("export", f"run={folder}"),
        ("claim", "commit", f"claim={folder}/claim"),
    ):
        outcome = ipr(*command)
        assert outcome.code == 0, outcome.err
        assert warned in outcome.err, command
    card = (folder / "export" / "alexnet.safetensors.json").read_text()
    assert "failed" not in card  # it goes to whoever gets the file
    report = ipr("report")
    assert report.code == 0, report.err
    for text in (
        report.out,
        Path("runs/report/all/table.md").read_text(),
        Path("runs/report/all/index.html").read_text(),
    ):
        assert f"The embedding failed: train/{folder.name} (accuracy " in text
