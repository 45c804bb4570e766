"""Follows the queue's event stream and pays the channels what they are owed: each message once, each card slowly."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import replace

import aiohttp
import discord

from bot import check_cards, talk
from bot.courier import Courier
from bot.ledger import Kind, Ledger, Row
from tasks.client import Client
from tasks.errors import RedisAway
from tasks.jobs import Event

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 60.0
TRIES = 3
# A channel may be closed for a minute or overnight: 2 s, 4 s, … and then every half hour, for about a day.
FIRST_REFUSED_SECONDS = 2.0
LONGEST_REFUSED_SECONDS = 1800.0
MOST_REFUSALS = 56
TOO_MANY_OLD_EDITS = 30046
UNKNOWN_CHANNEL = 10003
UNKNOWN_MESSAGE = 10008


def wanted(event: Event) -> Sequence[tuple[Kind, int]]:
    """The messages, by kind and part, that an event calls for in the channel its job came from."""
    if event.job.origin.door != "discord" or event.job.origin.channel_id is None:
        return ()
    if event.job.reported and event.state.ended:
        return [(Kind.CARD, 0), (Kind.RESULT, 0), *_told_apart(event)]
    if event.job.reported:
        return [(Kind.CARD, 0)]
    if event.job.kind == "chat" and event.state.ended:
        return [(Kind.REPLY, part) for part in range(len(talk.reply_parts(event, as_persona=True)))]
    return ()


def _told_apart(event: Event) -> Sequence[tuple[Kind, int]]:
    """The thread under a check's result, and its messages, one for each question."""
    told = len(check_cards.told_samples(event.check)) if event.check else 0
    return [(Kind.THREAD, 0), *((Kind.SAMPLE, part) for part in range(told))] if told else []


async def ended(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks and wait until they have ended; asks again, since a library may lose a cancellation."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=0.5)


class Relay:
    """One reader of the stream and one sender for each channel, so that a closed channel holds up no other."""

    def __init__(self, queue: Client, ledger: Ledger, courier: Courier, card_seconds: float) -> None:
        self._queue = queue
        self._ledger = ledger
        self._courier = courier
        self._card_seconds = card_seconds
        self._bells: dict[str, asyncio.Event] = {}
        self._senders: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            for channel_id in await asyncio.to_thread(self._ledger.channels):
                self._ring(channel_id)
            while True:
                try:
                    await self._follow()
                except Exception:
                    logger.exception("Following the event stream failed; it is followed again from the last cursor.")
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            await ended(*self._senders)

    async def _follow(self) -> None:
        async for cursor, event in self._queue.follow(await asyncio.to_thread(self._ledger.cursor)):
            if await self._take(cursor, event):
                self._ring(str(event.job.origin.channel_id))

    async def _take(self, cursor: str, event: Event) -> bool:
        """Take in an event, or pass over it after a few tries; whether its channel is owed something now."""
        for count in range(1, TRIES + 1):
            try:
                rows = wanted(event)
                return await asyncio.to_thread(self._ledger.ingest, cursor, event, rows) and bool(rows)
            except sqlite3.OperationalError:
                # The disk is at fault, not the event: it is read again when the ledger can be written.
                raise
            except Exception:
                logger.exception(
                    "Event %s of job %s cannot be taken in (try %d of %d).", cursor, event.job_id, count, TRIES
                )
                await asyncio.sleep(RETRY_SECONDS)
        logger.error("Event %s of job %s is passed over.", cursor, event.job_id)
        await asyncio.to_thread(self._ledger.ingest, cursor, event, ())
        return False

    def _ring(self, channel_id: str) -> None:
        if channel_id not in self._bells:
            bell = self._bells[channel_id] = asyncio.Event()
            self._senders.append(asyncio.create_task(self._serve(channel_id, bell), name=f"channel {channel_id}"))
        self._bells[channel_id].set()

    async def _serve(self, channel_id: str, bell: asyncio.Event) -> None:
        while True:
            bell.clear()
            try:
                owed = await asyncio.to_thread(self._ledger.next, channel_id, time.time())
                if isinstance(owed, Row):
                    await self._deliver(owed)
                    continue
            except Exception:
                logger.exception("Serving channel %s failed; it is tried again.", channel_id)
                owed = time.time() + RETRY_SECONDS
            try:
                await asyncio.wait_for(bell.wait(), None if owed is None else max(0.0, owed - time.time()))
            except TimeoutError:
                continue

    async def _deliver(self, row: Row, plain: bool = False) -> None:
        try:
            await self._settle(row, plain)
        except discord.HTTPException as error:
            await self._refused(row, error, plain)
        except (RedisAway, aiohttp.ClientError, TimeoutError, OSError) as error:
            await self._put_off(row, error)
        except Exception as error:
            logger.exception("The %s of job %s cannot be shown.", row.kind, row.job_id)
            await self._give_in(row, error, plain)

    async def _settle(self, row: Row, plain: bool) -> None:
        if row.message_id is not None:
            await self._courier.edit(row, row.message_id, plain)
            await self._shown(row, row.message_id)
            return
        found = await self._courier.find(row) if row.in_doubt else None
        if found is not None:
            # It is there, but nobody remembers which state it shows: it is edited once more.
            await self._shown(replace(row, revision=0) if row.kind is Kind.CARD else row, found)
            return
        await asyncio.to_thread(self._ledger.begin, row)
        posted = await self._courier.post(row, plain)
        if posted is None:
            await asyncio.to_thread(self._ledger.park, row, "there is no message to open a thread under")
            return
        await self._shown(row, posted)

    async def _shown(self, row: Row, message_id: str) -> None:
        await asyncio.to_thread(self._ledger.shown, row, message_id, time.time() + self._card_seconds)

    async def _refused(self, row: Row, error: discord.HTTPException, plain: bool) -> None:
        refusals = row.attempts if row.refused else 0
        if error.status >= 500 or error.status in (401, 429) or error.code == TOO_MANY_OLD_EDITS:
            await self._put_off(row, error)
        elif error.status in (403, 404) and not _gone(row, error) and refusals < MOST_REFUSALS:
            pause = _growing(FIRST_REFUSED_SECONDS, refusals, LONGEST_REFUSED_SECONDS)
            logger.warning(
                "Channel %s is closed to the %s of job %s (%s); it is tried again in %.0f s.",
                row.channel_id, row.kind, row.job_id, error, pause,
            )  # fmt: skip
            await asyncio.to_thread(self._ledger.put_off, row, time.time() + pause, str(error))
        else:
            logger.error("Discord refuses the %s of job %s in %s: %s", row.kind, row.job_id, row.channel_id, error)
            await self._give_in(row, error, plain or error.status in (403, 404))

    async def _give_in(self, row: Row, error: Exception, last: bool) -> None:
        """Say it as plainly as can be, or give the row up if that was its last try."""
        if last:
            logger.error("The %s of job %s is given up.", row.kind, row.job_id)
            await asyncio.to_thread(self._ledger.park, row, repr(error))
        else:
            await self._deliver(row, plain=True)

    async def _put_off(self, row: Row, error: BaseException) -> None:
        pause = _growing(RETRY_SECONDS, 0 if row.refused else row.attempts, LONGEST_RETRY_SECONDS)
        logger.warning("The %s of job %s waits %.0f s: %s", row.kind, row.job_id, pause, error or type(error).__name__)
        await asyncio.to_thread(self._ledger.put_off, row, time.time() + pause)


def _gone(row: Row, error: discord.HTTPException) -> bool:
    """Whether what the row belongs to was deleted: a message, or the thread that it was to stand in."""
    return error.code == UNKNOWN_MESSAGE or (row.kind is Kind.SAMPLE and error.code == UNKNOWN_CHANNEL)


def _growing(first: float, tries: int, longest: float) -> float:
    return min(longest, first * 2.0 ** min(tries, 32))
