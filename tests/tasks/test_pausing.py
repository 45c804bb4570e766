"""Pausing and resuming, transition by transition, on a real Redis: of two wishes the later one counts, for good."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from redis import Redis

from tasks import keys, store
from tasks.jobs import Job, JobState, JobView, Queue, Wish
from tasks.store import Claim, Standing, Store
from tests.fakes import report
from tests.house import GUILD, train_job
from training.schema import Phase, Progress, TrainSpec

LOOK = Progress(phase=Phase.TRAINING, step=12, total_steps=20)


@pytest.fixture
def redis(redis_url: SecretStr) -> Iterator[Store]:
    connection = Store(redis_url)
    yield connection
    connection.close()


class Wisher:
    """Makes wishes about one job, each later than the one before."""

    def __init__(self, redis: Store, job: Job) -> None:
        self._redis, self._job, self._at = redis, job, 1_000

    def __call__(self, wish: Wish) -> JobState | None:
        self._at += 1
        return self.again(wish)

    def again(self, wish: Wish, ago: int = 0) -> JobState | None:
        """The same wish once more, or one made `ago` wishes before the last."""
        _, state = self._redis.do(store.wish(GUILD, self._job.id, wish, self._at - ago))
        return state


def submitted(redis: Store, name: str = "a") -> tuple[Job, Wisher]:
    job = train_job(name)
    redis.do(store.submit(job))
    return job, Wisher(redis, job)


def claimed(redis: Store) -> Claim:
    held = redis.do(store.claim(Queue.TRAIN, node="n", boot="b", lease=5))
    assert held
    return held


def unclaimed(redis: Store) -> bool:
    return redis.do(store.claim(Queue.TRAIN, node="n", boot="b", lease=5)) is None


def shown(redis: Store, job: Job) -> JobView:
    view = redis.do(store.show(GUILD, job.id))
    assert view
    return view


def give_back(redis: Store, held: Claim, *, crashed: bool = False, limit: int = 5) -> bool:
    return redis.do(store.requeue(held, crashed=crashed, crash_limit=limit))


def reap(redis: Store) -> None:
    """What the next process of the same node finds: its predecessor held the job and is gone."""
    assert redis.do(store.reap(Queue.TRAIN, crash_limit=5, node="n", boot="another")) == 1


def kinds(url: SecretStr, job: Job) -> list[str]:
    with Redis.from_url(url.get_secret_value(), decode_responses=True) as raw:
        entries = [fields for _, fields in raw.xrange(keys.EVENTS) if fields["id"] == job.id]
    assert [int(fields["seq"]) for fields in entries] == list(range(1, len(entries) + 1))
    return [fields["kind"] for fields in entries]


def test_a_waiting_job_rests_at_once_and_goes_on_at_its_old_place(redis: Store, redis_url: SecretStr) -> None:
    first, wish = submitted(redis)
    second, _ = submitted(redis, "second")
    assert wish("pause") is JobState.PAUSED
    assert (shown(redis, first).position, shown(redis, second).position) == (None, 1)
    assert wish("resume") is JobState.QUEUED
    assert (shown(redis, first).position, shown(redis, second).position) == (1, 2)
    assert wish("pause") is JobState.PAUSED
    assert claimed(redis).job == second
    assert unclaimed(redis)
    assert kinds(redis_url, first) == ["queued", "paused", "resumed", "paused"]


def test_a_running_job_is_given_back_to_rest_and_goes_on_from_its_checkpoint(
    redis: Store, redis_url: SecretStr
) -> None:
    job, wish = submitted(redis)
    held = claimed(redis)
    assert wish("pause") is JobState.PAUSING
    assert redis.do(store.heartbeat(held, 5)) is Standing.PAUSE
    assert redis.do(store.progress(held, LOOK))
    assert redis.do(store.checkpoint(held, 12))
    assert give_back(redis, held)
    view = shown(redis, job)
    assert (view.state, view.checkpoint, view.progress, view.attempts) == (JobState.PAUSED, 12, LOOK, 0)
    assert unclaimed(redis)
    assert redis.do(store.heartbeat(held, 5)) is Standing.LOST
    assert redis.do(store.reap(Queue.TRAIN, crash_limit=5, node="n", boot="another")) == 0
    assert wish("resume") is JobState.QUEUED
    assert claimed(redis).attempts == 1
    assert kinds(redis_url, job) == ["queued", "started", "pausing", "progress", "paused", "resumed", "started"]
    with Redis.from_url(redis_url.get_secret_value(), decode_responses=True) as raw:
        paused = next(fields for _, fields in raw.xrange(keys.EVENTS) if fields["kind"] == "paused")
    assert (paused["checkpoint"], json.loads(paused["progress"])["step"]) == ("12", 12)


def test_resuming_while_the_child_still_stops_lets_it_go_on(redis: Store, redis_url: SecretStr) -> None:
    job, wish = submitted(redis)
    held = claimed(redis)
    wish("pause")
    assert redis.do(store.heartbeat(held, 5)) is Standing.PAUSE
    assert wish("resume") is JobState.RUNNING
    assert redis.do(store.heartbeat(held, 5)) is Standing.KEPT
    assert give_back(redis, held)  # it had been asked to stop already
    assert shown(redis, job).state is JobState.QUEUED
    again = claimed(redis)
    wish("pause")
    wish("resume")
    wish("pause")
    assert give_back(redis, again)
    assert shown(redis, job).state is JobState.PAUSED


def test_a_wish_counts_once_and_never_after_a_later_one(redis: Store, redis_url: SecretStr) -> None:
    job, wish = submitted(redis)
    wish("pause")
    assert wish.again("pause") is JobState.PAUSED
    wish("resume")
    assert wish.again("pause", ago=1) is JobState.QUEUED
    held = claimed(redis)
    for _ in range(3):  # as a door does that pushes its old wishes again and again
        assert wish.again("pause", ago=1) is JobState.RUNNING
        assert wish.again("resume") is JobState.RUNNING
    assert redis.do(store.heartbeat(held, 5)) is Standing.KEPT
    assert wish("resume") is JobState.RUNNING
    assert kinds(redis_url, job) == ["queued", "paused", "resumed", "started"]


def test_a_job_that_is_not_known_hears_no_wish(redis: Store) -> None:
    job = train_job("a")
    assert Wisher(redis, job)("pause") is None
    assert redis.do(store.submit(job)) == (True, JobState.QUEUED)


def test_a_job_that_was_paused_before_redis_was_emptied_rests_at_once(redis: Store, redis_url: SecretStr) -> None:
    job = train_job("a")
    assert redis.do(store.submit(job, paused_at=7)) == (True, JobState.PAUSED)
    assert redis.do(store.submit(job, paused_at=7)) == (False, JobState.PAUSED)
    assert unclaimed(redis)
    assert redis.do(store.wish(GUILD, job.id, "pause", 7)) == (False, JobState.PAUSED)
    assert redis.do(store.wish(GUILD, job.id, "resume", 8)) == (False, JobState.QUEUED)
    assert redis.do(store.submit(job, paused_at=7)) == (False, JobState.QUEUED)
    assert kinds(redis_url, job) == ["queued", "paused", "resumed"]


def test_a_crash_between_wish_and_rest_keeps_the_wish(redis: Store) -> None:
    job, wish = submitted(redis)
    held = claimed(redis)
    wish("pause")
    assert give_back(redis, held, crashed=True)
    assert shown(redis, job).state is JobState.PAUSED
    wish("resume")
    claimed(redis)
    wish("pause")
    reap(redis)
    assert shown(redis, job).state is JobState.PAUSED
    assert unclaimed(redis)
    wish("resume")
    assert claimed(redis).job == job


def test_pausing_forgives_no_crash_and_costs_none(redis: Store) -> None:
    job, wish = submitted(redis)
    for _ in range(4):
        give_back(redis, claimed(redis), crashed=True)
    for _ in range(6):
        held = claimed(redis)
        wish("pause")
        give_back(redis, held)
        assert wish("resume") is JobState.QUEUED
    held = claimed(redis)
    wish("pause")
    give_back(redis, held, crashed=True)
    view = shown(redis, job)
    assert view.problem
    assert (view.state, view.problem.code) == (JobState.FAILED, "Poisoned")


def test_a_reap_that_nobody_claimed_is_undone_though_the_job_rests(redis: Store) -> None:
    job, wish = submitted(redis)
    held = claimed(redis)
    wish("pause")
    reap(redis)
    assert redis.do(store.heartbeat(held, 5)) is Standing.PAUSE
    assert shown(redis, job).state is JobState.PAUSING
    assert give_back(redis, held)
    reaped, wish_again = submitted(redis, "reaped")
    held = claimed(redis)
    reap(redis)
    assert wish_again("pause") is JobState.PAUSED  # it had been put back, and its owner is alive after all
    assert redis.do(store.heartbeat(held, 5)) is Standing.PAUSE
    assert wish_again("resume") is JobState.RUNNING
    assert redis.do(store.heartbeat(held, 5)) is Standing.KEPT
    assert shown(redis, reaped).state is JobState.RUNNING


def test_a_job_whose_record_is_lost_keeps_no_other_from_being_taken_back(redis: Store, redis_url: SecretStr) -> None:
    """As Redis does that is told to evict what it has no room for."""
    lost, _ = submitted(redis, "lost")
    claimed(redis)
    other, _ = submitted(redis, "other")
    claimed(redis)
    with Redis.from_url(redis_url.get_secret_value()) as raw:
        assert raw.delete(keys.record(GUILD, lost.id))
    reap(redis)
    assert shown(redis, other).state is JobState.QUEUED
    assert claimed(redis).job.id == other.id


def test_whoever_lost_a_paused_job_can_write_nothing_more(redis: Store) -> None:
    job, wish = submitted(redis)
    old = claimed(redis)
    wish("pause")
    reap(redis)
    wish("resume")
    new = claimed(redis)
    assert redis.do(store.heartbeat(old, 5)) is Standing.LOST
    wish("pause")
    assert not give_back(redis, old)
    assert not redis.do(store.finish(old, report(_spec(old), job.id)))
    assert shown(redis, job).state is JobState.PAUSING
    assert give_back(redis, new)
    assert not give_back(redis, new)
    assert shown(redis, job).state is JobState.PAUSED


def test_a_run_that_finishes_before_it_stops_has_finished(redis: Store) -> None:
    job, wish = submitted(redis)
    held = claimed(redis)
    wish("pause")
    assert redis.do(store.finish(held, report(_spec(held), job.id)))
    assert shown(redis, job).state is JobState.SUCCEEDED
    assert wish("resume") is JobState.SUCCEEDED
    assert wish("pause") is JobState.SUCCEEDED


def test_cancelling_works_while_a_job_rests_or_is_about_to(redis: Store, redis_url: SecretStr) -> None:
    resting, wish = submitted(redis)
    wish("pause")
    assert redis.do(store.cancel(GUILD, resting.id)) == (False, JobState.CANCELLED)
    assert wish("resume") is JobState.CANCELLED
    stopping, wish = submitted(redis, "stopping")
    held = claimed(redis)
    wish("pause")
    assert redis.do(store.cancel(GUILD, stopping.id)) == (False, JobState.CANCELLING)
    assert wish("resume") is JobState.CANCELLING
    assert redis.do(store.heartbeat(held, 5)) is Standing.CANCEL
    assert give_back(redis, held)
    assert shown(redis, stopping).state is JobState.CANCELLED
    assert kinds(redis_url, stopping) == ["queued", "started", "pausing", "cancelling", "cancelled"]


def _spec(held: Claim) -> TrainSpec:
    assert isinstance(held.job.spec, TrainSpec)
    return held.job.spec
