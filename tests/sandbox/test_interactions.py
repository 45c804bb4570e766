"""Commands and buttons, from a member's press to an unmodified discord.py's answer, with Discord's deadlines."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable

import discord
import pytest

from sandbox import limits
from sandbox.people import GUILD_ID
from sandbox.server import Sandbox
from sandbox.visitor import NoAnswer, Refused, Visitor
from tests.sandbox.app import App, pinned_view, running
from tests.sandbox.conftest import Call
from tests.sandbox.openapi import violations
from tests.sandbox.test_gateway import connected, eventually
from tests.sandbox.test_http import MESSAGES


def says(content: str) -> Callable[[dict[str, object]], bool]:
    return lambda message: message["content"] == content


async def test_a_subcommand_with_options_is_answered(app: App, sandbox: Sandbox, mara: Visitor) -> None:
    assert await mara.slash("workshop", "lab", "echo", text="hi", times=2, tone="loud") == "message"
    message = await mara.until(says("HI HI"))
    assert message["author"]["username"] == "Understudy"
    assert message["interaction_metadata"]["user"]["id"] == mara.me["id"]
    assert message["interaction_metadata"]["name"] == "lab echo"
    assert violations(sandbox.requests) == []


async def test_autocomplete_knows_the_other_options(app: App, mara: Visitor) -> None:
    choices = await mara.autocomplete("workshop", "lab", "echo", focused="text", options={"text": "t", "times": 3})
    assert [choice["value"] for choice in choices] == ["beta", "times 3"]


async def test_a_members_own_client_refuses_what_discords_would(app: App, mara: Visitor, nell: Visitor) -> None:
    with pytest.raises(Refused, match="text is required"):
        await mara.slash("workshop", "lab", "echo")
    with pytest.raises(Refused, match="from 1 to 3"):
        await mara.slash("workshop", "lab", "echo", text="x", times=4)
    with pytest.raises(Refused, match="no command /nothing"):
        await mara.slash("workshop", "nothing")
    with pytest.raises(Refused, match="You may not use /held here"):
        await nell.slash("workshop", "held")
    assert "held" not in [command["name"] for command in nell.commands]
    assert await mara.slash("workshop", "held") == "message"
    with pytest.raises(Refused, match="empty"):
        await mara.say("workshop", "  ")
    with pytest.raises(Refused, match="2,000"):
        await mara.say("workshop", "x" * 2001)


async def test_a_role_opens_a_command(app: App, sandbox: Sandbox, nell: Visitor) -> None:
    sandbox.world.set_roles("Nell", ["Moderator"])
    await nell.until_true(lambda: "held" in [command["name"] for command in nell.commands])
    assert await nell.slash("workshop", "held") == "message"


async def test_a_deferral_is_filled_and_followed_up(app: App, sandbox: Sandbox, mara: Visitor, nell: Visitor) -> None:
    assert await mara.slash("workshop", "lab", "defer") == "deferred"
    waiting = await nell.until(lambda m: m["flags"] == 128)
    app.release.set()
    done = await nell.until(says("done"))
    assert (done["id"], done["flags"]) == (waiting["id"], 0)
    assert await nell.until(says("and more"))
    assert violations(sandbox.requests) == []


async def test_a_hidden_deferral_stays_hidden(
    app: App, sandbox: Sandbox, mara: Visitor, nell: Visitor, call: Call
) -> None:
    app.release.set()
    await mara.slash("workshop", "lab", "defer", quiet=True)
    more = await mara.until(says("and more"))
    done = await mara.until(says("done"))
    assert done["flags"] == more["flags"] == 64
    assert nell.messages() == []
    assert (await call("GET", MESSAGES)).body == []
    assert (await call("GET", f"{MESSAGES}/{done['id']}")).code == 10008
    async with Visitor.connect(sandbox.page_url, "Mara") as again:
        assert [message["content"] for message in again.messages("workshop")] == ["done", "and more"]


async def test_the_first_follow_up_fills_the_waiting_message(app: App, mara: Visitor) -> None:
    await mara.slash("workshop", "lab", "defer", quiet=True)
    waiting = mara.messages()[-1]
    await app.interactions[0].followup.send("filled")
    assert (await mara.until(says("filled")))["id"] == waiting["id"]
    original = await app.interactions[0].original_response()
    assert (original.content, str(original.id)) == ("filled", waiting["id"])
    await original.delete()
    await mara.until_true(lambda: not mara.messages())


async def test_three_seconds_are_all_there_is(app: App, sandbox: Sandbox, mara: Visitor) -> None:
    using = asyncio.create_task(mara.slash("workshop", "lab", "late"))
    await eventually(lambda: sandbox.interactions.waiting)
    sandbox.clock.advance(limits.ANSWER_WITHIN_S + 0.1)
    with pytest.raises(NoAnswer, match="did not respond"):
        await using
    app.release.set()
    await eventually(lambda: app.errors)
    error = app.errors[0]
    assert isinstance(error, discord.NotFound)
    assert error.code == 10062


async def test_nobody_answers_while_the_bot_is_away(sandbox: Sandbox, mara: Visitor) -> None:
    async with running(sandbox):
        pass
    using = asyncio.create_task(mara.slash("workshop", "lab", "echo", text="hi"))
    await eventually(lambda: sandbox.interactions.waiting)
    sandbox.clock.advance(limits.ANSWER_WITHIN_S + 0.1)
    with pytest.raises(NoAnswer):
        await using


async def test_a_second_answer_is_refused(app: App, mara: Visitor) -> None:
    await mara.slash("workshop", "lab", "twice")
    await eventually(lambda: app.errors)
    error = app.errors[0]
    assert isinstance(error, discord.HTTPException)
    assert (error.status, error.code) == (400, 40060)


async def test_the_token_dies_after_fifteen_minutes_but_the_bots_own_lives(
    app: App, sandbox: Sandbox, mara: Visitor
) -> None:
    await mara.slash("workshop", "lab", "defer")
    interaction = app.interactions[0]
    sandbox.clock.advance(limits.TOKEN_LIVES_S + 1)
    for late in (interaction.edit_original_response(content="x"), interaction.followup.send("x")):
        with pytest.raises(discord.HTTPException) as refused:
            await late
        assert (refused.value.status, refused.value.code) == (401, 50027)
    waiting = mara.messages()[-1]
    await app.channel().get_partial_message(int(waiting["id"])).edit(content="by the bot's own token")
    assert (await mara.until(says("by the bot's own token")))["flags"] == 0


async def test_a_button_updates_its_message(app: App, sandbox: Sandbox, mara: Visitor, nell: Visitor) -> None:
    await mara.slash("workshop", "lab", "button", number=5)
    message = await nell.until(says("press it"))
    assert await nell.press(message, "Pin") == "update"
    pinned = await mara.until(says("pinned 5"))
    assert (pinned["id"], pinned["components"]) == (message["id"], [])
    with pytest.raises(Refused, match="no button"):
        await nell.press(message, "Pin")
    assert violations(sandbox.requests) == []


async def test_a_button_outlives_the_bot_that_made_it(sandbox: Sandbox, mara: Visitor) -> None:
    async with running(sandbox) as first:
        await first.channel().send("press me later", view=pinned_view(9))
    async with running(sandbox):
        assert await mara.press(await mara.until(says("press me later")), "pin:9") == "update"
        assert await mara.until(says("pinned 9"))


async def test_only_buttons_that_a_member_sees_can_be_pressed(app: App, mara: Visitor, nell: Visitor) -> None:
    view = pinned_view(1)
    view.add_item(discord.ui.Button(label="Off", custom_id="off", disabled=True))
    await mara.slash("workshop", "lab", "defer", quiet=True)
    await app.interactions[0].edit_original_response(content="hidden", view=view)
    message = await mara.until(says("hidden"))
    with pytest.raises(Refused, match="gone"):
        await nell.press(message, "Pin")
    with pytest.raises(Refused, match="disabled"):
        await mara.press(message, "Off")


async def test_a_picture_travels_with_its_embed(app: App, sandbox: Sandbox, mara: Visitor) -> None:
    await mara.slash("workshop", "lab", "chart")
    message = await mara.until(lambda m: m["embeds"])
    assert await mara.download(message["embeds"][0]["image"]["url"]) == b"\x89PNG picture"
    (report,) = message["attachments"]
    assert (report["filename"], report["description"]) == ("report.json", "The report")
    assert await mara.download(report["url"]) == b"{}"
    assert sandbox.requests[-1].files == (("loss.png", 12), ("report.json", 2))
    assert violations(sandbox.requests) == []


async def test_discord_py_sends_reads_history_and_reacts(app: App, sandbox: Sandbox, mara: Visitor) -> None:
    channel = app.channel()
    sent = await channel.send("one", nonce=77, allowed_mentions=discord.AllowedMentions.none())
    assert (await channel.send("never", nonce=77)).id == sent.id
    await sent.edit(content="two", attachments=[discord.File(io.BytesIO(b"a"), "a.txt")])
    await sent.add_reaction("👍")
    await sent.reply("three")
    assert [message.content async for message in channel.history(limit=10)] == ["three", "two"]
    fetched = await channel.fetch_message(sent.id)
    assert fetched.reactions[0].me
    assert await fetched.attachments[0].read() == b"a"
    await sent.delete()
    webhook = await channel.create_webhook(name="Elio")
    spoken = await webhook.send("I am here", username="Elio Solis", wait=True)
    await spoken.edit(content="I moved")
    assert (await mara.until(says("I moved")))["author"]["username"] == "Elio Solis"
    assert [hook.name for hook in await channel.webhooks()] == ["Elio"]
    assert violations(sandbox.requests) == []


async def test_discord_py_waits_out_a_rate_limit(app: App, call: Call, mara: Visitor, sandbox: Sandbox) -> None:
    for number in range(5):
        await call("POST", MESSAGES, {"content": str(number)})
    sandbox.clock.advance(4.5)
    await app.channel().send("patient")
    assert await mara.until(says("patient"))
    assert [request.status for request in sandbox.requests[-2:]] == [429, 200]


async def test_two_bots_with_one_token_both_hear_and_one_answers(sandbox: Sandbox, mara: Visitor) -> None:
    async with running(sandbox) as one, running(sandbox) as two:
        await mara.slash("workshop", "lab", "echo", text="hi")
        await eventually(lambda: one.errors or two.errors)
        (error,) = one.errors + two.errors
        assert isinstance(error, discord.HTTPException)
        assert error.code == 40060


async def test_answers_must_fit_what_was_asked(sandbox: Sandbox, mara: Visitor, call: Call) -> None:
    command = {
        "name": "lab",
        "description": "Try",
        "options": [{"type": 3, "name": "o", "description": "x", "autocomplete": True}],
    }
    await call("PUT", f"/applications/1200000000000000099/guilds/{GUILD_ID}/commands", [command])
    await mara.until_true(lambda: mara.commands)
    async with connected(sandbox) as socket:
        await socket.identify(sandbox.token, intents=0)
        await socket.receive()
        using = asyncio.create_task(mara.slash("workshop", "lab"))
        data = (await socket.receive())["d"]
        path = f"/interactions/{data['id']}/{data['token']}/callback"
        follow = f"/webhooks/{data['application_id']}/{data['token']}"
        assert data["data"]["guild_id"] == GUILD_ID
        assert (await call("POST", follow, {"content": "too early"})).code == 10015
        for wrong in ({"type": 7, "data": {"content": "x"}}, {"type": 8, "data": {"choices": []}}, {"type": 1}):
            assert (await call("POST", path, wrong)).code == 50035
        assert (await call("POST", path, {"type": 4, "data": {"content": "x" * 2001}})).body["errors"]["data"][
            "content"
        ]
        assert (await call("POST", path, {"type": 4, "data": {"content": "fine"}})).status == 204
        assert await using == "message"
        asking = asyncio.create_task(mara.autocomplete("workshop", "lab", focused="o"))
        data = (await socket.receive())["d"]
        path = f"/interactions/{data['id']}/{data['token']}/callback"
        too_many = [{"name": str(n), "value": str(n)} for n in range(26)]
        assert (await call("POST", path, {"type": 8, "data": {"choices": too_many}})).code == 50035
        assert (await call("POST", path, {"type": 8, "data": {"choices": too_many[:25]}})).status == 204
        assert len(await asking) == 25
