"""The sandbox's clock: real time, plus whatever a test moved it by."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

from sandbox.limits import DISCORD_EPOCH_MS


class Clock:
    """Tells the time in Unix seconds and wakes whoever waits for a moment.

    Every deadline of the sandbox goes through it, so a test that advances it sees tokens expire and rate limits
    refill at once. The one exception is the gateway's heartbeat, since a test cannot move the bot's own clock.
    """

    def __init__(self) -> None:
        self._ahead = 0.0
        self._moved = asyncio.Event()
        self._last_id = 0

    def now(self) -> float:
        """Unix seconds."""
        return time.time() + self._ahead

    def iso(self) -> str:
        """The present moment as Discord writes timestamps."""
        return datetime.fromtimestamp(self.now(), UTC).isoformat(timespec="microseconds")

    def advance(self, seconds: float) -> None:
        """Move the clock ahead, and wake whoever waited for a moment that is now past."""
        self._ahead += seconds
        self._moved.set()
        self._moved = asyncio.Event()

    async def until(self, moment: float) -> None:
        """Return once `moment` (Unix seconds) is reached."""
        while (left := moment - self.now()) > 0:
            try:
                await asyncio.wait_for(self._moved.wait(), left)
            except TimeoutError:
                continue

    def snowflake(self) -> str:
        """A fresh id; ids grow, and hold the moment they were made at."""
        moment = (int(self.now() * 1000) - DISCORD_EPOCH_MS) << 22
        self._last_id = max(moment, self._last_id + 1)
        return str(self._last_id)
