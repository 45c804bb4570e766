"""The page's side: files over plain HTTP, and a websocket on which members see, say and press."""

from __future__ import annotations

import asyncio
import json
import logging
import mimetypes
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from sandbox import limits
from sandbox.commands import Misused
from sandbox.errors import Json
from sandbox.gateway import Gateway
from sandbox.interactions import Interactions
from sandbox.messages import Attachment, Message
from sandbox.people import GUILD_ID, GUILD_NAME, Channel, Member, Permission, Thread, User
from sandbox.state import World
from sandbox.wire import wire_message

logger = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
FILES = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}
# Only these are shown in place; everything else a bot uploads is a download, so that it cannot act as a page.
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FIRST_MEMBER = "Mara"
UPLOAD_TYPE = "application/octet-stream"
TOO_LARGE = f"A file may have at most {limits.FILE_BYTES // 2**20} MiB."


class Seat:
    """One open page: the member it is viewed as, and the frames on their way to it."""

    def __init__(self, member: Member, socket: web.WebSocketResponse) -> None:
        self.member = member
        self.socket = socket
        self._frames: asyncio.Queue[Json] = asyncio.Queue()

    def send(self, kind: str, /, **frame: Any) -> None:
        """Queue a frame."""
        self._frames.put_nowait({"t": kind, **frame})

    async def write(self) -> None:
        """Send queued frames until the socket is closed."""
        while True:
            frame = await self._frames.get()
            with suppress(ConnectionResetError, RuntimeError):
                await self.socket.send_str(json.dumps(frame))

    def answered(self, nonce: str, kind: str) -> None:
        """The app acknowledged."""
        self.send("answered", nonce=nonce, kind=kind)

    def suggested(self, nonce: str, choices: list[Json]) -> None:
        """The app answered an autocompletion."""
        self.send("choices", nonce=nonce, choices=choices)

    def shown(self, modal: Json) -> None:
        """The app answered with a modal."""
        self.send("modal", modal=modal)

    def failed(self, nonce: str, sentence: str) -> None:
        """The app did not acknowledge in time."""
        self.send("failed", nonce=nonce, sentence=sentence)


class Live:
    """Every open page. Refuses other hosts and origins, since a page elsewhere could reach loopback too."""

    def __init__(self, world: World, interactions: Interactions, gateway: Gateway) -> None:
        self._world = world
        self._interactions = interactions
        self._gateway = gateway
        self._seats: set[Seat] = set()
        gateway.presence_changed = self._bot_came_or_went

    def application(self) -> web.Application:
        """The web application of the page's listener."""
        app = web.Application(client_max_size=limits.FILE_BYTES + 1, middlewares=[self._guard])
        for path in FILES:
            app.router.add_get(path, self._file)
        app.router.add_get("/attachments/{id}/{name}", self._attachment)
        app.router.add_post("/uploads/{channel}/{name}", self._upload)
        app.router.add_get("/live", self._serve)
        return app

    async def close(self) -> None:
        """Hang up on every page."""
        for seat in list(self._seats):
            await seat.socket.close(code=WSCloseCode.GOING_AWAY)

    # --- plain HTTP -----------------------------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        sockname = request.transport.get_extra_info("sockname") if request.transport else None
        hosts = {f"{name}:{sockname[1]}" for name in ("127.0.0.1", "localhost")} if sockname else set()
        origin = request.headers.get("Origin")
        if request.host not in hosts or origin not in {None, *(f"http://{host}" for host in hosts)}:
            raise web.HTTPForbidden(text="The sandbox answers its own page only.")
        response: web.StreamResponse = await handler(request)
        return response

    async def _file(self, request: web.Request) -> web.StreamResponse:
        name, kind = FILES[request.path]
        headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
        return web.Response(body=(PAGE / name).read_bytes(), content_type=kind, charset="utf-8", headers=headers)

    async def _attachment(self, request: web.Request) -> web.StreamResponse:
        attachment = self._world.find_attachment(request.match_info["id"])
        if attachment is None or attachment.filename != request.match_info["name"]:
            raise web.HTTPNotFound(text="There is no such file.")
        return attachment_response(attachment)

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        """Keep the body as a file, for a command that is sent next; answers with its id."""
        channel = self._world.guild.channels.get(request.match_info["channel"])
        # A form on another site could send plain text, but no other page may send this type without asking first.
        if channel is None or request.content_type != UPLOAD_TYPE:
            raise web.HTTPBadRequest(text="The sandbox did not understand that.")
        try:
            data = await request.read()
        except web.HTTPRequestEntityTooLarge:
            data = None
        if data is None or len(data) > limits.FILE_BYTES:
            raise web.HTTPRequestEntityTooLarge(limits.FILE_BYTES, 0, text=TOO_LARGE)
        name = request.match_info["name"]
        kind = mimetypes.guess_type(name)[0] or UPLOAD_TYPE
        return web.json_response({"id": self._world.upload(channel, name, kind, data).id})

    # --- the websocket --------------------------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        member = self._world.guild.member(request.query.get("as", FIRST_MEMBER))
        if member is None or member.user.bot:
            raise web.HTTPNotFound(text="There is no such member.")
        socket = web.WebSocketResponse(timeout=1.0, heartbeat=30.0)
        await socket.prepare(request)
        seat = Seat(member, socket)
        seat.send("hello", **self._hello(member))
        seat.send("bot", online=self._gateway.online)
        self._seats.add(seat)
        writer = asyncio.create_task(seat.write())
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._obey(seat, message.data)
        finally:
            self._seats.discard(seat)
            self._interactions.dismiss(seat)
            writer.cancel()
        return socket

    def _hello(self, member: Member) -> Json:
        guild = self._world.guild
        channels = [channel for channel in guild.channels.values() if self._may(member, channel)]
        threads = [thread for thread in guild.threads.values() if self._may(member, thread)]
        said = [message for channel in (*channels, *threads) for message in self._world.messages(channel.id)]
        said.sort(key=lambda message: int(message.id))
        return {
            "me": member.user.wire(),
            "users": self._users(),
            "guild": {"id": GUILD_ID, "name": GUILD_NAME},
            "channels": [{"id": c.id, "name": c.name, "topic": c.topic} for c in channels],
            "threads": [guild.wire_channel(thread) for thread in threads],
            "commands": self._interactions.commands_for(member),
            "messages": [self._wire(m, member) for m in said if m.visible_to(member.user.id)],
        }

    def _users(self) -> list[Json]:
        guild = self._world.guild
        return [{**one.user.wire(), "roles": guild.role_names(one)} for one in guild.members.values()]

    def _wire(self, message: Message, member: Member) -> Json:
        return wire_message(message, Attachment.page_url, member.user.id)

    def _may(self, member: Member, channel: Channel, needed: Permission = Permission.VIEW_CHANNEL) -> bool:
        return needed in self._world.guild.permissions(member, channel)

    def _obey(self, seat: Seat, raw: str) -> None:
        nonce = None
        try:
            frame = json.loads(raw)
            nonce = frame.get("nonce")
            self._act(seat, frame)
        except Misused as misused:
            seat.send("refused", nonce=nonce, sentence=str(misused))
        except (ValueError, TypeError, AttributeError):
            logger.warning("The page sent a frame that makes no sense: %.200s", raw, exc_info=True)
            seat.send("refused", nonce=nonce, sentence="The sandbox did not understand that.")

    def _act(self, seat: Seat, frame: Json) -> None:
        kind = frame.get("t")
        if kind == "submit":
            return self._interactions.submit(seat, frame)
        if kind == "dismiss":
            return self._interactions.dismiss(seat)
        channel = self._world.guild.place(str(frame.get("channel_id")))
        if channel is None or not self._may(seat.member, channel):
            raise Misused("There is no such channel.")
        return self._act_in(channel, seat, frame)

    def _act_in(self, channel: Channel, seat: Seat, frame: Json) -> None:
        kind = frame.get("t")
        if kind == "say":
            self._say(seat, channel, frame)
        elif kind == "slash":
            self._interactions.slash(seat.member, channel, seat, {**frame, "focused": None})
        elif kind == "autocomplete":
            self._interactions.slash(seat.member, channel, seat, {**frame, "focused": str(frame.get("focused"))})
        elif kind == "press":
            self._interactions.press(seat.member, channel, seat, frame)
        elif kind == "choose":
            self._interactions.choose(seat.member, channel, seat, frame)
        elif kind == "react":
            self._react(seat, channel, frame)
        else:
            raise Misused("The sandbox did not understand that.")

    def _say(self, seat: Seat, channel: Channel, frame: Json) -> None:
        content = str(frame.get("content") or "").strip()
        if not content:
            raise Misused("An empty message cannot be sent.")
        if len(content) > limits.CONTENT:
            raise Misused(f"A message holds at most {limits.CONTENT:,} characters; this one has {len(content):,}.")
        if not self._may(seat.member, channel, channel.speaking):
            raise Misused("You may not send messages in this channel.")
        locked = isinstance(channel, Thread) and channel.locked
        if locked and not self._may(seat.member, channel, Permission.MANAGE_THREADS):
            raise Misused("This thread is locked.")
        nonce = frame.get("nonce")
        self._world.say(channel, seat.member.user, content, None if nonce is None else str(nonce)[: limits.NONCE])

    def _react(self, seat: Seat, channel: Channel, frame: Json) -> None:
        message = next((m for m in self._world.messages(channel.id) if m.id == str(frame.get("message_id"))), None)
        emoji = str(frame.get("emoji") or "")
        if message is None or message.only_for is not None:
            raise Misused("That message is gone.")
        if not emoji or emoji.isascii():
            raise Misused("That is no emoji.")
        self._world.react(message, seat.member.user, emoji)

    # --- what happens in the world --------------------------------------------------------------------------------

    def _each(self, channel_id: str, tell: Callable[[Seat], None]) -> None:
        channel = self._world.channel(channel_id)
        for seat in self._seats:
            if self._may(seat.member, channel):
                tell(seat)

    def message_posted(self, message: Message) -> None:
        """Show a new message to all who may see it."""

        def show(seat: Seat) -> None:
            if message.visible_to(seat.member.user.id):
                seat.send("message", message=self._wire(message, seat.member))

        self._each(message.channel_id, show)

    def message_changed(self, message: Message) -> None:
        """Show it again: pages put a message by its id."""
        self.message_posted(message)

    def message_removed(self, message: Message) -> None:
        """Take a message off the pages."""
        self._each(message.channel_id, lambda seat: seat.send("delete", channel_id=message.channel_id, id=message.id))

    def reaction_added(self, message: Message, user: User, emoji: str) -> None:
        """The changed message follows, with all its reactions."""

    def typing_started(self, channel: Channel, user: User) -> None:
        """Show who types."""
        self._each(channel.id, lambda seat: seat.send("typing", channel_id=channel.id, user=user.wire()))

    def member_joined(self, member: Member) -> None:
        """Show who is there now."""
        for seat in self._seats:
            seat.send("users", users=self._users())

    def member_changed(self, member: Member) -> None:
        """Other roles may mean other commands."""
        self.member_joined(member)
        self.commands_changed()

    def channel_changed(self, channel: Channel) -> None:
        """Other overwrites may mean other commands."""
        self.commands_changed()

    def thread_opened(self, thread: Thread) -> None:
        """Show the thread, as it is now."""
        wire = self._world.guild.wire_channel(thread)
        self._each(thread.id, lambda seat: seat.send("thread", thread=wire))

    def thread_changed(self, thread: Thread) -> None:
        """Show it again: pages put a thread by its id."""
        self.thread_opened(thread)

    def thread_joined(self, thread: Thread, user: User) -> None:
        """Show how many there are."""
        self.thread_opened(thread)

    def commands_changed(self) -> None:
        """Show each member the commands they may use."""
        for seat in self._seats:
            seat.send("commands", commands=self._interactions.commands_for(seat.member))

    def _bot_came_or_went(self, online: bool) -> None:
        for seat in self._seats:
            seat.send("bot", online=online)


def attachment_response(attachment: Attachment) -> web.Response:
    """A stored file, shown in place only if it is a picture."""
    picture = attachment.content_type in PICTURES
    headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}
    if not picture:
        headers["Content-Disposition"] = "attachment"
    kind = attachment.content_type if picture else "application/octet-stream"
    return web.Response(body=attachment.data, content_type=kind, headers=headers)
