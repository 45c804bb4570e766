"""Checks, rollbacks and replies that someone waits for, with real workers over a Redis of their own."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from pydantic import SecretStr, ValidationError

from tasks.api import Door, make_app
from tasks.child import Assignment
from tasks.client import Client
from tasks.embedded_redis import EmbeddedRedis
from tasks.errors import (
    ChatRefused,
    NoSuchJob,
    NoSuchVersion,
    NothingBefore,
    NothingToCompare,
    NotTraining,
    WorkersAway,
)
from tasks.jobs import AdapterVersion, Event, EventKind, Job, JobState, Origin, new_job
from tasks.settings import TaskSettings
from tasks.worker import Supervisor
from tests.fakes import QUESTIONS, traced
from tests.house import GUILD, ORIGIN, WorkerProcess, at_step, door, history, settings_in, train_job, until
from training.errors import GeneralAlone
from training.evaluation.schema import CheckReport, CheckSpec, Gate, Suite
from training.schema import ChatSpec, LanguageModel, Message, TrainSpec, WeightsAndBiases

KEY = "a-key-of-more-than-sixteen-letters"


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def settings(own_redis: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaskSettings]:
    settings = settings_in(tmp_path_factory.mktemp("checks"), own_redis.url)
    workers = [WorkerProcess(settings, queue, queue) for queue in ("train", "chat")]
    for worker in workers:
        worker.ready()
    yield settings
    codes = [worker.stop() for worker in workers]
    assert codes == [0, 0], "\n".join(worker.log() for worker in workers)


@pytest.fixture
async def client(settings: TaskSettings) -> AsyncIterator[Client]:
    async with door(settings) as client:
        yield client


def a_check(persona: str) -> Job:
    """A check; its persona says how the fake one behaves."""
    return new_job("check", CheckSpec(guild_id=GUILD, persona=persona), ORIGIN)


def answered(settings: TaskSettings, job: Job) -> list[int]:
    """Every question that a fake check asked, in order."""
    return [step for _, job_id, step in traced(settings.artifact_root, "checks") if job_id == job.id]


def let_go(settings: TaskSettings, job: Job) -> None:
    (settings.check_dir(job.id) / "go").touch()


async def trained(client: Client, guild_id: str, count: int) -> list[Job]:
    jobs = [train_job(f"run{number}", guild_id=guild_id) for number in range(count)]
    for job in jobs:
        await client.submit(job)
        assert (await client.wait(job.id, guild_id, 20)).state is JobState.SUCCEEDED
    return jobs


async def done(client: Client, spec: CheckSpec) -> Job:
    job = new_job("check", spec, Origin(door="cli", guild_id=spec.guild_id))
    await client.submit(job)
    assert (await client.wait(job.id, spec.guild_id, 20)).state is JobState.SUCCEEDED
    return job


# --- one check -----------------------------------------------------------------------------------------------------


async def test_a_version_is_checked_against_the_live_one(client: Client, settings: TaskSettings) -> None:
    guild = "5001"
    older, newer = await trained(client, guild, 2)
    spec = await client.check_spec(guild, "olga", judge=True)
    assert (spec.run_id, spec.version) == (newer.id, 2)
    assert (spec.against, spec.against_version) == (older.id, 1)
    job = await done(client, spec)
    view = await client.show(job.id, guild)
    assert view.check
    assert (view.check.job_id, len(view.check.answers), view.attempts) == (job.id, QUESTIONS, 1)
    told = await history(client, job)
    assert (told[-1].kind, told[-1].check) == (EventKind.SUCCEEDED, view.check)
    folder = settings.check_dir(job.id)
    assert json.loads((folder / "report.json").read_text()) == view.check.model_dump(mode="json")
    assert (folder / "run.log").is_file()
    assert not settings.run_dir(job.id).exists()
    last = await client.last_check(guild, "olga", 2)
    assert last
    assert last.comparison
    assert (last.job_id, last.answers, last.comparison.gate) == (job.id, (), Gate.WORSE)
    assert await client.last_check(guild, "olga", 1) is None
    assert await client.last_check(guild, "olga", 9) is None
    first, second = await client.versions(guild, "olga")
    await done(client, await client.check_spec(guild, "olga", version=2, against=0))
    assert await client.comparison(second, first) == view.check.comparison
    turned = await client.comparison(first, second)
    assert turned
    assert (turned.of, turned.against, turned.gate) == ("v1", "v2", Gate.PASS)
    assert {view.job.id for view in await client.jobs(guild)} == {older.id, newer.id}
    with pytest.raises(NoSuchJob):
        await client.find(guild, job.id)


async def test_what_more_replies_found_is_not_hidden_by_fewer(client: Client) -> None:
    guild = "5004"
    await trained(client, guild, 2)
    first, second = await client.versions(guild, "olga")

    async def compared(of: int, against: int, samples: int) -> Gate | None:
        await done(client, await client.check_spec(guild, "olga", of, against, samples=samples))
        found = await client.comparison(second, first)
        return found.gate if found else None

    assert await compared(2, 1, 1) is Gate.INCONCLUSIVE
    assert await compared(1, 2, 1) is Gate.INCONCLUSIVE
    assert await compared(1, 2, 3) is Gate.WORSE, "asked the other way round"
    assert await compared(2, 1, 1) is Gate.WORSE


async def test_which_versions_a_check_is_of(client: Client) -> None:
    guild = "5002"
    with pytest.raises(NoSuchVersion, match="olga has no trained version here yet"):
        await client.check_spec(guild, "olga")
    (alone,) = await trained(client, guild, 1)
    spec = await client.check_spec(guild, "olga", drift=True, samples=2)
    assert (spec.run_id, spec.against, spec.against_version) == (alone.id, None, None)
    assert (spec.drift, spec.suite, spec.samples, spec.judge) == (True, Suite.PERSONA, 2, False)
    (later,) = await trained(client, guild, 1)
    spec = await client.check_spec(guild, "olga", version=1, against=2)
    assert (spec.run_id, spec.against) == (alone.id, later.id)
    with pytest.raises(NothingToCompare, match="Version 1 of olga cannot be compared with itself"):
        await client.check_spec(guild, "olga", version=1, against=1)
    general = await client.check_spec(guild, "olga", suite=Suite.GENERAL)
    assert (general.version, general.compares) == (2, False)
    asked: list[dict[str, Any]] = [{"drift": True}, {"judge": True}, {"against": 1}, {"against": 0}]
    for more in asked:
        with pytest.raises(GeneralAlone, match="General questions go without drift, judge and against"):
            await client.check_spec(guild, "olga", suite=Suite.GENERAL, **more)
        told = {"against": "a" * 12} if more.get("against") else {"against_version": 0} if "against" in more else more
        with pytest.raises(ValidationError, match="General questions go without drift, judge and against"):
            CheckSpec(guild_id=guild, persona="olga", suite=Suite.GENERAL, **told)
    base = await client.check_spec(guild, "olga", version=1, against=0)
    assert (base.against, base.against_version, base.compares) == (None, 0, True)
    for version, against in ((7, None), (None, 7)):
        with pytest.raises(NoSuchVersion, match=r"olga has no version 7 here\. Choose one of: 1, 2\."):
            await client.check_spec(guild, "olga", version, against)


async def test_a_check_whose_child_is_killed_is_done_once(client: Client, settings: TaskSettings) -> None:
    job = a_check("gate")
    await client.submit(job)
    await at_step(client, job, QUESTIONS // 2)
    os.kill(traced(settings.artifact_root, "checks")[-1][0], signal.SIGKILL)
    let_go(settings, job)
    view = await client.wait(job.id, GUILD, 20)
    assert view.check
    assert (view.state, view.attempts, len(view.check.answers)) == (JobState.SUCCEEDED, 2, QUESTIONS)
    assert answered(settings, job) == [*range(1, QUESTIONS // 2 + 1), *range(1, QUESTIONS + 1)]
    kinds = [event.kind.value for event in await history(client, job) if event.kind is not EventKind.PROGRESS]
    assert kinds == ["queued", "started", "requeued", "started", "succeeded"]


async def test_a_check_is_cancelled_at_work_or_waiting_and_cannot_be_paused(
    client: Client, settings: TaskSettings
) -> None:
    running, waiting = a_check("gate"), a_check("olga")
    for job in (running, waiting):
        await client.submit(job)
    await at_step(client, running, QUESTIONS // 2)
    for wish in (client.pause, client.resume):
        with pytest.raises(NotTraining, match="check of gate is no training job"):
            await wish(running.id, GUILD)
    assert (await client.cancel(waiting.id, GUILD)).state is JobState.CANCELLED
    await client.cancel(running.id, GUILD)
    assert (await client.wait(running.id, GUILD, 10)).state is JobState.CANCELLED
    assert not (settings.check_dir(running.id) / "report.json").exists()
    following = await done(client, CheckSpec(guild_id=GUILD, persona="olga"))  # the card is free again
    assert answered(settings, following) == list(range(1, QUESTIONS + 1))


@pytest.mark.parametrize(("persona", "code", "attempts"), [("poison", "Poisoned", 5), ("refused", "UnknownPersona", 1)])
async def test_a_check_that_cannot_be_done_says_why(client: Client, persona: str, code: str, attempts: int) -> None:
    job = a_check(persona)
    await client.submit(job)
    view = await client.wait(job.id, GUILD, 20)
    assert (view.state, view.attempts) == (JobState.FAILED, attempts)
    assert view.problem
    assert view.problem.code == code


async def test_a_crash_after_the_report_is_a_success(client: Client) -> None:
    job = a_check("teardown")
    await client.submit(job)
    view = await client.wait(job.id, GUILD, 20)
    assert (view.state, view.attempts) == (JobState.SUCCEEDED, 1)


async def test_a_check_waits_while_the_card_is_taken(client: Client, settings: TaskSettings) -> None:
    training = train_job("gate")
    await client.submit(training)
    await at_step(client, training, 10)
    job = a_check("olga")
    await client.submit(job)
    assert (await client.show(job.id, GUILD)).state is JobState.QUEUED
    (settings.run_dir(training.id) / "go").touch()
    assert (await client.wait(job.id, GUILD, 20)).state is JobState.SUCCEEDED
    assert (await client.show(training.id, GUILD)).state is JobState.SUCCEEDED


def taken(lock: Path) -> bool:
    """Whether a process holds the lock of a card."""
    with lock.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


async def test_a_training_holds_the_locks_of_all_cards_that_it_uses(task_settings: TaskSettings) -> None:
    settings = task_settings.model_copy(update={"gpu": 1, "train_processes": 3})
    worker = WorkerProcess(settings, "train", "wide").ready()
    locks = [settings.state_dir / f"gpu-{card}.lock" for card in range(5)]
    training, job = train_job("gate"), a_check("gate")
    folders = settings.run_dir(training.id), settings.check_dir(job.id)
    async with door(settings) as client:
        for one, folder, held in zip((training, job), folders, ([1, 2, 3], [1]), strict=True):
            await client.submit(one)
            await at_step(client, one, QUESTIONS // 2)
            assert [card for card, lock in enumerate(locks) if taken(lock)] == held
            (folder / "go").touch()
            assert (await client.wait(one.id, GUILD, 20)).state is JobState.SUCCEEDED
    assert worker.stop() == 0, worker.log()


def test_the_language_models_key_goes_to_the_check_that_has_it_judge_alone(
    task_settings: TaskSettings, tmp_path: Path
) -> None:
    supervisor = Supervisor(
        task_settings.model_copy(
            update={
                "llm_base_url": "http://127.0.0.1:1/v1",
                "llm_api_key": SecretStr("llm-secret"),
                "wandb_project": "p",
            }
        )
    )
    judging = CheckSpec(guild_id=GUILD, persona="olga", judge=True)
    training = train_job("a").spec
    assert isinstance(training, TrainSpec)
    workspace = supervisor._workspace(judging)
    assert isinstance(workspace.language_model, LanguageModel)
    assert isinstance(workspace.wandb, WeightsAndBiases)
    for spec in (judging.model_copy(update={"judge": False}), training):
        assert supervisor._workspace(spec).language_model is None
    assignment = Assignment(
        job_id="a" * 12, spec=judging, workspace=workspace, run_dir=tmp_path, gpu_locks=(tmp_path,), supervisor=1
    )
    read = Assignment.model_validate_json(assignment.line())
    assert read == assignment  # secrets too, which compare by what they hide
    assert isinstance(read.spec, CheckSpec)


# --- by REST -------------------------------------------------------------------------------------------------------


async def test_a_check_is_asked_for_and_read_by_rest(client: Client) -> None:
    guild = "5005"
    training, _ = await trained(client, guild, 2)
    app = make_app(Door(client, KEY, guild))
    known = {"transport": httpx.ASGITransport(app), "base_url": "http://door"}
    async with (
        httpx.AsyncClient(**known, headers={"Authorization": f"Bearer {KEY}"}) as caller,
        httpx.AsyncClient(**known) as stranger,
    ):
        accepted = await caller.post("/checks", json={"persona": "olga", "samples": 2})
        assert accepted.status_code == 202, accepted.text
        told = accepted.json()
        assert (told["version"], told["against"], told["state"], told["report"]) == (2, 1, "QUEUED", None)
        assert accepted.headers["Location"] == told["address"]
        await client.wait(told["id"], guild, 20)
        shown = (await caller.get(told["address"])).json()
        report = CheckReport.model_validate(shown["report"])
        assert (shown["state"], report.spec.samples, len(report.answers)) == ("SUCCEEDED", 2, QUESTIONS)
        late = await caller.post(f"{told['address']}/cancel")
        assert (late.status_code, "has already ended" in late.text) == (409, True)

        for method, path in (("POST", "/checks"), ("GET", told["address"]), ("POST", f"{told['address']}/cancel")):
            assert (await stranger.request(method, path, json={"persona": "olga"})).status_code == 401
        for path in (f"/checks/{training.id}", "/checks/aaaaaaaaaaaa", f"/finetune/jobs/{told['id']}"):
            assert (await caller.get(path)).status_code == 404
        assert (await caller.post(f"/checks/{training.id}/cancel")).status_code == 404
        for body, says in (
            ({"persona": "gandalf"}, "gandalf has no trained version here yet. Train one first."),
            ({"persona": "olga", "version": 7}, "olga has no version 7 here. Choose one of: 1, 2."),
            ({"persona": "olga", "version": 2, "against": 2}, "Name another version, or base."),
            ({"persona": "olga", "suite": "general", "drift": True}, "General questions go without drift,"),
            ({"persona": "olga", "suite": "lavish"}, "suite must be 'persona' or 'general'."),
            ({"persona": "olga", "samples": 9}, "samples must be at most 8."),
        ):
            refused = await caller.post("/checks", json=body)
            assert (refused.status_code, says in refused.json()["error"]["sentence"]) == (422, True), refused.text
        paths = (await caller.get("/openapi.json")).json()["paths"]
        assert {"/checks", "/checks/{job_id}", "/checks/{job_id}/cancel"} <= set(paths)


# --- which version speaks ------------------------------------------------------------------------------------------


async def test_a_rollback_goes_back_to_what_was_live_also_after_redis_was_emptied(
    client: Client, settings: TaskSettings, own_redis: EmbeddedRedis
) -> None:
    guild = "5003"
    with pytest.raises(NothingBefore, match="No other version of olga was live before"):
        await client.rollback(guild, "olga")
    await trained(client, guild, 3)
    with pytest.raises(NothingBefore):
        await client.rollback(guild, "olga")
    for version in (3, 2, 3):
        await client.make_live(guild, "olga", version)
    for version, against in ((2, 3), (3, 1), (3, None), (2, 1)):
        await done(client, await client.check_spec(guild, "olga", version, against))
    known = await client.versions(guild, "olga")
    assert [entry.lived for entry in known] == [(0,), (2,), (1, 3)]
    check = await client.last_check(guild, "olga", 3)
    assert check
    pairs = [(known[of - 1], known[against - 1]) for of, against in ((2, 3), (3, 1), (2, 1), (1, 3))]
    found = [await client.comparison(*pair) for pair in pairs]
    assert [one.against if one else None for one in found] == ["v3", "v1", "v1", "v3"]
    notes = {settings.run_dir(entry.job_id) / "version.json": entry for entry in known}

    async def noted() -> bool:
        return all(
            note.exists() and AdapterVersion.model_validate_json(note.read_bytes()) == entry
            for note, entry in notes.items()
        )

    await until(noted, "what was live in the run folders")
    with redis.Redis.from_url(own_redis.url.get_secret_value()) as connection:
        connection.flushall()

    async def restored() -> bool:
        return await client.versions(guild, "olga") == known and await client.last_check(guild, "olga", 3) == check

    await until(restored, "versions and the check in Redis")
    assert [await client.comparison(*pair) for pair in pairs] == found

    async def attended() -> bool:
        return len(await client.workers()) == 2

    await until(attended, "both workers to say again that they are there")
    back = [await client.rollback(guild, "olga") for _ in range(3)]
    assert [(entry.version, entry.live, new) for entry, new in back] == [(version, True, True) for version in (2, 3, 1)]
    with pytest.raises(NothingBefore):
        await client.rollback(guild, "olga")


# --- replies that someone waits for --------------------------------------------------------------------------------


def said(text: str, version: int | None = None) -> ChatSpec:
    return ChatSpec(guild_id=GUILD, persona="olga", version=version, messages=(Message(role="user", content=text),))


async def test_replies_are_waited_for_and_no_channel_is_told(client: Client) -> None:
    origin = Origin(door="discord", guild_id=GUILD, channel_id="55", user_id="66")
    replies = await asyncio.gather(*(client.ask(said(f"{number}!"), origin) for number in range(10)))
    assert [reply.text for reply in replies] == [f"!{number}" for number in range(10)]
    last = train_job("last")
    await client.submit(last)
    asked: list[Event] = []
    async with asyncio.timeout(10):
        async for _, event in client.follow("0-0"):
            asked += [event] if event.job.kind == "chat" else []
            if event.job_id == last.id:
                break
    assert len({event.job_id for event in asked}) == 10
    assert {event.job.origin.channel_id for event in asked} == {None}
    assert 2 <= replies_at_once(asked) <= 4
    with pytest.raises(ChatRefused, match="has no version 9 here") as caught:
        await client.ask(said("x", version=9), origin)
    assert caught.value.problem.code == "NoSuchVersion"


async def test_any_version_answers_and_so_does_the_base_model(client: Client) -> None:
    guild = "5004"
    await trained(client, guild, 2)
    asked = {version: said("x", version).model_copy(update={"guild_id": guild}) for version in (None, 0, 2)}
    replies = {version: await client.ask(spec, ORIGIN) for version, spec in asked.items()}
    assert {version: reply.version for version, reply in replies.items()} == {None: 1, 0: None, 2: 2}


def replies_at_once(asked: list[Event]) -> int:
    """The most chats that were queued or at work at a time."""
    open_jobs: set[str] = set()
    most = 0
    for event in asked:
        (open_jobs.discard if event.state.ended else open_jobs.add)(event.job_id)
        most = max(most, len(open_jobs))
    return most


async def test_without_a_chat_worker_nobody_waits(task_settings: TaskSettings) -> None:
    async with door(task_settings) as client:
        with pytest.raises(WorkersAway, match="No chat worker has answered"):
            await client.ask(said("Hello?"), ORIGIN)
