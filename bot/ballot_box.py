"""What a blind vote must not forget: what was asked, who chose what, and which messages its channel is owed.

One SQLite file. A vote that was pressed is on disk before the voter reads so; a close and the result that it owes go in
one transaction, so a vote is closed once and told once, whatever kills the bot. Members are kept as pseudonyms. Their
key, which also decides who sees which answer on which side, lies in a file of its own.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bot.errors import BallotKeyLost, VotesInUse
from bot.notices import NoticeKind, Notices
from training.data.schema import Typed
from training.evaluation.schema import BallotBox, Rubric, Vote, VoteChoice, VotePair
from training.runs import OWNER_ONLY, write_bytes

MOST_EXPORTED = 500
MOST_EXPORTED_VOTES = 20_000
NOBODY = "0"
FORGOTTEN = "(forgotten)"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS polls (
    id TEXT PRIMARY KEY,
    guild_id TEXT NOT NULL,
    channel_id TEXT NOT NULL,
    persona TEXT NOT NULL,
    about TEXT,
    asker TEXT NOT NULL,
    opened_at REAL NOT NULL,
    closes_at REAL NOT NULL,
    closed_at REAL,
    reason TEXT
);
CREATE TABLE IF NOT EXISTS pairs (
    id TEXT PRIMARY KEY,
    poll TEXT NOT NULL REFERENCES polls (id),
    place INTEGER NOT NULL,
    pair TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS pairs_of ON pairs (poll, place);
CREATE TABLE IF NOT EXISTS excluded (poll TEXT NOT NULL, voter TEXT NOT NULL, PRIMARY KEY (poll, voter));
CREATE TABLE IF NOT EXISTS trainers (
    guild_id TEXT NOT NULL,
    job TEXT NOT NULL,
    voter TEXT,
    PRIMARY KEY (guild_id, job)
);
CREATE TABLE IF NOT EXISTS votes (
    pair TEXT NOT NULL REFERENCES pairs (id),
    voter TEXT NOT NULL,
    choice TEXT NOT NULL,
    PRIMARY KEY (pair, voter)
);
CREATE TABLE IF NOT EXISTS rubrics (
    pair TEXT NOT NULL REFERENCES pairs (id),
    voter TEXT NOT NULL,
    side TEXT NOT NULL,
    rubric TEXT NOT NULL,
    PRIMARY KEY (pair, voter, side)
);
CREATE TABLE IF NOT EXISTS notices (
    id INTEGER PRIMARY KEY,
    poll TEXT NOT NULL REFERENCES polls (id),
    kind TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'new',
    message_id TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at REAL NOT NULL DEFAULT 0,
    begun_at REAL,
    UNIQUE (poll, kind)
);
CREATE VIEW IF NOT EXISTS owed AS SELECT * FROM notices AS one WHERE state IN ('new', 'sending') AND NOT EXISTS (
    SELECT 1 FROM notices AS earlier WHERE earlier.poll = one.poll AND earlier.id < one.id
    AND earlier.state IN ('new', 'sending')
);
"""


class Closed(StrEnum):
    """Why a vote was closed."""

    DEADLINE = "deadline"
    SETTLED = "settled"


@dataclass(frozen=True)
class Poll:
    """A vote in a channel; `about` is the job whose result it is on, if it is on one, and `asker` who asked for it."""

    id: str
    guild_id: str
    channel_id: str
    persona: str
    about: str | None
    asker: str
    opened_at: float
    closes_at: float
    closed_at: float | None = None
    reason: Closed | None = None

    def is_open(self, now: float) -> bool:
        """Whether it still takes votes."""
        return self.closed_at is None and now < self.closes_at


def new_id() -> str:
    """A fresh id of a vote or of one of its pairs."""
    return secrets.token_hex(6)


class Ballots(Notices):
    """The file and every statement that touches it; safe to call from any thread."""

    def __init__(self, path: Path) -> None:
        """Open the file, whose key lies beside it. Raises BallotKeyLost."""
        super().__init__(path, _SCHEMA)
        self._secret = self._key(path.with_suffix(".key"))
        with self._transaction() as db:
            if "begun_at" not in _columns(db, "notices"):  # of a file that an earlier release made, as below
                db.execute("ALTER TABLE notices ADD COLUMN begun_at REAL")
            if "asker" in _columns(db, "pairs"):
                for row in db.execute("SELECT id, asker FROM polls").fetchall():
                    masked = self._masked(row["id"], row["asker"])
                    db.execute("UPDATE polls SET asker = ? WHERE id = ?", (masked, row["id"]))
                db.execute("ALTER TABLE pairs DROP COLUMN asker")
                db.execute("DROP TABLE secret")

    def _key(self, path: Path) -> bytes:
        """The key: of its file, or of a table where an earlier release kept it, or a new one where nothing needs it."""
        if path.exists():
            return path.read_bytes()
        with self._transaction() as db:
            kept = bool(_columns(db, "secret")) and db.execute("SELECT value FROM secret").fetchone()
            if not kept and db.execute("SELECT 1 FROM polls UNION SELECT 1 FROM trainers").fetchone():
                raise BallotKeyLost(path=path)
        key = bytes(kept["value"]) if kept else secrets.token_bytes(32)
        write_bytes(path, key, OWNER_ONLY)
        return key

    # --- who is who ------------------------------------------------------------------------------------------------

    def pseudonym(self, guild_id: str, user_id: str) -> str:
        """By what a member of a guild is known here; without the secret it leads back to nobody."""
        return self._keyed(f"voter:{guild_id}:{user_id}")[:16]

    def is_turned(self, pair_id: str, voter: str) -> bool:
        """Whether this voter sees the second answer as A; drawn once for each voter and pair, and always the same."""
        return int(self._keyed(f"sides:{pair_id}:{voter}"), 16) % 2 == 1

    def _masked(self, poll_id: str, user_id: str) -> str:
        """The id of who asked for a vote, which is mentioned at its end, under a mask of this vote alone."""
        return f"{int(user_id) ^ self._mask(poll_id):016x}"

    def _mask(self, poll_id: str) -> int:
        return int(self._keyed(f"asker:{poll_id}")[:16], 16)

    def _keyed(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    # --- who trained what ------------------------------------------------------------------------------------------

    def note_trainer(self, guild_id: str, job_id: str, user_id: str | None) -> None:
        """Remember who started a job that gave a persona its voice; None: nobody who could vote."""
        voter = self.pseudonym(guild_id, user_id) if user_id else None
        with self._transaction() as db:
            known = "INSERT OR IGNORE INTO trainers (guild_id, job, voter) VALUES (?, ?, ?)"
            db.execute(known, (guild_id, job_id, voter))

    def trainer(self, guild_id: str, job_id: str) -> tuple[bool, str | None]:
        """(whether it is known who started a job, the pseudonym of who did)."""
        with self._transaction() as db:
            known = "SELECT voter FROM trainers WHERE guild_id = ? AND job = ?"
            row = db.execute(known, (guild_id, job_id)).fetchone()
        return row is not None, row["voter"] if row else None

    # --- opening and closing ---------------------------------------------------------------------------------------

    def open(self, poll: Poll, pairs: Sequence[VotePair], excluded: Sequence[str] = ()) -> bool:
        """Open a vote; its call is owed to the channel from then on. False if one about the same job is open already.

        excluded: pseudonyms of members whose votes would not count.
        """
        with self._transaction() as db:
            taken = "SELECT 1 FROM polls WHERE guild_id = ? AND about = ? AND closed_at IS NULL"
            if poll.about and db.execute(taken, (poll.guild_id, poll.about)).fetchone():
                return False
            db.execute(
                "INSERT INTO polls (id, guild_id, channel_id, persona, about, asker, opened_at, closes_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    poll.id, poll.guild_id, poll.channel_id, poll.persona, poll.about,
                    self._masked(poll.id, poll.asker), poll.opened_at, poll.closes_at,
                ),
            )  # fmt: skip
            for place, pair in enumerate(pairs):
                row = (pair.id, poll.id, place, pair.model_dump_json())
                db.execute("INSERT INTO pairs (id, poll, place, pair) VALUES (?, ?, ?, ?)", row)
            for voter in set(excluded):
                db.execute("INSERT INTO excluded (poll, voter) VALUES (?, ?)", (poll.id, voter))
            db.execute("INSERT INTO notices (poll, kind) VALUES (?, ?)", (poll.id, NoticeKind.CALL))
        return True

    def is_voted_on(self, guild_id: str, about: str) -> bool:
        """Whether a vote on this job's result is open."""
        with self._transaction() as db:
            taken = "SELECT 1 FROM polls WHERE guild_id = ? AND about = ? AND closed_at IS NULL"
            return db.execute(taken, (guild_id, about)).fetchone() is not None

    def end(self, poll_id: str, reason: Closed, now: float) -> bool:
        """Close a vote, whose result is owed to the channel from then on; False if it was closed before."""
        with self._transaction() as db:
            change = "UPDATE polls SET closed_at = ?, reason = ? WHERE id = ? AND closed_at IS NULL"
            if not db.execute(change, (now, reason, poll_id)).rowcount:
                return False
            for kind in (NoticeKind.RESULT, NoticeKind.OVER):
                db.execute("INSERT INTO notices (poll, kind) VALUES (?, ?)", (poll_id, kind))
        return True

    def overdue(self, now: float) -> list[str]:
        """The votes whose time is up and that nobody has closed."""
        with self._transaction() as db:
            rows = db.execute("SELECT id FROM polls WHERE closed_at IS NULL AND closes_at <= ?", (now,)).fetchall()
        return [str(row["id"]) for row in rows]

    def still_open(self) -> list[str]:
        """The votes that nobody has closed."""
        with self._transaction() as db:
            rows = db.execute("SELECT id FROM polls WHERE closed_at IS NULL").fetchall()
        return [str(row["id"]) for row in rows]

    def next_deadline(self) -> float | None:
        """The Unix time when the next vote closes; None: none is open."""
        with self._transaction() as db:
            at = db.execute("SELECT MIN(closes_at) AS at FROM polls WHERE closed_at IS NULL").fetchone()["at"]
        return None if at is None else float(at)

    # --- voting ----------------------------------------------------------------------------------------------------

    def cast(self, vote: Vote, now: float) -> bool:
        """Keep a voter's choice in place of an earlier one; False if the vote is closed."""
        return self._put(
            vote.pair,
            "INSERT OR REPLACE INTO votes (pair, voter, choice) VALUES (?, ?, ?)",
            (vote.pair, vote.voter, vote.choice),
            now,
        )

    def rate(self, rubric: Rubric, now: float) -> bool:
        """Keep what a voter said of an answer in place of an earlier one; False if the vote is closed."""
        return self._put(
            rubric.pair,
            "INSERT OR REPLACE INTO rubrics (pair, voter, side, rubric) VALUES (?, ?, ?, ?)",
            (rubric.pair, rubric.voter, rubric.side, rubric.model_dump_json()),
            now,
        )

    def _put(self, pair_id: str, statement: str, values: tuple[str, ...], now: float) -> bool:
        is_open = (
            "SELECT 1 FROM pairs JOIN polls ON polls.id = pairs.poll "
            "WHERE pairs.id = ? AND closed_at IS NULL AND closes_at > ?"
        )
        with self._transaction() as db:
            if not db.execute(is_open, (pair_id, now)).fetchone():
                return False
            db.execute(statement, values)
        return True

    # --- forgetting ------------------------------------------------------------------------------------------------

    def forget(self, guild_id: str, user_id: str) -> int:
        """Remove what a member of a guild chose, said on forms and typed; returns how many entries that were.

        Of a question that they typed nothing stays but that there was one; a vote on it that is open ends untold. From
        open votes they stay excluded, and who trained a version has to be looked up again. Raises VotesInUse.
        """
        voter = self.pseudonym(guild_id, user_id)
        with self._transaction() as db:
            # A pseudonym is of one guild.
            gone = db.execute("DELETE FROM votes WHERE voter = ?", (voter,)).rowcount
            gone += db.execute("DELETE FROM rubrics WHERE voter = ?", (voter,)).rowcount
            db.execute("DELETE FROM trainers WHERE guild_id = ? AND voter = ?", (guild_id, voter))
            db.execute(
                "DELETE FROM excluded WHERE voter = ? AND poll IN (SELECT id FROM polls WHERE closed_at IS NOT NULL)",
                (voter,),
            )
            asked = [
                row["id"]
                for row in db.execute("SELECT * FROM polls WHERE guild_id = ?", (guild_id,)).fetchall()
                if self._poll(row).asker == user_id
            ]
            gone += sum(self._unasked(db, poll_id) for poll_id in asked)
        # What was written before still stands in the write-ahead log, which another process may hold open.
        # Where a reader of the file keeps it from being emptied, that is said: it may be done again.
        if self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            raise VotesInUse
        return gone

    def _unasked(self, db: sqlite3.Connection, poll_id: str) -> int:
        """Take who asked for a vote out of it, and what they typed; returns how many questions that were."""
        db.execute("UPDATE polls SET asker = ? WHERE id = ?", (self._masked(poll_id, NOBODY), poll_id))
        rows = db.execute("SELECT pair FROM pairs WHERE poll = ?", (poll_id,)).fetchall()
        pairs = [VotePair.model_validate_json(row["pair"]) for row in rows]
        typed = [pair for pair in pairs if pair.asked_by == "member"]
        for pair in typed:
            bare = pair.model_copy(
                update={
                    "question": FORGOTTEN,
                    "first": pair.first.model_copy(update={"answer": ""}),
                    "second": pair.second.model_copy(update={"answer": ""}),
                }
            )
            db.execute("UPDATE pairs SET pair = ? WHERE id = ?", (bare.model_dump_json(), pair.id))
        if typed:
            ended = "UPDATE polls SET closed_at = ?, reason = ? WHERE id = ? AND closed_at IS NULL"
            db.execute(ended, (time.time(), Closed.DEADLINE, poll_id))
            db.execute(
                "UPDATE notices SET state = 'parked' WHERE poll = ? AND kind != ? AND state IN ('new', 'sending')",
                (poll_id, NoticeKind.OVER),
            )
            db.execute("INSERT OR IGNORE INTO notices (poll, kind) VALUES (?, ?)", (poll_id, NoticeKind.OVER))
        return sum(pair.question != FORGOTTEN for pair in typed)

    # --- looking ---------------------------------------------------------------------------------------------------

    def poll(self, poll_id: str) -> Poll | None:
        """A vote."""
        with self._transaction() as db:
            row = db.execute("SELECT * FROM polls WHERE id = ?", (poll_id,)).fetchone()
        return self._poll(row) if row else None

    def poll_of(self, pair_id: str) -> Poll | None:
        """The vote that a pair belongs to."""
        with self._transaction() as db:
            row = db.execute(
                "SELECT polls.* FROM polls JOIN pairs ON pairs.poll = polls.id WHERE pairs.id = ?", (pair_id,)
            ).fetchone()
        return self._poll(row) if row else None

    def is_excluded(self, poll_id: str, voter: str) -> bool:
        """Whether this voter's choice would not count."""
        with self._transaction() as db:
            row = db.execute("SELECT 1 FROM excluded WHERE poll = ? AND voter = ?", (poll_id, voter)).fetchone()
        return row is not None

    def pairs(self, poll_id: str) -> list[VotePair]:
        """The pairs of a vote, in order."""
        with self._transaction() as db:
            rows = db.execute("SELECT pair FROM pairs WHERE poll = ? ORDER BY place", (poll_id,)).fetchall()
        return [VotePair.model_validate_json(row["pair"]) for row in rows]

    def votes(self, poll_id: str) -> list[Vote]:
        """The votes cast, in the order of the pairs."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT votes.* FROM votes JOIN pairs ON pairs.id = votes.pair WHERE poll = ? ORDER BY place, voter",
                (poll_id,),
            ).fetchall()
        return [_vote(row) for row in rows]

    def rubrics(self, poll_id: str) -> list[Rubric]:
        """What voters said of single answers."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT rubric FROM rubrics JOIN pairs ON pairs.id = rubrics.pair WHERE poll = ? ORDER BY place, voter",
                (poll_id,),
            ).fetchall()
        return [Rubric.model_validate_json(row["rubric"]) for row in rows]

    def choices_of(self, poll_id: str, voter: str) -> dict[str, VoteChoice]:
        """What one voter chose so far, by pair."""
        return {vote.pair: vote.choice for vote in self.votes(poll_id) if vote.voter == voter}

    def closed(self, guild_id: str, persona: str) -> BallotBox:
        """The newest closed pairs of a persona with their votes, for counting and for export."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT pairs.id, pair FROM pairs JOIN polls ON polls.id = pairs.poll WHERE guild_id = ? "
                "AND polls.persona = ? AND closed_at IS NOT NULL ORDER BY closed_at DESC, polls.id, place LIMIT ?",
                (guild_id, persona, MOST_EXPORTED),
            ).fetchall()
            votes: list[Vote] = []
            for row in rows:
                found = db.execute("SELECT * FROM votes WHERE pair = ? ORDER BY voter", (row["id"],)).fetchall()
                votes += map(_vote, found)
        pairs = tuple(VotePair.model_validate_json(row["pair"]) for row in rows)
        return BallotBox(pairs=pairs, votes=tuple(votes[:MOST_EXPORTED_VOTES]))

    def ratings(self, guild_id: str, persona: str) -> list[Rubric]:
        """All that voters said of single answers of a persona in votes that are closed."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT rubric FROM rubrics JOIN pairs ON pairs.id = rubrics.pair JOIN polls ON polls.id = pairs.poll "
                "WHERE guild_id = ? AND polls.persona = ? AND closed_at IS NOT NULL ORDER BY rubrics.pair, voter, side",
                (guild_id, persona),
            ).fetchall()
        return [Rubric.model_validate_json(row["rubric"]) for row in rows]

    def typed(self, guild_id: str, persona: str) -> dict[str, Typed]:
        """Who typed the question, and where, of the closed pairs whose question a member typed; by pair."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT pairs.id AS pair_id, pairs.pair, polls.* FROM pairs JOIN polls ON polls.id = pairs.poll "
                "WHERE guild_id = ? AND polls.persona = ? AND closed_at IS NOT NULL",
                (guild_id, persona),
            ).fetchall()
        return {
            str(row["pair_id"]): Typed(user=self._poll(row).asker, channel=row["channel_id"])
            for row in rows
            if VotePair.model_validate_json(row["pair"]).asked_by == "member"
        }

    def _poll(self, row: sqlite3.Row) -> Poll:
        fields = {name: row[name] for name in Poll.__dataclass_fields__}
        asker = str(int(row["asker"], 16) ^ self._mask(row["id"]))
        return Poll(**{**fields, "asker": asker, "reason": Closed(row["reason"]) if row["reason"] else None})


def _columns(db: sqlite3.Connection, table: str) -> set[str]:
    """The names of a table's columns; none where there is no such table."""
    return {row["name"] for row in db.execute(f"PRAGMA table_info({table})")}


def _vote(row: sqlite3.Row) -> Vote:
    return Vote(pair=row["pair"], voter=row["voter"], choice=VoteChoice(row["choice"]))
