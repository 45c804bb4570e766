"""The doors' one way in, with nobody at work behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from tasks import keys, store
from tasks.client import Client
from tasks.embedded_redis import EmbeddedRedis
from tasks.errors import JobEnded, NoSuchJob, NoSuchVersion, RedisAway, RedisNotStarted, WorkersAway
from tasks.jobs import Event, EventKind, JobState, Queue
from tasks.settings import TaskSettings
from tests.fakes import report
from tests.house import GUILD, ORIGIN, door, history, settings_in, train_job, until
from training.schema import TrainSpec


@pytest.fixture
async def client(task_settings: TaskSettings) -> AsyncIterator[Client]:
    async with door(task_settings) as client:
        yield client


async def test_an_accepted_job_waits_its_turn(client: Client) -> None:
    first, second = train_job("first"), train_job("second")
    await client.submit(first)
    await client.submit(first)
    await client.submit(second)
    assert (await client.show(second.id, GUILD)).state is JobState.QUEUED

    async def second_in_line() -> bool:
        return (await client.show(second.id, GUILD)).position == 2

    await until(second_in_line, "the second place")
    assert [view.job.id for view in await client.jobs(GUILD)] == [second.id, first.id]


async def test_cancelling_a_waiting_job_ends_it_and_cancelling_twice_is_told(client: Client) -> None:
    job = train_job("a")
    await client.submit(job)
    assert (await client.cancel(job.id, GUILD)).state is JobState.CANCELLED
    with pytest.raises(JobEnded, match="a has already ended \\(cancelled\\)"):
        await client.cancel(job.id, GUILD)
    kinds = [event.kind for event in await history(client, job)]
    assert kinds == [EventKind.QUEUED, EventKind.CANCELLED]


async def test_a_guild_sees_only_its_own(client: Client) -> None:
    job = train_job("mine")
    await client.submit(job)
    await client.draft(job)
    for asked in (client.show(job.id, "2002"), client.cancel(job.id, "2002"), client.find("2002", "mine")):
        with pytest.raises(NoSuchJob):
            await asked
    assert await client.jobs("2002") == []
    assert await client.drafted(job.id, "2002") is None
    await client.discard(job.id, "2002")
    assert await client.drafted(job.id, GUILD) == job
    assert (await client.show(job.id, GUILD)).state is JobState.QUEUED


async def test_a_job_is_found_by_id_or_as_the_newest_of_its_name(client: Client) -> None:
    older, newer = train_job("twice"), train_job("twice")
    for job in (older, newer):
        await client.submit(job)
        assert (await client.find(GUILD, "twice")).job.id == job.id
    assert (await client.find(GUILD, older.id)).job.id == older.id
    with pytest.raises(NoSuchJob, match="There is no job thrice here"):
        await client.find(GUILD, "thrice")


async def test_drafts_outlive_the_door_until_they_are_started_or_discarded(task_settings: TaskSettings) -> None:
    started, discarded = train_job("started"), train_job("discarded")
    async with door(task_settings) as client:
        await client.draft(started)
        await client.draft(discarded)
    async with door(task_settings) as client:
        assert await client.drafted(started.id, GUILD) == started
        await client.submit(started)
        await client.discard(discarded.id, GUILD)
        assert await client.drafted(started.id, GUILD) is None
        assert await client.drafted(discarded.id, GUILD) is None


async def test_an_entry_that_no_one_can_read_holds_up_nobody(client: Client, redis_url: SecretStr) -> None:
    job = train_job("a")
    with redis.Redis.from_url(redis_url.get_secret_value()) as connection:
        for fields in ({"guild": GUILD}, {"nothing": "known"}):
            connection.xadd("understudy:events", fields)
        await client.submit(job)
        await client.cancel(job.id, GUILD)
        broken = {**connection.xrange("understudy:events")[-1][1], b"kind": b"never heard of"}
        connection.xadd("understudy:events", broken)
        connection.hset(keys.record(GUILD, "other"), "job", "{}")
        connection.xadd("understudy:events", {"guild": GUILD, "id": "other", "kind": "queued"})
        after = train_job("after")
        await client.submit(after)
        async with asyncio.timeout(10):
            heard = [event.job_id async for _, event in until_heard(client, after.id, JobState.QUEUED)]
    assert heard == [job.id, job.id, after.id]


async def test_a_door_that_was_away_too_long_still_hears_how_each_job_ended(
    client: Client, redis_url: SecretStr, task_settings: TaskSettings
) -> None:
    before, missed, waiting = train_job("before"), train_job("missed"), train_job("waiting")
    connection = store.Store(redis_url)
    for job in (before, missed):
        connection.do(store.submit(job))
        held = connection.do(store.claim(Queue.TRAIN, node="n", boot="b", lease=5))
        assert held
        assert isinstance(job.spec, TrainSpec)
        connection.do(store.finish(held, report(job.spec, job.id)))
    heard = [(cursor, event) async for cursor, event in until_heard(client, missed.id, JobState.SUCCEEDED)]
    seen = next(cursor for cursor, event in heard if event.job_id == before.id and event.state.ended)
    connection.do(store.submit(waiting))
    connection.close()
    with redis.Redis.from_url(redis_url.get_secret_value()) as raw:
        raw.xtrim("understudy:events", maxlen=1, approximate=False)
    async with asyncio.timeout(10):
        after = [told async for told in until_heard(client, waiting.id, JobState.QUEUED, after=seen)]
    assert [(event.job_id, event.kind) for _, event in after] == [
        (missed.id, EventKind.SUCCEEDED),
        (waiting.id, EventKind.QUEUED),
    ]
    assert after[0] == heard[-1]  # told once more, word for word, under its old cursor


async def until_heard(
    client: Client, job_id: str, state: JobState, after: str = "0-0"
) -> AsyncIterator[tuple[str, Event]]:
    async for cursor, event in client.follow(after):
        yield cursor, event
        if (event.job_id, event.state) == (job_id, state):
            return


async def test_unknown_versions_are_told_with_the_choices(client: Client) -> None:
    with pytest.raises(NoSuchVersion, match=r"olga has no version 3 here\. .*none is trained yet"):
        await client.make_live(GUILD, "olga", 3)


async def test_without_workers_there_is_no_catalog_and_no_plan(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.client.AWAY_SECONDS", 0.8)
    with pytest.raises(WorkersAway, match="Nothing can be chosen from yet, since no prepare worker"):
        await client.catalog(GUILD)
    with pytest.raises(WorkersAway, match="No prepare worker has answered within 1 seconds"):
        await client.plan(TrainSpec(job_name="a", guild_id=GUILD, persona="olga"), ORIGIN, timeout=60)


async def test_a_door_accepts_and_cancels_while_redis_is_down(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server:
        kept, unwanted = train_job("kept"), train_job("unwanted")
        async with door(settings_in(tmp_path, server.url)) as client:
            server.stop()
            await client.submit(kept)
            await client.submit(unwanted)
            assert (await client.show(kept.id, GUILD)).state is JobState.QUEUED
            assert (await client.cancel(unwanted.id, GUILD)).state is JobState.CANCELLING
            with pytest.raises(RedisAway):
                await client.versions(GUILD, "olga")
            server.start()
            assert (await client.wait(unwanted.id, GUILD, 10)).state is JobState.CANCELLED
            assert (await client.show(kept.id, GUILD)).position == 1


async def test_no_redis_at_start_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.client.START_SECONDS", 0.2)
    with pytest.raises(RedisAway, match=r"Redis cannot be reached at 127\.0\.0\.1:1\. Start it, or correct REDIS_URL"):
        await Client(settings_in(tmp_path, SecretStr("redis://127.0.0.1:1/0")), tmp_path / "a.sqlite").start()
    nothing = settings_in(tmp_path, SecretStr("redis://x")).model_copy(update={"redis_url": None})
    with pytest.raises(RedisNotStarted, match="understudy up"):
        await Client(nothing, tmp_path / "a.sqlite").start()
    assert not (tmp_path / "a.sqlite").exists()


def test_every_job_has_a_queue() -> None:
    assert train_job("a").queue is Queue.TRAIN
