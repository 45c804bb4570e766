"""The whole house as processes: sandbox Discord, Redis, the three workers and the bot, all unmodified."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

import cli
from processes import Group, Process
from sandbox.people import GUILD_ID
from sandbox.server import Sandbox
from tasks.embedded_redis import EmbeddedRedis
from tasks.settings import TaskSettings
from tests.e2e.warehouse import write_warehouse
from training.standin import ensure_standin

TOKEN = "e2e-sandbox-token"
READY_SECONDS = 90
OPERATORS_QUESTION = "What would you never trade away?"


@dataclass
class House:
    """Everything that runs, and the sandbox it runs in."""

    sandbox: Sandbox
    group: Group
    env: dict[str, str]
    artifacts: Path

    def process(self, name: str) -> Process:
        return next(process for process in self.group.processes if process.name == name)

    async def kill(self, name: str) -> None:
        """kill -9, as a crash would, and wait until the process is gone."""
        process = self.process(name)
        os.kill(process.pid, signal.SIGKILL)
        while process.running:
            await asyncio.sleep(0.01)

    async def start_again(self, name: str) -> None:
        process = self.process(name)
        process.start()
        await asyncio.to_thread(process.wait_ready, READY_SECONDS)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    folder = tmp_path_factory.mktemp("house")
    write_warehouse(folder / "warehouse")
    (folder / "questions.txt").write_text(f"{OPERATORS_QUESTION}\n", encoding="utf-8")
    # Once on a machine, and a matter of minutes: no test's deadline should have to hold it.
    await asyncio.to_thread(ensure_standin, TaskSettings().cache_dir)
    async with Sandbox(token=TOKEN, data_dir=folder / "sandbox") as sandbox:
        with EmbeddedRedis(folder / "redis") as redis, Group(folder / "logs") as group:
            env = {
                "REDIS_URL": redis.url.get_secret_value(),
                "ARTIFACT_ROOT": str(folder / "artifacts"),
                "STATE_DIR": str(folder / "state"),
                "DATASET_WAREHOUSE": str(folder / "warehouse"),
                "BASE_MODEL": "standin",
                "UPLOAD_SOURCES": f"{sandbox.discord_url}/ephemeral-attachments/",
                "UPLOAD_CA": str(sandbox.ca_path),
                "UPLOAD_MAX_MIB": "1",
                "API_KEY": "e2e-key-e2e-key-e2e-key",
                "API_PORT": "0",
                "DISCORD_TOKEN": TOKEN,
                "DISCORD_GUILD_IDS": GUILD_ID,
                "DISCORD_CARD_SECONDS": "1",
                "DISCORD_VOTE_QUESTIONS": str(folder / "questions.txt"),
                "DISCORD_SANDBOX": sandbox.discord_url,
                "DISCORD_SANDBOX_CA": str(sandbox.ca_path),
            }
            for queue in cli.Worker:
                group.start(queue, cli.worker_argv(queue), env)
            group.start("bot", [sys.executable, "-m", "bot"], env)
            for process in group.processes:
                await asyncio.to_thread(process.wait_ready, READY_SECONDS)
            yield House(sandbox, group, env, folder / "artifacts")
