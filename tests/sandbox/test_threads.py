"""Threads, from a message of the app's to what members say in them, with an unmodified discord.py as the app."""

from __future__ import annotations

from typing import Any

import discord
import pytest

from sandbox.people import BOT_ID, GUILD_ID, Overwrite, Permission, Thread
from sandbox.server import Sandbox
from sandbox.visitor import Refused, Visitor
from tests.sandbox.app import App, Desk, running
from tests.sandbox.conftest import Call
from tests.sandbox.openapi import violations
from tests.sandbox.test_gateway import connected, eventually
from tests.sandbox.test_http import MESSAGES, WORKSHOP
from tests.sandbox.test_interactions import says

TAVERN = "1200000000000000021"


async def opened(app: App, name: str = "Samples") -> tuple[discord.Message, discord.Thread]:
    message = await app.channel().send("the result")
    return message, await message.create_thread(name=name, auto_archive_duration=1440)


async def test_a_thread_takes_its_messages_id_and_is_told_of(app: App, sandbox: Sandbox, mara: Visitor) -> None:
    message, thread = await opened(app)
    assert (thread.id, thread.parent, thread.owner_id) == (message.id, app.channel(), int(BOT_ID))
    assert (thread.auto_archive_duration, thread.archived, thread.me is not None) == (1440, False, True)
    await eventually(lambda: [seen for kind, seen in app.seen if kind == "thread"])
    starter = await mara.until(lambda m: m.get("thread"))
    assert (starter["id"], starter["thread"]["name"]) == (str(message.id), "Samples")
    assert starter["flags"] & 32
    assert (await mara.until_thread("Samples"))["id"] == starter["thread"]["id"] == starter["id"]
    assert (await app.channel().fetch_message(message.id)).flags.has_thread
    assert violations(sandbox.requests) == []


async def test_messages_in_a_thread_are_sent_read_edited_and_answered(
    app: App, sandbox: Sandbox, mara: Visitor
) -> None:
    message, thread = await opened(app)
    first = await thread.send("question one", view=Desk(app))
    await first.edit(content="question one, answered")
    await mara.until(says("question one, answered"))
    said = await mara.say("Samples", "well said")
    await eventually(lambda: [m for kind, m in app.seen if kind == "message" and m.channel.id == thread.id])
    history = [found async for found in thread.history(oldest_first=True)]
    assert [found.type for found in history[:2]] == [discord.MessageType.thread_starter_message, first.type]
    assert [str(found.id) for found in history[1:]] == [str(first.id), said["id"]]
    assert [found["id"] for found in mara.messages("Samples")] == [str(found.id) for found in history]
    assert [found["id"] for found in mara.messages("workshop")] == [str(message.id)]
    assert await mara.press(mara.messages("Samples")[1], "Judge") == "modal"
    assert (mara.modal or {})["channel_id"] == str(thread.id)
    await first.delete()
    await mara.until_true(lambda: len(mara.messages("Samples")) == 2)
    (shown,) = sandbox.world.guild.threads.values()
    assert (shown.message_count, shown.total_sent, set(shown.joined)) == (1, 2, {BOT_ID, mara.me["id"]})
    assert violations(sandbox.requests) == []


async def test_a_message_has_one_thread_only(app: App) -> None:
    message, _ = await opened(app)
    with pytest.raises(discord.HTTPException) as refused:
        await message.create_thread(name="Again")
    assert (refused.value.status, refused.value.code) == (400, 160004)


async def test_a_thread_without_a_message_is_announced(app: App, sandbox: Sandbox, mara: Visitor) -> None:
    thread = await app.channel().create_thread(name="Duel", type=discord.ChannelType.public_thread)
    notice = await mara.until(lambda m: m["type"] == 18)
    assert (notice["content"], notice["message_reference"]["channel_id"]) == ("Duel", str(thread.id))
    await mara.until_thread("Duel")
    assert mara.messages("Duel") == []
    with pytest.raises(discord.NotFound):
        await app.channel().create_thread(name="Secret")
    assert violations(sandbox.requests) == []


async def test_commands_in_a_thread_know_where_they_are(app: App, mara: Visitor, sandbox: Sandbox) -> None:
    _, thread = await opened(app)
    await mara.until_thread("Samples")
    await mara.slash("Samples", "lab", "where")
    answer = await mara.until(says("in Samples"))
    assert answer["channel_id"] == str(thread.id)
    channel = app.interactions[0].channel
    assert isinstance(channel, discord.Thread)
    assert (channel.id, channel.parent_id) == (thread.id, int(WORKSHOP))
    assert app.interactions[0].permissions.send_messages_in_threads
    assert violations(sandbox.requests) == []


async def test_a_webhook_speaks_in_threads_of_its_own_channel(app: App, mara: Visitor, sandbox: Sandbox) -> None:
    _, thread = await opened(app)
    webhook = await app.channel().create_webhook(name="Elio")
    spoken = await webhook.send("I am here", username="Elio Solis", thread=thread, wait=True)
    await spoken.edit(content="I moved")
    assert (await mara.until(says("I moved")))["channel_id"] == str(thread.id)
    await thread.edit(archived=True)
    for late in (spoken.edit(content="late"), spoken.delete()):
        with pytest.raises(discord.HTTPException) as shut:
            await late
        assert shut.value.code == 50083
    elsewhere = await app.channel("tavern").create_webhook(name="Grigon")
    with pytest.raises(discord.NotFound) as refused:
        await elsewhere.send("mine", thread=thread)
    assert refused.value.code == 10003
    assert violations(sandbox.requests) == []


async def test_a_thread_outlives_the_bot_that_opened_it(sandbox: Sandbox) -> None:
    async with running(sandbox) as first:
        message, thread = await opened(first)
    async with running(sandbox) as second:
        known = second.channel().get_thread(thread.id)
        assert known is not None
        assert (known.name, known.me is not None) == ("Samples", True)
        assert [one.id for one in await second.channel().guild.active_threads()] == [thread.id]
        fetched = await second.fetch_channel(thread.id)
        assert isinstance(fetched, discord.Thread)
        starter = await second.channel().fetch_message(message.id)
        assert starter.thread == fetched
    assert violations(sandbox.requests) == []


async def test_rights_in_a_thread_are_its_channels_and_its_own(app: App, sandbox: Sandbox, nell: Visitor) -> None:
    message = await app.channel().send("no thread yet")
    everyone = sandbox.world.guild.member("Nell")
    assert everyone is not None

    def deny(permission: Permission) -> None:
        for key in (BOT_ID, everyone.user.id):
            sandbox.world.set_overwrite("workshop", key, Overwrite(deny=permission))

    deny(Permission.CREATE_PUBLIC_THREADS)
    with pytest.raises(discord.Forbidden) as refused:
        await message.create_thread(name="Samples")
    assert refused.value.code == 50013
    deny(Permission.SEND_MESSAGES)
    thread = await message.create_thread(name="Samples")
    await thread.send("only the thread is open")
    await nell.until_thread("Samples")
    await nell.say("Samples", "so it is")
    deny(Permission.SEND_MESSAGES_IN_THREADS)
    with pytest.raises(discord.Forbidden):
        await thread.send("not any more")
    with pytest.raises(Refused, match="may not send"):
        await nell.say("Samples", "not any more")
    deny(Permission.VIEW_CHANNEL)
    with pytest.raises(discord.Forbidden) as refused:
        await thread.edit(name="unseen")
    assert refused.value.code == 50001
    async with Visitor.connect(sandbox.page_url, "Nell") as again:
        assert again.threads == []


async def test_the_archive_keeps_a_thread_until_somebody_writes(app: App, sandbox: Sandbox, mara: Visitor) -> None:
    _, thread = await opened(app)
    sent = await thread.send("before")
    await thread.edit(archived=True, name="Old samples")
    await eventually(lambda: ("thread update", (False, True)) in app.seen)
    with pytest.raises(discord.HTTPException) as refused:
        await sent.edit(content="after")
    assert refused.value.code == 50083
    assert (await app.channel().guild.active_threads()) == []
    await mara.until_thread("Old samples")
    await mara.say("Old samples", "and yet")
    await sent.edit(content="after")
    await thread.edit(locked=True)
    assert mara.threads[0]["thread_metadata"]["archived"] is False
    async with Visitor.connect(sandbox.page_url, "Nell") as nell:
        with pytest.raises(Refused, match="locked"):
            await nell.say("Old samples", "let me in")
    assert violations(sandbox.requests) == []


async def test_a_member_who_is_asked_in_joins_once(app: App, sandbox: Sandbox, nell: Visitor) -> None:
    _, thread = await opened(app)
    user = discord.Object(int(nell.me["id"]))
    await thread.add_user(user)
    await thread.add_user(user)
    await thread.join()
    assert [member.id for member in await thread.fetch_members()] == [int(BOT_ID), user.id]
    await nell.until_true(lambda: nell.threads and nell.threads[0]["member_count"] == 2)
    assert violations(sandbox.requests) == []


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "name"),
    ({"name": " "}, "name"),
    ({"name": "x" * 101}, "name"),
    ({"name": "x", "auto_archive_duration": 61}, "auto_archive_duration"),
    ({"name": "x", "rate_limit_per_user": 21_601}, "rate_limit_per_user"),
]


@pytest.mark.parametrize(("form", "field"), BAD)
async def test_a_bad_form_opens_no_thread(call: Call, sandbox: Sandbox, form: dict[str, Any], field: str) -> None:
    message = (await call("POST", MESSAGES, {"content": "x"})).body
    for path in (f"{MESSAGES}/{message['id']}/threads", f"/channels/{WORKSHOP}/threads"):
        answer = await call("POST", path, {**form, "type": 11})
        assert (answer.status, list(answer.body["errors"])) == (400, [field])
    assert sandbox.world.guild.threads == {}


async def test_what_cannot_hold_a_thread(call: Call) -> None:
    path = f"{MESSAGES}/{(await call('POST', MESSAGES, {'content': 'x'})).body['id']}/threads"
    answer = await call("POST", path, {"name": "x" * 100})
    assert (answer.status, answer.body["member_count"]) == (201, 1)
    thread = f"/channels/{answer.body['id']}"
    inside = (await call("POST", f"{thread}/messages", {"content": "x"})).body
    for wrong, code in (
        (f"{thread}/messages/{inside['id']}/threads", 50024),
        (f"{thread}/threads", 50024),
        (f"{thread}/webhooks", 50024),
        (f"{MESSAGES}/12/threads", 10008),
        (f"/channels/{TAVERN}/messages/{inside['id']}/threads", 10008),
    ):
        assert (await call("POST", wrong, {"name": "x"})).code == code
    assert (await call("PATCH", f"/channels/{WORKSHOP}", {"name": "x"})).status == 404
    assert (await call("PATCH", thread, {"archived": "yes"})).code == 50035
    assert (await call("GET", f"/channels/{TAVERN}/thread-members")).code == 50024


async def test_who_may_not_hear_of_a_members_joining_does_not(sandbox: Sandbox, call: Call) -> None:
    """THREAD_MEMBERS_UPDATE of others asks for GUILD_MEMBERS; the thread's own events do not."""
    async with connected(sandbox) as socket:
        await socket.identify(sandbox.token, intents=1)
        assert [(await socket.receive())["t"] for _ in range(2)] == ["READY", "GUILD_CREATE"]
        message = (await call("POST", MESSAGES, {"content": "x"})).body
        await call("POST", f"{MESSAGES}/{message['id']}/threads", {"name": "Samples"})
        world = sandbox.world
        thread = world.channel(message["id"])
        assert isinstance(thread, Thread)
        world.join_thread(thread, world.guild.members["1200000000000000003"].user)
        world.change_thread(thread, name="Renamed")
        opening, renaming = await socket.receive(), await socket.receive()
    assert (opening["t"], opening["d"]["newly_created"]) == ("THREAD_CREATE", True)
    assert (renaming["t"], renaming["d"]["name"]) == ("THREAD_UPDATE", "Renamed")
    assert opening["d"]["guild_id"] == renaming["d"]["guild_id"] == GUILD_ID
