"""Jobs, events and reports for the bot's tests, ordinary and extreme."""

from __future__ import annotations

import time
from typing import Any

from tasks.jobs import AdapterVersion, Event, EventKind, Job, JobState, JobView, Origin
from training.schema import (
    ChatReply,
    ChatSpec,
    Hyperparameters,
    LossPoint,
    Message,
    Phase,
    Plan,
    Progress,
    Report,
    Sample,
    ScoreLine,
    TaskType,
    TrainSpec,
    Verdict,
)
from training.warned import Warned

GUILD = "1200000000000000000"
CHANNEL = "1200000000000000011"
USER = "1200000000000000001"
JOB_ID = "a1b2c3d4e5f6"

KINDS = {
    JobState.QUEUED: EventKind.QUEUED,
    JobState.RUNNING: EventKind.PROGRESS,
    JobState.PAUSING: EventKind.PAUSING,
    JobState.PAUSED: EventKind.PAUSED,
    JobState.CANCELLING: EventKind.CANCELLING,
    JobState.SUCCEEDED: EventKind.SUCCEEDED,
    JobState.FAILED: EventKind.FAILED,
    JobState.CANCELLED: EventKind.CANCELLED,
}


def origin(channel_id: str = CHANNEL) -> Origin:
    return Origin(door="discord", guild_id=GUILD, channel_id=channel_id, user_id=USER)


def train_spec(**changes: Any) -> TrainSpec:
    return TrainSpec.model_validate({"job_name": "glordon_v1", "guild_id": GUILD, "persona": "glordon", **changes})


def train_job(job_id: str = JOB_ID, channel_id: str = CHANNEL, **changes: Any) -> Job:
    spec = train_spec(**changes)
    return Job(id=job_id, kind="train", spec=spec, origin=origin(channel_id), created_at=time.time())


def chat_job(job_id: str = JOB_ID, text: str = "Hello?", channel_id: str = CHANNEL) -> Job:
    spec = ChatSpec(guild_id=GUILD, persona="glordon", messages=(Message(role="user", content=text),))
    return Job(id=job_id, kind="chat", spec=spec, origin=origin(channel_id), created_at=time.time())


def event(job: Job | None = None, state: JobState = JobState.RUNNING, seq: int = 1, **more: Any) -> Event:
    job = job or train_job()
    return Event(job_id=job.id, seq=seq, kind=KINDS[state], state=state, at=1_800_000_000.5, job=job, **more)


def view(job: Job | None = None, state: JobState = JobState.RUNNING, **more: Any) -> JobView:
    return JobView(job=job or train_job(), state=state, **more)


def voice(persona: str = "glordon", version: int = 2, live: bool = False) -> AdapterVersion:
    return AdapterVersion(
        guild_id=GUILD, persona=persona, version=version, job_id=JOB_ID, base_model="standin", live=live
    )


def progress(step: int = 120, total: int = 240, **more: Any) -> Progress:
    return Progress(
        phase=Phase.TRAINING,
        step=step,
        total_steps=total,
        epoch=1.5,
        epochs=3,
        train_loss=1.41,
        first_train_loss=2.31,
        eval_loss=1.52,
        best_step=100,
        tokens_per_second=1480,
        seconds_left=51,
    ).model_copy(update=more)


def plan(**changes: Any) -> Plan:
    return Plan(
        base_model="standin", rehearsal=True, device="cpu", fits=True, examples=48, held_out=12, tokens=7_212, steps=36,
        seconds=(20, 40), peak_gib=0.4, free_gib=7.5, disk_gib=0.1, micro_batch_tokens=512,
        warnings=(Warned.REHEARSAL_MODEL,),
    ).model_copy(update=changes)  # fmt: skip


def report(spec: TrainSpec | None = None, **changes: Any) -> Report:
    lines = (
        ScoreLine(id="held_out_fit", value=0.81, low=0.7, high=0.92, verdict=Verdict.PASS, explanation="Fits better."),
        ScoreLine(id="voice", value=0.75, low=0.5, high=0.9, reference=0.88, verdict=Verdict.WARN, explanation="9/12"),
        ScoreLine(id="breaks", value=0.0, low=0.0, high=0.15, verdict=Verdict.PASS),
        ScoreLine(id="degeneracy", value=None, verdict=Verdict.NOT_APPLICABLE, explanation="Nothing to judge."),
    )
    return Report(
        job_id=JOB_ID, spec=spec or train_spec(), base_model="standin", rehearsal=True, device="cpu", examples=48,
        held_out=12, tokens=7_212, steps=36, best_step=30, seconds=106, peak_gib=0.4, data_digest="9f3c77aa10",
        eval_loss_before=2.28, eval_loss_after=1.47, perplexity_before=9.78, perplexity_after=4.35,
        curve=(LossPoint(step=1, train_loss=2.31), LossPoint(step=30, train_loss=1.5, eval_loss=1.47)),
        lines=lines, verdict=Verdict.WARN, samples=(Sample(question="Are you an AI?", base="As a", adapter="Honk."),),
        warnings=(Warned.REHEARSAL_MODEL,),
    ).model_copy(update=changes)  # fmt: skip


def reply(text: str = "Honk.", **changes: Any) -> ChatReply:
    return ChatReply(
        persona="glordon", name="Glordon", version=2, base_model="standin", rehearsal=True, text=text, tokens=3,
        seconds=0.1,
    ).model_copy(update=changes)  # fmt: skip


# Each is an ordinary thing at its worst: as long as the schema lets it be, in scripts and marks that need care.
NASTY = (
    "",
    "   \n\t ",
    "x" * 10_000,
    "word " * 2_000,
    "漢字かな交じり文。" * 1_200,
    "🧑‍🚀🦆" * 2_000,
    "**bold** __under__ `code` ~~gone~~ ||hidden|| > quote\n# head\n-# small [link](https://example.org)" * 60,
    "@everyone @here <@1200000000000000001> <@&1200000000000000002> <#1200000000000000011>" * 100,
    "\\" * 3_000,
    "```py\nprint('x')\n```" * 300,
    "\u202eright to left\u200b" * 300,
)


def extreme_report(text: str) -> Report:
    """A report with a hundred samples, every free text the same nasty one."""
    lines = tuple(line.model_copy(update={"explanation": text}) for line in report().lines)
    return report(
        train_spec(
            job_name="J" * 40,
            persona="p" * 40,
            dataset="d" * 400,
            task_type=TaskType.MIXED,
            hyperparameters=Hyperparameters(epochs=10),
        ),
        base_model=text,
        device=text,
        data_digest=text,
        seconds=1e9,
        tokens=10**15,
        perplexity_before=float("inf"),
        eval_loss_before=float("nan"),
        lines=lines * 30,
        samples=tuple(Sample(question=text, base=text, adapter=text) for _ in range(100)),
        warnings=tuple(Warned),
    )
