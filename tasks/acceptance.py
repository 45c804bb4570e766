"""What a door has accepted, on disk before anyone is told: commands, and drafts that still wait for Start.

One SQLite file per door. All its writes go through one thread that commits whatever has gathered, so a burst of
commands costs few fsyncs and the event loop never waits for the disk. An accepted command is pushed to Redis again
and again until its job has ended there; so an emptied Redis loses none. What was said is kept no longer than that. Of
what was wished of a job, to pause or to go on, only the newest counts, so no more is kept.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal, TypeVar

from tasks.errors import FolderUnusable
from tasks.jobs import Job, Wish

log = logging.getLogger(__name__)
T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]
BATCH = 500
DAY = 86_400
SETTLED_KEPT_SECONDS = 30 * DAY
DRAFTS_KEPT_SECONDS = 7 * DAY

_SCHEMA = """
CREATE TABLE IF NOT EXISTS commands (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('submit', 'cancel')),
    job_id TEXT NOT NULL,
    guild_id TEXT NOT NULL,
    job TEXT,
    accepted_at REAL NOT NULL,
    pushed_at REAL,
    settled_at REAL,
    UNIQUE (kind, job_id, guild_id)
);
CREATE INDEX IF NOT EXISTS unsettled ON commands (number) WHERE settled_at IS NULL;
CREATE TABLE IF NOT EXISTS wishes (
    job_id TEXT NOT NULL,
    guild_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('pause', 'resume')),
    wished_at INTEGER NOT NULL,
    pushed_at REAL,
    PRIMARY KEY (job_id, guild_id)
);
CREATE TABLE IF NOT EXISTS drafts (
    job_id TEXT PRIMARY KEY,
    guild_id TEXT NOT NULL,
    job TEXT NOT NULL,
    drafted_at REAL NOT NULL
);
"""


@dataclass(frozen=True)
class Command:
    """One accepted command; a submit carries its job.

    number: in the order of acceptance, 0 for a wish. wished_at: when a wish was made, in microseconds; of a submit,
    when its job was wished to pause, 0 if it was not.
    """

    number: int
    kind: Literal["submit", "cancel", "pause", "resume"]
    job_id: str
    guild_id: str
    job: Job | None
    pushed: bool
    wished_at: int = 0


class Acceptance:
    """The file of one door. Every method returns once its change is on disk."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it, readable by its owner only; raises FolderUnusable."""
        self._path = path
        self._inbox: SimpleQueue[tuple[Work, Future[Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="acceptance", daemon=True)
        self._opened: Future[None] = Future()
        self._thread.start()
        try:
            self._opened.result()
        except (OSError, sqlite3.Error) as error:
            raise FolderUnusable(folder=path, setting="STATE_DIR", reason=str(error)) from error

    async def accept_submit(self, job: Job) -> None:
        """Keep a job to submit; its draft is done with. Accepting it twice is accepting it once."""
        row = ("submit", job.id, job.guild_id, job.model_dump_json(), time.time())

        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT INTO commands (kind, job_id, guild_id, job, accepted_at) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT DO NOTHING",
                row,
            )
            db.execute("DELETE FROM drafts WHERE job_id = ? AND guild_id = ?", (job.id, job.guild_id))

        await self._do(work)

    async def accept_cancel(self, job_id: str, guild_id: str) -> None:
        """Keep a wish to cancel."""
        row = ("cancel", job_id, guild_id, time.time())
        await self._do(
            lambda db: db.execute(
                "INSERT INTO commands (kind, job_id, guild_id, accepted_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                row,
            )
        )

    async def accept_wish(self, job_id: str, guild_id: str, kind: Wish, wished_at: int) -> None:
        """Keep a wish in place of an earlier one; it is younger than that, whatever the clock says."""
        row = (job_id, guild_id, kind, wished_at)
        await self._do(
            lambda db: db.execute(
                "INSERT INTO wishes (job_id, guild_id, kind, wished_at) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET kind = excluded.kind, pushed_at = NULL, "
                "wished_at = max(excluded.wished_at, wished_at + 1)",
                row,
            )
        )

    async def unsettled(self) -> list[Command]:
        """The accepted commands whose jobs have not ended, oldest first, and behind them what is wished of them."""
        return await self._do(_unsettled)

    async def note(self, *, arrived: Sequence[Command], ended: Sequence[Command]) -> None:
        """Note which commands Redis has, and whose jobs have ended, so that those are not pushed again."""
        now = time.time()
        pushed = [(now, command.number) for command in arrived]
        wished = [(now, c.job_id, c.guild_id, c.wished_at) for c in arrived if c.kind in ("pause", "resume")]
        settled = [(now, command.job_id, command.guild_id) for command in ended]

        def work(db: sqlite3.Connection) -> None:
            db.executemany("UPDATE commands SET pushed_at = ? WHERE number = ?", pushed)
            db.executemany(
                "UPDATE wishes SET pushed_at = ? WHERE job_id = ? AND guild_id = ? AND wished_at = ?", wished
            )
            db.executemany("DELETE FROM wishes WHERE job_id = ? AND guild_id = ?", [row[1:] for row in settled])
            db.executemany(
                "UPDATE commands SET settled_at = ?, job = NULL WHERE job_id = ? AND guild_id = ? "
                "AND settled_at IS NULL",
                settled,
            )

        if pushed or settled:
            await self._do(work)

    async def draft(self, job: Job) -> None:
        """Keep a job that nobody has started yet."""
        row = (job.id, job.guild_id, job.model_dump_json(), time.time())
        await self._do(lambda db: db.execute("INSERT OR REPLACE INTO drafts VALUES (?, ?, ?, ?)", row))

    async def drafted(self, job_id: str, guild_id: str) -> Job | None:
        """A kept draft of that guild."""
        row = await self._do(
            lambda db: db.execute(
                "SELECT job FROM drafts WHERE job_id = ? AND guild_id = ?", (job_id, guild_id)
            ).fetchone()
        )
        return Job.model_validate_json(row[0]) if row else None

    async def discard(self, job_id: str, guild_id: str) -> None:
        """Forget a draft."""
        await self._do(
            lambda db: db.execute("DELETE FROM drafts WHERE job_id = ? AND guild_id = ?", (job_id, guild_id))
        )

    async def close(self) -> None:
        """Write what was asked for and close the file."""
        self._inbox.put(None)
        await asyncio.to_thread(self._thread.join)

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        done: Future[T] = Future()
        self._inbox.put((work, done))
        return await asyncio.wrap_future(done)

    def _write(self) -> None:
        try:
            db = _open(self._path)
        except (OSError, sqlite3.Error) as error:  # the constructor waits for it and raises it in its own thread
            self._opened.set_exception(error)
            return
        self._opened.set_result(None)
        closing = False
        while not closing:
            batch = [self._inbox.get()]
            while len(batch) < BATCH and not self._inbox.empty():
                batch.append(self._inbox.get())
            closing = None in batch
            asked = [item for item in batch if item and item[1].set_running_or_notify_cancel()]
            if asked:
                _commit(db, asked)
        db.close()


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA busy_timeout = 5000")
    db.execute("PRAGMA secure_delete = ON")
    db.executescript(_SCHEMA)
    now = time.time()
    db.execute("DELETE FROM commands WHERE settled_at < ?", (now - SETTLED_KEPT_SECONDS,))
    db.execute("DELETE FROM drafts WHERE drafted_at < ?", (now - DRAFTS_KEPT_SECONDS,))
    return db


def _commit(db: sqlite3.Connection, batch: list[tuple[Work, Future[Any]]]) -> None:
    """Do a batch in one transaction; whoever asked hears of it only after the commit, or of the failure of its own."""
    try:
        answers = _transact(db, [work for work, _ in batch])
    except Exception as error:  # whoever asked hears of it; this thread must outlive it, or nobody is answered again
        if len(batch) == 1:
            log.exception("A change of the accepted commands could not be kept.")
            batch[0][1].set_exception(error)
            return
        for item in batch:
            _commit(db, [item])
        return
    for (_, done), answer in zip(batch, answers, strict=True):
        done.set_result(answer)


def _transact(db: sqlite3.Connection, works: Sequence[Work]) -> list[Any]:
    try:
        db.execute("BEGIN IMMEDIATE")
        answers = [work(db) for work in works]
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return answers


def _unsettled(db: sqlite3.Connection) -> list[Command]:
    commands = db.execute(
        "SELECT number, kind, job_id, guild_id, job, pushed_at FROM commands WHERE settled_at IS NULL ORDER BY number"
    ).fetchall()
    wishes = db.execute("SELECT 0, kind, job_id, guild_id, NULL, pushed_at, wished_at FROM wishes").fetchall()
    paused = {(job_id, guild_id): wished_at for _, kind, job_id, guild_id, *_, wished_at in wishes if kind == "pause"}
    told = [(*row, paused.get((row[2], row[3]), 0) if row[1] == "submit" else 0) for row in commands]
    return [_command(row) for row in (*told, *wishes)]


def _command(row: tuple[Any, ...]) -> Command:
    number, kind, job_id, guild_id, job, pushed_at, wished_at = row
    return Command(
        number=number,
        kind=kind,
        job_id=job_id,
        guild_id=guild_id,
        job=Job.model_validate_json(job) if job else None,
        pushed=pushed_at is not None,
        wished_at=wished_at,
    )
