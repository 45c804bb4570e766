"""Follows the queue's event stream and pays the channels what they are owed: each message once, each card slowly."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import replace

import aiohttp
import discord

from bot import cards
from bot.courier import Courier
from bot.ledger import Kind, Ledger, Row
from tasks.client import Client
from tasks.errors import RedisAway
from tasks.jobs import Event

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 60.0
TOO_MANY_OLD_EDITS = 30046


def wanted(event: Event) -> Sequence[tuple[Kind, int]]:
    """The messages, by kind and part, that an event calls for in the channel its job came from."""
    if event.job.origin.door != "discord" or event.job.origin.channel_id is None:
        return ()
    if event.job.kind == "train":
        return [(Kind.CARD, 0), (Kind.RESULT, 0)] if event.state.ended else [(Kind.CARD, 0)]
    if event.job.kind == "chat" and event.state.ended:
        return [(Kind.REPLY, part) for part in range(len(cards.reply_parts(event, as_persona=True)))]
    return ()


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
            rows = wanted(event)
            if await asyncio.to_thread(self._ledger.ingest, cursor, event, rows) and rows:
                self._ring(str(event.job.origin.channel_id))

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

    async def _deliver(self, row: Row) -> None:
        try:
            await self._settle(row)
        except discord.HTTPException as error:
            await self._refused(row, error)
        except (RedisAway, aiohttp.ClientError, TimeoutError, OSError) as error:
            await self._put_off(row, error)
        except Exception as error:
            logger.exception("%s of job %s cannot be shown; it is given up.", row.kind, row.job_id)
            await asyncio.to_thread(self._ledger.park, row, repr(error))

    async def _settle(self, row: Row) -> None:
        if row.message_id is not None:
            await self._courier.edit(row, row.message_id)
            await self._shown(row, row.message_id)
            return
        found = await self._courier.find(row) if row.in_doubt else None
        if found is not None:
            # It is there, but nobody remembers which state it shows: it is edited once more.
            await self._shown(replace(row, revision=0) if row.kind is Kind.CARD else row, found)
            return
        await asyncio.to_thread(self._ledger.begin, row)
        await self._shown(row, await self._courier.post(row))

    async def _shown(self, row: Row, message_id: str) -> None:
        await asyncio.to_thread(self._ledger.shown, row, message_id, time.time() + self._card_seconds)

    async def _refused(self, row: Row, error: discord.HTTPException) -> None:
        if error.status >= 500 or error.status in (401, 429) or error.code == TOO_MANY_OLD_EDITS:
            await self._put_off(row, error)
            return
        log = logger.warning if error.status in (403, 404) else logger.error
        log("Discord refuses the %s of job %s in channel %s: %s", row.kind, row.job_id, row.channel_id, error)
        await asyncio.to_thread(self._ledger.park, row, str(error))

    async def _put_off(self, row: Row, error: BaseException) -> None:
        pause = min(LONGEST_RETRY_SECONDS, RETRY_SECONDS * 2**row.attempts)
        logger.warning("The %s of job %s waits %.0f s: %s", row.kind, row.job_id, pause, error or type(error).__name__)
        await asyncio.to_thread(self._ledger.put_off, row, time.time() + pause)
