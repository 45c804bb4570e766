"""A page whose server is the test: canned frames, for what the strict sandbox would never send and for exact timing."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from playwright.async_api import BrowserContext, Page, Route, WebSocketRoute

from tests.sandbox.chromium import Watch

PAGE = Path(__file__).parents[2] / "sandbox" / "page"
ORIGIN = "http://sandbox.test"
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c63f8cfc0f01f00050001ff"
    "89993d1d0000000049454e44ae426082"
)

Frame = dict[str, Any]

MARA: Frame = {"id": "1001", "username": "mara", "global_name": "Mara", "bot": False, "roles": ["Moderator"]}
NELL: Frame = {"id": "1003", "username": "nell", "global_name": "Nell", "bot": False, "roles": []}
BOT: Frame = {"id": "2001", "username": "Understudy", "global_name": None, "bot": True, "roles": []}
WORKSHOP, TAVERN = "3001", "3002"
COMMANDS: list[Frame] = [
    {
        "name": "finetune",
        "description": "Train personas",
        "options": [
            {
                "type": 1,
                "name": "start",
                "description": "Plan a training run",
                "options": [
                    {"type": 3, "name": "persona", "description": "Who is learned", "autocomplete": True},
                    {"type": 3, "name": "job_name", "description": "Its name", "required": True, "max_length": 40},
                    {"type": 4, "name": "epochs", "description": "How often", "min_value": 1, "max_value": 10},
                    {
                        "type": 3,
                        "name": "task_type",
                        "description": "What is learned",
                        "required": True,
                        "choices": [{"name": "Persona", "value": "persona"}, {"name": "Mixed", "value": "mixed"}],
                    },
                ],
            },
            {"type": 1, "name": "list", "description": "The newest jobs", "options": []},
        ],
    }
]
OPTION: Frame = {"label": "Elio", "value": "elio", "description": "A boy who wants to be fetched"}
FORM: Frame = {
    "id": "1",
    "custom_id": "rubric",
    "title": "How was it?",
    "components": [
        {"type": 10, "id": 1, "content": "Say **what** you think."},
        {
            "type": 18,
            "id": 2,
            "label": "W" * 45,
            "description": "In your own words",
            "component": {"type": 4, "id": 3, "style": 2, "custom_id": "why", "max_length": 20, "placeholder": "Why?"},
        },
        {
            "type": 18,
            "id": 4,
            "label": "Whom",
            "component": {"type": 3, "id": 5, "custom_id": "whom", "max_values": 2, "options": [OPTION]},
        },
    ],
}


def message(number: int, author: Frame = BOT, content: str = "", **more: Any) -> Frame:
    sent = datetime.now(UTC) - timedelta(minutes=30) + timedelta(seconds=number)
    plain = {"edited_timestamp": None, "embeds": [], "components": [], "attachments": [], "flags": 0, "mentions": []}
    about = {"id": str(number), "channel_id": WORKSHOP, "author": author, "timestamp": sent.isoformat()}
    return {**plain, **about, "content": content, **more}


def thread(number: int, name: str, **marks: bool) -> Frame:
    """A thread of the workshop, under the message of that number."""
    return {"id": str(number), "type": 11, "parent_id": WORKSHOP, "name": name, "thread_metadata": marks}


def hello(messages: list[Frame]) -> Frame:
    channels = [
        {"id": WORKSHOP, "name": "workshop", "topic": "Training"},
        {"id": TAVERN, "name": "tavern", "topic": ""},
    ]
    about = {"me": MARA, "users": [MARA, NELL, BOT], "guild": {"id": "1", "name": "The Green Room"}}
    about |= {"channels": channels, "threads": [one["thread"] for one in messages if "thread" in one]}
    return {"t": "hello", **about, "commands": COMMANDS, "messages": messages, "bot": True}


class Script:
    """One open page whose server is the test: it serves the three files, writes frames, and keeps what it was sent."""

    def __init__(self, page: Page, messages: list[Frame]) -> None:
        self.page = page
        self.messages = messages
        self.sent: list[Frame] = []
        self.watch = Watch(page, ORIGIN)
        self._socket: WebSocketRoute | None = None

    async def open(self, address: str = "/") -> None:
        await self.page.route("**/*", self._serve)
        await self.page.route_web_socket("**/live*", self._connected)
        await self.page.goto(ORIGIN + address)
        await self.page.wait_for_selector("#channels a")

    async def _serve(self, route: Route) -> None:
        name = route.request.url.removeprefix(ORIGIN + "/").split("?")[0] or "page.html"
        if name.startswith("attachments/"):
            await route.fulfill(body=PIXEL, content_type="image/png")
        elif name in {"page.html", "page.js", "page.css"}:
            await route.fulfill(path=PAGE / name)
        else:
            await route.abort()

    def _connected(self, socket: WebSocketRoute) -> None:
        self._socket = socket
        socket.on_message(lambda text: self.sent.append(json.loads(text)))
        self.write(hello(self.messages))

    def write(self, frame: Frame) -> None:
        assert self._socket is not None
        self._socket.send(json.dumps(frame))

    async def drop(self) -> None:
        assert self._socket is not None
        await self._socket.close()

    async def heard(self, kind: str, count: int = 1) -> Frame:
        """The `count`-th frame of a kind that the page sent."""
        async with asyncio.timeout(5):
            while len(found := [frame for frame in self.sent if frame["t"] == kind]) < count:
                await self.page.wait_for_timeout(10)
        return found[count - 1]


async def opened(context: BrowserContext, *messages: Frame, address: str = "/") -> Script:
    script = Script(await context.new_page(), list(messages))
    await script.open(address)
    return script
