"""One worker process at its post: it claims the jobs of one queue, one after the other, and tends the queues.

Celery only wakes it. A bell means "look at your queue", so a lost, late or doubled bell changes nothing.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from celery import Celery
from celery.signals import setup_logging, worker_init, worker_ready, worker_shutting_down

from tasks import alive, store
from tasks.bell import Bell, task_name
from tasks.embedded_redis import redis_url
from tasks.errors import NodeTaken, RedisAway, Unexpected
from tasks.jobs import Queue
from tasks.lease import Lease
from tasks.settings import TaskSettings
from tasks.store import Claim, Ending, Store
from tasks.timings import Timings
from training.errors import UnderstudyError
from training.schema import Machine

log = logging.getLogger(__name__)
STOP_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class GiveBack:
    """The job goes back, because this worker stops, someone wished it to pause, or its child crashed."""

    crashed: bool


Handle = Callable[[Claim, Lease, threading.Event], Ending | GiveBack]
"""Does one job. The event says that this worker is stopping, so the job should be given back soon."""
Tick = Callable[[Store], None]
Look = Callable[[], Machine | None]
"""Finds out what this worker trains on, which may take a while."""


class Post:
    """Serves one queue from one process."""

    def __init__(
        self,
        settings: TaskSettings,
        queue: Queue,
        handle: Handle,
        timings: Timings,
        *,
        tick: Tick | None = None,
        look: Look | None = None,
    ) -> None:
        self.queue = queue
        self.stopping = threading.Event()
        self._settings = settings
        self._handle = handle
        self._timings = timings
        self._tick = tick
        self._look = look
        self._looked = threading.Event()
        self._machine: Machine | None = None
        self._boot = secrets.token_hex(8)
        self._node = ""
        self._lock: IO[bytes] | None = None
        self._reclaimed = False
        self._store: Store | None = None

    @property
    def _connection(self) -> Store:
        if self._store is None:
            self._store = Store(redis_url(self._settings))
        return self._store

    def take(self, node: str) -> None:
        """Be the queue's only worker of this node, until the process ends; raises FolderUnusable or NodeTaken."""
        self._node = node
        state_dir = self._settings.made("STATE_DIR")
        if self.queue is Queue.TRAIN:
            self._settings.made("ARTIFACT_ROOT")
        if self.queue is not Queue.PREPARE:
            # Before torch is imported, here or in a child: CUDA then shows the one card that is ours, as number 0.
            os.environ["CUDA_VISIBLE_DEVICES"] = self._settings.cards
        self._lock = (state_dir / f"worker-{self.queue}-{node}.lock").open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NodeTaken(queue=self.queue, node=node) from None

    def open(self) -> None:
        """Take back what an earlier process of this node held, start tending, and say READY."""
        alive.keep_beating(self._settings.state_dir, self.queue.value)
        threading.Thread(target=self._find_out, name="look", daemon=True).start()
        threading.Thread(target=self._tend_for_ever, name="tend", daemon=True).start()

    def serve(self) -> None:
        """Do the oldest waiting job, then the next, until none waits or the worker stops."""
        while not self.stopping.is_set():
            try:
                held = self._connection.do(
                    store.claim(self.queue, node=self._node, boot=self._boot, lease=self._timings.lease)
                )
            except RedisAway as error:
                log.warning("%s The queue is looked at again when it is back.", error)
                return
            if held is None:
                return
            self._work(held)

    def _work(self, held: Claim) -> None:
        log.info("Job %s of guild %s begins, attempt %d.", held.job.id, held.job.guild_id, held.attempts)
        with Lease(self._connection, held, self._timings) as lease:
            outcome = self._outcome(held, lease)
            self._tell(held, lease, outcome)

    def _outcome(self, held: Claim, lease: Lease) -> Ending | GiveBack:
        try:
            return self._handle(held, lease, self.stopping)
        except UnderstudyError as error:
            return error.problem
        except Exception:
            log.exception("Job %s failed.", held.job.id)
            return Unexpected(reference=held.job.id).problem

    def _tell(self, held: Claim, lease: Lease, outcome: Ending | GiveBack) -> None:
        """Tell Redis the outcome, for as long as it takes; a stopping worker leaves it to the next one to find out."""
        limit = self._timings.crash_limit
        stopped_at = 0.0
        while not lease.lost.is_set():
            try:
                lease.flush()
                if isinstance(outcome, GiveBack):
                    self._connection.do(store.requeue(held, crashed=outcome.crashed, crash_limit=limit))
                else:
                    self._connection.do(store.finish(held, outcome))
            except RedisAway:
                if self.stopping.is_set():
                    stopped_at = stopped_at or time.monotonic()
                    if time.monotonic() - stopped_at > STOP_PATIENCE_SECONDS:
                        log.warning("The outcome of job %s could not be told; its next attempt will.", held.job.id)
                        return
                time.sleep(self._timings.heartbeat)
            else:
                log.info("Job %s: %s.", held.job.id, _words(outcome))
                return

    def _find_out(self) -> None:
        try:
            if self._look:
                self._machine = self._look()
        except Exception:  # without it plans are made for the machine that was known before
            log.exception("What this worker trains on could not be found out.")
        finally:
            self._looked.set()

    def _tend_for_ever(self) -> None:
        bell = Bell(redis_url(self._settings))
        said = False
        away = False
        while True:
            try:
                self._tend(bell)
                if not said and self._looked.is_set():
                    print("READY " + json.dumps({"process": self.queue.value}), flush=True)
                    said = True
                away = False
            except RedisAway as error:
                if not away:
                    log.warning("%s The queues are tended again when it is back.", error)
                away = True
            except Exception:  # this loop must outlive whatever one round suffers
                log.exception("Tending the queues failed; it is tried again.")
            if self.stopping.wait(self._timings.tend):
                return

    def _tend(self, bell: Bell) -> None:
        do, limit = self._connection.do, self._timings.crash_limit
        if not self._reclaimed:
            # Only once: we hold the node's lock, so whatever has its name and is not ours is of a process that ended.
            do(store.reap(self.queue, crash_limit=limit, node=self._node, boot=self._boot))
            self._reclaimed = True
        do(store.attend(self.queue, self._node, self._machine))
        for queue in Queue:
            do(store.reap(queue, crash_limit=limit))
            if do(store.ring_due(queue, self._timings.tend)):
                bell.ring(queue)
        if self._tick:
            self._tick(self._connection)


def attach(
    celery: Celery,
    settings: TaskSettings,
    queue: Queue,
    handle: Handle,
    *,
    timings: Timings | None = None,
    tick: Tick | None = None,
    look: Look | None = None,
) -> Post:
    """Register the task that serves `queue`; a process that consumes it opens the post when Celery is ready.

    A process that may not is ended with code 2, after one sentence.
    """
    post = Post(settings, queue, handle, timings or Timings(), tick=tick, look=look)

    def is_ours(worker: Any) -> bool:
        return queue.value in worker.app.amqp.queues.consume_from

    @celery.task(name=task_name(queue))
    def serve(_job_id: str) -> None:
        post.serve()

    @worker_init.connect(weak=False)
    def taken(sender: Any, **_: object) -> None:
        if is_ours(sender):
            try:
                post.take(sender.hostname)
            except UnderstudyError as error:
                print(error, file=sys.stderr)
                raise SystemExit(2) from None

    @worker_ready.connect(weak=False)
    def opened(sender: Any, **_: object) -> None:
        if is_ours(sender):
            post.open()

    @worker_shutting_down.connect(weak=False)
    def closing(**_: object) -> None:
        post.stopping.set()

    return post


@setup_logging.connect(weak=False)
def log_quietly(**_: Any) -> None:
    """Our own lines from INFO, everybody else's from WARNING, all to standard error."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("tasks").setLevel(logging.INFO)
    logging.getLogger("py.warnings").setLevel(logging.ERROR)


def _words(outcome: Ending | GiveBack) -> str:
    if isinstance(outcome, GiveBack):
        return "its child crashed" if outcome.crashed else "given back"
    return "cancelled" if outcome is None else getattr(outcome, "sentence", "succeeded")
