"""Reads the one event stream, in order, through restarts of Redis; what was trimmed away unread, it makes up for."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from functools import partial

from tasks import keys, store
from tasks.answers import payloads
from tasks.errors import RedisAway
from tasks.jobs import Event, EventKind, Job
from tasks.store import AsyncStore

log = logging.getLogger(__name__)
PAUSE_SECONDS = 0.5
JOBS_REMEMBERED = 256


class Follower:
    """One reader of the stream. Events do not repeat their job in Redis; it is looked up once per job."""

    def __init__(self, connection: AsyncStore) -> None:
        self._store = connection
        self._jobs: OrderedDict[str, Job] = OrderedDict()

    async def events(self, after: str) -> AsyncIterator[tuple[str, Event]]:
        """Every event after the cursor, for ever, each with its own cursor.

        A reader that was away for so long that events it has not read are gone still hears how each job ended.
        """
        away = False
        caught_up = False
        while True:
            try:
                records = [] if caught_up else await self._store.do(store.missed(after))
                entries = [] if records else await self._store.read(after)
                await self._look_up([_record(fields) for _, fields in entries])
                await self._fill_in([fields for _, fields in entries])
            except RedisAway as error:
                if not away:
                    log.warning("%s Following goes on when it is back.", error)
                away, caught_up = True, False
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            away, caught_up = False, not records
            for record in records:
                after = record["ended"]
                event = _read(after, record, _end)
                if event is not None:
                    yield after, event
            for cursor, fields in entries:
                after = cursor
                event = self._event(cursor, fields)
                if event is not None:
                    yield cursor, event

    def _event(self, cursor: str, fields: dict[str, str]) -> Event | None:
        """The event of an entry; None, and a line in the log, where it cannot be told."""
        job = self._jobs.get(_record(fields))
        if job is None:
            log.warning("Event %s has no readable record of its job any more; it is passed over.", cursor)
            return None
        return _read(cursor, fields, partial(_event, job))

    async def _look_up(self, records: list[str]) -> None:
        unknown = [record for record in dict.fromkeys(records) if record not in self._jobs]
        if unknown:
            for record, raw in zip(unknown, await self._store.recorded(unknown), strict=True):
                try:
                    if raw is not None:
                        self._jobs[record] = Job.model_validate_json(raw)
                except ValueError:
                    log.exception("The job of %s cannot be read.", record)
        for record in records:
            if record in self._jobs:
                self._jobs.move_to_end(record)
        while len(self._jobs) > max(JOBS_REMEMBERED, len(records)):
            self._jobs.popitem(last=False)

    async def _fill_in(self, told: list[dict[str, str]]) -> None:
        """Put what checks found beside their ends, since the stream does not hold it."""
        ends = [fields for fields in told if fields.get("kind") == EventKind.SUCCEEDED and self._is_check(fields)]
        if ends:
            found = await self._store.recorded([_record(fields) for fields in ends], "check")
            for fields, check in zip(ends, found, strict=True):
                if check is not None:
                    fields["check"] = check

    def _is_check(self, fields: dict[str, str]) -> bool:
        job = self._jobs.get(_record(fields))
        return job is not None and job.kind == "check"


def _record(fields: dict[str, str]) -> str:
    return keys.record(fields.get("guild", ""), fields.get("id", ""))


def _read(cursor: str, fields: dict[str, str], reader: Callable[[dict[str, str]], Event]) -> Event | None:
    try:
        return reader(fields)
    except (ValueError, KeyError):  # one entry that no one can read must not hold up all that come after it
        log.exception("Event %s cannot be read; it is passed over.", cursor)
        return None


def _end(record: dict[str, str]) -> Event:
    """A job's last event, as its record tells it."""
    return _event(Job.model_validate_json(record["job"]), {**record, "kind": record["state"].lower()})


def _event(job: Job, fields: dict[str, str]) -> Event:
    return Event.model_validate(
        {
            "job_id": job.id,
            "seq": fields["seq"],
            "kind": fields["kind"],
            "state": fields["state"],
            "at": int(fields["at"]) / 1_000_000,
            "job": job,
            **payloads(fields),
        }
    )
