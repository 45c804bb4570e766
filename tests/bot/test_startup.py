"""A bot that cannot start: one plain sentence on stderr, exit code 2, no traceback, and no token in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import redis.asyncio
from pydantic import SecretStr

from sandbox.people import GUILD_ID
from sandbox.server import Sandbox
from sandbox.visitor import Visitor
from tasks import store
from tasks.embedded_redis import EmbeddedRedis
from tasks.jobs import Catalog, Queue
from tasks.store import AsyncStore
from tests.bot.house import BotProcess, environment, is_private
from tests.conftest import settings_in

pytestmark = pytest.mark.asyncio(loop_scope="module")

WRONG = {
    "DISCORD_TOKEN": "two words",
    "DISCORD_GUILD_IDS": "12, here",
    "DISCORD_CARD_SECONDS": "0",
    "DISCORD_SANDBOX": "https://discord.example:443",
    "REDIS_URL": "http://nowhere",
}
REFUSALS: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "wrong token": (
        {"DISCORD_TOKEN": "mistyped-token"},
        ("Discord refused the token in DISCORD_TOKEN. Copy it again from the Developer Portal",),
    ),
    "redis down": (
        {"REDIS_URL": "redis://:secret-word@127.0.0.1:1/0"},
        ("Redis cannot be reached at 127.0.0.1:1. Start it, or correct REDIS_URL.",),
    ),
    "discord away": ({"DISCORD_SANDBOX": "https://127.0.0.1:1"}, ("https://127.0.0.1:1 could not be reached",)),
    "every wrong setting at once": (WRONG, tuple(f"{name}: " for name in WRONG)),
    "no certificate": (
        {"DISCORD_SANDBOX_CA": "/nowhere/ca.pem"},
        ("DISCORD_SANDBOX_CA: must be the certificate file",),
    ),
    "no questions": (
        {"DISCORD_VOTE_QUESTIONS": "/nowhere/questions.txt"},
        ("DISCORD_VOTE_QUESTIONS: must be a UTF-8 text file",),
    ),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    async with Sandbox(data_dir=tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def refusals(
    sandbox: Sandbox, redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, BotProcess]:
    """Every bot that cannot start, just launched: one waits for Redis, and meanwhile the others are tested."""
    bots = {}
    for name, (changes, _) in REFUSALS.items():
        bots[name] = bot_of(tmp_path_factory.mktemp("bot"), redis_server.url, sandbox, **changes)
        await bots[name].launch()
    return bots


def bot_of(folder: Path, redis_url: SecretStr, sandbox: Sandbox, log: str = "bot.log", **changes: str) -> BotProcess:
    env = environment(
        settings_in(folder, redis_url),
        **{
            "DISCORD_TOKEN": sandbox.token,
            "DISCORD_GUILD_IDS": GUILD_ID,
            "DISCORD_SANDBOX": sandbox.discord_url,
            "DISCORD_SANDBOX_CA": str(sandbox.ca_path),
            **changes,
        },
    )
    return BotProcess(env, folder / log)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def first(
    sandbox: Sandbox,
    redis_server: EmbeddedRedis,
    refusals: dict[str, BotProcess],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[BotProcess]:
    """A bot that runs, and no worker at all."""
    async with redis.asyncio.Redis.from_url(redis_server.url.get_secret_value()) as connection:
        await connection.flushall()
    bot = bot_of(tmp_path_factory.mktemp("first"), redis_server.url, sandbox)
    await bot.start()
    yield bot
    assert await bot.stop() == 0


async def test_a_second_bot_with_the_same_token(first: BotProcess, sandbox: Sandbox) -> None:
    second = BotProcess(first.env, first.log.with_name("second.log"))
    await second.launch()
    code, said = await second.ends()
    assert code == 2
    assert "A bot with this token is already running on this machine" in said
    assert "Traceback" not in said
    assert sandbox.token not in said


async def test_what_nobody_foresaw_gets_a_reference(
    first: BotProcess, sandbox: Sandbox, redis_server: EmbeddedRedis
) -> None:
    no_slug = Catalog(personas={"No Slug": "Nobody"}, datasets={}, base_model="standin", rehearsal=True)
    publisher = AsyncStore(redis_server.url)
    await publisher.do(store.publish(store.SHIPPED, no_slug))
    await publisher.close()
    async with Visitor.connect(sandbox.page_url, "Mara") as mara:
        await mara.slash("workshop", "finetune", "start", job_name="odd", persona="Nobody")
        answer = await mara.until(lambda seen: "Something went wrong" in seen["content"])
    assert is_private(answer)
    reference = answer["content"].split()[-1]
    log = first.log.read_text()
    assert f"/finetune start failed; reference {reference}" in log
    assert "ValidationError" in log.split(reference)[1]


async def test_talk_with_no_worker_to_answer_is_refused_at_once(
    first: BotProcess, sandbox: Sandbox, redis_server: EmbeddedRedis
) -> None:
    queue = AsyncStore(redis_server.url)
    cast = Catalog(personas={"glordon": "Glordon"}, datasets={}, base_model="standin", rehearsal=True)
    await queue.do(store.publish(store.SHIPPED, cast))
    async with Visitor.connect(sandbox.page_url, "Nell") as nell:
        await nell.slash("tavern", "persona-chat", persona="glordon", message="Is anybody there?")
        answer = await nell.until(lambda seen: "No chat worker" in seen["content"])
        assert is_private(answer)
        assert not any("Is anybody there?" in seen["content"] for seen in nell.messages("tavern"))
    assert await queue.do(store.claim(Queue.CHAT, node="late@test", boot="1", lease=9)) is None
    await queue.close()


async def test_commands_leave_the_servers_that_are_no_longer_named(first: BotProcess, sandbox: Sandbox) -> None:
    assert await first.stop() == 0
    assert "/finetune" in {f"/{command['name']}" for command in synced(sandbox, "guilds/{guild_id}/")[-1]}
    everywhere = BotProcess({**first.env, "DISCORD_GUILD_IDS": ""}, first.log.with_name("everywhere.log"))
    await everywhere.start()
    assert await everywhere.stop() == 0
    names = {command["name"] for command in synced(sandbox, "")[-1]}
    assert names == {"finetune", "persona-chat", "dataset", "persona"}
    assert synced(sandbox, "guilds/{guild_id}/")[-1] == []


@pytest.mark.parametrize("name", REFUSALS)
async def test_refused_in_plain_words(name: str, refusals: dict[str, BotProcess]) -> None:
    code, said = await refusals[name].ends()
    assert code == 2, said
    for part in REFUSALS[name][1]:
        assert part in said
    for secret in ("Traceback", "mistyped-token", "secret-word", "two words"):
        assert secret not in said


def synced(sandbox: Sandbox, scope: str) -> list[Any]:
    """The command sets that the bot sent for a scope, in order."""
    template = f"/applications/{{application_id}}/{scope}commands"
    return [seen.body for seen in sandbox.requests if (seen.method, seen.template) == ("PUT", template)]
