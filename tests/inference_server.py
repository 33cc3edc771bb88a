"""Servers on this machine that speak the Open Inference Protocol v2, or whatever a test wants instead."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.server.on_get(self)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.server.lock:
            self.server.headers.append(dict(self.headers))
            self.server.sizes.append(json.loads(body)["inputs"][0]["shape"][0])
            answer = self.server.instead.pop(0) if self.server.instead else self.server.on_post
        answer(self, json.loads(body))

    def reply(self, status: int, body: bytes | dict, headers: dict[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def raw(self, content: bytes) -> None:
        """These bytes and nothing else."""
        self.wfile.write(content)
        self.close_connection = True

    def drip(self, byte: bytes) -> None:
        """A byte now and then, until the test is over."""
        self.close_connection = True
        try:
            while not self.server.closing.wait(0.02):
                self.wfile.write(byte)
        except OSError:
            pass

    def log_message(self, *args: object) -> None:
        """Nothing."""


class Server(http.server.ThreadingHTTPServer):
    """Serves a function from images (B, C, H, W) to scores; `instead` holds other answers to the next questions.

    Attributes:
        sizes: images of each question; paths: what was asked by GET; headers: of each question.
    """

    daemon_threads = True

    def __init__(self, network: Callable[[np.ndarray], np.ndarray], shape: list[int]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.network, self.shape = network, shape
        self.sizes, self.paths, self.headers, self.instead = [], [], [], []
        self.lock, self.closing = threading.Lock(), threading.Event()
        self.on_get, self.on_post = describe, infer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v2/models/net"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no defect here."""


def metadata(server: Server) -> dict:
    return {
        "name": "net",
        "platform": "test",
        "inputs": [{"name": "images", "datatype": "FP32", "shape": server.shape}],
        "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 10]}],
    }


def describe(handler: Handler) -> None:
    handler.reply(200, metadata(handler.server))


def answer(server: Server, asked: dict) -> dict:
    """What the protocol wants said to a question."""
    (tensor,) = asked["inputs"]
    images = np.array(tensor["data"], np.float32).reshape(tensor["shape"])
    scores = server.network(images)
    output = {"name": "scores", "shape": list(scores.shape), "datatype": "FP32", "data": scores.ravel().tolist()}
    return {"model_name": "net", "id": "1", "outputs": [output]}


def infer(handler: Handler, asked: dict) -> None:
    handler.reply(200, answer(handler.server, asked))


@contextmanager
def serving(network: Callable[[np.ndarray], np.ndarray], shape: list[int]) -> Iterator[Server]:
    """A server for the duration of a test."""
    server = Server(network, shape)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class FakeClock:
    """Time that passes only where somebody waits."""

    def __init__(self) -> None:
        self.now, self.waits = 0.0, []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds
