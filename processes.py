"""Child processes by name: start them, wait until each says it is ready, stop them in the reverse order."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tasks.lifeline import end_with
from training.errors import UnderstudyError

READY = "READY "
POLL_SECONDS = 0.1
REFUSED = 2
FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0
# A worker that is told to stop writes a checkpoint first.
GRACE_SECONDS = 75.0
LOG_BYTES = 16 * 2**20


class ProcessFailed(UnderstudyError):
    """The {name} process ended by itself: {reason}. Its log is {log}."""


class ProcessSlow(UnderstudyError):
    """The {name} process was not ready after {seconds:.0f} seconds. Its log is {log}."""


class PortTaken(UnderstudyError):
    """Port {port} on this machine is in use. Stop what uses it, or choose another port with {option}."""


@dataclass
class Process:
    """One child: its output goes to `log`, and its line `READY {json}` is kept in `said`."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path
    said: dict[str, Any] = field(default_factory=dict)
    _child: subprocess.Popen[bytes] | None = None
    _ready: threading.Event = field(default_factory=threading.Event)
    _started_at: float = 0.0
    _ended_at: float | None = None
    _pause: float = FIRST_PAUSE_SECONDS / 2

    def start(self) -> None:
        """Start the child in a session of its own, so that Ctrl-C reaches only the parent, which stops it in order."""
        self._ready.clear()
        self._started_at, self._ended_at = time.monotonic(), None
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_suffix(".old.log"))
        self._child = subprocess.Popen(
            self.argv,
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # So that even a killed parent leaves nothing running.
            preexec_fn=partial(end_with, os.getpid(), signal.SIGTERM),  # noqa: PLW1509 - it takes no lock
        )
        threading.Thread(target=self._read, args=(self._child,), name=f"read-{self.name}", daemon=True).start()

    def _read(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        with self.log.open("ab", buffering=0) as log:
            for line in child.stdout:
                log.write(line)
                if line.startswith(READY.encode()):
                    self.said = json.loads(line[len(READY) :])
                    self._ready.set()

    @property
    def pid(self) -> int:
        """The child's process id."""
        assert self._child is not None
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the child is alive."""
        return self._child is not None and self._child.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The child's exit code, once it has ended."""
        return None if self._child is None else self._child.poll()

    def start_after_pause(self) -> None:
        """Start the ended child again once its pause is over; the pause doubles while the child ends young."""
        now = time.monotonic()
        if self._ended_at is None:
            young = now - self._started_at < LONGEST_PAUSE_SECONDS
            self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS) if young else FIRST_PAUSE_SECONDS
            self._ended_at = now
            print(f"{self.name} ended; it is started again in {self._pause:.0f} s", file=sys.stderr)
        elif now - self._ended_at >= self._pause:
            self.start()

    def wait_ready(self, seconds: float) -> None:
        """Return once the child has said READY; raises ProcessFailed or ProcessSlow."""
        deadline = time.monotonic() + seconds
        while not self._ready.wait(POLL_SECONDS):
            if not self.running:
                raise ProcessFailed(name=self.name, reason=self.last_line(), log=self.log)
            if time.monotonic() > deadline:
                raise ProcessSlow(name=self.name, seconds=seconds, log=self.log)

    def last_line(self) -> str:
        """The newest line of the log, which mostly says why a child ended."""
        time.sleep(POLL_SECONDS)  # the reader may still be writing the last words
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return lines[-1] if lines else "it said nothing"

    def stop(self, grace: float) -> None:
        """SIGTERM, then SIGKILL after `grace` seconds."""
        if self._child is None:
            return
        if self.running:
            self._child.terminate()
            try:
                self._child.wait(grace)
            except subprocess.TimeoutExpired:
                self._child.kill()
        self._child.wait()


class Group:
    """Processes that live and stop together; a context manager that leaves none behind."""

    def __init__(self, log_dir: Path, grace: float = GRACE_SECONDS) -> None:
        self.log_dir = log_dir
        self.grace = grace
        self.processes: list[Process] = []
        log_dir.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in reversed(self.processes):
            process.stop(self.grace)

    def start(self, name: str, argv: Sequence[str], env: Mapping[str, str]) -> Process:
        """Start one more process, without waiting for it."""
        process = Process(name, argv, env, self.log_dir / f"{name}.log")
        self.processes.append(process)
        process.start()
        return process

    def watch(self, *, restart: bool = False, tend: Callable[[], None] | None = None) -> None:
        """Block until interrupted, calling `tend` often.

        With `restart`, a process that ends is started again, after longer and longer pauses. Without it, or where it
        says by its exit code that it cannot start as it is set up, ProcessFailed is raised.
        """
        while True:
            time.sleep(POLL_SECONDS)
            if tend is not None:
                tend()
            for process in self.processes:
                if process.running:
                    continue
                if not restart or process.exit_code == REFUSED:
                    raise ProcessFailed(name=process.name, reason=process.last_line(), log=process.log)
                process.start_after_pause()


def require_free_port(port: int, option: str) -> None:
    """Raise PortTaken if someone listens on this loopback port; 0 is always free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise PortTaken(port=port, option=option) from None
