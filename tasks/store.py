"""Every transition of a job.

A transition is one Lua script in `tasks/lua`, so state, lease and event move together, on Redis' clock. A `Call` says
which script, on which keys, with which arguments; `Store` makes it from a worker, `AsyncStore` from a door, as in
`store.do(claim(Queue.TRAIN, node="gpu0@host", boot=boot, lease=4.0))`. Every call may be sent twice, since a broken
connection does not tell whether the first one arrived. Writes of a worker carry the fencing token of its claim, and
do nothing once another has claimed the job.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import redis
import redis.asyncio
from pydantic import SecretStr
from redis.backoff import ExponentialBackoff
from redis.exceptions import AuthenticationError, NoScriptError, ResponseError
from redis.retry import Retry

from tasks import answers, keys
from tasks.answers import pairs
from tasks.errors import Poisoned, RedisAway, RedisRefused
from tasks.jobs import AdapterVersion, Catalog, EventKind, Job, JobState, JobView, Queue, Wish, voiced
from training.data.schema import DataReport
from training.evaluation.schema import CheckReport, Suite
from training.schema import ChatReply, Machine, Plan, Problem, Progress, Report, TrainSpec

T = TypeVar("T")
Ending = Report | CheckReport | Plan | ChatReply | DataReport | Problem | None

SHIPPED = "*"
"""Stands for a guild where a catalog holds what every guild may choose."""
AWAY_SECONDS = 10.0
"""For so long a worker counts as there after it said so."""

_LUA = Path(__file__).with_name("lua")
# Records of training stay; the others are only needed until their door has heard of the end.
_DAY = 86_400
_KEEP_SECONDS = {"train": 0, "check": 30 * _DAY, "chat": 7 * _DAY, "plan": _DAY, "data": _DAY}
_KEEP_REPORTED_SECONDS = 30 * _DAY


@dataclass(frozen=True)
class Call(Generic[T]):
    """One script with its keys and arguments, and how to read its answer."""

    script: str
    keys: tuple[str, ...]
    args: tuple[str | int, ...]
    parse: Callable[[Any], T]


@dataclass(frozen=True)
class Claim:
    """A job as its worker holds it. The fence proves who holds it."""

    job: Job
    fence: str
    attempts: int


class Standing(StrEnum):
    """What a heartbeat hears: go on, give the job back, end it, or leave it, since it is someone else's now."""

    KEPT = "kept"
    PAUSE = "pause"
    CANCEL = "cancel"
    LOST = "lost"


# --- calls of the doors ---------------------------------------------------------------------------------------------


def submit(job: Job, paused_at: int = 0) -> Call[tuple[bool, JobState | None]]:
    """Queue a job once, or let it rest if it was wished to pause before; tells whether it is new, and its state."""
    name = job.spec.job_name if job.kind == "train" and isinstance(job.spec, TrainSpec) else ""
    guild = job.guild_id
    return Call(
        "submit",
        (
            keys.EVENTS,
            keys.record(guild, job.id),
            keys.waiting(job.queue),
            keys.running(job.queue),
            keys.GUILDS,
            keys.jobs(guild),
            keys.names(guild),
        ),
        (guild, job.id, job.kind, job.model_dump_json(), _keep(job), name, paused_at),
        lambda raw: (bool(raw[0]), JobState(raw[1])),
    )


def cancel(guild_id: str, job_id: str) -> Call[tuple[bool, JobState | None]]:
    """End a waiting job, or ask for the end of a running one; answers as submit does, None: there is no such job."""
    return Call("cancel", (keys.EVENTS, keys.record(guild_id, job_id)), (), _known)


def wish(guild_id: str, job_id: str, wished: Wish, at: int) -> Call[tuple[bool, JobState | None]]:
    """Take in a wish made `at` (in microseconds), unless a newer one is known; answers as cancel does."""
    return Call("wish", (keys.EVENTS, keys.record(guild_id, job_id)), (wished, at), _known)


def show(guild_id: str, job_id: str) -> Call[JobView | None]:
    """One job of one guild."""
    return Call("show", (keys.EVENTS, keys.record(guild_id, job_id)), (), answers.view)


def named(guild_id: str, name: str) -> Call[JobView | None]:
    """A guild's newest training job of that name."""
    return Call("named", (keys.EVENTS, keys.names(guild_id)), (name,), answers.view)


def jobs(guild_id: str, limit: int) -> Call[list[JobView]]:
    """A guild's training jobs, newest first."""
    return Call(
        "jobs",
        (keys.EVENTS, keys.jobs(guild_id)),
        (limit,),
        lambda raw: [seen for seen in map(answers.view, raw) if seen],
    )


def versions(guild_id: str, persona: str) -> Call[list[AdapterVersion]]:
    """The trained voices of a persona in a guild, oldest first."""
    return Call(
        "versions",
        (keys.EVENTS, keys.versions(guild_id, persona)),
        (),
        lambda raw: answers.adapter_versions(guild_id, persona, pairs(raw)),
    )


def restore(lost: Sequence[AdapterVersion], known: Sequence[AdapterVersion]) -> Call[int]:
    """Register one persona's versions again where Redis was emptied; tells how many it did not know.

    known: all of the persona's, as they were before, which tell in what order they went live.
    """
    guild_id, persona = lost[0].guild_id, lost[0].persona
    told = [(entry.job_id, entry.version, answers.version(entry.job_id, entry.base_model)) for entry in lost]
    live = next((entry.job_id for entry in lost if entry.live), "")
    args = (live, answers.order(known), *(part for entry in sorted(told, key=itemgetter(1)) for part in entry))
    return Call("restore", (keys.EVENTS, keys.versions(guild_id, persona)), args, int)


def make_live(guild_id: str, persona: str, version: int) -> Call[bool | None]:
    """Let one version speak for the persona; tells whether it did not before, None: there is no such version."""
    args = (version, secrets.token_hex(8))
    return Call("make_live", (keys.EVENTS, keys.versions(guild_id, persona)), args, (None, False, True).__getitem__)


def rollback(guild_id: str, persona: str, version: int) -> Call[tuple[int, bool]]:
    """Let the version speak that was live before this one.

    Tells which one is live then, 0 if there was no other, and whether this call did it and not another at that time.
    """
    args = (version, secrets.token_hex(8))
    return Call(
        "rollback", (keys.EVENTS, keys.versions(guild_id, persona)), args, lambda raw: (int(raw[0]), bool(raw[1]))
    )


def checks(guild_id: str, persona: str) -> Call[dict[str, CheckReport]]:
    """The newest check of each adapter that was made to speak for a persona, without its single replies, by run."""
    return Call("checks", (keys.EVENTS, keys.checks(guild_id, persona)), (), answers.checks)


def comparisons(guild_id: str, persona: str) -> Call[list[CheckReport]]:
    """The newest check of each two of a persona's adapters that compared them, without its single replies."""
    return Call("checks", (keys.EVENTS, keys.checks(guild_id, persona)), (), answers.comparisons)


def recall(report: CheckReport) -> Call[bool]:
    """Know a check again where Redis was emptied, unless there was a newer one of that adapter, or of the same two."""
    args = (answers.outline(report), *answers.places(report))
    return Call("recall", (keys.EVENTS, keys.checks(report.spec.guild_id, report.persona)), args, bool)


def catalog(guild_id: str) -> Call[Catalog | None]:
    """What a guild may choose from, as workers last published it."""
    return Call(
        "catalog",
        (keys.EVENTS, keys.catalog(guild_id), keys.catalog(SHIPPED), keys.GUILDS),
        (guild_id,),
        lambda raw: Catalog.model_validate_json(raw) if raw else None,
    )


def missed(after: str, limit: int = 100) -> Call[list[dict[str, str]]]:
    """The records of jobs that ended after a cursor, and whose end the stream no longer holds, oldest first."""
    milliseconds, _, count = after.partition("-")
    return Call(
        "missed",
        (keys.EVENTS, keys.ENDS),
        (milliseconds, count or 0, limit),
        lambda raw: [pairs(record) for record in raw],
    )


def workers() -> Call[list[str]]:
    """The workers that were there a moment ago, as queue/node."""
    return Call("workers", (keys.EVENTS, keys.WORKERS), (_us(AWAY_SECONDS),), list)


# --- calls of the workers -------------------------------------------------------------------------------------------


def claim(queue: Queue, *, node: str, boot: str, lease: float) -> Call[Claim | None]:
    """Take the oldest queued job for `lease` seconds; `boot` tells this process from an earlier one of that node."""
    return Call(
        "claim",
        (keys.EVENTS, keys.waiting(queue), keys.running(queue)),
        (node, boot, secrets.token_hex(8), _us(lease)),
        lambda raw: _claim(pairs(raw)) if raw else None,
    )


def heartbeat(held: Claim, lease: float) -> Call[Standing]:
    """Hold a claim for `lease` seconds more and hear where it stands."""
    return Call("heartbeat", _held(held), (held.fence, _us(lease)), Standing)


def progress(held: Claim, look: Progress, pause: float = 0) -> Call[bool]:
    """Show how far a job is; its followers hear of it `pause` seconds after the last look, or in a new phase."""
    args = (held.fence, look.model_dump_json(exclude_none=True), look.phase, _us(pause))
    return Call("progress", _held(held), args, bool)


def checkpoint(held: Claim, step: int) -> Call[bool]:
    """Note that a job would go on from `step`; earlier crashes are forgiven."""
    return Call("checkpoint", _held(held), (held.fence, step), bool)


def finish(held: Claim, ending: Ending) -> Call[bool]:
    """End a job: by what it made, by a Problem (FAILED), or by None (CANCELLED); False: it is someone else's now."""
    state, kind, field = _ENDINGS[type(ending)]
    registry, entry, places = _registered(held.job, ending)
    value = ending.model_dump_json() if ending else ""
    return Call("finish", (*_held(held), *registry), (held.fence, state, kind, field, value, entry, *places), bool)


def requeue(held: Claim, *, crashed: bool, crash_limit: int) -> Call[bool]:
    """Give a claim back: after a clean stop, or after a crash, which at the limit ends the job.

    The job waits again, rests if it was wished to pause, or has ended if it was cancelled.
    """
    return Call("requeue", _held(held), (held.fence, int(crashed), crash_limit, _poison(crash_limit)), bool)


def reap(queue: Queue, *, crash_limit: int, node: str = "", boot: str = "") -> Call[int]:
    """Take back expired claims, and those of `node` that an earlier process made; tells how many."""
    return Call("reap", (keys.EVENTS, keys.running(queue)), (node, boot, crash_limit, _poison(crash_limit)), int)


def ring_due(queue: Queue, pause: float) -> Call[bool]:
    """Whether jobs wait that no bell tells of; at most one caller in `pause` seconds hears True."""
    return Call("ring", (keys.EVENTS, keys.waiting(queue), queue.value, keys.rung(queue)), (_us(pause),), bool)


def attend(queue: Queue, node: str, machine: Machine | None = None) -> Call[int]:
    """Say that a worker is there, and what it trains on."""
    told = machine.model_dump_json() if machine else ""
    args = (f"{queue}/{node}", _us(AWAY_SECONDS), told)
    return Call("attend", (keys.EVENTS, keys.WORKERS, keys.MACHINES), args, int)


def machine() -> Call[Machine | None]:
    """The weakest machine that a train worker works on now, since a plan must hold on each; else the last one known."""
    return Call("machines", (keys.EVENTS, keys.WORKERS, keys.MACHINES), (_us(AWAY_SECONDS),), answers.weakest)


def publish(guild_id: str, choices: Catalog) -> Call[bool]:
    """Publish what a guild may choose from."""
    return Call("publish", (keys.EVENTS, keys.catalog(guild_id)), (choices.model_dump_json(),), bool)


def guilds() -> Call[list[str]]:
    """The guilds that were seen."""
    return Call("guilds", (keys.EVENTS, keys.GUILDS), (), list)


# --- reading answers ------------------------------------------------------------------------------------------------

_ENDINGS: dict[type, tuple[JobState, EventKind, str]] = {
    Report: (JobState.SUCCEEDED, EventKind.SUCCEEDED, "report"),
    Plan: (JobState.SUCCEEDED, EventKind.SUCCEEDED, "plan"),
    CheckReport: (JobState.SUCCEEDED, EventKind.SUCCEEDED, "check"),
    ChatReply: (JobState.SUCCEEDED, EventKind.SUCCEEDED, "reply"),
    DataReport: (JobState.SUCCEEDED, EventKind.SUCCEEDED, "data"),
    Problem: (JobState.FAILED, EventKind.FAILED, "problem"),
    type(None): (JobState.CANCELLED, EventKind.CANCELLED, ""),
}


def _registered(job: Job, ending: Ending) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    """(keys, entry, places): where an ending is noted besides its record, how, and a check's places there."""
    if isinstance(ending, Report):
        registry = tuple(keys.versions(job.guild_id, persona) for persona in voiced(job.spec, ending))
        return registry, answers.version(job.id, ending.base_model), ()
    if isinstance(ending, CheckReport) and ending.spec.suite is Suite.PERSONA:
        return (keys.checks(job.guild_id, ending.persona),), answers.outline(ending), answers.places(ending)
    return (), "", ()


def _held(held: Claim) -> tuple[str, str]:
    return keys.EVENTS, keys.record(held.job.guild_id, held.job.id)


def _known(raw: str | None) -> tuple[bool, JobState | None]:
    return False, JobState(raw) if raw else None


def _keep(job: Job) -> int:
    return _KEEP_REPORTED_SECONDS if job.kind == "data" and job.reported else _KEEP_SECONDS[job.kind]


def _us(seconds: float) -> int:
    return int(seconds * 1_000_000)


def _poison(crash_limit: int) -> str:
    return Poisoned(crashes=crash_limit).problem.model_dump_json()


def _claim(fields: dict[str, str]) -> Claim:
    return Claim(Job.model_validate_json(fields["job"]), fields["fence"], int(fields["attempts"]))


# --- making calls ---------------------------------------------------------------------------------------------------


@cache
def _script(name: str) -> tuple[str, str]:
    """A script's text, behind what all share, and the digest that Redis knows it by."""
    text = (_LUA / "record.lua").read_text() + (_LUA / f"{name}.lua").read_text()
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _options() -> dict[str, Any]:
    # XREAD blocks for 2 s, which must stay under socket_timeout.
    return {"decode_responses": True, "socket_timeout": 5, "socket_connect_timeout": 2, "health_check_interval": 10}


def _retry() -> tuple[ExponentialBackoff, int]:
    return ExponentialBackoff(cap=0.2, base=0.02), 2


@contextmanager
def _plain(url: SecretStr) -> Iterator[None]:
    """Turns what the connection suffers into the sentence for it."""
    parts = urlsplit(url.get_secret_value())
    address = f"{parts.hostname}:{parts.port or 6379}"
    try:
        yield
    except AuthenticationError as error:
        raise RedisRefused(address=address) from error
    except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
        raise RedisAway(address=address) from error


class Store:
    """Makes calls and waits for them; any thread may use it."""

    def __init__(self, url: SecretStr) -> None:
        self._url = url
        self._redis = redis.Redis.from_url(url.get_secret_value(), retry=Retry(*_retry()), **_options())

    def do(self, call: Call[T]) -> T:
        """Make one call; raises RedisAway or RedisRefused."""
        text, digest = _script(call.script)
        with _plain(self._url):
            try:
                raw = self._redis.evalsha(digest, len(call.keys), *call.keys, *call.args)
            except NoScriptError:
                raw = self._redis.eval(text, len(call.keys), *call.keys, *call.args)
        return call.parse(raw)

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()


class AsyncStore:
    """Makes calls from an event loop, and reads the event stream."""

    def __init__(self, url: SecretStr) -> None:
        self._url = url
        self._redis = redis.asyncio.Redis.from_url(
            url.get_secret_value(), retry=redis.asyncio.retry.Retry(*_retry()), **_options()
        )

    async def do(self, call: Call[T]) -> T:
        """Make one call; raises RedisAway or RedisRefused."""
        text, digest = _script(call.script)
        with _plain(self._url):
            try:
                raw = await self._redis.evalsha(digest, len(call.keys), *call.keys, *call.args)
            except NoScriptError:
                raw = await self._redis.eval(text, len(call.keys), *call.keys, *call.args)
        return call.parse(raw)

    async def do_all(self, calls: Sequence[Call[T]]) -> list[T]:
        """Make many calls in one round trip, in their order; raises RedisAway or RedisRefused."""
        with _plain(self._url):
            try:
                async with self._redis.pipeline(transaction=False) as pipe:
                    for call in calls:
                        pipe.evalsha(_script(call.script)[1], len(call.keys), *call.keys, *call.args)
                    raws = await pipe.execute()
            except NoScriptError:  # this Redis has yet to learn the scripts; every call may be sent twice
                return [await self.do(call) for call in calls]
        return [call.parse(raw) for call, raw in zip(calls, raws, strict=True)]

    async def read(self, after: str, *, limit: int = 500, block: float = 2.0) -> list[tuple[str, dict[str, str]]]:
        """The stream's next entries after a cursor, waiting at most `block` seconds for the first."""
        with _plain(self._url):
            answer: Any = await self._redis.xread({keys.EVENTS: after}, count=limit, block=int(block * 1000))
        streams = answer.values() if isinstance(answer, dict) else [entries for _, entries in answer]
        return [entry for entries in streams for entry in entries]

    async def recorded(self, records: Sequence[str], field: str = "job") -> list[str | None]:
        """One field of each of these records, as JSON; None where a record has expired."""
        with _plain(self._url):
            async with self._redis.pipeline(transaction=False) as pipe:
                for record in records:
                    pipe.hget(record, field)
                return await pipe.execute()

    async def appends(self) -> bool | None:
        """Whether this Redis keeps an append-only file; None where it does not let callers ask."""
        with _plain(self._url):
            try:
                return (await self._redis.config_get("appendonly")).get("appendonly") == "yes"
            except ResponseError:
                return None

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
