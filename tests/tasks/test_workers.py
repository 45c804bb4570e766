"""Three worker processes at work on every kind of job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.client import Client
from tasks.embedded_redis import EmbeddedRedis
from tasks.errors import DataRefused, JobEnded, PlanRefused
from tasks.jobs import EventKind, JobState, new_job
from tasks.settings import TaskSettings
from tests.fakes import traced
from tests.house import GUILD, ORIGIN, WorkerProcess, at_step, door, history, open_gate, settings_in, train_job, until
from training.data.schema import DataAction, DataSpec, FactChange
from training.evaluation.schema import BallotBox, Contender, Vote, VoteChoice, VotePair
from training.schema import WHOLE_CAST, ChatSpec, Message, Phase, TrainSpec


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaskSettings]:
    folder = tmp_path_factory.mktemp("workers")
    with EmbeddedRedis(folder / "redis") as server:
        settings = settings_in(folder, server.url).model_copy(update={"gpu": 3})
        workers = [WorkerProcess(settings, queue, queue) for queue in ("train", "chat", "prepare")]
        for worker in workers:
            worker.ready()
        yield settings
        codes = [worker.stop() for worker in workers]
        assert codes == [0, 0, 0], "\n".join(worker.log() for worker in workers)


@pytest.fixture
async def client(settings: TaskSettings) -> AsyncIterator[Client]:
    async with door(settings) as client:
        yield client


def chat(text: str, *, version: int | None = None, persona: str = "olga", guild_id: str = GUILD) -> ChatSpec:
    messages = (Message(role="user", content=text),)
    return ChatSpec(guild_id=guild_id, persona=persona, version=version, messages=messages)


async def test_a_persona_is_planned_trained_and_spoken_to(client: Client, settings: TaskSettings) -> None:
    assert (await client.catalog(GUILD)).personas["olga"] == "Olga"
    job = train_job("journey", persona="caleb")
    assert isinstance(job.spec, TrainSpec)
    plan = await client.plan(job.spec, job.origin)
    assert (plan.steps, plan.device) == (20, "card 3")  # the train worker's card, planned for by another process
    before = new_job("chat", chat("abc", persona="caleb"), ORIGIN)
    await client.submit(before)
    view = await client.wait(before.id, GUILD, 20)
    assert view.reply
    assert (view.reply.text, view.reply.version) == ("cba", None)
    await client.submit(job)
    view = await client.wait(job.id, GUILD, 20)
    assert (view.state, view.version) == (JobState.SUCCEEDED, 1)
    assert (await history(client, job))[-1].report == view.report
    after = new_job("chat", chat("abc", persona="caleb"), ORIGIN)
    await client.submit(after)
    view = await client.wait(after.id, GUILD, 20)
    assert view.reply
    assert view.reply.version == 1
    assert (await history(client, after))[-1].reply == view.reply
    bare = await client.ask(chat("abc", persona="caleb", version=0), ORIGIN)
    assert bare.version is None  # the base model, though a version is live
    other = new_job("chat", chat("abc", persona="caleb", guild_id="2002"), ORIGIN)
    await client.submit(other)
    view = await client.wait(other.id, "2002", 20)
    assert view.reply
    assert view.reply.version is None  # another guild's adapter does not speak here


@pytest.mark.parametrize(
    ("asked", "code"),
    [(chat("x", version=9), "NothingTrained"), (chat("x", persona="nobody"), "UnknownPersona")],
)
async def test_a_chat_that_cannot_be_answered_says_why(client: Client, asked: ChatSpec, code: str) -> None:
    job = new_job("chat", asked, ORIGIN)
    await client.submit(job)
    view = await client.wait(job.id, GUILD, 20)
    assert view.state is JobState.FAILED
    assert view.problem
    assert view.problem.code == code


async def test_a_chat_speaks_on_the_card_that_gpu_names(client: Client) -> None:
    job = new_job("chat", chat("card"), ORIGIN)
    await client.submit(job)
    view = await client.wait(job.id, GUILD, 20)
    assert view.reply
    assert view.reply.text == "3"


def steps_of(settings: TaskSettings, job_id: str) -> list[int]:
    """Every step that a fake trainer took of a job, in order."""
    return [step for _, job, step in traced(settings.artifact_root) if job == job_id]


def build(name: str, **changes: Any) -> DataSpec:
    return DataSpec(action=DataAction.BUILD, guild_id=GUILD, name=name, **changes)


async def test_a_build_is_a_job_and_its_dataset_is_offered_at_once(client: Client) -> None:
    job = new_job("data", build("olgas", persona="olga"), ORIGIN)
    await client.submit(job)
    view = await client.wait(job.id, GUILD, 20)
    assert view.data
    assert view.data.card
    offer = (await client.catalog(GUILD)).datasets["olgas"]
    assert (offer.where, offer.persona, offer.conversations) == ("guild", "olga", view.data.card.conversations)
    assert "olgas" not in (await client.catalog("1002")).datasets
    assert (await history(client, job))[-1].data == view.data
    report = await client.data(DataSpec(action=DataAction.INFO, guild_id=GUILD, name="olgas"), ORIGIN)
    assert report.card == view.data.card
    with pytest.raises(DataRefused, match="no dataset called olgas here"):
        await client.data(DataSpec(action=DataAction.INFO, guild_id="1002", name="olgas"), ORIGIN)


async def test_a_fact_is_written_anew_in_the_guilds_own_sheet(client: Client, settings: TaskSettings) -> None:
    about = DataSpec(action=DataAction.PERSONA, guild_id="6006", persona="olga")
    before = (await client.data(about, ORIGIN)).persona
    assert before
    change = FactChange(id=before.facts[0].id, accept=("tuesday",))
    told = await client.data(about.model_copy(update={"action": DataAction.FACT, "fact": change}), ORIGIN)
    assert told.persona
    assert (told.persona.facts[0].accept, told.persona.facts[1:]) == (("tuesday",), before.facts[1:])
    assert await client.data(about, ORIGIN) == told.model_copy(update={"action": DataAction.PERSONA})
    assert (await client.data(about.model_copy(update={"guild_id": GUILD}), ORIGIN)).persona == before
    unknown = FactChange(id="nothing", accept=())
    with pytest.raises(DataRefused, match="Olga has no fact called nothing") as caught:
        await client.data(about.model_copy(update={"action": DataAction.FACT, "fact": unknown}), ORIGIN)
    assert caught.value.problem.code == "UnknownFact"


async def test_a_dataset_of_votes_is_offered_at_once(client: Client) -> None:
    pair = VotePair(
        id="a" * 12,
        persona="olga",
        question="Where do you live?",
        first=Contender(version=1, answer="In a tower."),
        second=Contender(version=2, answer="Nowhere."),
        asked_by="sheet",
    )
    votes = tuple(Vote(pair=pair.id, voter=f"v{n}", choice=VoteChoice.FIRST) for n in range(6))
    box = BallotBox(pairs=(pair,), votes=votes)
    spec = DataSpec(action=DataAction.VOTES, guild_id=GUILD, name="liked", persona="olga", votes=box)
    report = await client.data(spec, ORIGIN)
    assert report.card
    assert report.card.conversations == 1
    assert (await client.catalog(GUILD)).datasets["liked"].persona == "olga"


async def test_a_running_build_is_cancelled(client: Client) -> None:
    job = new_job("data", build("gate"), ORIGIN)
    await client.submit(job)
    await at_step(client, job, 1)
    await client.cancel(job.id, GUILD)
    assert (await client.wait(job.id, GUILD, 20)).state is JobState.CANCELLED
    with pytest.raises(JobEnded, match="The job gate has already ended"):
        await client.cancel(job.id, GUILD)


async def test_an_error_that_nobody_foresaw_ends_work_on_data(client: Client) -> None:
    job = new_job("data", build("broken"), ORIGIN)
    await client.submit(job)
    view = await client.wait(job.id, GUILD, 20)
    assert view.problem
    assert (view.state, view.problem.code) == (JobState.FAILED, "Unexpected")


async def test_a_refused_plan_carries_its_reason(client: Client) -> None:
    with pytest.raises(PlanRefused, match="There is no persona called nobody here") as caught:
        await client.plan(TrainSpec(job_name="a", guild_id=GUILD, persona="nobody"), ORIGIN)
    assert caught.value.problem.code == "UnknownPersona"


@pytest.mark.parametrize(("name", "code"), [("refused", "UnknownPersona"), ("broken", "Unexpected")])
async def test_an_error_in_the_trainer_ends_the_job_at_once(
    client: Client, settings: TaskSettings, name: str, code: str
) -> None:
    job = train_job(name)
    await client.submit(job)
    view = await client.wait(job.id, GUILD, 20)
    assert (view.state, view.attempts) == (JobState.FAILED, 1)
    assert view.problem
    assert view.problem.code == code
    log = (settings.run_dir(job.id) / "run.log").read_text()
    assert ("ZeroDivisionError: nobody foresaw this" in log) == (code == "Unexpected")
    assert "ZeroDivision" not in view.problem.sentence
    await history(client, job)


async def test_a_job_that_always_crashes_is_given_up(client: Client, settings: TaskSettings) -> None:
    job = train_job("poison")
    await client.submit(job)
    view = await client.wait(job.id, GUILD, 20)
    assert (view.state, view.attempts) == (JobState.FAILED, 5)
    assert view.problem
    assert view.problem.code == "Poisoned"
    kinds = [event.kind for event in await history(client, job)]
    assert kinds.count(EventKind.STARTED) == 5


async def test_a_crash_after_the_report_is_a_success(client: Client) -> None:
    job = train_job("teardown")
    await client.submit(job)
    view = await client.wait(job.id, GUILD, 20)
    assert (view.state, view.attempts) == (JobState.SUCCEEDED, 1)


@pytest.mark.parametrize("name", ["gate", "wedged"])
async def test_a_running_job_is_cancelled_even_if_it_does_not_listen(
    client: Client, settings: TaskSettings, name: str
) -> None:
    job, following = train_job(name), train_job("next")
    await client.submit(job)
    await client.submit(following)
    await at_step(client, job, 10)
    assert (await client.cancel(job.id, GUILD)).state is JobState.CANCELLING
    view = await client.wait(job.id, GUILD, 10)
    assert view.state is JobState.CANCELLED
    # The GPU is free again: the next job runs.
    assert (await client.wait(following.id, GUILD, 20)).state is JobState.SUCCEEDED
    await history(client, job)


async def test_a_paused_run_lets_another_run_and_goes_on_where_it_stopped(
    client: Client, settings: TaskSettings
) -> None:
    job, other = train_job("gate"), train_job("other")
    await client.submit(job)
    await at_step(client, job, 10)
    assert (await client.pause(job.id, GUILD)).state is JobState.PAUSING
    await client.submit(other)
    assert (await client.wait(other.id, GUILD, 20)).state is JobState.SUCCEEDED
    rests = await client.show(job.id, GUILD)
    assert (rests.state, rests.checkpoint, rests.position) == (JobState.PAUSED, 10, None)
    open_gate(settings, job)
    assert (await client.resume(job.id, GUILD)).state in (JobState.QUEUED, JobState.RUNNING)
    view = await client.wait(job.id, GUILD, 20)
    assert view.report
    assert (view.state, view.report.tokens, view.attempts) == (JobState.SUCCEEDED, sum(range(1, 21)), 1)
    assert steps_of(settings, job.id) == list(range(1, 21))
    kinds = [event.kind for event in await history(client, job) if event.kind is not EventKind.PROGRESS]
    assert [kind.value for kind in kinds] == [
        "queued", "started", "pausing", "paused", "resumed", "started", "succeeded",
    ]  # fmt: skip


async def test_wishes_in_quick_succession_lose_nothing(client: Client, settings: TaskSettings) -> None:
    job = train_job("gate")
    await client.submit(job)
    await at_step(client, job, 10)
    for _ in range(4):
        await client.pause(job.id, GUILD)
        await asyncio.sleep(0.05)
        await client.resume(job.id, GUILD)
    open_gate(settings, job)
    view = await client.wait(job.id, GUILD, 20)
    assert view.report
    assert view.report.tokens == sum(range(1, 21))
    assert steps_of(settings, job.id) == list(range(1, 21))
    await history(client, job)


async def test_a_run_that_has_learnt_all_is_let_finish(client: Client, settings: TaskSettings) -> None:
    job = train_job("judging")
    await client.submit(job)

    async def judging() -> bool:
        progress = (await client.show(job.id, GUILD)).progress
        return progress is not None and progress.phase is Phase.EVALUATING

    await until(judging, "the result to be judged")
    assert (await client.pause(job.id, GUILD)).state is JobState.PAUSING
    await asyncio.sleep(0.5)  # several heartbeats
    assert (await client.show(job.id, GUILD)).state is JobState.PAUSING
    open_gate(settings, job)
    view = await client.wait(job.id, GUILD, 20)
    assert (view.state, view.attempts) == (JobState.SUCCEEDED, 1)
    assert EventKind.PAUSED not in [event.kind for event in await history(client, job)]


@pytest.mark.parametrize("name", ["gate", "wedged"])
async def test_a_run_is_cancelled_while_it_is_about_to_rest(client: Client, settings: TaskSettings, name: str) -> None:
    job, following = train_job(name), train_job("next")
    await client.submit(job)
    await at_step(client, job, 10)
    await client.pause(job.id, GUILD)
    await client.cancel(job.id, GUILD)
    assert (await client.wait(job.id, GUILD, 10)).state is JobState.CANCELLED
    await client.submit(following)
    assert (await client.wait(following.id, GUILD, 20)).state is JobState.SUCCEEDED
    await history(client, job)


async def test_the_whole_cast_speaks_with_one_run(client: Client, settings: TaskSettings) -> None:
    job = train_job("everybody", guild_id="4004", persona=WHOLE_CAST)
    await client.submit(job)
    view = await client.wait(job.id, "4004", 20)
    voices = await client.voices(view.job, view.report)
    assert [(voice.persona, voice.version, voice.live) for voice in voices] == [("olga", 1, True), ("caleb", 1, True)]
    for persona in ("olga", "caleb"):
        talk = new_job("chat", chat("abc", persona=persona, guild_id="4004"), ORIGIN)
        await client.submit(talk)
        answered = await client.wait(talk.id, "4004", 20)
        assert answered.reply
        assert answered.reply.version == 1


async def test_a_cancelled_chat_is_not_answered(client: Client) -> None:
    job = new_job("chat", chat("slowly"), ORIGIN)
    await client.submit(job)

    async def running() -> bool:
        return (await client.show(job.id, GUILD)).state is JobState.RUNNING

    await until(running, "the chat to begin")
    await client.cancel(job.id, GUILD)
    view = await client.wait(job.id, GUILD, 20)
    assert (view.state, view.reply) == (JobState.CANCELLED, None)


async def test_followers_hear_everything_in_order_and_go_on_from_their_cursor(
    client: Client, settings: TaskSettings
) -> None:
    jobs = [train_job("gate"), train_job("after")]
    for job in jobs:
        await client.submit(job)
    await at_step(client, jobs[0], 10)
    open_gate(settings, jobs[0])
    for job in jobs:
        await client.wait(job.id, GUILD, 20)
    heard = await _heard(client, "0-0", jobs[1].id)
    cursors = [cursor for cursor, _ in heard]
    middle = len(heard) // 2
    assert await _heard(client, cursors[middle], jobs[1].id) == heard[middle + 1 :]


async def test_a_guilds_own_persona_is_offered_there_only(client: Client, settings: TaskSettings) -> None:
    own = settings.artifact_root / "guilds" / "3003" / "personas"
    own.mkdir(parents=True)
    shipped = Path(__file__).resolve().parents[2] / "data" / "personas" / "olga.md"
    (own / "aunt.md").write_text(shipped.read_text())

    async def offered() -> bool:
        return "aunt" in (await client.catalog("3003")).personas

    await until(offered, "the guild's catalog")
    assert "aunt" not in (await client.catalog(GUILD)).personas


async def _heard(client: Client, after: str, last_job: str) -> list[tuple[str, object]]:
    heard = []
    async with asyncio.timeout(20):
        async for cursor, event in client.follow(after):
            heard.append((cursor, event))
            if event.job_id == last_job and event.state.ended:
                return heard
    raise AssertionError("the stream ended")


async def test_the_fake_trainer_left_its_trace(settings: TaskSettings) -> None:
    """Guards the fakes: a trace that nobody writes would prove nothing in test_faults."""
    assert traced(settings.artifact_root)
