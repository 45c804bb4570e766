"""Who is in the guild: newcomers with accounts of any age, and how the app and the page hear of them."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import discord

from sandbox.gateway import Intent
from sandbox.people import Overwrite, snowflake_of
from sandbox.server import Sandbox
from sandbox.visitor import Visitor
from tests.sandbox.app import App, Desk, running
from tests.sandbox.test_gateway import connected, eventually
from tests.sandbox.test_interactions import says

BORN = datetime(2020, 2, 29, 12, 30, tzinfo=UTC)


async def test_an_account_is_as_old_as_its_id_says(app: App, sandbox: Sandbox, mara: Visitor) -> None:
    young = sandbox.world.enrol("Young")
    old = sandbox.world.enrol("Olga", ["Trainer"], created=BORN)
    twin = sandbox.world.enrol("Twin", created=BORN)
    assert len({young.user.id, old.user.id, twin.user.id}) == 3
    assert int(old.user.id) == snowflake_of(BORN)
    await mara.until_true(lambda: {"Young", "Olga", "Twin"} <= {user["global_name"] for user in mara.users})
    async with Visitor.connect(sandbox.page_url, "Olga") as olga:
        await olga.slash("workshop", "lab", "where")
    asked = app.interactions[0].user
    assert isinstance(asked, discord.Member)
    assert (asked.created_at, [role.name for role in asked.roles]) == (BORN, ["@everyone", "Trainer"])
    assert asked.joined_at is not None
    assert discord.utils.utcnow() - asked.joined_at < timedelta(minutes=5)


async def test_the_app_hears_of_a_newcomer_only_with_the_members_intent(sandbox: Sandbox) -> None:
    async with connected(sandbox) as socket:
        await socket.identify(sandbox.token, intents=1)
        assert [(await socket.receive())["t"] for _ in range(2)] == ["READY", "GUILD_CREATE"]
        sandbox.world.enrol("Una")
        sandbox.world.set_overwrite("tavern", "1", Overwrite())
        assert (await socket.receive())["t"] == "CHANNEL_UPDATE"


async def test_with_that_intent_it_does(tmp_path: Path) -> None:
    async with (
        Sandbox(data_dir=tmp_path, privileged=Intent.GUILD_MEMBERS) as sandbox,
        running(sandbox, discord.Intents(guilds=True, members=True)) as app,
    ):
        key = int(sandbox.world.enrol("Una", ["Moderator"]).user.id)
        guild = app.channel().guild
        await eventually(lambda: guild.get_member(key))
        una = guild.get_member(key)
        assert una is not None
        assert (una.display_name, una.top_role.name, guild.member_count) == ("Una", "Moderator", 9)


async def test_twelve_members_of_different_age_press_the_same_menu(app: App, sandbox: Sandbox) -> None:
    await app.channel().send("who is it?", view=Desk(app))
    now = datetime.now(UTC)
    for number in range(12):
        sandbox.world.enrol(f"Voter{number}", created=now - timedelta(days=30 * number + 1))
    async with AsyncExitStack() as stack:
        voters = [
            await stack.enter_async_context(Visitor.connect(sandbox.page_url, f"Voter{number}")) for number in range(12)
        ]
        for number, voter in enumerate(voters):
            card = await voter.until(says("who is it?"))
            await voter.choose(card, "pick", ("elio", "glordon", "grigon")[number % 3])
        for number in range(12):
            picked = ("elio", "glordon", "grigon")[number % 3]
            await voters[0].until(says(f"voter{number} picked ['{picked}']"))
