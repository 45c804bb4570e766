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
                await self._look_up([record_key(fields["guild"], fields["id"]) for _, fields in entries])
            except RedisAway as error:
                if not away:
                    log.warning("%s Following goes on when it is back.", error)
                away = True
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            away = False
            for cursor, fields in entries:
                after = cursor
                job = self._jobs.get(record_key(fields["guild"], fields["id"]))
                if job is None:
                    log.warning(
                        "Event %s is of job %s, whose record has expired; it is passed over.", cursor, fields["id"]
                    )
                else:
                    yield cursor, _event(job, fields)

    async def _look_up(self, records: list[str]) -> None:
        unknown = [record for record in dict.fromkeys(records) if record not in self._jobs]
        if unknown:
            for record, raw in zip(unknown, await self._store.recorded(unknown), strict=True):
                if raw is not None:
                    self._jobs[record] = Job.model_validate_json(raw)
        for record in records:
            if record in self._jobs:
                self._jobs.move_to_end(record)
        while len(self._jobs) > max(JOBS_REMEMBERED, len(records)):
            self._jobs.popitem(last=False)


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
