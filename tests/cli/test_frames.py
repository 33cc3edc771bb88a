"""From `ipr train` to the loss: few calls of ours, so that whoever reads them finds the loss."""

import traceback
from pathlib import Path

import ipr as package
from ipr.schemes.baseline import Baseline

SOURCE = Path(package.__file__).parent


def test_at_most_eight_calls_lead_from_the_command_to_the_loss(ipr, tiny, monkeypatch):
    called = []

    def terms(self, x, y):
        frames = [frame for frame in traceback.extract_stack() if Path(frame.filename).is_relative_to(SOURCE)]
        called.append([f"{Path(frame.filename).relative_to(SOURCE)}: {frame.name}" for frame in frames])
        raise KeyboardInterrupt

    monkeypatch.setattr(Baseline, "terms", terms)
    assert ipr("train", *tiny, "scheme=baseline").code == 130
    assert len(called[0]) <= 8, called[0]
    assert called[0][0] == "cli/__init__.py: main"
