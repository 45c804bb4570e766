"""`understudy train | resume | plan | evaluate | compare | chat | export | persona | data`: training from a terminal,
with no queue and no Discord.

What is heavy (torch, transformers) is imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from training.commands import anonymise, datasets, dialogues, logs, mixing, persona, refining
from training.commands.evaluate import compare, evaluate
from training.commands.export import export
from training.commands.job import Asked, takes_spec
from training.commands.run import problems_told, resume, train
from training.places import TERMINAL
from training.schema import ChatSpec, Message, Workspace
from training.terminal import hush, print_plan, workspace_of


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
    for command in (train, resume, plan, evaluate, compare, chat, export):
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


@takes_spec
def plan(
    ctx: typer.Context,
    asked: Asked,
    vram: Annotated[
        float | None, typer.Option(min=0.5, help="Plan for a card with so many GiB free, not for this machine.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """What a run would take: examples, steps, time, memory. Nothing is trained.

    Without a persona and without data it is planned for a persona as they usually are.
    """
    from training import planning

    hush()
    machine = planning.card_of(vram) if vram else None
    alone = {"persona", "dataset"}.isdisjoint(asked.options)
    spec = Asked(asked.options | {"persona": "usual"}).spec() if alone else asked.spec()
    with problems_told(as_json=as_json):
        made = planning.plan_assumed if alone else planning.plan
        found = made(spec, workspace=workspace_of(ctx), machine=machine)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        print_plan(spec, found)


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
