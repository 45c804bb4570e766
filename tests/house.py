"""A whole queue's house for a test: settings in one folder, real Celery worker processes, and ways to wait."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import SecretStr

from tasks.client import Client
from tasks.jobs import Event, Job, JobView, Origin, new_job
from tasks.settings import TaskSettings
from tasks.timings import Timings
from training.schema import Hyperparameters, TrainSpec

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[1]
GUILD = "1001"
ORIGIN = Origin(door="cli", guild_id=GUILD)


def settings_in(folder: Path, redis_url: SecretStr) -> TaskSettings:
    """Settings with every folder under one; the shared cache stays, since a stand-in model takes a while to make."""
    return TaskSettings(
        redis_url=redis_url,
        state_dir=folder / "state",
        artifact_root=folder / "artifacts",
        dataset_warehouse=folder / "warehouse",
        base_model="standin",
    )


def environment(settings: TaskSettings) -> dict[str, str]:
    """The variables that give another process the same settings."""
    assert settings.redis_url
    return {
        **os.environ,
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "STATE_DIR": str(settings.state_dir),
        "ARTIFACT_ROOT": str(settings.artifact_root),
        "DATASET_WAREHOUSE": str(settings.dataset_warehouse),
        "CACHE_DIR": str(settings.cache_dir),
        "BASE_MODEL": settings.base_model,
        "GPU": str(settings.gpu),
        "TRAIN_PROCESSES": str(settings.train_processes),
        "UPLOAD_SOURCES": ",".join(settings.upload_sources),
        "UPLOAD_CA": str(settings.upload_ca or ""),
        "UPLOAD_MAX_MIB": str(settings.upload_max_mib),
        "UPLOAD_MAX_ROWS": str(settings.upload_max_rows),
    }


class WorkerProcess:
    """One Celery worker process; with the fakes unless `app` says otherwise."""

    def __init__(self, settings: TaskSettings, queue: str, node: str, app: str = "tests.queue_app") -> None:
        self._log = settings.state_dir / f"{node}-{time.monotonic_ns()}.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "celery", "-A", app, "worker", "-P", "threads", "-c", "1"]
        command += ["-Q", queue, "-n", f"{node}@%h", "--without-gossip", "--without-mingle"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment(settings), stdout=log, stderr=log)

    def ready(self, timeout: float = 40) -> WorkerProcess:
        """Wait for its readiness line."""
        deadline = time.monotonic() + timeout
        while "READY {" not in self.log():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)
        return self

    def log(self) -> str:
        """All it has printed."""
        return self._log.read_text()

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def stop(self, timeout: float = 20) -> int:
        """A clean stop by SIGTERM; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


async def until(look: Callable[[], Awaitable[T]], what: str, timeout: float = 20) -> T:
    """Look again and again until there is something to see."""
    deadline = time.monotonic() + timeout
    while True:
        seen = await look()
        if seen:
            return seen
        assert time.monotonic() < deadline, f"waited {timeout} s in vain for: {what}"
        await asyncio.sleep(0.02)


def train_job(name: str, *, guild_id: str = GUILD, persona: str = "olga", epochs: int = 1) -> Job:
    """A persona job; with the fake trainer its name says how it behaves."""
    spec = TrainSpec(job_name=name, guild_id=guild_id, persona=persona, hyperparameters=Hyperparameters(epochs=epochs))
    return new_job("train", spec, Origin(door="cli", guild_id=guild_id))


@asynccontextmanager
async def door(settings: TaskSettings, name: str = "door") -> AsyncIterator[Client]:
    """A started client with short clocks."""
    client = Client(settings, settings.state_dir / f"{name}.sqlite", Timings(tend=0.2))
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def history(client: Client, job: Job) -> list[Event]:
    """Every event of a job that has ended, checked: counted without a gap, and with one end, which is the last."""
    events: list[Event] = []
    async with asyncio.timeout(20):
        async for _, event in client.follow("0-0"):
            if event.job_id == job.id:
                events.append(event)
            if event.job_id == job.id and event.state.ended:
                break
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.state.ended for event in events].count(True) == 1
    return events


async def at_step(client: Client, job: Job, step: int, timeout: float = 20) -> JobView:
    """The job once it has told of that step."""

    async def look() -> JobView | None:
        view = await client.show(job.id, job.guild_id)
        return view if view.progress and view.progress.step >= step else None

    return await until(look, f"step {step} of {job.id}", timeout)


def open_gate(settings: TaskSettings, job: Job) -> None:
    """Let a job named gate go on."""
    (settings.run_dir(job.id) / "go").touch()
