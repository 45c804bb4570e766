"""A process' sign of life: a file it touches, so that a container's health check needs no server of its own."""

from __future__ import annotations

import threading
import time
from pathlib import Path

BEAT_SECONDS = 5.0
STALE_SECONDS = 30.0


def _sign(state_dir: Path, process: str) -> Path:
    return state_dir / "alive" / process


def beat(state_dir: Path, process: str) -> None:
    """Say that `process` is alive now."""
    sign = _sign(state_dir, process)
    sign.parent.mkdir(parents=True, exist_ok=True)
    sign.touch()


def is_alive(state_dir: Path, process: str) -> bool:
    """Whether `process` has given a sign of life within STALE_SECONDS."""
    sign = _sign(state_dir, process)
    return sign.exists() and time.time() - sign.stat().st_mtime < STALE_SECONDS


def keep_beating(state_dir: Path, process: str) -> threading.Event:
    """Beat from a daemon thread until the returned event is set."""
    stop = threading.Event()

    def loop() -> None:
        beat(state_dir, process)
        while not stop.wait(BEAT_SECONDS):
            beat(state_dir, process)

    threading.Thread(target=loop, name=f"alive-{process}", daemon=True).start()
    return stop
