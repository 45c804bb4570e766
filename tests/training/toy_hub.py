"""A small hub on loopback: as much of its API as an upload of small files needs."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_letmein"
OWNER = "olgas-friends"


@dataclass
class Hub:
    """Its repositories: whether each is private, and its files."""

    private: dict[str, bool] = field(default_factory=dict)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        name = self.path.removeprefix("/api/models/").partition("?")[0]
        if name not in self.hub.private:
            return self._say(404, {"error": "Repository not found"})
        return self._say(200, {"id": name, "private": self.hub.private[name], "siblings": []})

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self._say(401, {"error": "Invalid credentials"})
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[1:] == ["repos", "create"]:
            return self._create(json.loads(sent))
        if parts[1] == "validate-yaml":
            return self._say(200, {"errors": [], "warnings": []})
        name = "/".join(parts[2:4])
        if parts[4] == "preupload":
            asked = [file["path"] for file in json.loads(sent)["files"]]
            told = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in asked]
            return self._say(200, {"files": told})
        for line in map(json.loads, sent.splitlines()):
            if line["key"] == "file":
                self.hub.files[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        return self._say(200, {"commitUrl": f"{self.hub.url}/{name}/commit/1", "commitOid": "1"})

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        if asked["organization"] != OWNER:
            return self._say(403, {"error": "You are not in this organisation"})
        known = name in self.hub.private
        self.hub.private.setdefault(name, asked["visibility"] == "private")
        self.hub.files.setdefault(name, {})
        return self._say(409 if known else 200, {"url": f"{self.hub.url}/{name}"})

    def _say(self, status: int, what: dict[str, Any]) -> None:
        body = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep the tests' output clean."""


@contextmanager
def toy_hub() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
