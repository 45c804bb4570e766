"""One run by several processes, one a card: started through `accelerate launch`, heard, stopped and ended as one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from training.errors import ProcessesFailed, RunStopped, UnderstudyError
from training.loop import Hooks
from training.schema import Noun, Problem, Progress, Report, TrainSpec, Workspace

ASSIGNMENT = "UNDERSTUDY_RANK"
"""The environment variable that carries a `RankAssignment`: it may hold a token, which belongs in no file."""
CODE = Path(__file__).resolve().parents[1]
LOOK_SECONDS = 0.1
OWN_PORT = "0"


class RankAssignment(Noun):
    """What each of the processes is to do; a file at `stop` asks all of them to stop."""

    job_id: str
    spec: TrainSpec
    workspace: Workspace
    run_dir: Path
    stop: Path

    def told(self) -> str:
        """The assignment as JSON, with the hub's token."""
        made = self.model_dump(mode="json")
        if self.workspace.hf_token:
            made["workspace"]["hf_token"] = self.workspace.hf_token.get_secret_value()
        return json.dumps(made)


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

    They end with this process, however it ends. Raises RunStopped, what a process met, and ProcessesFailed.
    """
    with tempfile.TemporaryDirectory(prefix="understudy-") as folder:
        stop = Path(folder) / "stop"
        assignment = RankAssignment(job_id=job_id, spec=spec, workspace=workspace, run_dir=run_dir, stop=stop)
        with _launched(assignment) as process:
            heard = _Ear(process, hooks)
            while process.poll() is None:
                if hooks.should_stop():
                    stop.touch()
                heard.wait(LOOK_SECONDS)
            heard.join()
    report = run_dir / "report.json"
    if report.is_file():
        return Report.model_validate_json(report.read_bytes())
    if heard.problem:
        raise Reported(heard.problem)
    if heard.stopped is not None:
        raise RunStopped(step=heard.stopped)
    raise ProcessesFailed(count=workspace.processes, code=process.returncode)


@contextmanager
def _launched(assignment: RankAssignment) -> Iterator[subprocess.Popen[bytes]]:
    """The processes, which are gone behind this."""
    processes = assignment.workspace.processes
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1"]
    command += ["--num_processes", str(processes), "--main_process_port", OWN_PORT]
    command += ["--mixed_precision", "no", "--dynamo_backend", "no", "-m", "training.rank"]
    process = subprocess.Popen(
        command,
        cwd=CODE,
        # An open end that falls with this process, which is how they learn that it is gone.
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, ASSIGNMENT: assignment.told()},
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


class _Ear:
    """Hears what the processes tell, from a thread of its own, and passes it on in the caller's."""

    def __init__(self, process: subprocess.Popen[bytes], hooks: Hooks) -> None:
        assert process.stdout is not None
        self.problem: Problem | None = None
        self.stopped: int | None = None
        self._hooks = hooks
        self._news = threading.Condition()
        self._notes: list[RankNote] = []
        self._thread = threading.Thread(target=self._listen, args=(process.stdout,), name="ear", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> None:
        """Pass on what was heard, after waiting for it so long at most."""
        with self._news:
            if not self._notes:
                self._news.wait(seconds)
            notes, self._notes = self._notes, []
        for note in notes:
            self._pass_on(note)

    def join(self) -> None:
        """Pass on the rest, once no process is left that could tell anything."""
        self._thread.join()
        self.wait(0)

    def _pass_on(self, note: RankNote) -> None:
        if note.progress:
            self._hooks.on_progress(note.progress)
        if note.checkpoint is not None:
            self._hooks.on_checkpoint(note.checkpoint)
        self.problem = self.problem or note.problem
        self.stopped = note.stopped if self.stopped is None else self.stopped

    def _listen(self, told: IO[bytes]) -> None:
        with told:
            for line in told:
                try:
                    note = RankNote.model_validate_json(line)
                except ValidationError:  # a library's own words; they belong where errors go
                    os.write(2, line)
                    continue
                with self._news:
                    self._notes.append(note)
                    self._news.notify()
