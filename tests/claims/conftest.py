from __future__ import annotations

from functools import partial

import pytest

from hostile_claims import KINDS, SMALL
from ipr.data.opening import open_images
from ipr.requests.compose import configuration
from ipr.schemes.start import start_network
from ipr.workflows.draw_claim import make_claim


@pytest.fixture(scope="session")
def good(tmp_path_factory, cache):
    """A claim of each kind, as `ipr train` would make it."""
    place = tmp_path_factory.mktemp("claims")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPR_CACHE", str(cache))
        for name, asked in KINDS.items():
            config = configuration("train", *SMALL, *asked)
            data = open_images(config.dataset, config.paths)
            make_claim(config, data, partial(start_network, config, data)).save(place / name)
    return place
