"""What the queue promises while processes are killed: no job lost, none done twice, one end, in order."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import groupby
from pathlib import Path

import psutil
import pytest
import redis

from tasks import store
from tasks.client import Client
from tasks.embedded_redis import EmbeddedRedis
from tasks.jobs import EventKind, JobState
from tasks.settings import TaskSettings
from tests.fakes import traced
from tests.house import (
    ROOT,
    WorkerProcess,
    at_step,
    door,
    environment,
    history,
    open_gate,
    settings_in,
    train_job,
    until,
)

Hire = Callable[..., WorkerProcess]
UNDISTURBED = sum(range(1, 61))


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def settings(own_redis: EmbeddedRedis, tmp_path: Path) -> TaskSettings:
    return settings_in(tmp_path, own_redis.url)


@pytest.fixture
def hire(settings: TaskSettings) -> Iterator[Hire]:
    hired: list[WorkerProcess] = []

    def one(node: str = "gpu0") -> WorkerProcess:
        hired.append(WorkerProcess(settings, "train", node))
        return hired[-1]

    yield one
    for worker in hired:
        worker.stop()
        print(worker.log())


@pytest.fixture
async def client(settings: TaskSettings) -> AsyncIterator[Client]:
    async with door(settings) as client:
        yield client


def children(settings: TaskSettings) -> list[int]:
    """The process ids of the fake trainers, in the order in which they began."""
    return list(dict.fromkeys(pid for pid, _, _ in traced(settings.artifact_root)))


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def steps(settings: TaskSettings) -> list[int]:
    return [step for _, _, step in traced(settings.artifact_root)]


async def test_a_killed_worker_is_replaced_and_the_job_goes_on_from_its_checkpoint(
    hire: Hire, client: Client, settings: TaskSettings
) -> None:
    job = train_job("gate", epochs=3)
    worker = hire().ready()
    await client.submit(job)
    await at_step(client, job, 30)
    worker.kill()
    hire()

    async def resumed() -> bool:
        return (await client.show(job.id, job.guild_id)).attempts == 2

    await until(resumed, "the second attempt")
    open_gate(settings, job)
    view = await client.wait(job.id, job.guild_id, 20)
    assert view.state is JobState.SUCCEEDED
    assert view.report
    assert view.report.tokens == UNDISTURBED
    assert not runs(children(settings)[0])
    assert steps(settings) == list(range(1, 61))  # the first one died while it waited, right after its checkpoint
    kinds = [event.kind for event in await history(client, job)]
    assert kinds.count(EventKind.STARTED) == 2
    assert kinds.count(EventKind.REQUEUED) == 1


async def test_a_killed_trainer_is_started_again(hire: Hire, client: Client, settings: TaskSettings) -> None:
    job = train_job("gate", epochs=3)
    hire().ready()
    await client.submit(job)
    await at_step(client, job, 30)
    os.kill(children(settings)[0], signal.SIGKILL)
    open_gate(settings, job)
    view = await client.wait(job.id, job.guild_id, 20)
    assert view.report
    assert view.report.tokens == UNDISTURBED
    assert view.attempts == 2
    await history(client, job)


async def test_a_killed_redis_restarts_nothing(
    hire: Hire, client: Client, settings: TaskSettings, own_redis: EmbeddedRedis
) -> None:
    job = train_job("gate", epochs=3)
    hire().ready()
    await client.submit(job)
    await at_step(client, job, 30)
    assert own_redis.pid
    os.kill(own_redis.pid, signal.SIGKILL)
    waiting = train_job("later")
    await client.submit(waiting)  # accepted while Redis is down
    own_redis.stop()
    own_redis.start()
    open_gate(settings, job)
    view = await client.wait(job.id, job.guild_id, 20)
    assert view.report
    assert view.report.tokens == UNDISTURBED
    assert view.attempts == 1
    assert len(children(settings)) in (1, 2)  # the second is the later job's
    assert (await client.wait(waiting.id, waiting.guild_id, 20)).state is JobState.SUCCEEDED
    await history(client, job)
    await history(client, waiting)


async def test_an_emptied_redis_heals(
    hire: Hire, client: Client, settings: TaskSettings, own_redis: EmbeddedRedis
) -> None:
    running, waiting = train_job("gate", epochs=3), train_job("second")
    hire().ready()
    await client.submit(running)
    await at_step(client, running, 30)
    await client.submit(waiting)
    with redis.Redis.from_url(own_redis.url.get_secret_value()) as connection:
        connection.flushall()
    open_gate(settings, running)
    for job in (running, waiting):
        assert (await client.wait(job.id, job.guild_id, 20)).state is JobState.SUCCEEDED
        await history(client, job)
    view = await client.show(running.id, running.guild_id)
    assert view.report
    assert view.report.tokens == UNDISTURBED


async def test_a_clean_stop_gives_the_job_back_and_no_step_is_done_twice(
    hire: Hire, client: Client, settings: TaskSettings
) -> None:
    job = train_job("gate", epochs=3)
    worker = hire().ready()
    await client.submit(job)
    await at_step(client, job, 30)
    assert worker.stop() == 0
    view = await client.show(job.id, job.guild_id)
    assert (view.state, view.position) == (JobState.QUEUED, 1)
    open_gate(settings, job)
    hire()
    assert (await client.wait(job.id, job.guild_id, 20)).state is JobState.SUCCEEDED
    assert steps(settings) == list(range(1, 61))
    kinds = [event.kind for event in await history(client, job) if event.kind is not EventKind.PROGRESS]
    assert kinds == [
        EventKind.QUEUED,
        EventKind.STARTED,
        EventKind.REQUEUED,
        EventKind.STARTED,
        EventKind.SUCCEEDED,
    ]


@pytest.mark.parametrize("killed", ["worker", "trainer"])
async def test_a_kill_while_a_run_is_about_to_rest_keeps_the_wish(
    hire: Hire, client: Client, settings: TaskSettings, killed: str
) -> None:
    job = train_job("wedged", epochs=3)  # it does not hear that it should stop
    worker = hire().ready()
    await client.submit(job)
    await at_step(client, job, 30)
    assert (await client.pause(job.id, job.guild_id)).state is JobState.PAUSING
    if killed == "worker":
        worker.kill()
        hire().ready()
    else:
        os.kill(children(settings)[0], signal.SIGKILL)

    async def rests() -> bool:
        return (await client.show(job.id, job.guild_id)).state is JobState.PAUSED

    await until(rests, "the job to rest")
    other = train_job("other")
    await client.submit(other)
    assert (await client.wait(other.id, other.guild_id, 20)).state is JobState.SUCCEEDED
    assert not runs(children(settings)[0])
    view = await client.show(job.id, job.guild_id)
    assert (view.state, view.checkpoint) == (JobState.PAUSED, 30)
    open_gate(settings, job)
    await client.resume(job.id, job.guild_id)
    view = await client.wait(job.id, job.guild_id, 20)
    assert view.report
    assert view.report.tokens == UNDISTURBED
    assert [step for _, job_id, step in traced(settings.artifact_root) if job_id == job.id] == list(range(1, 61))
    kinds = [event.kind for event in await history(client, job) if event.kind is not EventKind.PROGRESS]
    assert [kind.value for kind in kinds] == [
        "queued", "started", "pausing", "paused", "resumed", "started", "succeeded",
    ]  # fmt: skip


async def test_an_emptied_redis_leaves_a_paused_run_at_rest_with_its_checkpoint(
    hire: Hire, client: Client, settings: TaskSettings, own_redis: EmbeddedRedis
) -> None:
    job = train_job("gate", epochs=3)
    hire().ready()
    await client.submit(job)
    await at_step(client, job, 30)
    await client.pause(job.id, job.guild_id)

    async def rests() -> bool:
        return (await client.show(job.id, job.guild_id)).state is JobState.PAUSED

    await until(rests, "the job to rest")
    with redis.Redis.from_url(own_redis.url.get_secret_value()) as connection:
        connection.flushall()
    other = train_job("other")
    await client.submit(other)
    assert (await client.wait(other.id, other.guild_id, 20)).state is JobState.SUCCEEDED
    await until(rests, "the job to rest again")
    open_gate(settings, job)
    await client.resume(job.id, job.guild_id)
    view = await client.wait(job.id, job.guild_id, 20)
    assert view.report
    assert view.report.tokens == UNDISTURBED
    assert [step for _, job_id, step in traced(settings.artifact_root) if job_id == job.id] == list(range(1, 61))
    await history(client, job)


async def test_a_job_whose_bell_was_lost_is_done(hire: Hire, client: Client, settings: TaskSettings) -> None:
    hire().ready()
    assert settings.redis_url
    job = train_job("unheard")
    connection = store.Store(settings.redis_url)
    connection.do(store.submit(job))  # and nobody rings
    connection.close()
    assert (await client.wait(job.id, job.guild_id, 20)).state is JobState.SUCCEEDED


async def test_two_workers_of_one_gpu_never_train_at_once(hire: Hire, client: Client, settings: TaskSettings) -> None:
    jobs = [train_job(name, epochs=2) for name in ("one", "two", "three")]
    workers = [hire("gpu0"), hire("gpu0-too")]
    for worker in workers:
        worker.ready()
    for job in jobs:
        await client.submit(job)
    for job in jobs:
        assert (await client.wait(job.id, job.guild_id, 20)).state is JobState.SUCCEEDED
    turns = [job_id for job_id, _ in groupby(traced(settings.artifact_root), key=lambda entry: entry[1])]
    assert sorted(turns) == sorted(job.id for job in jobs)  # nobody's steps lie between another's
    assert sum("begins" in worker.log() for worker in workers) == 2


async def test_a_dead_node_is_reaped_by_another(hire: Hire, client: Client, settings: TaskSettings) -> None:
    job = train_job("gate", epochs=3)
    first = hire("one").ready()
    await client.submit(job)
    await at_step(client, job, 30)
    hire("other").ready()
    first.kill()
    open_gate(settings, job)
    view = await client.wait(job.id, job.guild_id, 20)
    assert view.attempts == 2
    assert steps(settings) == list(range(1, 61))


async def test_a_second_worker_of_the_same_name_is_refused_and_disturbs_nothing(
    hire: Hire, client: Client, settings: TaskSettings
) -> None:
    job = train_job("gate")
    hire().ready()
    await client.submit(job)
    await at_step(client, job, 10)
    second = hire()
    assert second.process.wait(20) == 2
    assert second.log().splitlines()[-1].startswith("A train worker named gpu0@")
    assert "Traceback" not in second.log()
    open_gate(settings, job)
    view = await client.wait(job.id, job.guild_id, 20)
    assert (view.state, view.attempts) == (JobState.SUCCEEDED, 1)


def test_a_worker_without_a_usable_folder_says_so(settings: TaskSettings) -> None:
    env = {**environment(settings), "STATE_DIR": "/proc/nope"}
    command = [sys.executable, "-m", "celery", "-A", "tests.queue_app", "worker", "-P", "threads", "-Q", "chat"]
    asked = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=40, check=False)
    assert asked.returncode == 2
    assert asked.stderr.splitlines()[-1].startswith("/proc/nope cannot be used: ")
    assert "Traceback" not in asked.stderr


DOOR = """
import asyncio, sys
from pathlib import Path
from tasks.acceptance import Acceptance
from tests.house import train_job

async def main():
    acceptance = Acceptance(Path(sys.argv[1]))
    async def one():
        for _ in range(20):
            job = train_job("burst")
            await acceptance.accept_submit(job)
            print(job.id, flush=True)
    await asyncio.gather(*(one() for _ in range(20)))
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_what_a_killed_door_acknowledged_is_done_by_the_next(settings: TaskSettings) -> None:
    path = settings.state_dir / "door.sqlite"
    process = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", DOOR, str(path)], cwd=ROOT, env=environment(settings), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    acknowledged = [process.stdout.readline().strip() for _ in range(150)]
    process.kill()
    acknowledged += [line.strip() for line in process.stdout if len(line) == 13]
    process.stdout.close()
    process.wait()
    with sqlite3.connect(path) as ledger:
        kept = {row[0] for row in ledger.execute("SELECT job_id FROM commands")}
    assert set(acknowledged) <= kept
    async with door(settings) as client:

        async def pushed() -> bool:
            return (await client.show(acknowledged[-1], "1001")).position is not None

        await until(pushed, "the last acknowledged job in Redis")
        assert (await client.show(acknowledged[0], "1001")).position == 1
