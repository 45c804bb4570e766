"""The door's own file: what it keeps, for how long, and what it does with what cannot be kept."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tasks.acceptance import Acceptance
from tasks.errors import FolderUnusable
from tasks.jobs import new_job
from tests.house import GUILD, ORIGIN, train_job
from training.schema import ChatSpec, Message

SECRET = "nobody else may read this"
DAY = 86_400


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "door.sqlite"


@pytest.fixture
async def acceptance(path: Path) -> AsyncIterator[Acceptance]:
    acceptance = Acceptance(path)
    yield acceptance
    await acceptance.close()


async def test_what_was_said_is_forgotten_once_its_job_has_ended(path: Path) -> None:
    acceptance = Acceptance(path)
    said = ChatSpec(guild_id=GUILD, persona="olga", messages=(Message(role="user", content=SECRET),))
    await acceptance.accept_submit(new_job("chat", said, ORIGIN))
    commands = await acceptance.unsettled()
    assert commands[0].job
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    await acceptance.note(arrived=commands, ended=commands)
    assert await acceptance.unsettled() == []
    await acceptance.close()
    assert [SECRET.encode() in file.read_bytes() for file in path.parent.iterdir()] == [False]


async def test_old_rows_are_dropped_at_the_next_start(path: Path) -> None:
    acceptance = Acceptance(path)
    settled, waiting, fresh = train_job("settled"), train_job("waiting"), train_job("fresh")
    for job in (settled, waiting):
        await acceptance.accept_submit(job)
    await acceptance.note(arrived=[], ended=[c for c in await acceptance.unsettled() if c.job_id == settled.id])
    old, new = train_job("old"), train_job("new")
    await acceptance.draft(old)
    await acceptance.close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE commands SET accepted_at = 0, settled_at = settled_at - ?", (31 * DAY,))
        db.execute("UPDATE drafts SET drafted_at = ?", (time.time() - 8 * DAY,))
    acceptance = Acceptance(path)
    await acceptance.draft(new)
    await acceptance.accept_submit(fresh)
    assert [command.job_id for command in await acceptance.unsettled()] == [waiting.id, fresh.id]
    assert [await acceptance.drafted(job.id, GUILD) for job in (old, new)] == [None, new]
    await acceptance.close()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM commands").fetchone() == (2,)


async def test_of_two_wishes_the_newer_is_kept_until_its_job_has_ended(path: Path) -> None:
    acceptance = Acceptance(path)
    job = train_job("a")
    await acceptance.accept_submit(job)
    await acceptance.accept_wish(job.id, GUILD, "pause", 100)
    submit, pause = await acceptance.unsettled()
    assert (submit.kind, submit.job, submit.wished_at) == ("submit", job, 100)
    assert (pause.kind, pause.wished_at, pause.pushed) == ("pause", 100, False)
    await acceptance.note(arrived=[submit], ended=[])
    assert [command.pushed for command in await acceptance.unsettled()] == [True, False]
    await acceptance.note(arrived=[pause], ended=[])
    assert [command.pushed for command in await acceptance.unsettled()] == [True, True]
    await acceptance.accept_wish(job.id, GUILD, "resume", 90)  # by a clock that was set back
    await acceptance.note(arrived=[pause], ended=[])  # what was on its way meanwhile
    await acceptance.close()
    acceptance = Acceptance(path)
    submit, resume = await acceptance.unsettled()
    assert submit.wished_at == 0
    assert (resume.kind, resume.wished_at, resume.pushed) == ("resume", 101, False)
    await acceptance.note(arrived=[], ended=[submit])
    assert await acceptance.unsettled() == []
    await acceptance.close()


async def test_a_file_of_an_earlier_version_takes_wishes(path: Path) -> None:
    acceptance = Acceptance(path)
    job = train_job("a")
    await acceptance.accept_submit(job)
    await acceptance.close()
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE wishes")
    acceptance = Acceptance(path)
    await acceptance.accept_wish(job.id, GUILD, "pause", 1)
    assert [command.kind for command in await acceptance.unsettled()] == ["submit", "pause"]
    await acceptance.close()


async def test_a_change_that_cannot_be_kept_fails_alone(acceptance: Acceptance) -> None:
    # SQLite cannot hold half a surrogate pair, and says so with an error that is not its own.
    with pytest.raises(UnicodeEncodeError):
        await acceptance.accept_cancel("\ud800", GUILD)
    job = train_job("after")
    await acceptance.accept_submit(job)
    assert [command.job for command in await acceptance.unsettled()] == [job]


def test_a_file_that_cannot_be_opened_is_a_sentence(tmp_path: Path) -> None:
    for path in (Path("/proc/nope/door.sqlite"), tmp_path):
        with pytest.raises(FolderUnusable, match="Mend that, or set STATE_DIR to another folder"):
            Acceptance(path)
