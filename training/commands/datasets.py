"""`understudy data list | show | validate`: what there is to learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.errors import EmptyDataset
from training.places import TERMINAL
from training.schema import Conversation, Hyperparameters, Workspace
from training.terminal import hush, print_conversations, print_rows, workspace_of

app = typer.Typer()


@app.command("list")
def list_data() -> None:
    """The datasets of catalog/datasets.toml."""
    from training.data.catalog import datasets

    rows = {name: f"{row.description} ({row.lang}, {row.license})" for name, row in datasets().items()}
    print_rows("Datasets", rows)


@app.command("show")
def show_data(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Argument(help="A dataset's name, or a readable path.")],
    masked: Annotated[
        bool, typer.Option("--masked", help="Also the first one as the base model reads it: it learns what is in ⟦⟧.")
    ] = False,
    base_model: Annotated[str | None, typer.Option(help="Default: the configured BASE_MODEL.")] = None,
) -> None:
    """Size, digest and first conversation of a dataset."""
    from training.data.catalog import load_dataset

    workspace = workspace_of(ctx)
    rows = load_dataset(dataset, workspace, TERMINAL)
    print_conversations(dataset, rows)
    if masked:
        _print_masked(rows[0], base_model, workspace)


def _print_masked(row: Conversation, base_model: str | None, workspace: Workspace) -> None:
    from training import models

    hush()
    base = models.choose(base_model, workspace)
    chat_format = models.load_format(base, workspace)
    for window in chat_format.examples(row, min(Hyperparameters().max_length, base.context)):
        typer.echo(f"\n{chat_format.show(window)}")


@app.command("validate")
def validate_data(file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A JSONL file.")]) -> None:
    """Check a file of conversations; the first bad line is named."""
    from training.data.read import read_conversations

    rows = read_conversations(file, str(file))
    if not rows:
        raise EmptyDataset(name=file, count=0, needed=1)
    print_conversations(f"{file} is valid", rows)
