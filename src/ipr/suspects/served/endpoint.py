"""A suspect behind an address that speaks the Open Inference Protocol v2 over HTTP."""

from __future__ import annotations

import os
import re
import time
from functools import cached_property
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray
from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from ipr.config.schema import EndpointConfig
from ipr.errors import InputError
from ipr.files import expanded
from ipr.suspects.served.black_box import BlackBox
from ipr.suspects.served.protocol import ModelInput, model_input, output_tensor, request
from ipr.suspects.served.server import Clock, Server

TOKEN = "IPR_ENDPOINT_TOKEN"  # noqa: S105 (the name of a variable)
"""The environment variable whose content is sent as `Authorization: Bearer`; it is never shown, logged or stored."""

PATH = re.compile(r"(?P<model>(?:/[^/]+)*/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?)(?:/infer)?/?")


class Endpoint:
    """Asks a served model for scores or classes: a callable, one request a call, for `suspects.black_box.BlackBox`.

    The model's metadata is read before the first question.

    Args:
        url: `http(s)://HOST[:PORT]/v2/models/NAME[/versions/VERSION]`, with or without `/infer`.
        timeout: seconds for the connection, and again for the whole of each answer.
        retries: attempts after the first, as in `suspects.server.Server`.
        rate: requests a second at most; None for no limit.
        input: the model's input; None for the only one that it declares.
        output: the model's output; None for the only one.
        clock: what waiting goes by.

    Raises:
        InputError: the address is none of this kind or holds a password, or a setting or the token cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 30.0,
        retries: int = 4,
        rate: float | None = None,
        input: str | None = None,
        output: str | None = None,
        clock: Clock = time,
    ) -> None:
        address, found = _parsed(url)
        self._path, self._model, self._version = found["model"], unquote(found["name"]), found["version"]
        self._input_name, self._output_name = input, output
        base = Url(scheme=address.scheme, host=address.host, port=address.port)
        self.identity = f"{base}{self._path}" + (f"#{output}" if output else "")
        """What is asked, for messages and as what answers are kept under."""
        self._server = Server(base, self.identity, _headers(), timeout=timeout, retries=retries, rate=rate, clock=clock)

    def __call__(self, images: NDArray[np.float32]) -> NDArray[Any]:
        """The model's output for normalised images (B, C, H, W): scores (B, K) or classes (B,).

        Raises:
            InputError: the model takes other images, the server fails, or its answer is not what the protocol says.
        """
        takes = self._input
        if not takes.takes(images.shape):
            batch = takes.shape[0]
            problem = f"takes {list(takes.shape)}, not images {list(images.shape)}"
            remedy = "serve the model for these images, channels first"
            remedy += f", and give endpoint.batch_size={batch}" if batch not in (-1, len(images)) else ""
            raise InputError("suspect", self.identity, problem, remedy)
        answer = self._server.post(f"{self._path}/infer", request(takes.name, images))
        return output_tensor(answer, self._output_name, self._model, self._version, self.identity)

    @cached_property
    def _input(self) -> ModelInput:
        return model_input(self._server.get(self._path), self._input_name, self.identity)


def open_black_box(url: str, asked: EndpointConfig, classes: int) -> BlackBox:
    """The suspect at an address; nothing is sent yet.

    Args:
        url: see `Endpoint`.
        asked: how it is asked.
        classes: K of the claim.

    Raises:
        InputError: the address or a setting cannot be used.
    """
    endpoint = Endpoint(
        url,
        timeout=asked.timeout_seconds,
        retries=asked.retries,
        rate=asked.rate,
        input=asked.input,
        output=asked.output,
    )
    return BlackBox(
        endpoint,
        classes,
        name=endpoint.identity,
        batch_size=asked.batch_size,
        budget=asked.budget,
        answers=None if asked.answers is None else expanded(asked.answers, "endpoint.answers"),
    )


def _parsed(url: str) -> tuple[Url, re.Match[str]]:
    remedy = "give http(s)://HOST:PORT/v2/models/NAME"
    try:
        address = parse_url(url)
    except LocationParseError:
        raise InputError("suspect", url, "is not an address", remedy) from None
    if address.auth is not None:
        elsewhere = f"put a token into the environment as {TOKEN}"
        raise InputError("suspect", "<an address with a password>", "would show it", elsewhere)
    found = PATH.fullmatch(address.path or "")
    if address.scheme not in ("http", "https") or not address.host or address.query or address.fragment or not found:
        raise InputError("suspect", url, "is not an address of the Open Inference Protocol v2", remedy)
    return address, found


def _headers() -> dict[str, str]:
    token = os.environ.get(TOKEN, "")
    if not token:
        return {}
    if not re.fullmatch(r"[!-~]+", token):
        raise InputError(TOKEN, "<secret>", "holds spaces, line ends or other than ASCII", "give the token alone")
    return {"Authorization": f"Bearer {token}"}
