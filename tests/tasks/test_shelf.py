"""Run folders and the queue, kept in step by rounds of the train worker, without the worker."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from redis import Redis

from tasks import store
from tasks.jobs import AdapterVersion, Job, JobState, Queue
from tasks.settings import TaskSettings
from tasks.shelf import Shelf
from tasks.store import Ending, Store
from tasks.timings import Timings
from tests.fakes import check_report, report
from tests.house import GUILD, train_job
from training.evaluation.schema import CheckSpec
from training.schema import WHOLE_CAST, Problem, TrainSpec

AT_ONCE = Timings(sweep=0)


@pytest.fixture
def redis(redis_url: SecretStr) -> Iterator[Store]:
    connection = Store(redis_url)
    yield connection
    connection.close()


@pytest.fixture
def shelf(task_settings: TaskSettings) -> Shelf:
    return Shelf(task_settings, AT_ONCE)


def begun(redis: Store, settings: TaskSettings, name: str = "a", persona: str = "olga") -> Job:
    """A queued job that ran before: its folder holds a checkpoint."""
    job = train_job(name, persona=persona)
    redis.do(store.submit(job))
    run_dir = settings.run_dir(job.id)
    (run_dir / "checkpoints" / "step-000010").mkdir(parents=True)
    (run_dir / "spec.json").write_text(job.spec.model_dump_json())
    return job


def ended(redis: Store, settings: TaskSettings, ending: Ending = None, persona: str = "olga") -> Job:
    """A job that is done; with a report and an adapter unless it ended otherwise."""
    job = begun(redis, settings, persona=persona)
    held = redis.do(store.claim(Queue.TRAIN, node="n", boot="b", lease=5))
    assert held
    assert isinstance(job.spec, TrainSpec)
    if ending is None:
        ending = report(job.spec, job.id)
        (settings.run_dir(job.id) / "report.json").write_text(ending.model_dump_json())
        (settings.run_dir(job.id) / "adapter").mkdir()
    assert redis.do(store.finish(held, ending))
    return job


def has_checkpoints(settings: TaskSettings, job: Job) -> bool:
    return (settings.run_dir(job.id) / "checkpoints").exists()


def test_checkpoints_stay_while_a_job_may_go_on_and_go_with_its_end(
    redis: Store, shelf: Shelf, task_settings: TaskSettings
) -> None:
    done = [ended(redis, task_settings), ended(redis, task_settings, Problem(code="X", sentence="No."))]
    waiting, unwanted = begun(redis, task_settings, "waiting"), begun(redis, task_settings, "unwanted")
    redis.do(store.cancel(GUILD, unwanted.id))
    resting = begun(redis, task_settings, "resting")
    assert redis.do(store.wish(GUILD, resting.id, "pause", 1)) == (False, JobState.PAUSED)
    shelf(redis)
    assert [has_checkpoints(task_settings, job) for job in (*done, unwanted)] == [False] * 3
    assert [has_checkpoints(task_settings, job) for job in (waiting, resting)] == [True] * 2


def test_an_emptied_redis_gets_its_versions_back_with_the_same_one_live(
    redis: Store, shelf: Shelf, task_settings: TaskSettings, redis_url: SecretStr
) -> None:
    jobs = [ended(redis, task_settings) for _ in range(3)]
    shelf(redis)
    assert redis.do(store.make_live(GUILD, "olga", 2))
    shelf(redis)
    before = redis.do(store.versions(GUILD, "olga"))
    assert [(entry.job_id, entry.live) for entry in before] == [(job.id, job is jobs[1]) for job in jobs]
    with Redis.from_url(redis_url.get_secret_value()) as raw:
        raw.flushall()
    assert redis.do(store.versions(GUILD, "olga")) == []
    Shelf(task_settings, AT_ONCE)(redis)  # a worker that was started since
    assert redis.do(store.versions(GUILD, "olga")) == before


def test_a_run_of_the_whole_cast_gets_all_its_versions_back(
    redis: Store, shelf: Shelf, task_settings: TaskSettings, redis_url: SecretStr
) -> None:
    everybody, alone = ended(redis, task_settings, persona=WHOLE_CAST), ended(redis, task_settings)
    assert redis.do(store.make_live(GUILD, "olga", 2))
    shelf(redis)
    before = {persona: redis.do(store.versions(GUILD, persona)) for persona in ("olga", "caleb")}
    assert [entry.job_id for entry in before["olga"]] == [everybody.id, alone.id]
    assert [entry.job_id for entry in before["caleb"]] == [everybody.id]
    with Redis.from_url(redis_url.get_secret_value()) as raw:
        raw.flushall()
    Shelf(task_settings, AT_ONCE)(redis)
    assert {persona: redis.do(store.versions(GUILD, persona)) for persona in ("olga", "caleb")} == before


def test_an_emptied_redis_knows_the_last_checks_again(
    redis: Store, shelf: Shelf, task_settings: TaskSettings, redis_url: SecretStr
) -> None:
    alone, everybody = ended(redis, task_settings), ended(redis, task_settings, persona=WHOLE_CAST)
    shelf(redis)
    for job, persona, name in (
        (alone, "olga", "check.json"),
        (everybody, "olga", "check-olga.json"),
        (everybody, "caleb", "check-caleb.json"),
    ):
        spec = CheckSpec(guild_id=GUILD, persona=persona, run_id=job.id)
        (task_settings.run_dir(job.id) / name).write_text(check_report(spec, name[:-5]).model_dump_json())
    with Redis.from_url(redis_url.get_secret_value()) as raw:
        raw.flushall()
    Shelf(task_settings, AT_ONCE)(redis)
    told = {
        persona: {run: check.job_id for run, check in redis.do(store.checks(GUILD, persona)).items()}
        for persona in ("olga", "caleb")
    }
    assert told == {"olga": {alone.id: "check", everybody.id: "check-olga"}, "caleb": {everybody.id: "check-caleb"}}


def test_what_is_not_a_registered_run_changes_nothing(redis: Store, shelf: Shelf, task_settings: TaskSettings) -> None:
    job = ended(redis, task_settings)
    unregistered = begun(redis, task_settings)
    run_dir = task_settings.run_dir(unregistered.id)
    (run_dir / "report.json").write_text("{}")
    (run_dir / "adapter").mkdir()
    for name, spec in (("nothing", None), ("broken", "{")):
        folder = task_settings.run_dir(name)
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "adapter").mkdir()
        (folder / "report.json").touch()
        if spec:
            (folder / "spec.json").write_text(spec)
    (task_settings.run_dir(job.id) / "version.json").write_text("not JSON")
    shelf(redis)
    assert redis.do(store.versions(GUILD, "olga")) == [
        AdapterVersion(
            guild_id=GUILD, persona="olga", version=1, job_id=job.id, base_model="standin", live=True, lived=(0,)
        )
    ]
    assert json.loads((task_settings.run_dir(job.id) / "version.json").read_text())["version"] == 1
    assert not (run_dir / "version.json").exists()
    assert (task_settings.run_dir("broken") / "checkpoints").exists()
