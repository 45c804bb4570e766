"""`understudy data build`: a persona's dialogues, ready to learn from."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from training.data.room import JOURNALS
from training.places import TERMINAL, guild_folder
from training.schema import Persona, Workspace
from training.terminal import print_rows, workspace_of

if TYPE_CHECKING:
    from training.data.build import Made, Writing
    from training.persona.writer import WritingProgress

app = typer.Typer()
ALL = "all"
CAST = "cast"


@app.command("build")
def build_data(  # noqa: PLR0917
    ctx: typer.Context,
    persona: Annotated[str, typer.Option(help="Slug or name of the persona; all: each of the cast, and one of all.")],
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder to write; default: this terminal's own datasets.")
    ] = None,
    examples: Annotated[
        int | None, typer.Option(min=1, help="Most conversations a persona that no model writes; default: all.")
    ] = None,
    llm: Annotated[
        int | None, typer.Option(min=1, max=5000, help="Dialogues a persona that LLM_BASE_URL also writes.")
    ] = None,
    world: Annotated[
        list[Path] | None, typer.Option(exists=True, dir_okay=False, help="Lore that the model distils to facts.")
    ] = None,
    judge: Annotated[bool, typer.Option(help="Have the model judge each dialogue it wrote.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same dataset.")] = 42,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make a dataset of a persona's written dialogues, its sheet and set phrases; with --llm a model writes more."""
    from training.data.build import Writing
    from training.persona.sheet import find_persona, load_cast

    if world and llm is None:
        raise typer.BadParameter("lore is distilled by a language model: say how many dialogues with --llm")
    workspace = workspace_of(ctx)
    with _writing_bar() if llm else nullcontext() as show:
        journals = guild_folder(workspace, TERMINAL) / "work" / JOURNALS
        writing = Writing(journals, llm, world or (), judge, show) if llm and show else None
        builder = _Builder(workspace, seed, examples, writing)
        if persona.casefold() == ALL:
            made = builder.all(list(load_cast(workspace, TERMINAL).values()), out)
        else:
            who = find_persona(workspace, TERMINAL, persona)
            made = [builder.one([who], out or guild_folder(workspace, TERMINAL) / "datasets" / who.slug)]
    if as_json:
        typer.echo(json.dumps({"datasets": made}, ensure_ascii=False))
        return
    for shown in made:
        print_rows(shown["name"], {key: str(value) for key, value in shown.items() if key != "name"})


@dataclass(frozen=True)
class _Builder:
    """What the command was told of all its datasets."""

    workspace: Workspace
    seed: int
    examples: int | None
    writing: Writing | None

    def all(self, cast: Sequence[Persona], out: Path | None) -> list[dict[str, Any]]:
        """A folder for each of the cast, and one of all of them; into a given folder only the one of all."""
        if out is not None:
            return [self.one(cast, out)]
        home = guild_folder(self.workspace, TERMINAL) / "datasets"
        alone = [self.one([who], home / who.slug) for who in cast]
        return [*alone, self.one(cast, home / CAST)]

    def one(self, personas: Sequence[Persona], folder: Path) -> dict[str, Any]:
        """Make one dataset; what is to be told of it."""
        from training.commands.given import counter_of
        from training.data.build import make_dialogues, write_dialogues
        from training.data.folder import dataset_name, require_free

        require_free(folder)  # before a model is paid for what could not be kept
        made = make_dialogues(
            personas, self.workspace, TERMINAL, seed=self.seed, examples=self.examples, writing=self.writing
        )
        alone = personas[0].slug if len(personas) == 1 else None
        # A folder named in another script has no letter that a dataset's name may have.
        name = dataset_name(folder.name if re.search(r"[a-z0-9]", folder.name, re.I) else alone or CAST)
        counter = counter_of(None, self.workspace)
        notes = [f"Seed {self.seed}."]
        card = write_dialogues(made, folder, name, persona=alone, counter=counter, notes=notes)
        told = {
            "name": card.name,
            "folder": str(folder),
            "version": card.version,
            "conversations": card.conversations,
            "written": made.by_hand,
            "composed": made.composed,
            "facts_left_out": made.facts_left_out,
        }
        return told | self._by_model(made)

    def _by_model(self, made: Made) -> dict[str, Any]:
        if not made.by_model:
            return {}
        usages = [written.usage for written in made.by_model]
        return {
            "by_model": sum(len(written.conversations) for written in made.by_model),
            "rejected": len(made.rejected),
            "calls": sum(usage.calls for usage in usages),
            "tokens": sum(usage.prompt_tokens + usage.completion_tokens for usage in usages),
            "dollars": round(sum(usage.dollars for usage in usages), 4),
        }


@contextmanager
def _writing_bar() -> Iterator[Callable[[WritingProgress], None]]:
    """A bar on stderr, with what was accepted and what it cost so far, and what moves it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[figures]}"), console=Console(stderr=True)) as bars:
        task = bars.add_task("writing", total=None, figures="")

        def show(look: WritingProgress) -> None:
            tokens = look.usage.prompt_tokens + look.usage.completion_tokens
            figures = f"{look.accepted} accepted, {look.rejected} refused, {tokens:,} tokens, ${look.usage.dollars:.2f}"
            bars.update(task, description=look.stage, completed=look.done, total=look.total, figures=figures)

        yield show
