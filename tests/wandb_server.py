"""Servers on this machine in the place of W&B's: one that takes runs, and one that accepts and never answers."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.silent.is_set():
            self.server.closing.wait(120)
            self.close_connection = True
            return
        answer = b"{}"
        if self.path.endswith("/graphql"):
            asked = json.loads(body)
            self.server.asked.append(asked)
            data = self.server.answer(asked)
            refusal = self.server.charts if "createCustomChart" in asked["query"] else "no"
            answer = json.dumps({"data": data} if data is not None else {"errors": [{"message": refusal}]}).encode()
        elif self.path.endswith("/file_stream"):
            self.server.streamed.append(json.loads(body))
        self._send(answer)

    do_GET = do_POST

    def do_PUT(self) -> None:
        self.server.put[self.path] = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._send(b"{}")

    def _send(self, answer: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None:
        """Nothing."""


class Server(http.server.ThreadingHTTPServer):
    """Answers what a run, its artifacts and a workspace ask of W&B; `silent` makes it accept and never answer. `charts`
    that are not `taken` are turned down with this message; what is uploaded is in `put`, by its path.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.silent, self.closing, self.refuses = threading.Event(), threading.Event(), False
        self.charts, self.put = "taken", {}
        self.asked, self.streamed = [], []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, asked):
        query, given = asked["query"], asked.get("variables") or {}
        if self.refuses:
            return None
        if "upsertBucket" in query:
            project = {"id": "p", "name": given["project"], "entity": {"id": "e", "name": "me"}}
            bucket = {"id": "b", "name": given["name"], "displayName": given["displayName"], "config": "{}"}
            return {"upsertBucket": {"bucket": bucket | {"project": project}, "inserted": True}}
        if (taken := self._artifact(query, given)) is not None:
            return taken
        if "createCustomChart" in query:
            return {"createCustomChart": {"chart": {"id": "c"}}} if self.charts == "taken" else None
        if "createRunFiles" in query:
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": []}}
        if "upsertView" in query:
            return {"upsertView": {"view": {"id": "v", "name": given["name"]}, "inserted": True}}
        return {"viewer": {"id": "u", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}}

    def _artifact(self, query, given):
        """What a client asks for an artifact in turn: whether there is one, a new one, its manifest, files, the end."""
        upload = {
            "id": "f",
            "uploadHeaders": [],
            "uploadMultipartUrls": None,
            "storagePath": "s",
            "artifact": {"id": "a"},
        }
        if "query ArtifactType" in query:
            return {"project": None}
        if "createArtifact(" in query:
            sequence = {"id": "s", "latestArtifact": None}
            return {"createArtifact": {"artifact": {"id": "a", "state": "PENDING", "artifactSequence": sequence}}}
        if "createArtifactManifest(" in query:
            file = upload | {"uploadUrl": f"{self.url}/manifest"}
            return {"createArtifactManifest": {"artifactManifest": {"id": "m", "file": file}}}
        if "createArtifactFiles(" in query:
            names = [one["name"] for one in given["input"]["artifactFiles"]]
            nodes = [{"node": upload | {"name": name, "uploadUrl": f"{self.url}/files/{name}"}} for name in names]
            return {"createArtifactFiles": {"files": {"edges": nodes}}}
        if "commitArtifact(" in query:
            return {"commitArtifact": {"artifact": {"id": "a", "digest": "d"}}}
        return None


@contextmanager
def serving() -> Iterator[Server]:
    """A server for the duration of a test."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def closed_port() -> str:
    """An address where nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{one.getsockname()[1]}"
