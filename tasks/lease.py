"""Keeps one claimed job its worker's, from a thread of its own, and hears what becomes of it."""

from __future__ import annotations

import logging
import threading
import time
from typing import Self

from tasks import store
from tasks.errors import RedisAway
from tasks.store import Claim, Standing, Store
from tasks.timings import Timings
from training.schema import Progress

log = logging.getLogger(__name__)


class Lease:
    """The heartbeat of one job. All that a job tells while it runs goes out with it, the newest look only.

    paused: someone wanted the job to stop for now; whether it still is wanted, Redis decides when it is given back.
    cancelled: someone wants the job ended. lost: it is another worker's now, so nothing written here counts.
    """

    def __init__(self, connection: Store, held: Claim, timings: Timings) -> None:
        self.paused = threading.Event()
        self.cancelled = threading.Event()
        self.lost = threading.Event()
        self._store = connection
        self._held = held
        self._timings = timings
        self._over = threading.Event()
        self._sending = threading.Lock()
        self._look: Progress | None = None
        self._step: int | None = None
        self._told_at = 0.0
        self._begun = time.monotonic()
        self._away = False
        self._thread = threading.Thread(target=self._beat_for_ever, name=f"lease-{held.job.id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def tell(self, look: Progress) -> None:
        """Let the followers know how far the job is, soon; a newer look replaces one that was not sent yet."""
        self._look = look

    def mark(self, step: int) -> None:
        """Note that a checkpoint of `step` is on disk."""
        self._step = step

    def flush(self) -> None:
        """Send a noted checkpoint now, since a crash counts differently after it; raises RedisAway."""
        with self._sending:
            if self._step is not None:
                self._store.do(store.checkpoint(self._held, self._step))
                self._step = None

    def _beat_for_ever(self) -> None:
        while not (self._over.wait(self._timings.heartbeat) or self.lost.is_set()):
            try:
                self._beat()
                self._away = False
            except RedisAway as error:
                if not self._away:
                    log.warning("Job %s goes on without Redis: %s", self._held.job.id, error)
                self._away = True
            except Exception:  # this loop must outlive whatever one beat suffers, or the job would run twice
                log.exception("A heartbeat of job %s failed.", self._held.job.id)

    def _beat(self) -> None:
        standing = self._store.do(store.heartbeat(self._held, self._timings.lease))
        if standing is Standing.PAUSE:
            self.paused.set()
        elif standing is Standing.CANCEL:
            self.cancelled.set()
        elif standing is Standing.LOST:
            log.warning("Job %s is no longer this worker's.", self._held.job.id)
            self.lost.set()
        self.flush()
        if self._look is not None and time.monotonic() - self._told_at >= self._timings.progress:
            look, self._look = self._look, None
            lively = time.monotonic() - self._begun < self._timings.lively
            pause = self._timings.told if lively else self._timings.told_slowly
            self._store.do(store.progress(self._held, look, pause))
            self._told_at = time.monotonic()
