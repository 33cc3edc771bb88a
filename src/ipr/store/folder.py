"""The run folder: named by what determines its result, so that the same request is found and not computed again."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipr.errors import InputError
from ipr.files import clear_asides
from ipr.store.irreplaceable import irreplaceable
from ipr.store.lease import Lease, announce
from ipr.texts import check_name


@dataclass(frozen=True)
class RunFolder:
    """`runs/<kind>/<key>/` and what lies in it."""

    path: Path

    @property
    def key(self) -> str:
        """The run's name in its store and on dashboards."""
        return self.path.name

    @property
    def kind(self) -> str:
        """`train`, `attack` or `exhibit`."""
        return self.path.parent.name

    @property
    def name(self) -> str:
        """`<kind>/<key>`."""
        return f"{self.kind}/{self.key}"

    @property
    def config(self) -> Path:
        """What was asked for, secrets left out."""
        return self.path / "config.yaml"

    @property
    def record(self) -> Path:
        """One flat row; its presence says that the run is finished."""
        return self.path / "record.json"

    @property
    def failure(self) -> Path:
        """Why there can be no record; see `store/failure.py`."""
        return self.path / "failure.json"

    @property
    def metrics(self) -> Path:
        """One row an epoch."""
        return self.path / "metrics.csv"

    @property
    def weights(self) -> Path:
        """The network as it is given away."""
        return self.path / "public.safetensors"

    @property
    def checkpoint(self) -> Path:
        """The state after the last whole epoch."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def claim(self) -> Path:
        """The owner's secret folder."""
        return self.path / "claim"

    @contextmanager
    def locked(self) -> Iterator[Lease]:
        """Makes the folder and holds it: a second process that asks for the same run waits, then finds it done.

        What killed processes left half-written in it is removed, unless it cannot be made again.

        Raises:
            InputError: the folder cannot be written.
        """
        with ExitStack() as stack:
            try:
                lease = stack.enter_context(Lease(self.path / ".lease", announce(f"is making {self.path}")))
                clear_asides(self.path, keep=irreplaceable)
            except OSError as error:
                raise InputError(
                    "paths.runs",
                    self.path.parent.parent,
                    f"cannot be written ({error.strerror})",
                    "choose a folder that you can write to, and that has room",
                ) from error
            yield lease


def run_key(prefix: str, identity: Mapping[str, Any], *, width: float, seed: int) -> str:
    """The name of a run's folder.

    Args:
        prefix: readable; colons are taken out.
        identity: everything that determines the result; the name ends in 12 digits of its SHA-256.
        width: of the network.
        seed: of the run; both stand in the name to be read, and are in the identity.

    Raises:
        InputError: the prefix cannot name a folder, as what it is made of is no name.
    """
    check_name("name of the run", prefix)
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:12]
    return f"{prefix.replace(':', '-')}-w{width:g}-s{seed}-{digest}"


def short_key(key: str) -> str:
    """The name without width and seed, as all runs were named before: what identifies a run to what is made from it."""
    return re.sub(r"-w[0-9.e+-]+-s-?[0-9]+(-[0-9a-f]{12})$", r"\1", key)


def folder_named(place: Path, key: str) -> RunFolder:
    """The folder of a run below `runs/<kind>`: that of its short name, where an earlier version has made it."""
    earlier = place / short_key(key)
    return RunFolder(earlier if earlier.is_dir() else place / key)


def secret_digest(secret: str | None) -> str | None:
    """A one-way stand-in for a secret in a run's identity; slow to compute, so that guessing is slow too."""
    if secret is None:
        return None
    return hashlib.scrypt(secret.encode(), salt=b"ipr run identity", n=2**14, r=8, p=1, dklen=16).hex()
