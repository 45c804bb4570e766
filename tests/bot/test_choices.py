"""Choices while a member types: Discord drops what comes after 3 s, so a hung Redis must not hold them up."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import discord

from bot import choices
from bot.door import Door
from sandbox.people import GUILD_ID
from tasks import store
from tasks.client import Client
from tasks.embedded_redis import EmbeddedRedis
from tasks.store import AsyncStore
from tests.bot.house import CATALOG
from tests.conftest import settings_in

DISCORD_WAITS = 3.0


async def test_a_hung_redis_gives_no_choices_in_time(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server:
        worker = AsyncStore(server.url)
        await worker.do(store.publish(store.SHIPPED, CATALOG))
        await worker.close()
        queue = Client(settings_in(tmp_path, server.url), tmp_path / "accepted.sqlite3")
        await queue.start()
        asking: Any = SimpleNamespace(
            client=Door(queue=queue, trainer_role="Trainer", intents=discord.Intents.none()), guild_id=int(GUILD_ID)
        )
        assert [choice.value for choice in await choices.personas(asking, "glor")] == ["glordon"]
        assert server.pid
        os.kill(server.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            offered = await asyncio.gather(choices.personas(asking, ""), choices.jobs(asking, ""))
            assert time.monotonic() - began < DISCORD_WAITS
        finally:
            os.kill(server.pid, signal.SIGCONT)
            await queue.close()
        assert offered == [[], []]
