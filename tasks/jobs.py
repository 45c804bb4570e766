"""The words that cross Redis: a job, its state, its events and where it came from."""

from __future__ import annotations

import secrets
import time
from enum import StrEnum
from typing import Literal

from pydantic import Field

from training.data.schema import DataAction, DataReport, DatasetOffer, DataSpec
from training.evaluation.schema import CheckReport, CheckSpec
from training.schema import (
    WHOLE_CAST,
    ChatReply,
    ChatSpec,
    GuildId,
    Noun,
    Plan,
    Problem,
    Progress,
    Report,
    TrainSpec,
)

Kind = Literal["train", "check", "chat", "plan", "data"]
Spec = TrainSpec | CheckSpec | ChatSpec | DataSpec
SUBMITTED = frozenset({DataAction.UPLOAD, DataAction.BUILD})
"""The work on data that is accepted and reported in the channel; whoever asks for any other waits for it."""


class JobState(StrEnum):
    """Where a job stands; the last three are its ends."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PAUSING = "PAUSING"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        """Whether nothing more can happen to the job."""
        return self in ENDED


ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})

Wish = Literal["pause", "resume"]
"""What may be wished of a training job, again and again; of two wishes the later one counts."""


class Queue(StrEnum):
    """The three Celery queues: the GPU, the conversations, and CPU work on data."""

    TRAIN = "train"
    CHAT = "chat"
    PREPARE = "prepare"


class Origin(Noun):
    """Who asked for a job, where, and through which door."""

    door: Literal["discord", "api", "cli"]
    guild_id: GuildId
    channel_id: str | None = None
    user_id: str | None = None


class Job(Noun):
    """One accepted command. `kind` says which spec it carries."""

    id: str = Field(pattern=r"^[a-z0-9]{12}$")
    kind: Kind
    spec: Spec
    origin: Origin
    created_at: float = Field(description="Unix seconds, by the door's clock.")

    @property
    def queue(self) -> Queue:
        """The queue that serves this kind of job."""
        return {"train": Queue.TRAIN, "check": Queue.TRAIN, "chat": Queue.CHAT}.get(self.kind, Queue.PREPARE)

    @property
    def guild_id(self) -> str:
        """The guild that owns the job; no other may see it."""
        return self.spec.guild_id

    @property
    def reported(self) -> bool:
        """Whether the channel that it came from is shown a card and a result."""
        if isinstance(self.spec, DataSpec):
            return self.spec.action in SUBMITTED
        return self.kind in ("train", "check")


def new_job(kind: Kind, spec: Spec, origin: Origin) -> Job:
    """A job with a fresh random id."""
    return Job(id=secrets.token_hex(6), kind=kind, spec=spec, origin=origin, created_at=time.time())


def voiced(spec: Spec, report: Report) -> tuple[str, ...]:
    """The personas that a run gave a voice: the one it was for, or those of the whole cast that it learnt."""
    if not isinstance(spec, TrainSpec) or spec.persona is None:
        return ()
    return tuple(dict.fromkeys(report.personas)) if spec.persona == WHOLE_CAST else (spec.persona,)


class EventKind(StrEnum):
    """What happened to a job."""

    QUEUED = "queued"
    STARTED = "started"
    PROGRESS = "progress"
    REQUEUED = "requeued"
    PAUSING = "pausing"
    PAUSED = "paused"
    RESUMED = "resumed"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Event(Noun):
    """One thing that happened to one job; `seq` counts 1, 2, 3 … within the job without a gap."""

    job_id: str
    seq: int
    kind: EventKind
    state: JobState
    at: float = Field(description="Unix seconds, by Redis' clock.")
    job: Job
    progress: Progress | None = None
    checkpoint: int | None = Field(None, description="The step that it would go on from; told when it stops.")
    report: Report | None = None
    version: int | None = Field(None, description="The adapter version that a succeeded job of one persona registered.")
    plan: Plan | None = None
    reply: ChatReply | None = None
    data: DataReport | None = None
    check: CheckReport | None = None
    problem: Problem | None = None


class JobView(Noun):
    """A job as its doors show it: the record, where it stands, and the newest of each thing it reported."""

    job: Job
    state: JobState
    position: int | None = Field(None, description="1 is next; only while QUEUED.")
    attempts: int = Field(0, description="How often it was begun, but for those times when it was stopped cleanly.")
    wished: int = Field(0, description="When its newest wish to pause or to go on was made, in microseconds.")
    progress: Progress | None = None
    checkpoint: int | None = Field(None, description="The step that it would go on from.")
    report: Report | None = None
    version: int | None = None
    plan: Plan | None = None
    reply: ChatReply | None = None
    data: DataReport | None = None
    check: CheckReport | None = None
    problem: Problem | None = None


class AdapterVersion(Noun):
    """One trained voice of a persona in a guild."""

    guild_id: GuildId
    persona: str
    version: int
    job_id: str
    base_model: str
    live: bool
    lived: tuple[int, ...] = Field((), description="When it went live: its places in the order of its persona's.")


class Catalog(Noun):
    """What a guild may choose from, as the workers last published it."""

    personas: dict[str, str] = Field(description="Slug to name.")
    datasets: dict[str, DatasetOffer]
    base_model: str = Field(description="What a job gets that names none.")
    rehearsal: bool
    base_models: tuple[str, ...] = Field((), description="All that a job may name besides folders.")
