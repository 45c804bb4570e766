"""`understudy train | resume | plan | chat | persona | data`: training from a terminal, with no queue and no Discord.

What is heavy (torch, transformers) is imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import fcntl
import functools
import inspect
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from annotated_types import Ge, Le
from pydantic import ValidationError

from training.commands import anonymise, datasets, dialogues, logs, mixing, persona, refining
from training.commands.given import on_disk
from training.errors import RunStopped, UnderstudyError
from training.persona.facts import slug_of
from training.places import TERMINAL
from training.runs import RUN_LOCK
from training.schema import ChatSpec, Hyperparameters, Message, TaskType, TrainSpec, Workspace
from training.terminal import hush, print_plan, print_report, progress_bar, workspace_of


class UnknownRun(UnderstudyError):
    """There is no run {job_id} of this terminal's that could go on. `understudy train` prints the id of each."""


class RunBusy(UnderstudyError):
    """Another process is at work on run {job_id}. Wait until it has ended, or stop it first."""


def build(make_workspace: Callable[[], Workspace]) -> typer.Typer:
    """The command line of this storey; `make_workspace` is called by commands, never for `--help`."""
    app = typer.Typer(
        name="understudy",
        help="Train, judge and talk to a community's own personas.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"obj": make_workspace, "help_option_names": ["-h", "--help"]},
    )
    for command in (train, resume, plan, chat):
        app.command()(command)
    app.add_typer(_group("persona", "The cast.", persona.app))
    data = (datasets.app, refining.app, mixing.app, dialogues.app, logs.app, anonymise.app)
    app.add_typer(_group("data", "From files, sheets and logs to conversations to learn from.", *data))
    return app


def _group(name: str, about: str, *parts: typer.Typer) -> typer.Typer:
    """A command group put together from the files that hold its commands."""
    group = typer.Typer(name=name, help=about, no_args_is_help=True)
    for part in parts:
        group.add_typer(part)
    return group


# --- train, resume, plan -------------------------------------------------------------------------------------------


def _spec(
    persona: Annotated[
        str | None, typer.Option(help="Slug or name of the persona, as `understudy persona list` shows it.")
    ] = None,
    task_type: Annotated[TaskType, typer.Option(help=str(TaskType.__doc__))] = TaskType.PERSONA,
    dataset: Annotated[str | None, typer.Option(help=TrainSpec.model_fields["dataset"].description)] = None,
    base_model: Annotated[str | None, typer.Option(help="Default: the configured BASE_MODEL.")] = None,
    job_name: Annotated[str | None, typer.Option(help="Default: the persona's or the dataset's name.")] = None,
    **knobs: Any,
) -> TrainSpec:
    """The job that these options ask for; what is wrong with them is said in one line."""
    # Whole, since a run may be taken up again from another folder.
    if dataset and (path := on_disk(dataset)):
        dataset = str(path.absolute())
    persona = slug_of(persona) if persona else None
    name = job_name or persona or Path(dataset or "run").stem
    try:
        return TrainSpec(
            job_name=name,
            guild_id=TERMINAL,
            task_type=task_type,
            persona=persona,
            dataset=dataset,
            base_model=base_model,
            hyperparameters=Hyperparameters(**knobs),
        )
    except ValidationError as error:
        raise typer.BadParameter("; ".join(_fault(fault) for fault in error.errors())) from error


def _fault(fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    said = str(fault["msg"]).removeprefix("Value error, ")
    return f"{where}: {said}" if where else said


def _knob_parameters() -> list[inspect.Parameter]:
    """One option for each knob: type, default, bounds and sentence are those of Hyperparameters."""
    parameters = []
    for name, field in Hyperparameters.model_fields.items():
        lowest: Any = next((bound.ge for bound in field.metadata if isinstance(bound, Ge)), None)
        highest: Any = next((bound.le for bound in field.metadata if isinstance(bound, Le)), None)
        shown = True if field.default is not None else "what catalog/models.toml recommends"
        option = typer.Option(help=field.description, min=lowest, max=highest, show_default=shown)
        annotation = Annotated[field.annotation, option]  # type: ignore[name-defined]
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(name, kind, default=field.default, annotation=annotation))
    return parameters


def _takes_spec(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, in place of its parameter `spec`, the options that make one up."""
    asked = list(inspect.signature(_spec, eval_str=True).parameters.values())[:-1] + _knob_parameters()
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "spec"]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        spec = _spec(**{parameter.name: given.pop(parameter.name) for parameter in asked})
        command(spec=spec, **given)

    keyword_only = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own + asked]
    run.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
    return run


@_takes_spec
def train(ctx: typer.Context, spec: TrainSpec) -> None:
    """Fine-tune in this process, with a progress bar. Ctrl-C keeps a checkpoint to go on from."""
    _run(spec, secrets.token_hex(6), workspace_of(ctx))


def resume(
    ctx: typer.Context, job_id: Annotated[str, typer.Argument(help="The id that `understudy train` printed.")]
) -> None:
    """Go on with a run of this terminal's that was stopped, from its newest checkpoint."""
    workspace = workspace_of(ctx)
    known = {path.parent.name: path for path in (workspace.artifact_root / "runs").glob("*/spec.json")}
    spec = TrainSpec.model_validate_json(known[job_id].read_bytes()) if job_id in known else None
    # A guild's runs belong to its workers, who would not learn of what is done here.
    if spec is None or spec.guild_id != TERMINAL:
        raise UnknownRun(job_id=job_id)
    _run(spec, job_id, workspace)


@_takes_spec
def plan(
    ctx: typer.Context,
    spec: TrainSpec,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """What a run would take: examples, steps, time, memory. Nothing is trained."""
    from training import pipeline

    found = pipeline.plan(spec, workspace=workspace_of(ctx))
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        print_plan(spec, found)


def _run(spec: TrainSpec, job_id: str, workspace: Workspace) -> None:
    from training import pipeline

    hush()
    run_dir = workspace.artifact_root / "runs" / job_id
    try:
        with _alone_in(run_dir), _stop_on_ctrl_c() as stop:
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
        typer.echo(f"{stopped} Go on with: understudy resume {job_id}", err=True)
        raise typer.Exit(130) from None
    print_report(report, run_dir)


@contextmanager
def _alone_in(run_dir: Path) -> Iterator[None]:
    """Hold the lock of a run folder, which workers hold too while they write there. Raises RunBusy."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / RUN_LOCK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunBusy(job_id=run_dir.name) from None
        yield


@contextmanager
def _stop_on_ctrl_c() -> Iterator[threading.Event]:
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


# --- chat ----------------------------------------------------------------------------------------------------------


def chat(
    ctx: typer.Context,
    persona: Annotated[str, typer.Argument(help="Slug or name of the persona.")],
    adapter: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="A run's adapter folder; without it the base model answers."),
    ] = None,
    temperature: Annotated[float, typer.Option(min=0, max=2, help="0 always takes the likeliest word.")] = 0.7,
    seed: Annotated[int | None, typer.Option(help="Same seed, same answers.")] = None,
) -> None:
    """Talk to a persona; each line of standard input is a turn, and the end of input ends the talk."""
    from training.persona.sheet import find_persona

    workspace = workspace_of(ctx)
    who = find_persona(workspace, TERMINAL, persona)
    # Only now: a mistyped name is answered before torch has loaded.
    from training.inference import Engine

    hush()
    engine = Engine(workspace)
    if sys.stdin.isatty():
        typer.echo(f"{who.name}: {who.greeting}")
    history: list[Message] = []
    for line in _lines():
        history.append(Message(role="user", content=line))
        spec = ChatSpec(
            guild_id=TERMINAL, persona=who.slug, messages=tuple(history[-99:]), temperature=temperature, seed=seed
        )
        reply = engine.reply(spec, who, adapter, None)
        history.append(Message(role="assistant", content=reply.text or "…"))
        typer.echo(f"{who.name}: {reply.text}")


def _lines() -> Iterator[str]:
    """What a person types, until the end of input or Ctrl-C; blank lines are passed over."""
    prompt = "you: " if sys.stdin.isatty() else ""
    while True:
        try:
            line = input(prompt).strip()
        except (EOFError, KeyboardInterrupt):
            return
        if line:
            yield line
