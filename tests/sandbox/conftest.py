"""A sandbox for each test, members who visit it, and plain HTTP calls with the bot's token."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext

from sandbox.server import Sandbox
from sandbox.visitor import Visitor
from tests.sandbox.app import App, running
from tests.sandbox.chromium import launched


@dataclass(frozen=True)
class Answer:
    """What the sandbox answered to a plain call."""

    status: int
    body: Any
    headers: dict[str, str]

    @property
    def code(self) -> int | None:
        return self.body.get("code") if isinstance(self.body, dict) else None


Call = Callable[..., Awaitable[Answer]]


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with Sandbox(data_dir=tmp_path / "sandbox") as running_sandbox:
        yield running_sandbox


@pytest.fixture
async def app(sandbox: Sandbox) -> AsyncIterator[App]:
    async with running(sandbox) as running_app:
        yield running_app


@pytest.fixture
async def mara(sandbox: Sandbox) -> AsyncIterator[Visitor]:
    async with Visitor.connect(sandbox.page_url, "Mara") as visitor:
        yield visitor


@pytest.fixture
async def nell(sandbox: Sandbox) -> AsyncIterator[Visitor]:
    async with Visitor.connect(sandbox.page_url, "Nell") as visitor:
        yield visitor


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One for all tests of a page with canned frames."""
    async with launched() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    context = await browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(8000)
    yield context
    await context.close()


@pytest.fixture
async def call(sandbox: Sandbox) -> AsyncIterator[Call]:
    """`await call("POST", "/channels/1/messages", {...}, files={"a.png": b"…"}, token=…)`."""
    context = ssl.create_default_context(cafile=str(sandbox.ca_path))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:

        async def send(
            method: str, path: str, body: Any = None, *, files: dict[str, bytes] | None = None, token: str | None = None
        ) -> Answer:
            headers = {"Authorization": f"Bot {token or sandbox.token}"}
            data: Any = None
            if files is not None:
                data = aiohttp.FormData(quote_fields=False)
                data.add_field("payload_json", json.dumps(body or {}))
                for number, (name, content) in enumerate(files.items()):
                    data.add_field(f"files[{number}]", content, filename=name)
            elif body is not None:
                headers["Content-Type"] = "application/json"
                data = body if isinstance(body, bytes) else json.dumps(body)
            url = f"{sandbox.discord_url}/api/v10{path}"
            async with session.request(method, url, data=data, headers=headers) as response:
                raw = await response.read()
                return Answer(response.status, json.loads(raw) if raw else None, dict(response.headers))

        yield send
