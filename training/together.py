"""One run by several processes, one a card: started through `accelerate launch`, heard, stopped and ended as one.

Each process connects to a socket of this one's. There it hears what to do and when to stop, and tells what it finds;
when the line breaks, it ends.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import torch

from training.errors import ProcessesFailed, RunStopped, TooFewCards, UnderstudyError
from training.loop import Hooks
from training.schema import Noun, Problem, Progress, Report, TrainSpec, Workspace

CODE = Path(__file__).resolve().parents[1]
LOOK_SECONDS = 0.1
ANY_PORT = "0"
STOP = b"stop\n"


class RankAssignment(Noun):
    """What each of the processes is to do."""

    job_id: str
    spec: TrainSpec
    workspace: Workspace
    run_dir: Path

    def line(self) -> bytes:
        """The assignment as one line; it carries the hub's token, so it travels on a socket only."""
        made = self.model_dump(mode="json")
        if self.workspace.hf_token:
            made["workspace"]["hf_token"] = self.workspace.hf_token.get_secret_value()
        if self.workspace.wandb and self.workspace.wandb.api_key:
            made["workspace"]["wandb"]["api_key"] = self.workspace.wandb.api_key.get_secret_value()
        return json.dumps(made).encode() + b"\n"


class RankNote(Noun):
    """One thing that one of the processes tells, as a line of JSON."""

    progress: Progress | None = None
    checkpoint: int | None = None
    problem: Problem | None = None
    stopped: int | None = None


class Reported(UnderstudyError):
    """{sentence}"""

    def __init__(self, problem: Problem) -> None:
        super().__init__(sentence=problem.sentence)
        self._problem = problem

    @property
    def problem(self) -> Problem:
        """As the process that met it told it."""
        return self._problem


def finetune_together(spec: TrainSpec, *, job_id: str, workspace: Workspace, run_dir: Path, hooks: Hooks) -> Report:
    """Train in `workspace.processes` processes and return the report that they leave.

    They end with this process, however it ends. Raises TooFewCards, RunStopped, what a process met, and
    ProcessesFailed.
    """
    if torch.cuda.is_available() and (cards := torch.cuda.device_count()) < workspace.processes:
        raise TooFewCards(processes=workspace.processes, cards=cards)
    # They work in the program's own folder.
    whole = {name: getattr(workspace, name).absolute() for name in ("artifact_root", "dataset_warehouse", "cache_dir")}
    workspace = workspace.model_copy(update=whole)
    assignment = RankAssignment(job_id=job_id, spec=spec, workspace=workspace, run_dir=run_dir.absolute())
    with _Lines(assignment, hooks) as lines, _launched(workspace.processes, lines.address) as process:
        while process.poll() is None:
            if hooks.should_stop():
                lines.stop()
            lines.pass_on(LOOK_SECONDS)
    lines.pass_on(0)
    report = run_dir / "report.json"
    if report.is_file():
        return Report.model_validate_json(report.read_bytes())
    if lines.problem:
        raise Reported(lines.problem)
    if lines.stopped is not None:
        raise RunStopped(step=lines.stopped)
    raise ProcessesFailed(count=workspace.processes, code=process.returncode)


@contextmanager
def _launched(processes: int, address: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The processes, which are gone behind this."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1"]
    command += ["--num_processes", str(processes), "--main_process_port", ANY_PORT]
    command += ["--mixed_precision", "no", "--dynamo_backend", "no", "-m", "training.rank", str(address)]
    # In a session of its own: at a terminal's Ctrl-C the launcher would kill all before a checkpoint is there.
    process = subprocess.Popen(command, cwd=CODE, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


class _Lines:
    """The lines to all processes. What they tell is heard by threads, and passed on in the caller's."""

    def __init__(self, assignment: RankAssignment, hooks: Hooks) -> None:
        self.problem: Problem | None = None
        self.stopped: int | None = None
        self._assignment, self._hooks = assignment, hooks
        self._folder = tempfile.TemporaryDirectory(prefix="understudy-")
        self.address = Path(self._folder.name) / "line"
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(self.address))
        self._door.listen(assignment.workspace.processes)
        self._news = threading.Condition()
        self._notes: list[RankNote] = []
        self._ends: list[socket.socket] = []
        self._stopping = False
        self._ears = [
            threading.Thread(target=self._hear, name=f"line-{number}", daemon=True)
            for number in range(assignment.workspace.processes)
        ]

    def __enter__(self) -> Self:
        for ear in self._ears:
            ear.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Wakes those that wait for a process that never came.
        self._door.shutdown(socket.SHUT_RDWR)
        for ear in self._ears:
            ear.join()
        self._door.close()
        self._folder.cleanup()

    def stop(self) -> None:
        """Ask all processes to stop, those that come later too."""
        with self._news:
            asked, self._stopping = self._stopping, True
            for end in [] if asked else self._ends:
                _send(end, STOP)

    def pass_on(self, seconds: float) -> None:
        """Pass on what was told, after waiting for it so long at most."""
        with self._news:
            if not self._notes:
                self._news.wait(seconds)
            notes, self._notes = self._notes, []
        for note in notes:
            if note.progress:
                self._hooks.on_progress(note.progress)
            if note.checkpoint is not None:
                self._hooks.on_checkpoint(note.checkpoint)
            self.problem = self.problem or note.problem
            self.stopped = note.stopped if self.stopped is None else self.stopped

    def _hear(self) -> None:
        try:
            end, _ = self._door.accept()
        except OSError:  # nobody came before the door was closed
            return
        with end, end.makefile("rb") as told:
            with self._news:
                _send(end, self._assignment.line() + (STOP if self._stopping else b""))
                self._ends.append(end)
            for line in told:
                with self._news:
                    self._notes.append(RankNote.model_validate_json(line))
                    self._news.notify()
            with self._news:
                self._ends.remove(end)


def _send(end: socket.socket, told: bytes) -> None:
    try:
        end.sendall(told)
    except (BrokenPipeError, ConnectionResetError):
        return  # the process is gone, which its launcher will notice
