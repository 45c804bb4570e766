"""The child process that does one training or one check, seen from inside: what it is told and tells, and its end.

It reads its assignment as one line from standard input and writes notes as JSON lines to what was its standard
output; prints go to the log. It ends with its supervisor, and stops with a checkpoint on SIGTERM. Before it loads
anything heavy it holds the locks of its GPUs and of its run folder, so that two never run at once.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from tasks import lifeline
from tasks.errors import Unexpected
from training.errors import RunStopped, UnderstudyError
from training.evaluation.schema import CheckReport, CheckSpec
from training.runs import RUN_LOCK
from training.schema import LanguageModel, Noun, Problem, Progress, Report, TrainSpec, WeightsAndBiases, Workspace

LOCK_SECONDS = 0.05


class Assignment(Noun):
    """What a child is to do, for whom, and where."""

    job_id: str
    spec: TrainSpec | CheckSpec
    workspace: Workspace
    run_dir: Path
    gpu_locks: tuple[Path, ...]
    supervisor: int

    def line(self) -> bytes:
        """The one line that the child reads; it carries tokens and keys, so it travels on a pipe only."""
        told = self.model_dump(mode="json")
        if self.workspace.hf_token:
            told["workspace"]["hf_token"] = self.workspace.hf_token.get_secret_value()
        for name in ("wandb", "language_model"):
            server: WeightsAndBiases | LanguageModel | None = getattr(self.workspace, name)
            if server and server.api_key:
                told["workspace"][name]["api_key"] = server.api_key.get_secret_value()
        return json.dumps(told).encode() + b"\n"


class Note(Noun):
    """One thing that a child tells; with a problem, `stopped` or `done` it is the last."""

    progress: Progress | None = None
    checkpoint: int | None = None
    problem: Problem | None = None
    stopped: bool = False
    done: bool = False

    @property
    def last(self) -> bool:
        """Whether the child has nothing more to do."""
        return self.done or self.stopped or self.problem is not None


class Finetune(Protocol):
    """What `training.pipeline.finetune` looks like."""

    def __call__(
        self,
        spec: TrainSpec,
        *,
        job_id: str,
        workspace: Workspace,
        run_dir: Path,
        on_progress: Callable[[Progress], None],
        should_stop: Callable[[], bool],
        on_checkpoint: Callable[[int], None],
    ) -> Report:
        """Train, and leave the report in `run_dir`; raises RunStopped after a checkpoint when asked to stop."""
        ...


class Check(Protocol):
    """What `training.evaluation.check.check` looks like."""

    def __call__(
        self,
        spec: CheckSpec,
        *,
        job_id: str,
        workspace: Workspace,
        run_dir: Path,
        on_progress: Callable[[Progress], None],
        should_stop: Callable[[], bool],
    ) -> CheckReport:
        """Check an adapter, and leave the report in `run_dir`; raises RunStopped when asked to stop."""
        ...


def run(load_finetune: Callable[[], Finetune], load_check: Callable[[], Check]) -> None:
    """Do the one assignment that standard input holds; what does it is loaded once the locks are held."""
    told = _keep_standard_output()
    asked_to_stop = _hear_sigterm()
    assignment = Assignment.model_validate_json(_read_line())
    lifeline.end_with(assignment.supervisor, signal.SIGKILL)
    threading.Thread(target=_end_with_standard_input, name="lifeline", daemon=True).start()

    def tell(note: Note) -> None:
        os.write(told, note.model_dump_json(exclude_defaults=True).encode() + b"\n")

    try:
        with ExitStack() as held:
            # Everyone takes the cards' locks in one order, so no two can wait for each other.
            for lock in (assignment.run_dir / RUN_LOCK, *assignment.gpu_locks):
                held.enter_context(_held(lock, asked_to_stop))
            _do(assignment, load_finetune, load_check, tell, asked_to_stop)
        tell(Note(done=True))
    except RunStopped:
        tell(Note(stopped=True))
    except UnderstudyError as error:
        tell(Note(problem=error.problem))
    except Exception:
        # Standard error is the run's log; the channel only learns where to look.
        logging.exception("Job %s failed.", assignment.job_id)
        tell(Note(problem=Unexpected(reference=assignment.job_id).problem))


def _do(
    assignment: Assignment,
    load_finetune: Callable[[], Finetune],
    load_check: Callable[[], Check],
    tell: Callable[[Note], None],
    asked_to_stop: Callable[[], bool],
) -> None:
    if isinstance(assignment.spec, CheckSpec):
        load_check()(
            assignment.spec,
            job_id=assignment.job_id,
            workspace=assignment.workspace,
            run_dir=assignment.run_dir,
            on_progress=lambda look: tell(Note(progress=look)),
            should_stop=asked_to_stop,
        )
        return
    load_finetune()(
        assignment.spec,
        job_id=assignment.job_id,
        workspace=assignment.workspace,
        run_dir=assignment.run_dir,
        on_progress=lambda look: tell(Note(progress=look)),
        should_stop=asked_to_stop,
        on_checkpoint=lambda step: tell(Note(checkpoint=step)),
    )


def _keep_standard_output() -> int:
    """A private descriptor for notes; whatever prints from now on goes to the log."""
    told = os.dup(1)
    os.dup2(2, 1)
    return told


def _hear_sigterm() -> Callable[[], bool]:
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    # Ctrl-C in a terminal is for the supervisor, who then decides about its child.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return lambda: bool(asked)


def _read_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(0, 65536)
        if not part:
            raise SystemExit("The supervisor went away before it gave an assignment.")
        line += part
    return line


def _end_with_standard_input() -> None:
    # os.read, since a thread inside sys.stdin.read() would abort a clean exit of the interpreter.
    while os.read(0, 1):
        pass
    os._exit(1)


@contextmanager
def _held(path: Path, asked_to_stop: Callable[[], bool]) -> Iterator[None]:
    """Hold a kernel lock on a file; it falls with the process. Raises RunStopped if asked to stop while waiting."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if asked_to_stop():
                    raise RunStopped(step=0) from None
                time.sleep(LOCK_SECONDS)
        yield
