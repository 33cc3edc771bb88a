"""An ONNX model behind a real server, mlserver, started as a person would: with `make serve`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from filelock import FileLock

TOP = Path(__file__).parents[1]
START_SECONDS = 120


def mlserver_environment(folder: Path) -> Path:
    """An environment with mlserver: that of the checkout, or one made in a folder that all test processes share.

    The test is skipped where it cannot be installed.
    """
    if (TOP / ".venv-serve" / "installed").exists():
        return TOP / ".venv-serve"
    place = folder / "venv-serve"
    with FileLock(folder / "venv-serve.lock"):
        made = subprocess.run(
            ["make", "-C", str(TOP), str(place / "installed"), f"SERVE_VENV={place}", f"PYTHON={sys.executable}"],
            capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    if made.returncode:
        pytest.skip(f"mlserver cannot be installed here: {made.stderr.strip()[-300:]}")
    return place


@contextmanager
def serving_onnx(environment: Path, model: Path, name: str, folder: Path) -> Iterator[str]:
    """The address of a model that `make serve` serves; its log goes to a folder."""
    http, grpc = _free_ports()
    log = folder / f"mlserver-{name}.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            ["make", "-C", str(TOP), "serve", f"MODEL={model}", f"NAME={name}", f"SERVE_VENV={environment}",
             f"PORT={http}", f"GRPC_PORT={grpc}"],
            stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{http}/v2/models/{name}"
        _wait_until_ready(server, f"{url}/ready", log)
        yield url
    finally:
        for how in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(server.pid, how)  # make and the server: nobody else is in their session
                server.wait(20)


def _wait_until_ready(server: subprocess.Popen, url: str, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"mlserver did not start:\n{log.read_text()}")


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
