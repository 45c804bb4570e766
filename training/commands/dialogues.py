"""`understudy data build`: a persona's dialogues, ready to learn from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from training.places import TERMINAL, guild_folder
from training.schema import Persona, Workspace
from training.terminal import print_rows, workspace_of

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
    examples: Annotated[int | None, typer.Option(min=1, help="Most conversations a persona; default: all.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same dataset.")] = 42,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make a dataset of what was written for a persona and what its sheet gives, without a language model."""
    from training.persona.sheet import find_persona, load_cast

    workspace = workspace_of(ctx)
    if persona.casefold() == ALL:
        made = _build_all(list(load_cast(workspace, TERMINAL).values()), workspace, out, seed, examples)
    else:
        who = find_persona(workspace, TERMINAL, persona)
        folder = out or guild_folder(workspace, TERMINAL) / "datasets" / who.slug
        made = [_build([who], folder, workspace, seed, examples)]
    if as_json:
        typer.echo(json.dumps({"datasets": made}, ensure_ascii=False))
        return
    for shown in made:
        print_rows(shown["name"], {key: str(value) for key, value in shown.items() if key != "name"})


def _build_all(
    cast: Sequence[Persona], workspace: Workspace, out: Path | None, seed: int, examples: int | None
) -> list[dict[str, Any]]:
    """A folder for each of the cast, and one of all of them; into a given folder only the one of all."""
    if out is not None:
        return [_build(cast, out, workspace, seed, examples)]
    home = guild_folder(workspace, TERMINAL) / "datasets"
    alone = [_build([who], home / who.slug, workspace, seed, examples) for who in cast]
    return [*alone, _build(cast, home / CAST, workspace, seed, examples)]


def _build(
    personas: Sequence[Persona], folder: Path, workspace: Workspace, seed: int, examples: int | None
) -> dict[str, Any]:
    from training.data.folder import dataset_name, write_folder
    from training.persona.dialogues import composed_dialogues

    composed = {
        who.slug: composed_dialogues(who, workspace, TERMINAL, seed=seed, examples=examples) for who in personas
    }
    left_out = sum(made.facts_left_out for made in composed.values())
    notes = [f"Made without a language model, with the seed {seed}."]
    if left_out:
        notes.append(f"{left_out} facts were left out, because their sentence has no sure first person.")
    card = write_folder(
        folder,
        dataset_name(folder.name),
        (row for made in composed.values() for row in made.rows),
        persona=personas[0].slug if len(personas) == 1 else None,
        notes=notes,
    )
    return {
        "name": card.name,
        "folder": str(folder),
        "version": card.version,
        "conversations": card.conversations,
        "written": sum(made.written for made in composed.values()),
        "composed": sum(len(made.rows) - made.written for made in composed.values()),
        "facts_left_out": left_out,
    }
