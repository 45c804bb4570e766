"""A member of the sandbox, played by Python: sees, says and presses what a person on the page could."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import quote

import aiohttp
from yarl import URL

from sandbox.components import walk
from sandbox.errors import Json
from sandbox.modals import fields

ANSWER_WAIT_S = 10.0


class Refused(Exception):
    """The sandbox did not let the member do that; the text says why."""


class NoAnswer(Exception):
    """The app did not acknowledge within three seconds."""


@dataclass(frozen=True)
class File:
    """A file that the member chooses for an option."""

    name: str
    data: bytes = field(repr=False)


class Visitor:
    """One member's view of the guild, kept up to date. Make it with `Visitor.connect`.

    A channel is named by its name or id, and so is a thread. `modal` is the form that the app opened, until it is
    answered or dismissed; another one takes its place. Messages are Discord's message objects as JSON, with addresses
    of files relative to the page.
    """

    def __init__(self, page_url: str, session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.me: Json = {}
        self.users: list[Json] = []
        self.channels: list[Json] = []
        self.threads: list[Json] = []
        self.commands: list[Json] = []
        self.modal: Json | None = None
        self.bot_online = False
        self._page_url = page_url.rstrip("/")
        self._session = session
        self._socket = socket
        self._messages: dict[str, Json] = {}
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._count = 0
        self._news = asyncio.Condition()
        self._ended: str | None = None

    @classmethod
    @asynccontextmanager
    async def connect(cls, page_url: str, as_user: str = "Mara") -> AsyncIterator[Self]:
        """Open the page as a member, by name or id."""
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{page_url.rstrip('/')}/live", params={"as": as_user}, max_msg_size=0) as socket,
        ):
            visitor = cls(page_url, session, socket)
            for _ in ("hello", "bot"):
                visitor._take(json.loads((await socket.receive(timeout=ANSWER_WAIT_S)).data))
            reader = asyncio.create_task(visitor._read())
            try:
                yield visitor
            finally:
                reader.cancel()
                with suppress(asyncio.CancelledError):
                    await reader

    # --- seeing ---------------------------------------------------------------------------------------------------

    def messages(self, channel: str | None = None) -> list[Json]:
        """What the member sees in a channel or thread, or everywhere; oldest first."""
        wanted = None if channel is None else self._channel_id(channel)
        seen = [message for message in self._messages.values() if wanted in {None, message["channel_id"]}]
        return sorted(seen, key=lambda message: int(message["id"]))

    def message(self, message_id: str) -> Json | None:
        """A message as it is now; None once it is deleted."""
        return self._messages.get(message_id)

    async def until(self, predicate: Callable[[Json], object], timeout: float = ANSWER_WAIT_S) -> Json:
        """The first message, in order of posting, for which the predicate holds; raises TimeoutError."""
        found = await self.until_true(lambda: next((m for m in self.messages() if predicate(m)), None), timeout)
        assert isinstance(found, dict)
        return found

    async def until_thread(self, thread: str, timeout: float = ANSWER_WAIT_S) -> Json:
        """The thread with this name or id, once the member sees it; raises TimeoutError."""
        found = await self.until_true(
            lambda: next((one for one in self.threads if thread in {one["name"], one["id"]}), None), timeout
        )
        assert isinstance(found, dict)
        return found

    async def until_true(self, condition: Callable[[], object], timeout: float = ANSWER_WAIT_S) -> object:
        """Look again after every frame until the condition holds; returns what it returned, raises TimeoutError."""
        async with asyncio.timeout(timeout), self._news:
            while not (found := condition()):
                if self._ended is not None:
                    raise ConnectionError(self._ended)
                await self._news.wait()
            return found

    async def download(self, url: str) -> bytes:
        """The bytes of an attachment or embed picture."""
        async with self._session.get(self._page_url + url) as response:
            response.raise_for_status()
            return await response.read()

    # --- doing ----------------------------------------------------------------------------------------------------

    async def say(self, channel: str, content: str) -> Json:
        """Post a message, and return it as it was posted; raises Refused."""
        nonce = self._nonce()
        refusal = self._expect(nonce)
        await self._send("say", nonce, channel_id=self._channel_id(channel), content=content)

        def posted() -> Json | None:
            if refusal.done():
                refusal.result()
            return next((message for message in self._messages.values() if message.get("nonce") == nonce), None)

        try:
            found = await self.until_true(posted)
        finally:
            self._waiting.pop(nonce, None)
            refusal.cancel()
        assert isinstance(found, dict)
        return found

    async def slash(self, channel: str, command: str, *sub: str, **options: Any) -> str:
        """Use a slash command, and return how the app acknowledged; raises Refused or NoAnswer.

        An option may be a File, which is uploaded first.
        """
        channel_id = self._channel_id(channel)
        for name, value in options.items():
            if isinstance(value, File):
                options[name] = await self._upload(channel_id, value)
        where = {"channel_id": channel_id, "command": command, "sub": list(sub), "options": options}
        return str(await self._ask("slash", **where))

    async def autocomplete(
        self, channel: str, command: str, *sub: str, focused: str, options: Mapping[str, Any] | None = None
    ) -> list[Json]:
        """The choices (name and value) that the app suggests for the focused option, with what is typed so far."""
        where = {"channel_id": self._channel_id(channel), "command": command, "sub": list(sub)}
        choices = await self._ask("autocomplete", **where, focused=focused, options=dict(options or {}))
        assert isinstance(choices, list)
        return choices

    async def press(self, message: Json, button: str) -> str:
        """Press a button by label or custom id; returns how the app acknowledged; raises Refused or NoAnswer."""
        custom_id = self._custom_id(message, "button", button, "label")
        return await self._use("press", message, custom_id=custom_id)

    async def choose(self, message: Json, menu: str, *values: str) -> str:
        """Choose values from a menu, named by placeholder or custom id; returns and raises as `press` does."""
        custom_id = self._custom_id(message, "menu", menu, "placeholder")
        return await self._use("choose", message, custom_id=custom_id, values=list(values))

    async def submit(self, modal: Json | None, values: Mapping[str, str | Sequence[str]]) -> str:
        """Send a form with these values, named by label or custom id; returns and raises as `press` does.

        A field that is not named is sent as it is shown. The form stays open until the app acknowledges it.
        """
        if modal is None:
            raise Refused("No form is open.")
        answers: dict[str, str | Sequence[str]] = {field.custom_id: field.untouched() for field in fields(modal)}
        named = {name: field.custom_id for field in fields(modal) for name in (field.label, field.custom_id)}
        answers |= {named.get(name, name): value for name, value in values.items()}
        kind = str(await self._ask("submit", modal_id=modal["id"], values=answers))
        if self.modal and self.modal["id"] == modal["id"]:
            self.modal = None
        return kind

    async def dismiss(self) -> None:
        """Close the form that is open; the app never hears of it."""
        self.modal = None
        await self._send("dismiss", self._nonce())

    async def react(self, message: Json, emoji: str) -> None:
        """React to a message."""
        where = {"channel_id": message["channel_id"], "message_id": message["id"]}
        await self._send("react", self._nonce(), **where, emoji=emoji)

    def _custom_id(self, message: Json, what: str, wanted: str, called: str) -> str:
        now = self._messages.get(message["id"], message)
        usable = (item for item in walk(now["components"]) if item.get("custom_id"))
        found = next((item for item in usable if wanted in {item.get(called), item["custom_id"]}), None)
        if found is None:
            raise Refused(f"The message has no {what} {wanted}.")
        return str(found["custom_id"])

    async def _use(self, kind: str, message: Json, **frame: Any) -> str:
        where = {"channel_id": message["channel_id"], "message_id": message["id"]}
        return str(await self._ask(kind, **where, **frame))

    async def _upload(self, channel_id: str, file: File) -> str:
        address = f"{self._page_url}/uploads/{channel_id}/{quote(file.name, safe='')}"
        headers = {"Content-Type": "application/octet-stream"}
        async with self._session.post(URL(address, encoded=True), data=file.data, headers=headers) as answer:
            if answer.status != 200:
                raise Refused(await answer.text())
            return str((await answer.json())["id"])

    # --- the socket -----------------------------------------------------------------------------------------------

    def _channel_id(self, channel: str) -> str:
        places = [*self.channels, *self.threads]
        found = next((place for place in places if channel in {place["name"], place["id"]}), None)
        if found is None:
            raise Refused(f"There is no channel or thread {channel}.")
        return str(found["id"])

    def _nonce(self) -> str:
        self._count += 1
        return f"{self.me['id'][-2:]}-{id(self):x}-{self._count}"

    def _expect(self, nonce: str) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[nonce] = future
        return future

    async def _send(self, kind: str, nonce: str, **frame: Any) -> None:
        await self._socket.send_str(json.dumps({"t": kind, "nonce": nonce, **frame}))

    async def _ask(self, kind: str, **frame: Any) -> Any:
        nonce = self._nonce()
        answer = self._expect(nonce)
        try:
            await self._send(kind, nonce, **frame)
            return await asyncio.wait_for(answer, ANSWER_WAIT_S)
        finally:
            self._waiting.pop(nonce, None)

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                self._take(json.loads(message.data))
                async with self._news:
                    self._news.notify_all()
        self._ended = "The sandbox hung up."
        async with self._news:
            self._news.notify_all()

    def _take(self, frame: Json) -> None:
        kind = frame["t"]
        if kind == "hello":
            self.me, self.users, self.channels = frame["me"], frame["users"], frame["channels"]
            self.commands, self.threads = frame["commands"], frame["threads"]
            self._messages = {message["id"]: message for message in frame["messages"]}
        elif kind == "message":
            self._messages[frame["message"]["id"]] = frame["message"]
        elif kind == "thread":
            others = [thread for thread in self.threads if thread["id"] != frame["thread"]["id"]]
            self.threads = [*others, frame["thread"]]
        elif kind == "modal":
            self.modal = frame["modal"]
        elif kind == "users":
            self.users = frame["users"]
        elif kind == "delete":
            self._messages.pop(frame["id"], None)
        elif kind == "commands":
            self.commands = frame["commands"]
        elif kind == "bot":
            self.bot_online = frame["online"]
        else:
            self._settle(kind, frame)

    def _settle(self, kind: str, frame: Json) -> None:
        future = self._waiting.get(str(frame.get("nonce")))
        if future is None or future.done():
            return
        if kind == "choices":
            future.set_result(frame["choices"])
        elif kind == "answered" and frame["kind"] != "choices":
            future.set_result(frame["kind"])
        elif kind == "failed":
            future.set_exception(NoAnswer(frame["sentence"]))
        elif kind == "refused":
            future.set_exception(Refused(frame["sentence"]))
