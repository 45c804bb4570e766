"""The doctor asks the server that writes dialogues whether it is there, and says what to do where it is not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tasks.doctor import _language_model
from training.schema import LanguageModel

LISTED = {"/v1": {"data": [{"id": "small"}, {"id": "large"}]}, "/empty": {"data": []}, "/other": {"hello": "you"}}


class Server(BaseHTTPRequestHandler):
    """Lists models at some addresses, to whoever has the key."""

    def do_GET(self) -> None:
        found = LISTED.get(self.path.removesuffix("/models"))
        self.send_response(401 if self.headers["Authorization"] != "Bearer key" else 200 if found else 404)
        self.end_headers()
        self.wfile.write(json.dumps(found).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()


@pytest.mark.parametrize(
    ("asked", "ok", "found"),
    [
        ({"path": "/v1/"}, True, "it answers; small writes dialogues"),
        ({"path": "/v1", "model": "large"}, True, "it answers; large writes dialogues"),
        ({"path": "/v1", "model": "huge"}, False, "it lists small, large"),
        ({"path": "/empty"}, False, "it lists no model"),
        ({"path": "/other"}, False, "it does not list its models (it answers something else)"),
        ({"path": "/gone"}, False, "it does not list its models (404"),
        ({"path": "/v1", "api_key": "wrong"}, False, "it does not list its models (401"),
    ],
)
async def test_a_language_model_is_asked(address: str, asked: dict[str, str], ok: bool, found: str) -> None:
    plain = {"base_url": address + asked["path"], "api_key": "key"}
    given = {name: value for name, value in asked.items() if name != "path"}
    check = await _language_model(LanguageModel.model_validate({**plain, **given}))
    assert check.ok is ok
    assert check.found.startswith(found)
    assert ok or check.fix


async def test_a_language_model_that_is_not_there_says_what_to_start() -> None:
    check = await _language_model(LanguageModel(base_url="http://127.0.0.1:1/v1"))
    assert not check.ok
    assert "Start the server at http://127.0.0.1:1/v1" in check.fix
