"""The callers' one door to the queue: bot, REST and command line all come through here."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

from tasks import store
from tasks.acceptance import Acceptance, Command
from tasks.bell import Bell
from tasks.embedded_redis import redis_url
from tasks.errors import (
    BeingCancelled,
    CatalogMissing,
    ChatRefused,
    DataRefused,
    JobEnded,
    NoSuchJob,
    NotPaused,
    NotTraining,
    PlanRefused,
    RedisAway,
    WorkersAway,
)
from tasks.follow import Follower
from tasks.jobs import Catalog, Event, Job, JobState, JobView, Origin, Queue, Wish, new_job
from tasks.registry import Registry
from tasks.settings import TaskSettings
from tasks.store import AsyncStore, Call
from tasks.timings import Timings
from training.data.schema import DataReport, DataSpec
from training.errors import UnderstudyError
from training.evaluation.schema import CheckSpec
from training.schema import ChatReply, ChatSpec, Plan, TrainSpec

log = logging.getLogger(__name__)
START_SECONDS = 5.0
AWAY_SECONDS = 10.0
PUSHED_AT_ONCE = 200
BELLS_AT_ONCE = 8
LOOK_SECONDS = 0.1
ASKED_AT_ONCE = 4
"""Replies that are waited for at a time, so that one member's questions do not fill the queue of conversations."""


class Client(Registry):
    """One door. What it accepts is on its own disk first, and is pushed to Redis until it has ended there.

    accepted: the SQLite file of this door; no other process may use it.
    """

    def __init__(self, settings: TaskSettings, accepted: Path, timings: Timings | None = None) -> None:
        self._settings = settings
        self._path = accepted
        self._timings = timings or Timings()
        self._new = asyncio.Event()
        self._asking = asyncio.Semaphore(ASKED_AT_ONCE)
        self._closing = False

    async def start(self) -> None:
        """Open the stores and start pushing; raises RedisAway, RedisRefused, RedisNotStarted or FolderUnusable."""
        self._settings.made("STATE_DIR")
        url = redis_url(self._settings)
        self._store = AsyncStore(url)
        try:
            await self._await_redis()
            self._acceptance = Acceptance(self._path)
        except UnderstudyError:
            await self._store.close()
            raise
        self._bell = Bell(url)
        self._loops = [
            asyncio.create_task(self._push_for_ever(), name="push"),
            asyncio.create_task(self._tend_for_ever(), name="tend"),
        ]

    async def close(self) -> None:
        """Stop pushing and close the stores; what was accepted stays on disk."""
        # A cancellation may be lost in a library that is just then handling a timeout; the flag is not.
        self._closing = True
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self._acceptance.close()
        await self._store.close()
        await asyncio.to_thread(self._bell.close)

    # --- asking -----------------------------------------------------------------------------------------------------

    async def catalog(self, guild_id: str) -> Catalog:
        """What a guild may choose from; raises CatalogMissing if no worker has published it yet."""
        choices = await self._store.do(store.catalog(guild_id))
        if choices is None:
            raise CatalogMissing(queue=Queue.PREPARE)
        return choices

    async def plan(self, spec: TrainSpec, origin: Origin, timeout: float = 60) -> Plan:
        """What a job would take; raises PlanRefused with the worker's reason, or WorkersAway."""
        view = await self._answered(new_job("plan", spec, origin), timeout)
        if view.problem:
            raise PlanRefused(view.problem)
        if view.plan is None:
            raise NoSuchJob(name=view.job.id)
        return view.plan

    async def data(self, spec: DataSpec, origin: Origin, timeout: float = 60) -> DataReport:
        """What comes of work on data that someone waits for; raises DataRefused with its reason, or WorkersAway."""
        view = await self._answered(new_job("data", spec, origin), timeout)
        if view.problem:
            raise DataRefused(view.problem)
        if view.data is None:
            raise NoSuchJob(name=view.job.id)
        return view.data

    async def ask(self, spec: ChatSpec, origin: Origin, timeout: float = 60) -> ChatReply:
        """A reply that someone waits for and no channel is shown, `timeout` seconds once its turn has come.

        Raises ChatRefused with the worker's reason, or WorkersAway.
        """
        unseen = origin.model_copy(update={"channel_id": None})
        async with self._asking:
            await self.require_worker(Queue.CHAT)
            view = await self._answered(new_job("chat", spec, unseen), timeout)
        if view.problem:
            raise ChatRefused(view.problem)
        if view.reply is None:
            raise NoSuchJob(name=view.job.id)
        return view.reply

    async def show(self, job_id: str, guild_id: str) -> JobView:
        """One job of this guild; raises NoSuchJob."""
        try:
            view = await self._store.do(store.show(guild_id, job_id))
        except RedisAway:
            command = await self._accepted(job_id, guild_id)
            if command is None or command.pushed:
                raise
            return _accepted_view(command)
        if view:
            return view
        command = await self._accepted(job_id, guild_id)
        if command is None:
            raise NoSuchJob(name=job_id)
        return _accepted_view(command)

    async def jobs(self, guild_id: str, limit: int = 25) -> list[JobView]:
        """This guild's training jobs, newest first."""
        views = await self._store.do(store.jobs(guild_id, limit))
        known = {view.job.id for view in views}
        fresh = [
            _accepted_view(command)
            for command in await self._acceptance.unsettled()
            if command.job and command.job.kind == "train" and command.guild_id == guild_id and not command.pushed
        ]
        return [*reversed([view for view in fresh if view.job.id not in known]), *views][:limit]

    async def find(self, guild_id: str, name_or_id: str) -> JobView:
        """The training job of that id, else the guild's newest of that name; raises NoSuchJob."""
        try:
            view: JobView | None = await self.show(name_or_id, guild_id)
        except NoSuchJob:
            view = await self._store.do(store.named(guild_id, name_or_id))
        for command in await self._acceptance.unsettled():
            spec = command.job.spec if command.job else None
            if isinstance(spec, TrainSpec) and spec.job_name == name_or_id and command.guild_id == guild_id:
                view = await self.show(command.job_id, guild_id)
        if view is None or view.job.kind != "train":
            raise NoSuchJob(name=name_or_id)
        return view

    async def wait(self, job_id: str, guild_id: str, timeout: float) -> JobView:
        """A job once it has ended; raises TimeoutError, or NoSuchJob."""
        return await self._until_ended(job_id, guild_id, timeout)

    async def workers(self) -> list[str]:
        """The workers that were there a moment ago, as queue/node."""
        return await self._store.do(store.workers())

    async def require_worker(self, queue: Queue) -> None:
        """Raise WorkersAway unless a worker of this queue was there a moment ago."""
        if not any(worker.startswith(f"{queue}/") for worker in await self.workers()):
            raise WorkersAway(queue=queue, seconds=store.AWAY_SECONDS)

    def follow(self, after: str) -> AsyncIterator[tuple[str, Event]]:
        """All events after the cursor ("0-0" is the start), in order, for ever, each with its own cursor."""
        return Follower(self._store).events(after)

    # --- telling ----------------------------------------------------------------------------------------------------

    async def draft(self, job: Job) -> None:
        """Keep a job whose plan is shown and that nobody has started yet."""
        await self._acceptance.draft(job)

    async def drafted(self, job_id: str, guild_id: str) -> Job | None:
        """A kept draft."""
        return await self._acceptance.drafted(job_id, guild_id)

    async def discard(self, job_id: str, guild_id: str) -> None:
        """Forget a draft."""
        await self._acceptance.discard(job_id, guild_id)

    async def submit(self, job: Job) -> None:
        """Accept a job; it is on disk on return, and it is accepted once however often it is sent."""
        await self._acceptance.accept_submit(job)
        self._new.set()

    async def cancel(self, job_id: str, guild_id: str) -> JobView:
        """Accept the wish to cancel; raises NoSuchJob or JobEnded. Shows the job as it stands then."""
        view = await self.show(job_id, guild_id)
        if view.state.ended:
            raise JobEnded(name=_name(view.job), state=view.state.lower(), wish="cancel")
        await self._acceptance.accept_cancel(job_id, guild_id)
        return await self._pushed(view, JobState.CANCELLING)

    async def pause(self, job_id: str, guild_id: str) -> JobView:
        """Accept the wish that a training job stop for now, keep its place and free its card; shows it as it stands.

        A job that waits rests at once; one that runs keeps a checkpoint first, and one that has begun to judge its
        result finishes. Raises NoSuchJob, NotTraining, JobEnded or BeingCancelled.
        """
        view = await self._wishable(job_id, guild_id, "pause")
        await self._acceptance.accept_wish(job_id, guild_id, "pause", _later(view))
        return await self._pushed(view, JobState.PAUSING)

    async def resume(self, job_id: str, guild_id: str) -> JobView:
        """Accept the wish that a paused job go on from its checkpoint, also while it still stops; shows it then.

        It waits at its old place, before all that were submitted after it. Raises what `pause` does, and NotPaused.
        """
        view = await self._wishable(job_id, guild_id, "resume")
        if view.state not in (JobState.PAUSED, JobState.PAUSING):
            raise NotPaused(name=_name(view.job), state=view.state.lower())
        await self._acceptance.accept_wish(job_id, guild_id, "resume", _later(view))
        view = await self._pushed(view, JobState.QUEUED)
        if view.position:
            await self._ring([view.job])
        return view

    async def _wishable(self, job_id: str, guild_id: str, wish: Wish) -> JobView:
        view = await self.show(job_id, guild_id)
        if view.job.kind != "train":
            raise NotTraining(name=_name(view.job))
        if view.state.ended:
            raise JobEnded(name=_name(view.job), state=view.state.lower(), wish=wish)
        if view.state is JobState.CANCELLING:
            raise BeingCancelled(name=_name(view.job), wish=wish)
        return view

    async def _pushed(self, view: JobView, otherwise: JobState) -> JobView:
        """The job once Redis knows what was accepted of it, else as it will be then."""
        job = view.job
        try:
            await self._push([c for c in await self._acceptance.unsettled() if c.job_id == job.id])
            return await self.show(job.id, job.guild_id)
        except RedisAway:
            return view.model_copy(update={"state": otherwise, "position": None})

    # --- pushing ----------------------------------------------------------------------------------------------------

    async def _push_for_ever(self) -> None:
        everything = True
        while not self._closing:
            self._new.clear()
            await self._guarded(self._push_unsettled(everything), "Pushing accepted commands")
            try:
                async with asyncio.timeout(self._timings.tend):
                    await self._new.wait()
                everything = False
            except TimeoutError:
                everything = True

    async def _push_unsettled(self, everything: bool) -> None:
        commands = [c for c in await self._acceptance.unsettled() if everything or not c.pushed]
        for start in range(0, len(commands), PUSHED_AT_ONCE):
            await self._push(commands[start : start + PUSHED_AT_ONCE])

    async def _push(self, commands: list[Command]) -> None:
        """Bring Redis to know these commands, in the order they were accepted; each may have been pushed before."""
        outcomes = await self._store.do_all([_call(command) for command in commands])
        # A cancel finds no job (state None) where Redis was emptied and another door has yet to bring the job back.
        ended = [c for c, (_, state) in zip(commands, outcomes, strict=True) if state and state.ended]
        arrived = [c for c, (_, state) in zip(commands, outcomes, strict=True) if state and not c.pushed]
        await self._acceptance.note(arrived=arrived, ended=ended)
        await self._ring([c.job for c, (new, _) in zip(commands, outcomes, strict=True) if new and c.job])

    async def _ring(self, fresh: list[Job]) -> None:
        """Wake workers; one bell wakes one, and it then works until nothing waits."""
        for queue in Queue:
            for job in [job for job in fresh if job.queue is queue][:BELLS_AT_ONCE]:
                if not await asyncio.to_thread(self._bell.ring, queue, job.id):
                    return

    async def _tend_for_ever(self) -> None:
        while not self._closing:
            await self._guarded(self._tend(), "Tending the queues")
            await asyncio.sleep(self._timings.tend)

    async def _tend(self) -> None:
        for queue in Queue:
            await self._store.do(store.reap(queue, crash_limit=self._timings.crash_limit))
            if await self._store.do(store.ring_due(queue, self._timings.tend)):
                await asyncio.to_thread(self._bell.ring, queue)

    async def _guarded(self, work: Awaitable[None], what: str) -> None:
        try:
            await work
        except RedisAway as error:
            log.debug("%s waits: %s", what, error)
        except Exception:  # these loops must outlive whatever goes wrong in one round
            log.exception("%s failed; it is tried again.", what)

    # --- looking ----------------------------------------------------------------------------------------------------

    async def _await_redis(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                await self._store.do(store.guilds())
                return
            except RedisAway:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(LOOK_SECONDS)

    async def _until_ended(self, job_id: str, guild_id: str, timeout: float) -> JobView:
        async with asyncio.timeout(timeout):
            while True:
                try:
                    view = await self.show(job_id, guild_id)
                    if view.state.ended:
                        return view
                except RedisAway as error:
                    log.debug("Waiting for job %s: %s", job_id, error)
                await asyncio.sleep(LOOK_SECONDS)

    async def _answered(self, job: Job, timeout: float) -> JobView:
        """A job that someone waits for, once it has ended; raises WorkersAway, and then it is not done any more."""
        asked_at = time.monotonic()
        await self._store.do(store.submit(job))
        await self._ring([job])
        try:
            return await self._served(job, timeout)
        except TimeoutError:
            await self._store.do(store.cancel(job.guild_id, job.id))
            raise WorkersAway(queue=job.queue, seconds=time.monotonic() - asked_at) from None

    async def _served(self, job: Job, timeout: float) -> JobView:
        """The job's end; gives up early if it still waits and no worker is there to take it."""
        try:
            return await self._until_ended(job.id, job.guild_id, min(timeout, AWAY_SECONDS))
        except TimeoutError:
            waits = (await self.show(job.id, job.guild_id)).state is JobState.QUEUED
            there = any(worker.startswith(f"{job.queue}/") for worker in await self.workers())
            if timeout <= AWAY_SECONDS or (waits and not there):
                raise
        return await self._until_ended(job.id, job.guild_id, timeout - AWAY_SECONDS)

    async def _accepted(self, job_id: str, guild_id: str) -> Command | None:
        for command in await self._acceptance.unsettled():
            if command.job and (command.job_id, command.guild_id) == (job_id, guild_id):
                return command
        return None


def _call(command: Command) -> Call[tuple[bool, JobState | None]]:
    if command.job:
        return store.submit(command.job, command.wished_at)
    if command.kind in ("pause", "resume"):
        return store.wish(command.guild_id, command.job_id, command.kind, command.wished_at)
    return store.cancel(command.guild_id, command.job_id)


def _accepted_view(command: Command) -> JobView:
    """A job that Redis has yet to hear of."""
    assert command.job is not None
    return JobView(job=command.job, state=JobState.PAUSED if command.wished_at else JobState.QUEUED)


def _later(view: JobView) -> int:
    """Now in microseconds, but later than any wish that is known, since another door's clock may be ahead."""
    return max(int(time.time() * 1_000_000), view.wished + 1)


def _name(job: Job) -> str:
    if isinstance(job.spec, DataSpec):
        return job.spec.name or job.id
    if isinstance(job.spec, CheckSpec):
        return f"check of {job.spec.persona}"
    return job.spec.job_name if isinstance(job.spec, TrainSpec) else job.id
