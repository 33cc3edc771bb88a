"""From an address and settings to a suspect that can be asked."""

from __future__ import annotations

from ipr.config.schema import EndpointConfig
from ipr.files import expanded
from ipr.suspects.served.black_box import BlackBox
from ipr.suspects.served.endpoint import Endpoint


def open_black_box(url: str, asked: EndpointConfig, classes: int) -> BlackBox:
    """The suspect at an address; nothing is sent yet.

    Args:
        url: of the Open Inference Protocol v2.
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
