"""The ledger and the relay: every event is taken in once and every message posted once, whenever the bot is killed."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
import sqlite3
import stat
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.ledger import Kind, Ledger, Row
from bot.limits import NONCE
from bot.relay import TRIES, Relay, wanted
from tasks.jobs import Event, JobState
from tests.bot.check_samples import check_job, check_report
from tests.bot.samples import CHANNEL, chat_job, event, plan, progress, reply, report, train_job

OTHER_CHANNEL = "1200000000000000012"
# Ahead of the clock: a new ledger begins a minute before its own start, and the suite may come to these tests late.
START = int((time.time() + 3600) * 1000)


def at(count: int) -> str:
    return f"{START}-{count}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite3"


def owed(ledger: Ledger, channel_id: str = CHANNEL) -> Row:
    row = ledger.next(channel_id, time.time())
    assert isinstance(row, Row)
    return row


def take(ledger: Ledger, count: int, happened: Event) -> bool:
    return ledger.ingest(at(count), happened, wanted(happened))


def test_a_new_ledger_begins_now_and_is_for_its_owner_only(path: Path) -> None:
    ledger = Ledger(path)
    assert abs(int(ledger.cursor().split("-")[0]) / 1000 - time.time()) < 120
    assert ledger.channels() == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_which_events_call_for_messages() -> None:
    done = event(state=JobState.SUCCEEDED, report=report())
    assert wanted(event()) == [(Kind.CARD, 0)]
    assert wanted(done) == [(Kind.CARD, 0), (Kind.RESULT, 0)]
    assert wanted(event(chat_job())) == ()
    assert wanted(event(chat_job(), JobState.SUCCEEDED, reply=reply("word " * 1000))) == [
        (Kind.REPLY, i) for i in range(3)
    ]
    from_api = train_job().model_copy(update={"origin": train_job().origin.model_copy(update={"door": "api"})})
    assert wanted(event(from_api)) == ()
    planned = train_job().model_copy(update={"kind": "plan"})
    assert wanted(event(planned, JobState.SUCCEEDED, plan=plan())) == ()


def test_an_event_is_taken_in_once(path: Path) -> None:
    ledger = Ledger(path)
    assert take(ledger, 1, event())
    assert not take(ledger, 1, event())
    assert not take(ledger, 0, event())
    assert owed(ledger).revision == 1
    assert ledger.cursor() == at(1)


def test_cursor_and_rows_move_together_or_not_at_all(path: Path) -> None:
    ledger = Ledger(path)
    before = ledger.cursor()
    lost = train_job().origin.model_copy(update={"channel_id": None})
    broken = event(train_job().model_copy(update={"origin": lost}))
    with pytest.raises(sqlite3.IntegrityError, match="NOT NULL"):
        ledger.ingest(at(1), broken, [(Kind.CARD, 0)])
    assert ledger.cursor() == before
    assert Ledger(path).channels() == []


def test_the_newest_state_replaces_older_ones_and_keeps_the_progress(path: Path) -> None:
    ledger = Ledger(path)
    for count, happened in enumerate(
        [event(progress=progress(1)), event(progress=progress(2), checkpoint=1), event(state=JobState.CANCELLING)]
    ):
        take(ledger, count + 1, happened)
    row = owed(ledger)
    assert (row.revision, row.event.state) == (3, JobState.CANCELLING)
    assert (row.event.progress, row.event.checkpoint) == (progress(2), 1)


def test_a_card_waits_for_its_clock_but_its_end_does_not(path: Path) -> None:
    ledger = Ledger(path)
    take(ledger, 1, event())
    later = time.time() + 1000
    ledger.shown(owed(ledger), "77", later)
    assert ledger.next(CHANNEL, time.time()) is None
    take(ledger, 2, event(progress=progress()))
    assert ledger.next(CHANNEL, time.time()) == later
    take(ledger, 3, event(state=JobState.SUCCEEDED, report=report()))
    card = owed(ledger)
    assert (card.kind, card.message_id, card.revision) == (Kind.CARD, "77", 3)
    ledger.shown(card, "77", later)
    assert owed(ledger).kind is Kind.RESULT


def test_an_end_that_arrives_while_a_card_is_being_shown_is_shown_too(path: Path) -> None:
    ledger = Ledger(path)
    take(ledger, 1, event())
    being_shown = owed(ledger)
    take(ledger, 2, event(state=JobState.CANCELLED))
    ledger.shown(being_shown, "77", time.time() + 1000)
    assert owed(ledger).event.state is JobState.CANCELLED


def test_nothing_follows_an_end(path: Path) -> None:
    """An emptied Redis may let a job run again; its channel has seen its result."""
    ledger = Ledger(path)
    done = event(state=JobState.SUCCEEDED, report=report())
    take(ledger, 1, done)
    for message_id in ("77", "78"):
        ledger.shown(owed(ledger), message_id, 0)
    for count, again in enumerate([event(state=JobState.QUEUED), event(), done]):
        assert take(ledger, count + 2, again)
    assert ledger.next(CHANNEL, time.time()) is None
    assert ledger.channels() == []


def test_what_is_shown_is_forgotten(path: Path) -> None:
    ledger = Ledger(path)
    take(ledger, 1, event(chat_job(), JobState.SUCCEEDED, reply=reply("a secret answer")))
    ledger.shown(owed(ledger), "77", 0)
    ledger.close()
    assert b"a secret answer" not in path.read_bytes()


def test_messages_go_out_in_order_and_a_parked_one_lets_others_pass(path: Path) -> None:
    ledger = Ledger(path)
    for count, job_id in enumerate(("aaaaaaaaaaaa", "bbbbbbbbbbbb")):
        take(ledger, count + 1, event(chat_job(job_id), JobState.SUCCEEDED, reply=reply()))
    take(ledger, 3, event(train_job("cccccccccccc", OTHER_CHANNEL)))
    first = owed(ledger)
    assert first.job_id == "aaaaaaaaaaaa"
    until = time.time() + 100
    ledger.put_off(first, until)
    assert ledger.next(CHANNEL, time.time()) == until
    assert owed(ledger, OTHER_CHANNEL).job_id == "cccccccccccc"
    ledger.park(first, "no permission")
    assert owed(ledger).job_id == "bbbbbbbbbbbb"


def test_a_refused_message_waits_alone_and_remembers_how_often(path: Path) -> None:
    ledger = Ledger(path)
    for count, job_id in enumerate(("aaaaaaaaaaaa", "bbbbbbbbbbbb")):
        take(ledger, count + 1, event(train_job(job_id), JobState.SUCCEEDED, report=report()))
    for _ in range(2):
        ledger.put_off(owed(ledger), 0)
    assert owed(ledger).attempts == 2
    for _ in range(3):
        ledger.put_off(owed(ledger), 0, "403 Forbidden")
    refused = owed(Ledger(path))
    assert (refused.job_id, refused.kind, refused.refused, refused.attempts) == ("aaaaaaaaaaaa", Kind.CARD, True, 3)
    ledger.put_off(refused, time.time() + 100, "403 Forbidden")
    assert owed(ledger).job_id == "bbbbbbbbbbbb", "another job's card passes"
    for message_id in ("77", "78"):
        ledger.shown(owed(ledger), message_id, 0)
    assert isinstance(ledger.next(CHANNEL, time.time()), float), "its own result does not"
    ledger.shown(refused, "79", 0)
    assert (owed(ledger).job_id, owed(ledger).kind) == ("aaaaaaaaaaaa", Kind.RESULT)


def test_a_row_that_cannot_be_read_lets_others_pass(path: Path) -> None:
    ledger = Ledger(path)
    for count, job_id in enumerate(("aaaaaaaaaaaa", "bbbbbbbbbbbb")):
        take(ledger, count + 1, event(train_job(job_id)))
    with sqlite3.connect(path) as other:
        other.execute("UPDATE outbox SET event = '{}' WHERE job_id = 'aaaaaaaaaaaa'")
    unsaid = ledger.next(CHANNEL, time.time())
    assert isinstance(unsaid, float)
    assert unsaid <= time.time()
    assert owed(ledger).job_id == "bbbbbbbbbbbb"
    assert take(ledger, 3, event(train_job("aaaaaaaaaaaa"), progress=progress()))


def test_killed_at_every_step(path: Path) -> None:
    """Close and reopen between all steps of a delivery: what is owed is what was not confirmed."""

    def reopened() -> Ledger:
        return Ledger(path)

    assert take(reopened(), 1, event())
    assert not take(reopened(), 1, event())
    row = owed(reopened())
    assert not row.in_doubt
    reopened().begin(row)
    row = owed(reopened())
    assert row.in_doubt
    first = row.begun_at
    reopened().begin(row)
    row = owed(reopened())
    assert row.begun_at > first
    reopened().shown(row, "77", 0)
    assert reopened().next(CHANNEL, time.time()) is None
    assert reopened().owns("77")
    assert not reopened().owns("78")


def test_a_ledger_of_an_earlier_release_is_taken_over(path: Path) -> None:
    ledger = Ledger(path)
    take(ledger, 1, event())
    ledger.close()
    with sqlite3.connect(path) as db:
        db.execute("ALTER TABLE outbox DROP COLUMN begun_at")
    row = owed(Ledger(path))
    assert not row.in_doubt
    begun_at = row.begun_at
    Ledger(path).begin(row)
    assert owed(Ledger(path)).begun_at > begun_at


def test_a_card_found_again_is_edited_once_more(path: Path) -> None:
    ledger = Ledger(path)
    take(ledger, 1, event(state=JobState.SUCCEEDED, report=report()))
    row = owed(ledger)
    ledger.begin(row)
    ledger.shown(replace(row, revision=0), "77", time.time() + 1000)
    again = owed(ledger)
    assert (again.kind, again.message_id) == (Kind.CARD, "77")


def test_command_sets(path: Path) -> None:
    ledger = Ledger(path)
    ledger.synced("1", "abc")
    ledger.synced("1", "def")
    ledger.synced("2", "abc")
    ledger.synced("2", None)
    assert Ledger(path).command_sets() == {"1": "def"}


def test_nonces_fit() -> None:
    from bot.courier import nonce

    row = Row(1, "a1b2c3d4e5f6", Kind.RESULT, 9999, CHANNEL, event(), False, 1, None, 0, 0)
    assert len(nonce(row)) <= NONCE


# --- a real relay, killed with -9 ----------------------------------------------------------------------------------

JOBS = 6
STEPS = 12


def script() -> list[Event]:
    """Training jobs in two channels and a long chat answer in each, interleaved as a stream would have them."""
    lives = []
    for number in range(JOBS):
        job = train_job(f"job{number:09}", (CHANNEL, OTHER_CHANNEL)[number % 2])
        states = [event(job, JobState.QUEUED, 1), event(job, seq=2)]
        states += [event(job, seq=step + 3, progress=progress(step)) for step in range(STEPS)]
        lives.append([*states, event(job, JobState.SUCCEEDED, STEPS + 3, report=report(), version=1)])
    for number, channel_id in enumerate((CHANNEL, OTHER_CHANNEL)):
        talk = chat_job(f"talk{number:08}", channel_id=channel_id)
        lives.append([event(talk, JobState.QUEUED, 1), event(talk, JobState.SUCCEEDED, 2, reply=reply("word " * 1000))])
    chance = random.Random(3)
    stream = []
    while any(lives):
        stream.append(chance.choice([life for life in lives if life]).pop(0))
    return stream


class ScriptedQueue:
    """A stream that is already there."""

    def __init__(self, events: list[Event]) -> None:
        self._events = events

    async def follow(self, after: str) -> AsyncIterator[tuple[str, Event]]:
        seen = int(after.split("-")[1]) if after.startswith(f"{START}-") else 0
        for count, happened in enumerate(self._events[seen:], start=seen + 1):
            await asyncio.sleep(0.002)
            yield at(count), happened
        await asyncio.Event().wait()


class FileCourier:
    """A channel that is a file: one line for each message or edit, and no memory of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def post(self, row: Row, plain: bool) -> str:
        return await self._write("post", row)

    async def edit(self, row: Row, message_id: str, plain: bool) -> None:
        await self._write("edit", row)

    async def find(self, row: Row) -> str | None:
        for number, line in enumerate(written(self._path)):
            if (line["what"], line["job"], line["kind"], line["part"]) == ("post", row.job_id, row.kind, row.part):
                return str(number)
        return None

    async def _write(self, what: str, row: Row) -> str:
        await asyncio.sleep(0.001)
        line = {"what": what, "job": row.job_id, "kind": row.kind, "part": row.part, "channel": row.channel_id,
                "state": row.event.state}  # fmt: skip
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        await asyncio.sleep(0.001)
        return str(len(written(self._path)) - 1)


def written(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def relay_for_ever(ledger: Path, channel: Path, events: list[Event]) -> None:
    relay = Relay(ScriptedQueue(events), Ledger(ledger), FileCourier(channel), card_seconds=0.01)  # type: ignore[arg-type]
    asyncio.run(relay.run())


def is_complete(lines: list[dict[str, Any]]) -> bool:
    shown = {(line["job"], line["kind"], line["part"]) for line in lines}
    final = {line["job"] for line in lines if line["kind"] == "card" and line["state"] == "SUCCEEDED"}
    results = sum(kind == "result" for _, kind, _ in shown)
    return results == len(final) == JOBS and sum(kind == "reply" for _, kind, _ in shown) == 6


def test_a_relay_killed_again_and_again_posts_everything_once(path: Path, tmp_path: Path) -> None:
    channel, events = tmp_path / "channel", script()
    fork = multiprocessing.get_context("fork")
    chance = random.Random(os.getpid())
    deadline = time.monotonic() + 30
    kills = 0
    while not is_complete(written(channel)):
        assert time.monotonic() < deadline
        process = fork.Process(target=relay_for_ever, args=(path, channel, events), daemon=True)
        process.start()
        patience = chance.uniform(0.02, 0.12) if kills < 25 else 20
        until = time.monotonic() + patience
        while time.monotonic() < until and not is_complete(written(channel)):
            time.sleep(0.005)
        process.kill()
        process.join()
        kills += 1
    lines = written(channel)
    posts = [(line["job"], line["kind"], line["part"]) for line in lines if line["what"] == "post"]
    assert sorted(posts) == sorted(set(posts)), f"posted twice, after {kills} kills"
    for job in {line["job"] for line in lines if line["kind"] == "card"}:
        own = [line for line in lines if line["job"] == job]
        assert own[0]["kind"] == "card"
        assert own[-1]["kind"] == "result"
        assert next(line for line in reversed(own) if line["kind"] == "card")["state"] == "SUCCEEDED"
    for talk in ("talk00000000", "talk00000001"):
        assert [line["part"] for line in lines if line["job"] == talk] == [0, 1, 2]
    assert kills >= 3


async def test_an_event_that_cannot_be_shown_is_passed_over(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("bot.relay.RETRY_SECONDS", 0.01)
    broken = event(chat_job(), JobState.SUCCEEDED, reply=reply().model_copy(update={"text": None}))
    other = event(train_job("cccccccccccc", OTHER_CHANNEL))
    ledger, channel = Ledger(path), tmp_path / "channel"
    relay = Relay(ScriptedQueue([broken, other]), ledger, FileCourier(channel), card_seconds=0.01)  # type: ignore[arg-type]
    running = asyncio.create_task(relay.run())
    async with asyncio.timeout(10):
        while not written(channel):
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert [line["job"] for line in written(channel)] == ["cccccccccccc"]
    assert ledger.cursor() == at(2)
    tries = [record for record in caplog.records if record.exc_info and "cannot be taken in" in record.message]
    assert len(tries) == TRIES


def test_only_a_checks_result_keeps_every_reply_and_what_hangs_on_it_waits_for_it(path: Path) -> None:
    ledger = Ledger(path)
    found = check_report(losses={"glordon": (1.0, 2.0)}, base_losses={"glordon": (2.0, 3.0)})
    done = event(check_job(), JobState.SUCCEEDED, check=found)
    take(ledger, 1, done)
    order = []
    for number in range(6):
        row = owed(ledger)
        order.append((row.kind, row.part))
        whole = row.kind is Kind.RESULT
        assert row.event.check is not None
        assert (row.event.check == found) is whole
        assert (row.event.check.samples, bool(row.event.check.answers)) == (found.samples, whole)
        assert ledger.message_of(row.job_id, row.kind) is None or row.kind is Kind.SAMPLE
        ledger.begin(row)
        ledger.shown(row, str(number), 0)
    assert order == wanted(done)
    assert [ledger.message_of(done.job_id, kind) for kind in (Kind.RESULT, Kind.THREAD, Kind.SAMPLE)] == ["1", "2", "3"]
    assert ledger.message_of("f" * 12, Kind.RESULT) is None
