"""The gateway: one websocket for each running bot process, with sessions that can be resumed."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from sandbox import limits
from sandbox.errors import Json
from sandbox.people import BOT_ID, GUILD_ID
from sandbox.state import World

logger = logging.getLogger(__name__)

RESUME_URL = "wss://gateway.discord.gg"


class Intent(IntFlag):
    """The gateway intents that decide anything here."""

    GUILDS = 1 << 0
    GUILD_MEMBERS = 1 << 1
    GUILD_PRESENCES = 1 << 8
    GUILD_MESSAGES = 1 << 9
    GUILD_MESSAGE_REACTIONS = 1 << 10
    GUILD_MESSAGE_TYPING = 1 << 11
    MESSAGE_CONTENT = 1 << 15


PRIVILEGED = Intent.GUILD_MEMBERS | Intent.GUILD_PRESENCES | Intent.MESSAGE_CONTENT
NO_INTENTS = Intent(0)
KNOWN_INTENTS = (1 << 26) - 1
# How the application shows which privileged intents it has, for apps in fewer than a hundred guilds.
APPLICATION_FLAGS = {
    Intent.GUILD_PRESENCES: 1 << 13,
    Intent.GUILD_MEMBERS: 1 << 15,
    Intent.MESSAGE_CONTENT: 1 << 19,
}


class Op(IntEnum):
    """Gateway opcodes."""

    DISPATCH = 0
    HEARTBEAT = 1
    IDENTIFY = 2
    PRESENCE = 3
    VOICE_STATE = 4
    RESUME = 6
    RECONNECT = 7
    REQUEST_MEMBERS = 8
    INVALID_SESSION = 9
    HELLO = 10
    HEARTBEAT_ACK = 11


class Close(IntEnum):
    """Gateway close codes."""

    UNKNOWN_OPCODE = 4001
    DECODE_ERROR = 4002
    NOT_AUTHENTICATED = 4003
    AUTHENTICATION_FAILED = 4004
    ALREADY_AUTHENTICATED = 4005
    RATE_LIMITED = 4008
    SESSION_TIMED_OUT = 4009
    INVALID_SHARD = 4010
    INVALID_INTENTS = 4013
    DISALLOWED_INTENTS = 4014


class Closed(Exception):
    """The gateway hangs up, with a close code."""

    def __init__(self, code: Close, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Connection:
    """One socket. Frames go out through a queue, so that whoever dispatches never waits."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        self.socket = socket
        self.session: Session | None = None
        self._transport = transport
        self._frames: asyncio.Queue[str] = asyncio.Queue()
        self._received: deque[float] = deque()

    def send(self, op: Op, data: Any = None) -> None:
        """Queue a frame that is no dispatch."""
        self.send_text(json.dumps({"op": int(op), "d": data, "s": None, "t": None}))

    def send_text(self, frame: str) -> None:
        """Queue a ready frame."""
        self._frames.put_nowait(frame)

    async def write(self) -> None:
        """Send queued frames until the socket is closed."""
        while True:
            frame = await self._frames.get()
            with suppress(ConnectionResetError, RuntimeError):
                await self.socket.send_str(frame)

    def count(self, now: float) -> None:
        """Count a received frame; raises Closed over 120 in a minute."""
        self._received.append(now)
        while self._received[0] < now - limits.GATEWAY_SENDS_S:
            self._received.popleft()
        if len(self._received) > limits.GATEWAY_SENDS:
            raise Closed(Close.RATE_LIMITED, "You are being rate limited.")

    def abort(self) -> None:
        """Cut the line without a closing handshake, as a broken network does."""
        if self._transport:
            self._transport.abort()


@dataclass
class Session:
    """What the gateway keeps of an identified bot, so that a new socket can go on where the last one stopped."""

    id: str
    intents: Intent
    sequence: int = 0
    connection: Connection | None = None
    left_at: float | None = None
    kept: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=limits.RESUME_EVENTS))

    def dispatch(self, event: str, data: Json) -> None:
        """Number an event, keep it for RESUME, and send it if a socket is there."""
        self.sequence += 1
        frame = json.dumps({"op": int(Op.DISPATCH), "t": event, "s": self.sequence, "d": data})
        self.kept.append((self.sequence, frame))
        if self.connection:
            self.connection.send_text(frame)

    def has_all_after(self, sequence: int) -> bool:
        """Whether no event after this one was dropped."""
        oldest = self.kept[0][0] if self.kept else self.sequence + 1
        return oldest - 1 <= sequence <= self.sequence


class Gateway:
    """All sessions of the one bot. `enabled` are the privileged intents that its developer switched on."""

    def __init__(self, world: World, token: str, enabled: Intent, heartbeat_s: float) -> None:
        self._world = world
        self._token = token
        self._enabled = enabled
        self._heartbeat_s = heartbeat_s
        self._sessions: dict[str, Session] = {}
        self._identified: list[float] = []
        self.presence_changed: Callable[[bool], None] = lambda _: None

    # --- what others may ask --------------------------------------------------------------------------------------

    @property
    def online(self) -> bool:
        """Whether a bot is connected."""
        return any(session.connection for session in self._sessions.values())

    @property
    def application_flags(self) -> int:
        """The application's flags, which show the privileged intents."""
        return sum(flag for intent, flag in APPLICATION_FLAGS.items() if intent in self._enabled)

    @property
    def may_list_members(self) -> bool:
        """Whether the bot may list the guild's members over HTTP."""
        return Intent.GUILD_MEMBERS in self._enabled

    @property
    def may_read_all(self) -> bool:
        """Whether the bot sees what every message says when it asks over HTTP."""
        return Intent.MESSAGE_CONTENT in self._enabled

    def identifies_left(self) -> int:
        """How many more times the bot may identify today."""
        day_ago = self._world.clock.now() - 24 * 3600
        return limits.IDENTIFIES_A_DAY - sum(moment > day_ago for moment in self._identified)

    def dispatch(self, event: str, data: Json, needs: Intent = NO_INTENTS, poorer: Json | None = None) -> None:
        """Send an event to every session whose intents ask for it; drop sessions nobody came back to.

        `poorer` is what sessions without MESSAGE_CONTENT get instead of `data`.
        """
        now = self._world.clock.now()
        for session in list(self._sessions.values()):
            if session.left_at is not None and now - session.left_at > limits.RESUME_WINDOW_S:
                del self._sessions[session.id]
            elif needs in session.intents:
                full = poorer is None or Intent.MESSAGE_CONTENT in session.intents
                session.dispatch(event, data if full or poorer is None else poorer)

    # --- faults on demand -----------------------------------------------------------------------------------------

    def drop(self) -> None:
        """Cut every socket without a word; the sessions stay resumable."""
        for connection in self._connections():
            connection.abort()

    def ask_to_reconnect(self) -> None:
        """Send op 7 to every socket."""
        for connection in self._connections():
            connection.send(Op.RECONNECT)

    def invalidate(self) -> None:
        """Forget every session, and say so with op 9."""
        connections = self._connections()
        self._sessions.clear()
        for connection in connections:
            connection.send(Op.INVALID_SESSION, data=False)

    async def close(self) -> None:
        """Hang up on every bot, as a server that goes away."""
        for connection in self._connections():
            await connection.socket.close(code=WSCloseCode.GOING_AWAY)

    def _connections(self) -> list[Connection]:
        return [session.connection for session in self._sessions.values() if session.connection]

    # --- the socket -----------------------------------------------------------------------------------------------

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one socket until either side hangs up."""
        socket = web.WebSocketResponse(timeout=1.0, compress=False)
        await socket.prepare(request)
        connection = Connection(socket, request.transport)
        writer = asyncio.create_task(connection.write())
        try:
            await self._converse(connection)
        except Closed as closed:
            logger.info("The gateway hangs up: %d %s", closed.code, closed)
            if closed.code is Close.SESSION_TIMED_OUT and connection.session:
                self._sessions.pop(connection.session.id, None)
            await socket.close(code=closed.code, message=str(closed).encode())
        finally:
            writer.cancel()
            self._leave(connection)
        return socket

    async def _converse(self, connection: Connection) -> None:
        connection.send(Op.HELLO, {"heartbeat_interval": int(self._heartbeat_s * 1000)})
        loop = asyncio.get_running_loop()
        beat_by = loop.time() + 1.5 * self._heartbeat_s
        while True:
            try:
                message = await connection.socket.receive(timeout=max(beat_by - loop.time(), 0.001))
            except TimeoutError:
                raise Closed(Close.SESSION_TIMED_OUT, "Session timed out") from None
            if message.type not in {WSMsgType.TEXT, WSMsgType.BINARY}:
                return
            connection.count(loop.time())
            op, data = self._decoded(message.data)
            if op is Op.HEARTBEAT:
                beat_by = loop.time() + 1.5 * self._heartbeat_s
                connection.send(Op.HEARTBEAT_ACK)
            else:
                self._obey(connection, op, data)

    def _decoded(self, raw: str | bytes) -> tuple[Op, Any]:
        if len(raw.encode() if isinstance(raw, str) else raw) > limits.GATEWAY_PAYLOAD_BYTES:
            raise Closed(Close.DECODE_ERROR, "Error while decoding payload.")
        try:
            frame = json.loads(raw)
            op, data = frame["op"], frame.get("d")
        except (ValueError, TypeError, KeyError):
            raise Closed(Close.DECODE_ERROR, "Error while decoding payload.") from None
        try:
            return Op(op), data
        except ValueError:
            raise Closed(Close.UNKNOWN_OPCODE, "Unknown opcode.") from None

    def _obey(self, connection: Connection, op: Op, data: Any) -> None:
        if op is Op.IDENTIFY:
            self._identify(connection, data)
        elif op is Op.RESUME:
            self._resume(connection, data)
        elif connection.session is None:
            raise Closed(Close.NOT_AUTHENTICATED, "Not authenticated.")
        elif op is Op.REQUEST_MEMBERS:
            self._send_members(connection.session, data)
        elif op in {Op.PRESENCE, Op.VOICE_STATE}:
            logger.info("The sandbox shows no presences and has no voice; op %d is left alone.", op)
        else:
            raise Closed(Close.UNKNOWN_OPCODE, "Unknown opcode.")

    def _identify(self, connection: Connection, data: Any) -> None:
        if connection.session:
            raise Closed(Close.ALREADY_AUTHENTICATED, "Already authenticated.")
        if not isinstance(data, dict) or data.get("token") != self._token:
            raise Closed(Close.AUTHENTICATION_FAILED, "Authentication failed.")
        if data.get("shard", [0, 1]) != [0, 1]:
            raise Closed(Close.INVALID_SHARD, "Invalid shard.")
        asked = data.get("intents")
        if not isinstance(asked, int) or asked & ~KNOWN_INTENTS:
            raise Closed(Close.INVALID_INTENTS, "Invalid intent(s).")
        intents = Intent(asked)
        if intents & PRIVILEGED & ~self._enabled:
            raise Closed(Close.DISALLOWED_INTENTS, "Disallowed intent(s).")
        self._identified.append(self._world.clock.now())
        session = Session(secrets.token_hex(16), intents, connection=connection)
        self._sessions[session.id] = session
        connection.session = session
        session.dispatch("READY", self._ready(session))
        if Intent.GUILDS in intents:
            session.dispatch("GUILD_CREATE", self._guild(session))
        self.presence_changed(self.online)

    def _ready(self, session: Session) -> Json:
        return {
            "v": 10,
            "user": {**self._world.bot.user.wire(), "verified": True, "mfa_enabled": False},
            "guilds": [{"id": GUILD_ID, "unavailable": True}],
            "session_id": session.id,
            "session_type": "normal",
            "resume_gateway_url": RESUME_URL,
            "application": {"id": BOT_ID, "flags": self.application_flags},
            "private_channels": [],
            "shard": [0, 1],
        }

    def _guild(self, session: Session) -> Json:
        everybody = list(self._world.guild.members.values())
        seen = everybody if Intent.GUILD_MEMBERS in session.intents else [self._world.bot]
        return self._world.guild.wire(seen)

    def _resume(self, connection: Connection, data: Any) -> None:
        if not isinstance(data, dict) or data.get("token") != self._token:
            raise Closed(Close.AUTHENTICATION_FAILED, "Authentication failed.")
        session = self._sessions.get(str(data.get("session_id")))
        sequence = data.get("seq")
        if session is None or not isinstance(sequence, int) or not session.has_all_after(sequence):
            connection.send(Op.INVALID_SESSION, data=False)
            return
        if session.connection:
            session.connection.abort()
        session.connection, session.left_at, connection.session = connection, None, session
        for number, frame in session.kept:
            if number > sequence:
                connection.send_text(frame)
        session.dispatch("RESUMED", {})
        self.presence_changed(self.online)

    def _leave(self, connection: Connection) -> None:
        session = connection.session
        if session is None or session.connection is not connection:
            return
        session.connection = None
        session.left_at = self._world.clock.now()
        # A bot that says goodbye properly does not mean to come back to this session.
        if connection.socket.close_code in {WSCloseCode.OK, WSCloseCode.GOING_AWAY}:
            self._sessions.pop(session.id, None)
        self.presence_changed(self.online)

    def _send_members(self, session: Session, data: Any) -> None:
        wanted = data.get("user_ids") or []
        wanted = [wanted] if isinstance(wanted, str | int) else wanted
        everybody = self._world.guild.members
        if wanted:
            members = [everybody[str(key)] for key in wanted if str(key) in everybody]
        elif not data.get("query") and Intent.GUILD_MEMBERS not in session.intents:
            raise Closed(Close.DISALLOWED_INTENTS, "Disallowed intent(s).")
        else:
            prefix = str(data.get("query") or "").lower()
            members = [member for member in everybody.values() if member.user.username.startswith(prefix)]
            members = members[: data.get("limit") or len(members)]
        chunk: Json = {"guild_id": GUILD_ID, "members": [member.wire_with_user() for member in members]}
        chunk |= {"chunk_index": 0, "chunk_count": 1, "not_found": [str(k) for k in wanted if str(k) not in everybody]}
        if data.get("nonce"):
            chunk["nonce"] = data["nonce"]
        session.dispatch("GUILD_MEMBERS_CHUNK", chunk)
