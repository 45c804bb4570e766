"""`understudy train | resume`: a run in this process, with a bar."""

from __future__ import annotations

import fcntl
import hashlib
import secrets
import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from training.commands.job import Asked, takes_spec
from training.errors import FolderTaken, RunStopped, UnderstudyError
from training.places import TERMINAL
from training.runs import RUN_LOCK, read_spec
from training.schema import TrainSpec, Workspace
from training.terminal import hush, print_report, progress_bar, workspace_of

AsJson = Annotated[bool, typer.Option("--json", help="Print the report, or what went wrong, as one JSON object.")]


class UnknownRun(UnderstudyError):
    """There is no run {job_id} of this terminal's that could go on. `understudy train` prints the id of each."""


class RunBusy(UnderstudyError):
    """Another process is at work on run {job_id}. Wait until it has ended, or stop it first."""


class RunThere(UnderstudyError):
    """The folder {folder} holds a run already. Go on with it by giving --resume, or choose another folder."""


class OtherRun(UnderstudyError):
    """The folder {folder} holds a run that was asked for otherwise: {differs}. Ask for it as it was, give --resume and
    nothing else, or choose another folder."""


@takes_spec
def train(
    ctx: typer.Context,
    asked: Asked,
    out: Annotated[
        Path | None,
        typer.Option(file_okay=False, show_default=False, help="The run's folder. Default: one under ARTIFACT_ROOT."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, or begin it where there is none yet.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fine-tune in this process, with a progress bar. Ctrl-C keeps a checkpoint to go on from."""
    workspace = workspace_of(ctx)
    if out is None:
        if resume:
            raise typer.BadParameter("--resume needs --out, the folder of the run; or use `understudy resume ID`.")
        job_id = secrets.token_hex(6)
        run_dir = workspace.artifact_root / "runs" / job_id
        _run(asked.spec(), job_id, workspace, run_dir, again=f"understudy resume {job_id}", as_json=as_json)
        return
    with problems_told(as_json=as_json):
        spec = _spec_for(out, asked, resume=resume)
    # The same for the same folder, so that a run that is taken up again is the same run.
    job_id = hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:12]
    again = f"understudy train --out {shlex.quote(str(out))} --resume"
    _run(spec, job_id, workspace, out, again=again, as_json=as_json)


def resume(
    ctx: typer.Context,
    job_id: Annotated[str, typer.Argument(help="The id that `understudy train` printed.")],
    as_json: AsJson = False,
) -> None:
    """Go on with a run of this terminal's that was stopped, from its newest checkpoint."""
    workspace = workspace_of(ctx)
    known = {path.parent.name: path for path in (workspace.artifact_root / "runs").glob("*/spec.json")}
    with problems_told(as_json=as_json):
        spec = read_spec(known[job_id].parent) if job_id in known else None
        # A guild's runs belong to its workers, who would not learn of what is done here.
        if spec is None or spec.guild_id != TERMINAL:
            raise UnknownRun(job_id=job_id)
    run_dir = workspace.artifact_root / "runs" / job_id
    _run(spec, job_id, workspace, run_dir, again=f"understudy resume {job_id}", as_json=as_json)


def _spec_for(out: Path, asked: Asked, *, resume: bool) -> TrainSpec:
    """The job for a folder: as it was asked for where one was begun there, else as it is asked for now.

    Raises FolderTaken where the folder holds something else, RunThere where it holds a run that nobody asks to go on
    with, and OtherRun where it is asked for otherwise.
    """
    path = out / "spec.json"
    if not path.is_file():
        # A lock, or what was half-written when a run was killed, is no reason to leave the folder alone.
        if out.exists() and any(not found.name.startswith((".", RUN_LOCK)) for found in out.iterdir()):
            raise FolderTaken(folder=out)
        return asked.spec()
    if not resume:
        raise RunThere(folder=out)
    begun = read_spec(out)
    if asked.options and (differs := _differing(begun, asked.like(begun).spec())):
        raise OtherRun(folder=out, differs="; ".join(differs))
    return begun


def _differing(begun: TrainSpec, now: TrainSpec) -> list[str]:
    before, after = ({**told, **told.pop("hyperparameters")} for told in (begun.model_dump(), now.model_dump()))
    return [f"{name} was {value}" for name, value in before.items() if after[name] != value]


def _run(spec: TrainSpec, job_id: str, workspace: Workspace, run_dir: Path, *, again: str, as_json: bool) -> None:
    """Train in `run_dir`; `again`: what to do to go on after a stop."""
    from training import pipeline

    hush()
    try:
        with problems_told(as_json=as_json), alone_in(run_dir), stop_on_ctrl_c() as stop:
            typer.echo(f"Run {job_id} in {run_dir}", err=True)
            with progress_bar() as show:
                report = pipeline.finetune(
                    spec,
                    job_id=job_id,
                    workspace=workspace,
                    run_dir=run_dir,
                    on_progress=show,
                    should_stop=stop.is_set,
                )
    except RunStopped as stopped:
        typer.echo(f"{stopped} Go on with: {again}", err=True)
        raise typer.Exit(130) from None
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        print_report(report, run_dir)


@contextmanager
def problems_told(*, as_json: bool) -> Iterator[None]:
    """Where JSON is asked for, what goes wrong inside is printed so too; a stop is nothing wrong."""
    try:
        yield
    except RunStopped:
        raise
    except UnderstudyError as error:
        if not as_json:
            raise
        typer.echo(error.problem.model_dump_json())
        raise typer.Exit(2) from None


@contextmanager
def alone_in(run_dir: Path) -> Iterator[None]:
    """Hold the lock of a run folder, which workers hold too while they write there. Raises RunBusy."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / RUN_LOCK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunBusy(job_id=run_dir.name) from None
        yield


@contextmanager
def stop_on_ctrl_c() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second one interrupts at once."""
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
