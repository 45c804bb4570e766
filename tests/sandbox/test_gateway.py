"""The gateway: identify, heartbeats, intents, close codes, and an unmodified discord.py that resumes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import discord
import pytest

from sandbox import limits
from sandbox.gateway import Intent
from sandbox.people import BOT_ID, Overwrite, Permission
from sandbox.server import Sandbox
from sandbox.visitor import Visitor
from tests.sandbox.app import App, connector, running

UNPRIVILEGED = discord.Intents.default().value


class Socket:
    """A bare gateway connection."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def send(self, op: int, data: Any = None) -> None:
        await self.socket.send_str(json.dumps({"op": op, "d": data}))

    async def receive(self) -> dict[str, Any]:
        message = await self.socket.receive(timeout=5)
        assert message.type is aiohttp.WSMsgType.TEXT, message
        return dict(json.loads(message.data))

    async def close_code(self) -> int | None:
        while (await self.socket.receive(timeout=5)).type is aiohttp.WSMsgType.TEXT:
            pass
        return self.socket.close_code

    async def identify(self, token: str, intents: int = UNPRIVILEGED) -> None:
        await self.send(2, {"token": token, "intents": intents, "properties": {}})


@asynccontextmanager
async def connected(sandbox: Sandbox) -> AsyncIterator[Socket]:
    """A socket that has had its HELLO."""
    async with (
        aiohttp.ClientSession(connector=connector(sandbox.discord_url, sandbox.ca_path)) as session,
        session.ws_connect("wss://gateway.discord.gg/?v=10&encoding=json&compress=zlib-stream") as raw,
    ):
        socket = Socket(raw)
        hello = await socket.receive()
        assert hello["op"] == 10
        assert hello["d"]["heartbeat_interval"] > 0
        yield socket


async def eventually(condition: Callable[[], object], timeout: float = 10) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.01)


async def test_ready_comes_before_the_guild_and_heartbeats_are_acknowledged(sandbox: Sandbox) -> None:
    async with connected(sandbox) as socket:
        await socket.send(1, None)
        assert (await socket.receive())["op"] == 11
        await socket.identify(sandbox.token)
        ready, guild = await socket.receive(), await socket.receive()
        assert (ready["t"], ready["s"], ready["d"]["user"]["id"]) == ("READY", 1, BOT_ID)
        assert (guild["t"], guild["s"]) == ("GUILD_CREATE", 2)
        assert [member["user"]["id"] for member in guild["d"]["members"]] == [BOT_ID]
        assert sandbox.gateway.online


BAD_FRAMES: list[tuple[str, int]] = [
    (json.dumps({"op": 2, "d": {"token": "wrong", "intents": 1}}), 4004),
    (json.dumps({"op": 2, "d": {"token": "sandbox-token"}}), 4013),
    (json.dumps({"op": 2, "d": {"token": "sandbox-token", "intents": 1 << 40}}), 4013),
    (json.dumps({"op": 2, "d": {"token": "sandbox-token", "intents": int(Intent.MESSAGE_CONTENT)}}), 4014),
    (json.dumps({"op": 2, "d": {"token": "sandbox-token", "intents": 1, "shard": [1, 2]}}), 4010),
    (json.dumps({"op": 6, "d": {"token": "wrong", "session_id": "x", "seq": 1}}), 4004),
    (json.dumps({"op": 3, "d": {}}), 4003),
    (json.dumps({"op": 77, "d": {}}), 4001),
    ("not json", 4002),
    (json.dumps({"op": 1, "d": "x" * 5000}), 4002),
]


@pytest.mark.parametrize(("frame", "code"), BAD_FRAMES, ids=lambda value: str(value)[:40])
async def test_bad_frames_close_with_discords_codes(sandbox: Sandbox, frame: str, code: int) -> None:
    async with connected(sandbox) as socket:
        await socket.socket.send_str(frame)
        assert await socket.close_code() == code


async def test_identifying_twice_and_flooding_close(sandbox: Sandbox) -> None:
    async with connected(sandbox) as socket:
        await socket.identify(sandbox.token)
        await socket.identify(sandbox.token)
        assert await socket.close_code() == 4005
    async with connected(sandbox) as socket:
        for _ in range(limits.GATEWAY_SENDS + 1):
            await socket.send(1)
        assert await socket.close_code() == 4008


async def test_a_zombie_is_hung_up_on_and_its_session_forgotten(tmp_path: Path) -> None:
    async with Sandbox(data_dir=tmp_path, heartbeat_s=0.1) as sandbox, connected(sandbox) as socket:
        await socket.identify(sandbox.token)
        session_id = (await socket.receive())["d"]["session_id"]
        assert await socket.close_code() == 4009
        assert not sandbox.gateway.online
        async with connected(sandbox) as second:
            await second.send(6, {"token": sandbox.token, "session_id": session_id, "seq": 2})
            assert (await second.receive()) == {"op": 9, "d": False, "s": None, "t": None}


async def test_resume_replays_what_was_missed_in_order(sandbox: Sandbox, mara: Visitor) -> None:
    async with connected(sandbox) as socket:
        await socket.identify(sandbox.token)
        session_id = (await socket.receive())["d"]["session_id"]
        await socket.receive()
        sandbox.gateway.drop()
        await eventually(lambda: not sandbox.gateway.online)
    for word in ("one", "two"):
        await mara.say("workshop", word)
    async with connected(sandbox) as socket:
        await socket.send(6, {"token": sandbox.token, "session_id": session_id, "seq": 2})
        frames = [await socket.receive() for _ in range(3)]
    assert [(frame["t"], frame["s"]) for frame in frames] == [
        ("MESSAGE_CREATE", 3),
        ("MESSAGE_CREATE", 4),
        ("RESUMED", 5),
    ]


async def test_a_session_left_properly_or_too_long_ago_cannot_be_resumed(sandbox: Sandbox, mara: Visitor) -> None:
    sessions = []
    for proper in (True, False):
        async with connected(sandbox) as socket:
            await socket.identify(sandbox.token)
            sessions.append((await socket.receive())["d"]["session_id"])
            if not proper:
                sandbox.gateway.drop()
                await eventually(lambda: not sandbox.gateway.online)
    await eventually(lambda: not sandbox.gateway.online)
    sandbox.clock.advance(limits.RESUME_WINDOW_S + 1)
    await mara.say("workshop", "long after")
    for session_id in sessions:
        async with connected(sandbox) as socket:
            await socket.send(6, {"token": sandbox.token, "session_id": session_id, "seq": 2})
            assert (await socket.receive())["op"] == 9


async def test_events_follow_the_intents(sandbox: Sandbox, mara: Visitor) -> None:
    async with connected(sandbox) as socket:
        await socket.identify(sandbox.token, intents=int(Intent.GUILD_MESSAGES))
        assert (await socket.receive())["t"] == "READY"
        await mara.say("workshop", "hush")
        event = await socket.receive()
        assert (event["t"], event["d"]["content"]) == ("MESSAGE_CREATE", ""), "no GUILD_CREATE, and no content"
        await mara.react(event["d"], "👍")
        await mara.say("workshop", f"<@{BOT_ID}> hello")
        update, create = await socket.receive(), await socket.receive()
        assert (update["t"], create["d"]["content"]) == ("MESSAGE_UPDATE", f"<@{BOT_ID}> hello")


async def test_the_content_intent_shows_what_others_say(tmp_path: Path) -> None:
    intents = Intent.GUILD_MESSAGES | Intent.MESSAGE_CONTENT
    async with (
        Sandbox(data_dir=tmp_path, privileged=Intent.MESSAGE_CONTENT) as sandbox,
        Visitor.connect(sandbox.page_url) as mara,
        connected(sandbox) as socket,
    ):
        await socket.identify(sandbox.token, intents=int(intents))
        assert (await socket.receive())["d"]["application"]["flags"] == 1 << 19
        await mara.say("workshop", "in clear")
        assert (await socket.receive())["d"]["content"] == "in clear"


async def test_a_channel_that_the_bot_cannot_see_is_silent(sandbox: Sandbox, mara: Visitor) -> None:
    sandbox.world.set_overwrite("tavern", BOT_ID, Overwrite(deny=Permission.VIEW_CHANNEL))
    async with connected(sandbox) as socket:
        await socket.identify(sandbox.token, intents=int(Intent.GUILD_MESSAGES))
        await socket.receive()
        await mara.say("tavern", "psst")
        said = await mara.say("workshop", "aloud")
        assert (await socket.receive())["d"]["id"] == said["id"]


async def test_members_are_sent_on_request(sandbox: Sandbox, mara: Visitor) -> None:
    async with connected(sandbox) as socket:
        await socket.identify(sandbox.token, intents=0)
        await socket.receive()
        await socket.send(8, {"guild_id": "x", "user_ids": [mara.me["id"], "1"], "limit": 0, "nonce": "n"})
        chunk = (await socket.receive())["d"]
        assert [member["user"]["username"] for member in chunk["members"]] == ["mara"]
        assert (chunk["not_found"], chunk["nonce"]) == (["1"], "n")
        await socket.send(8, {"guild_id": "x", "query": "", "limit": 0})
        assert await socket.close_code() == 4014


# --- discord.py itself -----------------------------------------------------------------------------------------------


async def test_discord_py_says_so_when_the_token_is_wrong(sandbox: Sandbox) -> None:
    app = App(connector(sandbox.discord_url, sandbox.ca_path), discord.Intents.default())
    async with app:
        with pytest.raises(discord.LoginFailure):
            await app.start("wrong")


async def test_discord_py_says_so_when_an_intent_is_not_enabled(sandbox: Sandbox) -> None:
    with pytest.raises(discord.PrivilegedIntentsRequired):
        async with running(sandbox, discord.Intents.all()):
            pass


async def test_discord_py_resumes_after_a_broken_line_and_misses_nothing(
    app: App, sandbox: Sandbox, mara: Visitor
) -> None:
    channel, author = sandbox.world.channel(str(app.channel().id)), sandbox.world.guild.members[mara.me["id"]].user
    sandbox.gateway.drop()
    # Said before the loop runs again, so discord.py cannot be back yet.
    sandbox.world.say(channel, author, "while you were away")
    await eventually(lambda: ("resumed", None) in app.seen)
    assert [kind for kind, _ in app.seen] == ["message", "resumed"]
    assert await mara.slash("workshop", "lab", "echo", text="back") == "message"


async def test_discord_py_follows_a_request_to_reconnect(app: App, sandbox: Sandbox) -> None:
    sandbox.gateway.ask_to_reconnect()
    await eventually(lambda: ("resumed", None) in app.seen)


async def test_discord_py_identifies_anew_when_its_session_is_invalid(
    app: App, sandbox: Sandbox, mara: Visitor
) -> None:
    left = sandbox.gateway.identifies_left()
    sandbox.gateway.invalidate()
    await eventually(lambda: sandbox.gateway.identifies_left() == left - 1)
    await mara.until_true(lambda: mara.bot_online)
    assert await mara.slash("workshop", "lab", "echo", text="new") == "message"


async def test_discord_py_sees_members_reactions_and_role_changes(tmp_path: Path) -> None:
    intents = discord.Intents.default()
    intents.members = True
    async with (
        Sandbox(data_dir=tmp_path, privileged=Intent.GUILD_MEMBERS) as sandbox,
        running(sandbox, intents) as app,
        Visitor.connect(sandbox.page_url) as mara,
    ):
        guild = app.guilds[0]
        assert {member.display_name for member in guild.members} >= {"Mara", "Tariq", "Understudy"}
        nell = discord.utils.get(guild.members, name="nell")
        assert nell
        sandbox.world.set_roles("Nell", ["Trainer"])
        await eventually(lambda: [role.name for role in nell.roles] == ["@everyone", "Trainer"])
        await mara.react(await mara.say("workshop", "well?"), "🎭")
        await eventually(lambda: app.seen and app.seen[-1][0] == "reaction")
        assert app.seen[-1][1].emoji.name == "🎭"
        async with app.channel().typing():
            pass
        sandbox.world.set_overwrite("workshop", BOT_ID, Overwrite(deny=Permission.SEND_MESSAGES))
        await eventually(lambda: not app.channel().permissions_for(guild.me).send_messages)
