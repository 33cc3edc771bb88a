"""Questions over HTTP to a server that may do anything: it has so much time, so many bytes, and is followed nowhere.

urllib3 connects, speaks HTTP and reads Retry-After; when to ask again is decided here. Its `Retry` (2.8) does not wait
before the second attempt, lets a Retry-After that it cannot read end the request, and asks no second time where an
answer breaks off, unless the answer is read whole, before anybody has counted its bytes.
"""

from __future__ import annotations

import http.client
import io
import json
import socket
import time
from typing import Any, Protocol

from urllib3 import BaseHTTPResponse, HTTPHeaderDict, Retry, Timeout, connection_from_url
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError, SSLError
from urllib3.util import Url

from ipr.errors import InputError

MAX_BYTES = 8 * 2**20
"""Of an answer: the scores of 32 images among 10,000 classes."""

MAX_WAIT = 60.0
"""Seconds between two attempts, whatever the server asks for."""

LATER = (429, 502, 503, 504)
"""What says that the same question may be answered later."""


class Clock(Protocol):
    """What waiting needs; the module `time` is one."""

    def monotonic(self) -> float:
        """Seconds since some moment."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Waits."""
        ...


class Server:
    """A host that is asked, mostly for JSON. No redirect is followed, no proxy used, no compressed answer opened.

    Args:
        base: scheme, host and port.
        shown: how messages name what is asked.
        headers: sent with every request.
        timeout: seconds for the connection, and again for the whole of each answer; above 0.
        retries: attempts after the first one: after a failed connection, silence, or one of `LATER`. They wait half a
            second, then twice as long each time, or as long as the server asks for, at most `MAX_WAIT`.
        rate: requests a second at most, retries included; None for no limit.
        clock: what the waiting goes by.

    Attributes:
        field: what of a request an error is about.
        wanted: what kind of server it should be.
        max_bytes: of an answer.
        if_longer: what to do about an answer that is longer.
    """

    field = "suspect"
    wanted = "an endpoint of the Open Inference Protocol v2"
    max_bytes = MAX_BYTES
    if_longer = "give a smaller endpoint.batch_size if the model has very many classes"

    def __init__(
        self,
        base: Url,
        shown: str,
        headers: dict[str, str],
        *,
        timeout: float,
        retries: int,
        rate: float | None,
        clock: Clock = time,
    ) -> None:
        if not 0 < timeout <= 3600:
            raise InputError("timeout", timeout, "is not above 0 and at most 3600 seconds", "give e.g. 30")
        if retries < 0:
            raise InputError("retries", retries, "is below 0", "give 0 for none")
        if rate is not None and not 0 < rate < float("inf"):
            raise InputError("rate", rate, "is not above 0", "give requests a second, or null for no limit")
        self.shown, self.timeout, self.retries, self.clock = shown, timeout, retries, clock
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity", **headers}
        self._pool = connection_from_url(str(base), timeout=Timeout(connect=timeout, read=timeout), maxsize=1)
        self._pool.ConnectionCls = _TlsConnection if base.scheme == "https" else _Connection
        self._spacing = 0.0 if rate is None else 1 / rate
        self._next_at = clock.monotonic()

    def get(self, path: str) -> Any:
        """What the server says to GET.

        Raises:
            InputError: it cannot be reached, is silent, refuses, or its answer is too long or not JSON.
        """
        return self._json("GET", path, None)

    def post(self, path: str, content: Any) -> Any:
        """What the server says to a JSON value; raises as `get` does."""
        return self._json("POST", path, json.dumps(content, allow_nan=False).encode())

    def post_bytes(self, path: str, content: bytes, kind: str) -> bytes:
        """What the server says to bytes of a media type, unread; raises as `get` does, but for what is no JSON."""
        return self._read("POST", path, content, kind)

    def _json(self, method: str, path: str, body: bytes | None) -> Any:
        content = self._read(method, path, body, "application/json")
        try:
            return json.loads(content)
        except (ValueError, RecursionError):  # bytes that are no text, no JSON, too deep, or a number without an end
            raise self._error("its answer is not JSON") from None

    def _read(self, method: str, path: str, body: bytes | None, kind: str) -> bytes:
        attempt = 0
        while True:
            self._wait_for_turn()
            pause = min(0.5 * 2**attempt, MAX_WAIT)
            try:
                status, headers, content = self._exchange(method, path, body, kind)
            except InputError:
                raise
            except (HTTPError, ValueError) as error:  # http.client raises ValueError for a chunk of negative size
                failure = self._error(_reason(error, self.timeout), "see that it runs and can be reached")
            else:
                if status == 200:
                    return content
                failure = self._error(_refusal(status, content), "see what the server's owner says")
                if status not in LATER:
                    raise failure
                pause = _asked_pause(headers.get("Retry-After"), pause)
            if attempt == self.retries:
                raise failure from None
            attempt += 1
            self.clock.sleep(pause)

    def _exchange(self, method: str, path: str, body: bytes | None, kind: str) -> tuple[int, HTTPHeaderDict, bytes]:
        headers = self._headers | ({} if body is None else {"Content-Type": kind})
        response: BaseHTTPResponse = self._pool.urlopen(
            method,
            path,
            body=body,
            headers=headers,
            retries=False,
            redirect=False,
            preload_content=False,
            decode_content=False,
        )
        try:
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise self._error("its answer is compressed, which was not asked for")
            content = bytearray()
            while len(content) <= self.max_bytes and (piece := response.read(self.max_bytes + 1 - len(content))):
                content += piece
            if len(content) > self.max_bytes:
                raise self._error(f"its answer is longer than {self.max_bytes} bytes", self.if_longer)
            return response.status, response.headers, bytes(content)
        finally:
            response.close()  # does nothing to a connection whose answer was read to its end

    def _wait_for_turn(self) -> None:
        pause = self._next_at - self.clock.monotonic()
        if pause > 0:
            self.clock.sleep(pause)
        self._next_at = self.clock.monotonic() + self._spacing

    def _error(self, problem: str, remedy: str | None = None) -> InputError:
        return InputError(self.field, self.shown, problem, remedy or f"give {self.wanted}")


def clean(text: object, limit: int = 100) -> str:
    """What somebody else wrote, fit for a line on a terminal: no control characters, and not long."""
    written = str(text)[: 4 * limit]
    return " ".join("".join(c if c.isprintable() else " " for c in written).split())[:limit]


def _reason(error: Exception, timeout: float) -> str:
    if isinstance(error, ReadTimeoutError):
        return f"its answer was not there, whole, after {timeout:g} seconds"
    if isinstance(error, ConnectTimeoutError | NewConnectionError):
        return "cannot be reached"
    if isinstance(error, SSLError):
        return "no connection that this machine trusts can be made with it (TLS)"
    return "broke off, or does not speak HTTP"


def _refusal(status: int, content: bytes) -> str:
    if 300 <= status < 400:
        return f"answers with status {status}: it sends elsewhere, and that is not followed"
    said: object = content.decode(errors="replace")
    try:
        if isinstance(told := json.loads(content), dict) and isinstance(told.get("error"), str):
            said = told["error"]  # as the protocol wants it
    except (ValueError, RecursionError):
        pass
    return f"answers with status {status}: {clean(said)}"


def _asked_pause(retry_after: str | None, otherwise: float) -> float:
    """Seconds, from a header that is a number or a date."""
    if retry_after is None:
        return otherwise
    try:
        return min(Retry().parse_retry_after(retry_after), MAX_WAIT)
    except (HTTPError, ValueError, OverflowError):
        return otherwise


class _Hasty(io.RawIOBase):
    """A socket's bytes, as long as they come before one moment and are not too many.

    A server may send a byte now and then for ever, or as many as it likes where http.client reads to the end.
    """

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._bytes_left = 2 * MAX_BYTES  # headers, and what marks chunks, included
        self._raw, self._sock, self._limit = raw, sock, sock.gettimeout()
        self._until = None if self._limit is None else time.monotonic() + self._limit

    def readable(self) -> bool:
        """True, as `io.RawIOBase` asks of a stream that can be read."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """As of any raw stream; TimeoutError when the time is over."""
        if self._bytes_left <= 0:
            raise OSError("the answer is too long")
        if self._until is not None:
            if (left := self._until - time.monotonic()) <= 0:
                raise TimeoutError("the answer as a whole took too long")
            self._sock.settimeout(left)
        try:
            read = self._raw.readinto(buffer)
        finally:
            self._sock.settimeout(self._limit)  # the next request on this connection has its own
        self._bytes_left -= read or 0
        return read

    def close(self) -> None:
        """Closes the socket's side too."""
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer whose status, headers and body come, all together, within the socket's timeout."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Hasty(self.fp.detach(), sock))


class _Connection(HTTPConnection):
    response_class = _Response


class _TlsConnection(HTTPSConnection):
    response_class = _Response
