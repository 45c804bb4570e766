"""What the bot must not forget: how far it has read the event stream, and which messages it owes.

One SQLite file. The cursor and the rows that an event calls for move in one transaction, so an event is taken in
exactly once, whatever kills the bot. A row is marked before its message is sent and again after: one found marked
"sending" at the next start is in doubt, and its message is looked for in the channel before it is sent again.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import ValidationError

from bot.database import Database
from tasks.jobs import Event

logger = logging.getLogger(__name__)

KEPT_SECONDS = 30 * 24 * 3600
# A new ledger belongs to a new installation: what older events called for was posted by another, or by nobody.
# The margin forgives a clock that differs from Redis'.
FIRST_LOOK_BACK = 60

_SCHEMA = """
CREATE TABLE IF NOT EXISTS stream (id INTEGER PRIMARY KEY CHECK (id = 1), cursor TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY,
    job_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    part INTEGER NOT NULL,
    channel_id TEXT NOT NULL,
    event TEXT,
    state TEXT NOT NULL DEFAULT 'new',
    revision INTEGER NOT NULL DEFAULT 1,
    shown INTEGER NOT NULL DEFAULT 0,
    final INTEGER NOT NULL,
    message_id TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at REAL NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    begun_at REAL,
    reason TEXT,
    UNIQUE (job_id, kind, part)
);
CREATE INDEX IF NOT EXISTS outbox_open ON outbox (channel_id, id) WHERE event IS NOT NULL;
CREATE VIEW IF NOT EXISTS owed AS SELECT * FROM outbox WHERE event IS NOT NULL AND (
    state IN ('new', 'sending') OR (state = 'sent' AND shown < revision)
);
CREATE TABLE IF NOT EXISTS command_sets (scope TEXT PRIMARY KEY, digest TEXT NOT NULL);
"""


class Kind(StrEnum):
    """What a row's message is."""

    CARD = "card"
    RESULT = "result"
    REPLY = "reply"
    THREAD = "thread"
    SAMPLE = "sample"


@dataclass(frozen=True)
class Row:
    """One message that a channel is owed, or whose newest state it is owed."""

    id: int
    job_id: str
    kind: Kind
    part: int
    channel_id: str
    event: Event
    in_doubt: bool
    revision: int
    message_id: str | None
    attempts: int
    begun_at: float
    refused: bool = False


class Ledger(Database):
    """The file and every statement that touches it; safe to call from any thread."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _SCHEMA)
        with self._transaction() as db:
            if "begun_at" not in {row["name"] for row in db.execute("PRAGMA table_info(outbox)")}:
                db.execute("ALTER TABLE outbox ADD COLUMN begun_at REAL")  # of a file that an earlier release made
            first = f"{int((time.time() - FIRST_LOOK_BACK) * 1000)}-0"
            db.execute("INSERT OR IGNORE INTO stream (id, cursor) VALUES (1, ?)", (first,))
            db.execute(
                "DELETE FROM outbox WHERE (event IS NULL OR state = 'parked') AND created_at < ?",
                (time.time() - KEPT_SECONDS,),
            )

    # --- the stream ------------------------------------------------------------------------------------------------

    def cursor(self) -> str:
        """The id of the last event taken in."""
        with self._transaction() as db:
            return str(db.execute("SELECT cursor FROM stream").fetchone()["cursor"])

    def ingest(self, cursor: str, event: Event, wanted: Sequence[tuple[Kind, int]]) -> bool:
        """Take in one event with the messages (kind and part) it calls for; False if it was taken in before."""
        with self._transaction() as db:
            known = db.execute("SELECT cursor FROM stream").fetchone()["cursor"]
            if _position(cursor) <= _position(known):
                return False
            db.execute("UPDATE stream SET cursor = ?", (cursor,))
            for kind, part in wanted:
                self._want(db, event, kind, part)
            return True

    def _want(self, db: sqlite3.Connection, event: Event, kind: Kind, part: int) -> None:
        key = (event.job_id, kind, part)
        row = db.execute("SELECT * FROM outbox WHERE job_id = ? AND kind = ? AND part = ?", key).fetchone()
        if row is None:
            db.execute(
                "INSERT INTO outbox (job_id, kind, part, channel_id, event, final, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*key, event.job.origin.channel_id, _needed(event, kind), event.state.ended, time.time()),
            )
            return
        if row["final"]:
            return
        before = _event(row)
        newest = _continued(before, event) if before else event
        # The last state is worth an edit at once; any other waits for the card's slow clock.
        db.execute(
            "UPDATE outbox SET event = ?, final = ?, revision = revision + 1, "
            "due_at = CASE WHEN ? THEN 0 ELSE due_at END WHERE job_id = ? AND kind = ? AND part = ?",
            (_needed(newest, kind), event.state.ended, event.state.ended, *key),
        )

    # --- the outbox ------------------------------------------------------------------------------------------------

    def channels(self) -> list[str]:
        """The channels that are owed something."""
        with self._transaction() as db:
            rows = db.execute("SELECT DISTINCT channel_id FROM owed").fetchall()
        return [str(row["channel_id"]) for row in rows]

    def next(self, channel_id: str, now: float) -> Row | float | None:
        """What the channel is owed next: a row that is due, else the Unix time when one will be, else None.

        Messages are sent in order; edits of sent cards may pass, and so may another job's messages where one was
        refused. A row that this version cannot read is parked.
        """
        with self._transaction() as db:
            rows = db.execute("SELECT * FROM owed WHERE channel_id = ? ORDER BY id", (channel_id,))
            candidates = _may_go(rows.fetchall())
            for row in candidates:
                if row["due_at"] > now:
                    continue
                event = _event(row)
                if event is not None:
                    return _row(row, event)
                db.execute("UPDATE outbox SET state = 'parked', reason = 'unreadable' WHERE id = ?", (row["id"],))
        return min((float(row["due_at"]) for row in candidates), default=None)

    def begin(self, row: Row) -> None:
        """Mark a row before its message is sent, and when that was, since from then on it may be found."""
        with self._transaction() as db:
            db.execute("UPDATE outbox SET state = 'sending', begun_at = ? WHERE id = ?", (time.time(), row.id))

    def shown(self, row: Row, message_id: str, not_before: float) -> None:
        """The message shows this revision of the row; a card is not edited again before `not_before`, but for its end.

        What was said is Discord's to keep, not ours: a row that shows its last revision forgets its event.
        """
        with self._transaction() as db:
            db.execute(
                "UPDATE outbox SET state = 'sent', attempts = 0, reason = NULL, message_id = :message, "
                "shown = :revision, "
                "due_at = CASE WHEN final THEN 0 ELSE :not_before END, "
                "event = CASE WHEN final AND revision = :revision THEN NULL ELSE event END WHERE id = :id",
                {"message": message_id, "revision": row.revision, "not_before": not_before, "id": row.id},
            )

    def put_off(self, row: Row, until: float, refusal: str | None = None) -> None:
        """Try again later; `refusal`: why Discord does not take it, where that is what it waits for."""
        attempts = row.attempts + 1 if row.refused == (refusal is not None) else 1
        with self._transaction() as db:
            db.execute(
                "UPDATE outbox SET attempts = ?, due_at = ?, reason = ? WHERE id = ?",
                (attempts, until, refusal, row.id),
            )

    def park(self, row: Row, reason: str) -> None:
        """Give a row up; the channel's other rows go on."""
        with self._transaction() as db:
            db.execute("UPDATE outbox SET state = 'parked', reason = ? WHERE id = ?", (reason, row.id))

    def owns(self, message_id: str) -> bool:
        """Whether a message is known to belong to a row."""
        with self._transaction() as db:
            return db.execute("SELECT 1 FROM outbox WHERE message_id = ?", (message_id,)).fetchone() is not None

    def message_of(self, job_id: str, kind: Kind) -> str | None:
        """The message that shows a job's first row of a kind, once it was sent."""
        with self._transaction() as db:
            key = (job_id, kind)
            row = db.execute("SELECT message_id FROM outbox WHERE job_id = ? AND kind = ? AND part = 0", key).fetchone()
        return row["message_id"] if row else None

    # --- the commands ----------------------------------------------------------------------------------------------

    def command_sets(self) -> dict[str, str]:
        """The digest of the command set last synced, by scope."""
        with self._transaction() as db:
            rows = db.execute("SELECT scope, digest FROM command_sets").fetchall()
        return {str(row["scope"]): str(row["digest"]) for row in rows}

    def synced(self, scope: str, digest: str | None) -> None:
        """Remember the command set of a scope; None forgets the scope."""
        with self._transaction() as db:
            if digest is None:
                db.execute("DELETE FROM command_sets WHERE scope = ?", (scope,))
            else:
                db.execute("INSERT OR REPLACE INTO command_sets (scope, digest) VALUES (?, ?)", (scope, digest))


def _position(cursor: str) -> tuple[int, int]:
    milliseconds, _, count = cursor.partition("-")
    return int(milliseconds), int(count or 0)


def _may_go(rows: Sequence[sqlite3.Row]) -> list[sqlite3.Row]:
    """The rows, of those that one channel is owed, that no earlier one holds up."""
    going: list[sqlite3.Row] = []
    refused: set[str] = set()
    unsent = False
    for row in rows:
        if row["state"] != "sent":
            if unsent or row["job_id"] in refused:
                continue
            if row["reason"] is None:
                unsent = True
            else:
                refused.add(row["job_id"])
        going.append(row)
    return going


def _event(row: sqlite3.Row) -> Event | None:
    try:
        return Event.model_validate_json(row["event"])
    except ValidationError:
        logger.exception("The ledger's row %s of job %s cannot be read.", row["id"], row["job_id"])
        return None


def _continued(before: Event, event: Event) -> Event:
    """An event with what it does not tell itself: how far the job had come, and from where it would go on."""
    known = {name: getattr(before, name) for name in ("progress", "checkpoint") if getattr(event, name) is None}
    return event.model_copy(update=known)


def _needed(event: Event, kind: Kind) -> str:
    """What a row must keep of an event: every reply and loss of a check goes out with its result only."""
    if event.check is not None and kind is not Kind.RESULT:
        told = event.check.model_copy(update={"answers": (), "losses": {}, "base_losses": {}})
        event = event.model_copy(update={"check": told})
    return event.model_dump_json()


def _row(row: sqlite3.Row, event: Event) -> Row:
    return Row(
        id=row["id"],
        job_id=row["job_id"],
        kind=Kind(row["kind"]),
        part=row["part"],
        channel_id=row["channel_id"],
        event=event,
        in_doubt=row["state"] == "sending",
        revision=row["revision"],
        message_id=row["message_id"],
        attempts=row["attempts"],
        begun_at=row["begun_at"] or row["created_at"],
        refused=row["reason"] is not None,
    )
