"""The doors' one way in, with nobody at work behind it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from tasks import keys, store
from tasks.client import Client
from tasks.embedded_redis import EmbeddedRedis
from tasks.errors import (
    JobEnded,
    NoSuchJob,
    NoSuchVersion,
    NotPaused,
    NotTraining,
    RedisAway,
    RedisNotStarted,
    WorkersAway,
)
from tasks.jobs import Event, EventKind, JobState, Queue, new_job
from tasks.settings import TaskSettings
from tests.fakes import report
from tests.house import GUILD, ORIGIN, door, history, settings_in, train_job, until
from training.schema import WHOLE_CAST, ChatSpec, Message, TaskType, TrainSpec

SAID = ChatSpec(guild_id=GUILD, persona="olga", messages=(Message(role="user", content="Hello?"),))


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


async def test_a_waiting_job_is_paused_and_resumed_and_each_wish_that_is_void_says_why(client: Client) -> None:
    job, talk = train_job("a"), new_job("chat", SAID, ORIGIN)
    for accepted in (job, talk):
        await client.submit(accepted)
    with pytest.raises(NotPaused, match=r"a is not paused \(queued\), so there is nothing to resume"):
        await client.resume(job.id, GUILD)
    for _ in range(2):
        assert (await client.pause(job.id, GUILD)).state is JobState.PAUSED
    assert (await client.resume(job.id, GUILD)).state is JobState.QUEUED
    assert (await client.pause(job.id, GUILD)).position is None
    with pytest.raises(NoSuchJob):
        await client.pause(job.id, "2002")
    with pytest.raises(NotTraining):
        await client.pause(talk.id, GUILD)
    assert (await client.cancel(job.id, GUILD)).state is JobState.CANCELLED
    for wish, said in ((client.pause, "pause"), (client.resume, "resume")):
        with pytest.raises(JobEnded, match=rf"has already ended \(cancelled\), so there is nothing to {said}"):
            await wish(job.id, GUILD)
    kinds = [event.kind.value for event in await history(client, job)]
    assert kinds == ["queued", "paused", "resumed", "paused", "cancelled"]


async def test_of_two_doors_the_later_wish_counts_though_the_first_ones_clock_is_ahead(
    client: Client, task_settings: TaskSettings, redis_url: SecretStr
) -> None:
    job = train_job("a")
    await client.submit(job)
    await client.pause(job.id, GUILD)
    connection = store.Store(redis_url)
    ahead = int((time.time() + 3600) * 1_000_000)
    connection.do(store.wish(GUILD, job.id, "pause", ahead))
    connection.close()
    async with door(task_settings, "other") as other:
        assert (await other.resume(job.id, GUILD)).state is JobState.QUEUED

        async def settled() -> bool:
            return all(command.pushed for command in await other._acceptance.unsettled())

        await until(settled, "the wish in Redis")
    await client._push_unsettled(everything=True)  # its own, older wish, once more
    assert (await client.show(job.id, GUILD)).state is JobState.QUEUED


async def test_an_emptied_redis_does_not_wake_a_paused_job(client: Client, redis_url: SecretStr) -> None:
    paused, resumed = train_job("paused"), train_job("resumed")
    for job in (paused, resumed):
        await client.submit(job)
        await client.pause(job.id, GUILD)
    await client.resume(resumed.id, GUILD)
    with redis.Redis.from_url(redis_url.get_secret_value()) as connection:
        connection.flushall()

    async def back() -> bool:
        return {view.job.id for view in await client._store.do(store.jobs(GUILD, 9))} == {paused.id, resumed.id}

    await until(back, "both jobs in Redis")
    states = [(await client.show(job.id, GUILD)).state for job in (paused, resumed)]
    assert states == [JobState.PAUSED, JobState.QUEUED]
    assert (await client.resume(paused.id, GUILD)).state is JobState.QUEUED
    with redis.Redis.from_url(redis_url.get_secret_value(), decode_responses=True) as connection:
        told = [fields["kind"] for _, fields in connection.xrange("understudy:events") if fields["id"] == paused.id]
    assert told == ["queued", "paused", "resumed"]


async def test_a_preference_job_learns_on_from_the_live_version(client: Client, redis_url: SecretStr) -> None:
    asked = TrainSpec(job_name="p", guild_id=GUILD, persona="olga", task_type=TaskType.PREFERENCE, dataset="votes")
    assert await client.learning_on(asked) == asked
    connection = store.Store(redis_url)
    jobs = [train_job("one"), train_job("two")]
    for job in jobs:
        connection.do(store.submit(job))
        held = connection.do(store.claim(Queue.TRAIN, node="n", boot="b", lease=5))
        assert held
        assert isinstance(job.spec, TrainSpec)
        connection.do(store.finish(held, report(job.spec, job.id)))
    connection.close()
    assert (await client.learning_on(asked)).start_from == jobs[0].id
    await client.make_live(GUILD, "olga", 2)
    assert (await client.learning_on(asked)).start_from == jobs[1].id
    for stays in (
        {"start_from": jobs[0].id},
        {"base_model": "another/model"},
        {"persona": WHOLE_CAST},
        {"task_type": TaskType.MIXED},
    ):
        own = asked.model_copy(update=stays)
        assert await client.learning_on(own) == own
    same_base = asked.model_copy(update={"base_model": "standin"})
    assert (await client.learning_on(same_base)).start_from == jobs[1].id


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
    with pytest.raises(NoSuchVersion, match=r"olga has no trained version here yet\. Train one first\."):
        await client.make_live(GUILD, "olga", 3)


async def test_without_workers_there_is_no_catalog_and_no_plan(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.client.AWAY_SECONDS", 0.8)
    with pytest.raises(WorkersAway, match="Nothing can be chosen from yet, since no prepare worker"):
        await client.catalog(GUILD)
    with pytest.raises(WorkersAway, match="No prepare worker has answered within 1 seconds"):
        await client.plan(TrainSpec(job_name="a", guild_id=GUILD, persona="olga"), ORIGIN, timeout=60)


async def test_a_door_accepts_and_cancels_while_redis_is_down(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server:
        kept, unwanted, rested = train_job("kept"), train_job("unwanted"), train_job("rested")
        async with door(settings_in(tmp_path, server.url)) as client:
            server.stop()
            await client.submit(kept)
            await client.submit(unwanted)
            assert (await client.show(kept.id, GUILD)).state is JobState.QUEUED
            assert (await client.cancel(unwanted.id, GUILD)).state is JobState.CANCELLING
            await client.submit(rested)
            assert (await client.pause(rested.id, GUILD)).state is JobState.PAUSING
            assert (await client.show(rested.id, GUILD)).state is JobState.PAUSED
            with pytest.raises(RedisAway):
                await client.versions(GUILD, "olga")
            server.start()
            assert (await client.wait(unwanted.id, GUILD, 10)).state is JobState.CANCELLED
            assert (await client.show(kept.id, GUILD)).position == 1

            async def pushed() -> bool:
                return all(command.pushed for command in await client._acceptance.unsettled())

            await until(pushed, "all commands in Redis")
            assert (await client.show(rested.id, GUILD)).state is JobState.PAUSED


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
