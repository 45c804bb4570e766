"""The clocks of the queue."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timings:
    """The clocks of the queue, in seconds, and how many crashes without a new checkpoint make a job poison."""

    lease: float = 4.0
    heartbeat: float = 0.3
    tend: float = 1.0
    progress: float = 0.5
    mercy: float = 0.5
    mercy_saving: float = 5.0
    crash_limit: int = 5
