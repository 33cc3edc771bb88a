"""From `fit` to the terms of the loss there is little of ours to read."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

import ipr
from ipr.workflows.train import train


class Reached(Exception):
    pass


def test_four_frames_of_ours_lead_from_fit_to_the_terms(request_for, monkeypatch):
    def terms(scheme, x, y):
        raise Reached

    monkeypatch.setattr("ipr.schemes.passport_v1.PassportV1.terms", terms, raising=True)
    with pytest.raises(Reached) as found:
        train(request_for("scheme=passport_v1", "passport=random"))
    package = Path(ipr.__file__).parent
    frames = [frame for frame in traceback.extract_tb(found.tb) if package in Path(frame.filename).parents]
    names = [frame.name for frame in frames]
    below = names[names.index("fit") :]
    assert len(below) < 4, names  # and `terms`, which stands in this file
