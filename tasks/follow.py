"""Reads the one event stream, in order, through restarts of Redis."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator

from tasks.errors import RedisAway
from tasks.jobs import Event, Job
from tasks.store import AsyncStore, payloads, record_key

log = logging.getLogger(__name__)
PAUSE_SECONDS = 0.5
JOBS_REMEMBERED = 256


class Follower:
    """One reader of the stream. Events do not repeat their job in Redis; it is looked up once per job."""

    def __init__(self, store: AsyncStore) -> None:
        self._store = store
        self._jobs: OrderedDict[str, Job] = OrderedDict()

    async def events(self, after: str) -> AsyncIterator[tuple[str, Event]]:
        """Every event after the cursor, for ever, each with its own cursor."""
        away = False
        while True:
            try:
                entries = await self._store.read(after)
                await self._look_up([_record(fields) for _, fields in entries])
            except RedisAway as error:
                if not away:
                    log.warning("%s Following goes on when it is back.", error)
                away = True
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            away = False
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
        try:
            return _event(job, fields)
        except (ValueError, KeyError):  # one entry that no one can read must not hold up all that come after it
            log.exception("Event %s cannot be read; it is passed over.", cursor)
            return None

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


def _record(fields: dict[str, str]) -> str:
    return record_key(fields.get("guild", ""), fields.get("id", ""))


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
