"""The messages that votes owe their channels, each marked before it is sent and again after.

The table and the view are those of the file of ballots, since a close and the result that it owes are one transaction.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from enum import StrEnum

from bot.database import Database


class NoticeKind(StrEnum):
    """What a channel is told of a vote: that it is open, how it ended, and, in the first message, that it is over."""

    CALL = "call"
    RESULT = "result"
    OVER = "over"


@dataclass(frozen=True)
class Notice:
    """A message that a channel is owed."""

    id: int
    poll: str
    kind: NoticeKind
    in_doubt: bool
    message_id: str | None
    attempts: int
    begun_at: float | None


class Notices(Database):
    """The part of the ballots' file that tells what channels are owed."""

    def owed(self, now: float) -> list[Notice]:
        """The messages that may be sent now, oldest first; a vote's later ones wait for its earlier ones."""
        with self._transaction() as db:
            rows = db.execute("SELECT * FROM owed WHERE due_at <= ? ORDER BY id", (now,)).fetchall()
        return [_notice(row) for row in rows]

    def next_due(self) -> float | None:
        """The Unix time when the next message that was put off may be tried again; None: none is owed."""
        with self._transaction() as db:
            at = db.execute("SELECT MIN(due_at) AS at FROM owed").fetchone()["at"]
        return None if at is None else float(at)

    def message_of(self, poll_id: str, kind: NoticeKind) -> str | None:
        """The message by which a channel was told."""
        with self._transaction() as db:
            row = db.execute("SELECT message_id FROM notices WHERE poll = ? AND kind = ?", (poll_id, kind)).fetchone()
        return str(row["message_id"]) if row and row["message_id"] else None

    def begin(self, notice: Notice) -> None:
        """Mark a message before it is sent, and when that was, since from then on it may be found."""
        with self._transaction() as db:
            db.execute("UPDATE notices SET state = 'sending', begun_at = ? WHERE id = ?", (time.time(), notice.id))

    def sent(self, notice: Notice, message_id: str) -> None:
        """The channel has it."""
        with self._transaction() as db:
            db.execute("UPDATE notices SET state = 'sent', message_id = ? WHERE id = ?", (message_id, notice.id))

    def put_off(self, notice: Notice, until: float) -> None:
        """Try again later."""
        with self._transaction() as db:
            db.execute("UPDATE notices SET attempts = attempts + 1, due_at = ? WHERE id = ?", (until, notice.id))

    def park(self, notice: Notice) -> None:
        """Give a message up."""
        with self._transaction() as db:
            db.execute("UPDATE notices SET state = 'parked' WHERE id = ?", (notice.id,))


def _notice(row: sqlite3.Row) -> Notice:
    return Notice(
        id=row["id"],
        poll=row["poll"],
        kind=NoticeKind(row["kind"]),
        in_doubt=row["state"] == "sending",
        message_id=row["message_id"],
        attempts=row["attempts"],
        begun_at=row["begun_at"],
    )
