"""A bot that cannot start: one plain sentence on stderr, exit code 2, no traceback, and no token in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from sandbox.people import GUILD_ID
from sandbox.server import Sandbox
from tests.bot.house import BotProcess, ScriptedWorker, environment
from tests.conftest import settings_in


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with Sandbox(data_dir=tmp_path / "sandbox") as running:
        yield running


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


async def refused(bot: BotProcess) -> str:
    await bot.launch()
    code, said = await bot.ends()
    assert code == 2, said
    assert "Traceback" not in said
    return said


async def test_a_wrong_token(tmp_path: Path, redis_url: SecretStr, sandbox: Sandbox) -> None:
    said = await refused(bot_of(tmp_path, redis_url, sandbox, DISCORD_TOKEN="mistyped-token"))
    assert "Discord refused the token in DISCORD_TOKEN. Copy it again from the Developer Portal" in said
    assert "mistyped-token" not in said


async def test_redis_is_down(tmp_path: Path, sandbox: Sandbox) -> None:
    said = await refused(bot_of(tmp_path, SecretStr("redis://:secret-word@127.0.0.1:1/0"), sandbox))
    assert "Redis cannot be reached at 127.0.0.1:1. Start it, or correct REDIS_URL." in said
    assert "secret-word" not in said


async def test_discord_is_away(tmp_path: Path, redis_url: SecretStr, sandbox: Sandbox) -> None:
    said = await refused(bot_of(tmp_path, redis_url, sandbox, DISCORD_SANDBOX="https://127.0.0.1:1"))
    assert "https://127.0.0.1:1 could not be reached" in said


async def test_every_wrong_setting_is_named_at_once(tmp_path: Path, redis_url: SecretStr, sandbox: Sandbox) -> None:
    wrong = {
        "DISCORD_TOKEN": "two words",
        "DISCORD_GUILD_IDS": "12, here",
        "DISCORD_CARD_SECONDS": "0",
        "DISCORD_SANDBOX": "https://discord.example:443",
        "REDIS_URL": "http://nowhere",
    }
    said = await refused(bot_of(tmp_path, redis_url, sandbox, **wrong))
    for name in wrong:
        assert name in said
    assert "two words" not in said
    no_ca = await refused(bot_of(tmp_path, redis_url, sandbox, log="ca.log", DISCORD_SANDBOX_CA="/nowhere/ca.pem"))
    assert "DISCORD_SANDBOX_CA: must be the certificate file" in no_ca


async def test_a_second_bot_with_the_same_token(tmp_path: Path, redis_url: SecretStr, sandbox: Sandbox) -> None:
    async with ScriptedWorker(redis_url).working():
        first = bot_of(tmp_path, redis_url, sandbox)
        await first.start()
        try:
            said = await refused(bot_of(tmp_path, redis_url, sandbox, log="second.log"))
            assert "A bot with this token is already running on this machine" in said
            assert sandbox.token not in said
        finally:
            assert await first.stop() == 0
        assert "Traceback" not in first.log.read_text()
