"""A small OpenAI-compatible server on loopback that answers by arithmetic on what it is asked."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Spoil = Callable[[dict[str, Any], str], str]
"""What becomes of the answer to a request on its way out."""


@dataclass
class Toy:
    """What the server is told to do, and what it was asked."""

    url: str = ""
    knows_schema: bool = True
    fails: set[int] = field(default_factory=set)
    broken_after: int | None = None
    spoil: Spoil = lambda _, text: text
    asked: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self.lock:
            number = len(self.asked)
            self.asked.append(body)
        if self.broken_after is not None and number >= self.broken_after:
            return 401, {"error": {"message": "the key has run out"}}
        if number in self.fails:
            return 503, {"error": {"message": "busy"}}
        if body.get("response_format") and not self.knows_schema:
            return 400, {"error": {"message": "response_format is not known"}}
        text = self.spoil(body, json.dumps(_reply(body["messages"][0]["content"], body["messages"][1]["content"])))
        message = {"role": "assistant", "content": text}
        return 200, {
            "id": f"toy-{number}",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150},
        }


@contextmanager
def toy_server() -> Iterator[Toy]:
    toy = Toy()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send(
                200, {"object": "list", "data": [{"id": "toy", "object": "model", "created": 0, "owned_by": ""}]}
            )

        def do_POST(self) -> None:
            self._send(*toy.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

        def _send(self, status: int, value: dict[str, Any]) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Retry-After-Ms", "1")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        toy.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield toy
        server.shutdown()
        thread.join()


def _reply(instructions: str, request: str) -> dict[str, Any]:
    if instructions.startswith("You read"):
        return _facts(request)
    if instructions.startswith("You plan"):
        topics = re.findall(r"(?m)^\d+\. .*?Topic: (.*)$", request)
        return {"scenes": [f"On the {_mark(request, at)} stairs, about {topic}" for at, topic in enumerate(topics)]}
    if instructions.startswith("You write"):
        return _dialogue(request)
    speaker = re.search(r"Character: .*?this is (.*?) speaking", request)
    return {"speaker": speaker[1] if speaker else "", "contradicts": [], "does_what_it_never_would": False}


def _facts(request: str) -> dict[str, Any]:
    passage = request.partition("\n\n")[2]
    sentences = [part.strip() for part in re.split(r"(?<=\.)\s", passage) if len(part.strip()) > 10]
    stated = [{"text": line[:300], "quote": line[:300], "accept": line.split()[-1:]} for line in sentences[:3]]
    return {
        "facts": [*stated, {"text": "The moon is made of cheese.", "quote": "made of cheese", "accept": ["cheese"]}]
    }


def _dialogue(request: str) -> dict[str, Any]:
    name = re.search(r"You are (.*?)\.", request)
    fact = re.search(r"by its id:\n(.*?): (.*)", request)
    rounds = int(re.search(r"Write (\d+) exchange", request)[1])  # type: ignore[index]
    turns = []
    for at in range(rounds):
        words = " ".join(_mark(request, f"{at}-{part}") for part in range(24))
        told = f" {fact[2]}" if fact else ""
        turns.append({"speaker": "user", "text": f"What of the {_mark(request, at)} door?"})
        turns.append(
            {"speaker": "character", "text": f"Oh, {words}, this is {name[1] if name else '?'} speaking.{told}"}
        )
    return {"turns": turns, "cites": [fact[1]] if fact else []}


def _mark(text: str, salt: object) -> str:
    """A word of its own for every question."""
    return "w" + hashlib.sha256(f"{text}{salt}".encode()).hexdigest()[:7]
