"""Transitions of a job, script by script, on a real Redis."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis

from tasks import keys, store
from tasks.errors import RedisAway, RedisRefused
from tasks.jobs import AdapterVersion, JobState, JobView, Queue, new_job
from tasks.store import AsyncStore, Claim, Standing, Store
from tasks.timings import Timings
from tests.fakes import check_report, report
from tests.house import GUILD, ORIGIN, train_job
from training.evaluation.schema import CheckReport, CheckSpec, Suite
from training.schema import WHOLE_CAST, Machine, Phase, Problem, Progress, TrainSpec, Verdict

LOOK = Progress(phase=Phase.TRAINING, step=1)
PROBLEM = Problem(code="X", sentence="No.")


@pytest.fixture
def redis(redis_url: SecretStr) -> Iterator[Store]:
    connection = Store(redis_url)
    yield connection
    connection.close()


def claimed(redis: Store, *, node: str = "n", boot: str = "b", lease: float = 5) -> Claim:
    held = redis.do(store.claim(Queue.TRAIN, node=node, boot=boot, lease=lease))
    assert held
    return held


def shown(redis: Store, job_id: str) -> JobView:
    view = redis.do(store.show(GUILD, job_id))
    assert view
    return view


def adapter(version: int, lived: tuple[int, ...] = (), *, live: bool = False) -> AdapterVersion:
    return AdapterVersion(
        guild_id=GUILD,
        persona="olga",
        version=version,
        job_id=f"job{version}",
        base_model="standin",
        live=live,
        lived=lived,
    )


def expire(redis: Store, held: Claim) -> None:
    """Let the lease run out at once, by holding it for no time at all."""
    redis.do(store.heartbeat(held, 0))
    time.sleep(0.002)
    assert redis.do(store.reap(Queue.TRAIN, crash_limit=5)) == 1


def test_a_submit_counts_once_and_jobs_are_claimed_in_their_order(redis: Store) -> None:
    first, second = train_job("first"), train_job("second")
    assert redis.do(store.submit(first)) == (True, JobState.QUEUED)
    assert redis.do(store.submit(second)) == (True, JobState.QUEUED)
    assert redis.do(store.submit(first)) == (False, JobState.QUEUED)
    assert [shown(redis, job.id).position for job in (first, second)] == [1, 2]
    assert claimed(redis).job == first
    assert claimed(redis).job == second
    assert redis.do(store.claim(Queue.TRAIN, node="n", boot="b", lease=5)) is None


def test_a_claim_that_is_sent_twice_takes_one_job(redis: Store) -> None:
    redis.do(store.submit(train_job("first")))
    redis.do(store.submit(train_job("second")))
    call = store.claim(Queue.TRAIN, node="n", boot="b", lease=5)
    assert redis.do(call) == redis.do(call)


def test_a_reap_that_nobody_claimed_is_undone_by_the_next_heartbeat(redis: Store) -> None:
    job = train_job("a")
    redis.do(store.submit(job))
    held = claimed(redis)
    expire(redis, held)
    assert shown(redis, job.id).state is JobState.QUEUED
    assert redis.do(store.heartbeat(held, 5)) is Standing.KEPT
    assert shown(redis, job.id).state is JobState.RUNNING
    assert redis.do(store.finish(held, report(_spec(held), job.id)))


def test_whoever_lost_a_job_can_write_nothing_more(redis: Store) -> None:
    job = train_job("a")
    redis.do(store.submit(job))
    old = claimed(redis)
    expire(redis, old)
    new = claimed(redis, node="other")
    assert int(new.fence) > int(old.fence)
    assert redis.do(store.heartbeat(old, 5)) is Standing.LOST
    assert not redis.do(store.progress(old, LOOK))
    assert not redis.do(store.checkpoint(old, 3))
    assert not redis.do(store.requeue(old, crashed=True, crash_limit=1))
    assert not redis.do(store.finish(old, PROBLEM))
    assert shown(redis, job.id).state is JobState.RUNNING
    assert redis.do(store.finish(new, None))
    assert shown(redis, job.id).state is JobState.CANCELLED


def test_five_crashes_without_a_checkpoint_end_a_job_and_a_checkpoint_forgives(redis: Store) -> None:
    job = train_job("a")
    redis.do(store.submit(job))
    for _ in range(4):
        redis.do(store.requeue(claimed(redis), crashed=True, crash_limit=5))
    held = claimed(redis)
    redis.do(store.checkpoint(held, 20))
    for _ in range(2):
        redis.do(store.requeue(held, crashed=True, crash_limit=5))
        held = claimed(redis)
    redis.do(store.reap(Queue.TRAIN, crash_limit=5, node="n", boot="another boot"))
    expire(redis, claimed(redis))
    assert shown(redis, job.id).state is JobState.QUEUED
    expire(redis, claimed(redis))
    view = shown(redis, job.id)
    assert view.state is JobState.FAILED
    assert view.problem
    assert view.problem.code == "Poisoned"
    assert "5 times" in view.problem.sentence


def test_a_cancelled_job_that_crashes_is_cancelled(redis: Store) -> None:
    job = train_job("a")
    redis.do(store.submit(job))
    held = claimed(redis)
    assert redis.do(store.cancel(GUILD, job.id)) == (False, JobState.CANCELLING)
    assert redis.do(store.heartbeat(held, 5)) is Standing.CANCEL
    assert not redis.do(store.progress(held, LOOK))
    expire(redis, held)
    assert shown(redis, job.id).state is JobState.CANCELLED


def test_an_end_is_told_once(redis: Store) -> None:
    job = train_job("a")
    redis.do(store.submit(job))
    held = claimed(redis)
    assert redis.do(store.finish(held, report(_spec(held), job.id)))
    assert redis.do(store.finish(held, report(_spec(held), job.id)))
    assert redis.do(store.cancel(GUILD, job.id)) == (False, JobState.SUCCEEDED)
    assert [version.version for version in redis.do(store.versions(GUILD, "olga"))] == [1]


def test_an_end_tells_how_far_the_job_had_come(redis: Store, redis_url: SecretStr) -> None:
    redis.do(store.submit(train_job("a")))
    held = claimed(redis)
    redis.do(store.progress(held, LOOK, 5.0))
    redis.do(store.finish(held, None))
    with Redis.from_url(redis_url.get_secret_value(), decode_responses=True) as connection:
        ((_, last),) = connection.xrevrange(keys.EVENTS, count=1)
    assert last["kind"] == "cancelled"
    assert Progress.model_validate_json(last["progress"]) == LOOK


def test_the_first_version_goes_live_and_later_ones_wait(redis: Store) -> None:
    for _ in range(2):
        job = train_job("a")
        redis.do(store.submit(job))
        held = claimed(redis)
        redis.do(store.finish(held, report(_spec(held), job.id)))
        assert shown(redis, job.id).version
    assert [version.live for version in redis.do(store.versions(GUILD, "olga"))] == [True, False]
    once = store.make_live(GUILD, "olga", 2)
    assert [redis.do(once) for _ in range(2)] == [True, True]  # as a broken connection would send it
    assert redis.do(store.make_live(GUILD, "olga", 2)) is False
    assert [version.live for version in redis.do(store.versions(GUILD, "olga"))] == [False, True]
    assert redis.do(store.make_live(GUILD, "olga", 3)) is None
    assert redis.do(store.versions("2002", "olga")) == []


def test_a_run_of_the_whole_cast_registers_a_version_of_each_persona_in_one_step(redis: Store) -> None:
    alone, everybody = train_job("alone", persona="caleb"), train_job("everybody", persona=WHOLE_CAST)
    for job in (alone, everybody):
        redis.do(store.submit(job))
        held = claimed(redis)
        told = report(_spec(held), job.id)
        assert redis.do(store.finish(held, told))
        assert redis.do(store.finish(held, told))
    assert shown(redis, everybody.id).version is None
    registered = {
        persona: [(entry.job_id, entry.version, entry.live) for entry in redis.do(store.versions(GUILD, persona))]
        for persona in ("olga", "caleb", WHOLE_CAST)
    }
    assert registered == {
        "olga": [(everybody.id, 1, True)],
        "caleb": [(alone.id, 1, True), (everybody.id, 2, False)],
        WHOLE_CAST: [],
    }


def test_an_emptied_registry_gets_its_versions_back_under_their_numbers(redis: Store) -> None:
    kept = [adapter(3, (1,)), adapter(1, (0, 2)), adapter(2, (3,), live=True)]
    assert redis.do(store.restore(kept, kept)) == 3
    assert redis.do(store.restore(kept, kept)) == 0
    assert redis.do(store.versions(GUILD, "olga")) == sorted(kept, key=lambda entry: entry.version)
    job = train_job("a")
    redis.do(store.submit(job))
    held = claimed(redis)
    redis.do(store.finish(held, report(_spec(held), job.id)))
    assert shown(redis, job.id).version == 4


def test_a_number_that_was_given_anew_is_not_given_twice(redis: Store) -> None:
    job = train_job("a")
    redis.do(store.submit(job))
    held = claimed(redis)
    redis.do(store.finish(held, report(_spec(held), job.id)))
    old = adapter(1, (0,), live=True)
    assert redis.do(store.restore([old], [old])) == 1
    told = redis.do(store.versions(GUILD, "olga"))
    assert [(entry.job_id, entry.version, entry.live) for entry in told] == [(job.id, 1, False), ("job1", 2, True)]


def live(redis: Store) -> int:
    return next(entry.version for entry in redis.do(store.versions(GUILD, "olga")) if entry.live)


def test_a_rollback_goes_back_through_what_was_live_and_counts_once(redis: Store) -> None:
    for _ in range(3):
        redis.do(store.submit(train_job("a")))
        held = claimed(redis)
        redis.do(store.finish(held, report(_spec(held), held.job.id)))
    assert [redis.do(store.make_live(GUILD, "olga", version)) for version in (2, 3, 3, 2)] == [True, True, False, True]
    assert [entry.lived for entry in redis.do(store.versions(GUILD, "olga"))] == [(0,), (1, 3), (2,)]
    once = store.rollback(GUILD, "olga", 2)
    assert [redis.do(once) for _ in range(2)] == [(3, True)] * 2  # as a broken connection would send it
    assert redis.do(store.rollback(GUILD, "olga", 2)) == (3, False)
    assert live(redis) == 3
    back = [redis.do(store.rollback(GUILD, "olga", version)) for version in (3, 2, 1)]
    assert back == [(2, True), (1, True), (0, False)]
    assert live(redis) == 1


def test_a_registry_of_before_the_order_was_kept_can_be_rolled_back(redis: Store, redis_url: SecretStr) -> None:
    for _ in range(2):
        redis.do(store.submit(train_job("a")))
        held = claimed(redis)
        redis.do(store.finish(held, report(_spec(held), held.job.id)))
    with Redis.from_url(redis_url.get_secret_value()) as raw:
        raw.hdel(keys.versions(GUILD, "olga"), "lived")
    redis.do(store.make_live(GUILD, "olga", 2))
    assert redis.do(store.rollback(GUILD, "olga", 2)) == (1, True)


def test_the_order_of_what_was_live_does_not_grow_for_ever(redis: Store, redis_url: SecretStr) -> None:
    both = [adapter(1, (0,)), adapter(2, (1,), live=True)]
    redis.do(store.restore(both, both))
    for number in range(120):
        redis.do(store.make_live(GUILD, "olga", 1 + number % 2))
    with Redis.from_url(redis_url.get_secret_value()) as raw:
        assert raw.hget(keys.versions(GUILD, "olga"), "lived") == b",".join([b"job1", b"job2"] * 25)


def test_a_version_that_comes_back_late_changes_nothing_of_the_others(redis: Store) -> None:
    both = [adapter(1, (0,)), adapter(2, (1,), live=True)]
    redis.do(store.restore(both, both))
    late = adapter(3)
    assert redis.do(store.restore([late], [*both, late])) == 1
    assert redis.do(store.versions(GUILD, "olga")) == [*both, late]
    assert redis.do(store.rollback(GUILD, "olga", 2)) == (1, True)


# --- checks --------------------------------------------------------------------------------------------------------


def checked(redis: Store, spec: CheckSpec, verdict: Verdict = Verdict.PASS) -> CheckReport:
    """What a check of that spec reported that is done at once."""
    job = new_job("check", spec, ORIGIN)
    redis.do(store.submit(job))
    found = check_report(spec, job.id, verdict)
    assert redis.do(store.finish(claimed(redis), found))
    return found


def of_run(run_id: str | None = "a" * 12, **changes: Any) -> CheckSpec:
    return CheckSpec(guild_id=GUILD, persona="olga", run_id=run_id, version=1, **changes)


def test_the_newest_check_of_each_adapter_is_known_without_its_replies(redis: Store) -> None:
    checked(redis, of_run())
    newest = checked(redis, of_run(), Verdict.FAIL)
    other, base = checked(redis, of_run("b" * 12)), checked(redis, of_run(None))
    checked(redis, of_run(suite=Suite.GENERAL))
    known = redis.do(store.checks(GUILD, "olga"))
    assert {run: found.job_id for run, found in known.items()} == {
        "a" * 12: newest.job_id, "b" * 12: other.job_id, "": base.job_id,
    }  # fmt: skip
    kept = known["a" * 12]
    assert (kept.verdict, kept.lines, kept.answers, kept.losses) == (Verdict.FAIL, newest.lines, (), {})
    whole = shown(redis, newest.job_id).check
    assert whole == newest
    assert redis.do(store.checks("2002", "olga")) == {}


def test_a_check_is_recalled_unless_a_newer_one_is_known(redis: Store) -> None:
    old = check_report(of_run(), "c" * 12)
    assert redis.do(store.recall(old))
    newest = checked(redis, of_run())
    assert not redis.do(store.recall(old))
    assert redis.do(store.checks(GUILD, "olga"))["a" * 12].job_id == newest.job_id


def test_checks_are_kept_for_a_while_and_are_no_training_jobs(redis: Store, redis_url: SecretStr) -> None:
    found = checked(redis, of_run())
    assert redis.do(store.jobs(GUILD, 9)) == []
    with Redis.from_url(redis_url.get_secret_value()) as raw:
        assert 29 * 86_400 < raw.ttl(keys.record(GUILD, found.job_id)) <= 30 * 86_400
        ends = [fields for _, fields in raw.xrange(keys.EVENTS) if fields[b"kind"] == b"succeeded"]
    assert [b"check" in fields for fields in ends] == [False]  # readers look it up in the record


def test_the_stream_hears_of_progress_slowly_but_of_each_phase(redis: Store, redis_url: SecretStr) -> None:
    job = train_job("a")
    redis.do(store.submit(job))
    held = claimed(redis)
    looks = [Progress(phase=Phase.TRAINING, step=step) for step in range(5)]
    for look in [*looks, Progress(phase=Phase.SAVING, step=5)]:
        assert redis.do(store.progress(held, look, pause=60))
        view = shown(redis, job.id)
        assert view.progress == look
    with Redis.from_url(redis_url.get_secret_value()) as raw:
        entries = [fields for _, fields in raw.xrange("understudy:events")]
    told = [json.loads(fields[b"progress"])["step"] for fields in entries if fields[b"kind"] == b"progress"]
    assert told == [0, 5]
    assert [int(fields[b"seq"]) for fields in entries] == [1, 2, 3, 4]


def test_a_job_of_a_whole_day_does_not_fill_the_stream() -> None:
    clocks = Timings()
    assert clocks.lively / clocks.told + 86_400 / clocks.told_slowly < 20_000


def test_plans_are_made_for_the_weakest_machine_that_is_there(redis: Store) -> None:
    assert redis.do(store.machine()) is None
    small, large = (
        Machine(device="cuda", name=name, free_gib=gib, total_gib=gib, bf16=True)
        for name, gib in (("small", 8.0), ("large", 80.0))
    )
    redis.do(store.attend(Queue.TRAIN, "gpu0@a", small))
    redis.do(store.attend(Queue.TRAIN, "gpu0@b", large))
    redis.do(store.attend(Queue.CHAT, "chat@a"))
    assert redis.do(store.machine()) == small


def test_a_machine_is_remembered_when_its_worker_is_away(redis: Store, redis_url: SecretStr) -> None:
    card = Machine(device="cuda", name="card", free_gib=8, total_gib=8, bf16=True)
    redis.do(store.attend(Queue.TRAIN, "gpu0@a", card))
    with Redis.from_url(redis_url.get_secret_value()) as raw:
        raw.delete(keys.WORKERS)
    assert redis.do(store.machine()) == card


def test_the_bell_is_due_while_jobs_wait_and_not_too_often(redis: Store) -> None:
    assert not redis.do(store.ring_due(Queue.TRAIN, 60))
    redis.do(store.submit(train_job("a")))
    assert redis.do(store.ring_due(Queue.TRAIN, 60))
    assert not redis.do(store.ring_due(Queue.TRAIN, 60))
    assert redis.do(store.ring_due(Queue.TRAIN, 0))


async def test_many_calls_in_one_round_trip_answer_in_order(redis_url: SecretStr) -> None:
    connection = AsyncStore(redis_url)
    jobs = [train_job("burst") for _ in range(50)]
    calls = [store.submit(job) for job in jobs]
    assert await connection.do_all([*calls, calls[0]]) == [(True, JobState.QUEUED)] * 50 + [(False, JobState.QUEUED)]
    assert await connection.do_all(calls) == [(False, JobState.QUEUED)] * 50
    await connection.close()


async def test_redis_troubles_are_sentences() -> None:
    nowhere = AsyncStore(SecretStr("redis://:very-secret@127.0.0.1:1/0"))
    with pytest.raises(RedisAway, match=r"127\.0\.0\.1:1\.") as caught:
        await nowhere.do(store.guilds())
    assert "secret" not in str(caught.value)
    await nowhere.close()


async def test_a_wrong_password_is_a_sentence(redis_url: SecretStr) -> None:
    wrong = SecretStr(redis_url.get_secret_value().replace("redis://:", "redis://:no"))
    connection = AsyncStore(wrong)
    with pytest.raises(RedisRefused):
        await connection.do(store.guilds())
    await connection.close()
    await asyncio.to_thread(_refused, wrong)


def _refused(url: SecretStr) -> None:
    connection = Store(url)
    with pytest.raises(RedisRefused):
        connection.do(store.guilds())
    connection.close()


def _spec(held: Claim) -> TrainSpec:
    assert isinstance(held.job.spec, TrainSpec)
    return held.job.spec
