"""Queue train: starts one child process per training or check, watches it, and tells how it ended."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from tasks.child import Assignment, Note
from tasks.jobs import Job
from tasks.lease import Lease
from tasks.post import GiveBack
from tasks.settings import TaskSettings
from tasks.store import Claim, Ending
from tasks.timings import Timings
from training.evaluation.schema import CheckReport, CheckSpec
from training.schema import Machine, Phase, Problem, Report, TrainSpec, Workspace

log = logging.getLogger(__name__)
CODE = Path(__file__).resolve().parents[1]
TRAINER = (sys.executable, "-m", "tasks.trainer")
MACHINE = (sys.executable, "-m", "training.machine")
LOOK_SECONDS = 0.05
MACHINE_PATIENCE_SECONDS = 120.0
CHECKPOINT_PATIENCE_SECONDS = 60.0
TEARDOWN_PATIENCE_SECONDS = 10.0
FINISHING = frozenset({Phase.EVALUATING, Phase.SAVING})
"""In these phases all is learnt, so a run that is wished to pause is let finish."""


def look_at_machine(command: Sequence[str] = MACHINE) -> Machine | None:
    """What this worker trains on, found out by a child, since this process must never hold a part of the card."""
    asked = subprocess.run(
        command,
        cwd=CODE,
        stdout=subprocess.PIPE,
        timeout=MACHINE_PATIENCE_SECONDS,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return Machine.model_validate_json(asked.stdout)


class Supervisor:
    """Does trainings and checks by a child process each, which the kernel can always end."""

    def __init__(
        self, settings: TaskSettings, timings: Timings | None = None, command: Sequence[str] = TRAINER
    ) -> None:
        self._settings = settings
        self._timings = timings or Timings()
        self._command = command

    def __call__(self, held: Claim, lease: Lease, stopping: threading.Event) -> Ending | GiveBack:
        """See one job through to its report, its problem, its cancellation, or back to the queue."""
        job = held.job
        folder_of = self._settings.check_dir if isinstance(job.spec, CheckSpec) else self._settings.run_dir
        run_dir = folder_of(job.id)
        run_dir.mkdir(parents=True, exist_ok=True)
        with (run_dir / "run.log").open("ab") as run_log:
            watch = Watch(self._start(job, run_dir, run_log), lease, stopping, self._timings)
            watch.until_ended()
        return self._outcome(job, run_dir, watch, lease, stopping)

    def _start(self, job: Job, run_dir: Path, run_log: IO[bytes]) -> subprocess.Popen[bytes]:
        assert isinstance(job.spec, TrainSpec | CheckSpec)
        assignment = Assignment(
            job_id=job.id,
            spec=job.spec,
            workspace=self._workspace(job.spec),
            run_dir=run_dir,
            # A training spreads over all cards of this worker, a check stays on the first.
            gpu_locks=self._settings.gpu_locks(self._settings.train_processes if job.kind == "train" else 1),
            supervisor=os.getpid(),
        )
        child = subprocess.Popen(
            self._command,
            cwd=CODE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=run_log,
            start_new_session=True,
        )
        assert child.stdin is not None
        try:
            child.stdin.write(assignment.line())
            child.stdin.flush()
        except BrokenPipeError:
            log.warning("The child of job %s ended before it read its assignment.", job.id)
        return child

    def _workspace(self, spec: TrainSpec | CheckSpec) -> Workspace:
        """What a child is handed; the language model's key only where it is to judge."""
        whole = self._settings.workspace()
        judges = isinstance(spec, CheckSpec) and spec.judge
        return whole if judges else whole.model_copy(update={"language_model": None})

    def _outcome(
        self, job: Job, run_dir: Path, watch: Watch, lease: Lease, stopping: threading.Event
    ) -> Ending | GiveBack:
        report = _report(run_dir, job)
        if report is not None:
            return report  # it was on disk before the child ended, however it ended
        if lease.cancelled.is_set():
            return None
        if watch.problem:
            return watch.problem
        if watch.stopped or stopping.is_set() or lease.paused.is_set() or lease.lost.is_set():
            return GiveBack(crashed=False)
        log.warning("The child of job %s ended with code %s; see run.log in its run folder.", job.id, watch.code)
        return GiveBack(crashed=True)


class Watch:
    """One child process, listened to and, when it must end, asked first and then made to."""

    def __init__(
        self, child: subprocess.Popen[bytes], lease: Lease, stopping: threading.Event, timings: Timings
    ) -> None:
        self.problem: Problem | None = None
        self.stopped = False
        self.code: int | None = None
        self._child = child
        self._lease = lease
        self._stopping = stopping
        self._timings = timings
        self._phase: Phase | None = None
        self._last_note_at: float | None = None
        self._listener = threading.Thread(target=self._listen, name="listener", daemon=True)

    def until_ended(self) -> None:
        """Return once the child and all that it started are gone, and all that it told is heard."""
        self._listener.start()
        asked_at: float | None = None
        while self.code is None:
            if asked_at is None and (self._unwanted() or self._stopping.is_set() or self._to_pause()):
                asked_at = time.monotonic()
                self._child.terminate()
            if self._overdue(asked_at):
                self._kill_all()
            try:
                self.code = self._child.wait(LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                continue
        self._kill_all()
        self._listener.join()
        assert self._child.stdin is not None
        self._child.stdin.close()

    def _unwanted(self) -> bool:
        return self._lease.cancelled.is_set() or self._lease.lost.is_set()

    def _to_pause(self) -> bool:
        return self._lease.paused.is_set() and self._phase not in FINISHING

    def _overdue(self, asked_at: float | None) -> bool:
        now = time.monotonic()
        if self._last_note_at is not None and now - self._last_note_at > TEARDOWN_PATIENCE_SECONDS:
            return True
        if asked_at is None:
            return False
        if not self._unwanted():
            return now - asked_at > CHECKPOINT_PATIENCE_SECONDS
        saving = self._phase is Phase.SAVING
        return now - asked_at > (self._timings.mercy_saving if saving else self._timings.mercy)

    def _kill_all(self) -> None:
        try:
            os.killpg(self._child.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def _listen(self) -> None:
        assert self._child.stdout is not None
        with self._child.stdout as told:
            for line in told:
                try:
                    self._hear(Note.model_validate_json(line))
                except ValidationError:  # a child that was killed in mid-line
                    log.warning("A child told something that is not a note: %r", line[:200])

    def _hear(self, note: Note) -> None:
        if note.progress:
            self._phase = note.progress.phase
            self._lease.tell(note.progress)
        if note.checkpoint is not None:
            self._lease.mark(note.checkpoint)
        if note.last:
            self.problem, self.stopped = note.problem, note.stopped
            self._last_note_at = time.monotonic()


def _report(run_dir: Path, job: Job) -> Report | CheckReport | None:
    made = CheckReport if isinstance(job.spec, CheckSpec) else Report
    try:
        report = made.model_validate_json((run_dir / "report.json").read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        log.exception("The report of job %s cannot be read.", job.id)
        return None
    return report if report.job_id == job.id else None
