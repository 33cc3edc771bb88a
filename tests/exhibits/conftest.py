"""Requests for exhibits of real, small runs, and cases made by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from ipr.exhibits.base import OpenedRun
from ipr.workflows.exhibit import ExhibitConfig


@pytest.fixture
def exhibit_for(request_for) -> Callable[..., ExhibitConfig]:
    """A request for an exhibit, at a size of a second."""
    return partial(request_for, command="exhibit")


@pytest.fixture
def case_of(data) -> Callable[..., OpenedRun]:
    """A case made by hand of a network and a claim; what it is not given must not be asked for."""

    def refuse(*_, **__):
        raise AssertionError("this exhibit has no use for it")

    def make(suspect, claim, scheme, **more) -> OpenedRun:
        others = {"layers": ("conv3", "conv4", "conv5"), "baseline": refuse, "train": refuse, "build": refuse}
        given = {"data": data, "seed": 0, "attack_seed": 0, **others, **more}
        return OpenedRun(suspect=suspect, claim=claim, scheme=scheme, **given)

    return make
