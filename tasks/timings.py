"""The clocks of the queue."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timings:
    """The clocks of the queue, in seconds, and how many crashes without a new checkpoint make a job poison.

    A job's record shows its progress every `progress` seconds. The one event stream hears of it every `told` seconds
    while the job is younger than `lively`, then every `told_slowly`: at most 17,500 times a day.
    """

    lease: float = 4.0
    heartbeat: float = 0.3
    tend: float = 1.0
    sweep: float = 10.0
    progress: float = 0.5
    told: float = 2.0
    told_slowly: float = 5.0
    lively: float = 180.0
    mercy: float = 0.5
    mercy_saving: float = 5.0
    crash_limit: int = 5
