"""`own_hydra`: what a caller's own program has made of Hydra is not seen here, and stays as it is."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.version import VersionBase

OWN: tuple[type, ...] = (ConfigStore, GlobalHydra, HydraConfig, VersionBase)
"""Of what Hydra has one in a process, that which a program fills."""

_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def own_hydra() -> Iterator[None]:
    """Inside, Hydra is as in a process of its own; one thread at a time.

    Put back afterwards: the global Hydra and its version, the configuration of the caller's job, his store of
    configurations (of which what Hydra and its plugins brought is seen inside), `sys.argv` and Hydra's environment
    variables.
    """
    with _ONE_AT_A_TIME:
        Plugins.instance()  # what it reads in goes to the caller's store, where it would go without us
        repo, arguments = ConfigStore.instance().repo, sys.argv
        theirs = {kind: Singleton._instances.pop(kind) for kind in OWN if kind in Singleton._instances}
        variables = {name: text for name, text in os.environ.items() if name.startswith("HYDRA_")}
        beside = {name: node for name, node in repo.items() if getattr(node, "provider", None) == "hydra"}
        ConfigStore.instance().repo = {"hydra": _copied(repo.get("hydra", {})), **beside}
        try:
            yield
        finally:
            for kind in OWN:
                Singleton._instances.pop(kind, None)
            Singleton._instances.update(theirs)
            sys.argv = arguments
            for name in [name for name in os.environ if name.startswith("HYDRA_")]:
                del os.environ[name]
            os.environ.update(variables)


def _copied(group: Any) -> Any:
    """A group of which more can be made; its nodes are shared."""
    return {name: _copied(node) for name, node in group.items()} if isinstance(group, dict) else group
