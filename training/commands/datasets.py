"""`understudy data list | info | inspect | show | validate | stats`: what there is to learn from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.commands.given import (
    AsJson,
    BaseModel,
    Consent,
    DetectLanguage,
    Given,
    KeepNames,
    KeepPruned,
    Oasst,
    Permission,
    PersonaAuthor,
    Proxies,
    Split,
)
from training.data.canonical import Tally
from training.data.schema import Inspection
from training.errors import EmptyDataset, UnderstudyError, UnreadableData
from training.places import TERMINAL
from training.schema import Conversation, Hyperparameters, Workspace
from training.terminal import counting, hush, print_conversations, print_inspection, print_rows, visible, workspace_of

if TYPE_CHECKING:
    from training.data.schema import DatasetCard

app = typer.Typer()


class NoSuchRow(UnderstudyError):
    """{name} has no conversation {wanted}; it has {count}. Choose another with --row or --id."""


@app.command("list")
def list_data(ctx: typer.Context, as_json: AsJson = False) -> None:
    """The datasets that can be named: shipped, your own, in the warehouse, and on the hub."""
    import json

    from training.data.catalog import offers

    found = offers(workspace_of(ctx), TERMINAL)
    if as_json:
        typer.echo(json.dumps({name: offer.model_dump(mode="json") for name, offer in found.items()}, indent=2))
        return
    rows = {}
    for name, offer in found.items():
        restricted = " ⚠ restricted licence" if offer.restricted else ""
        about = f"{offer.description} ({offer.lang}, {offer.license or 'no licence stated'})"
        rows[name] = f"{offer.where}: {about}{restricted}"
    print_rows("Datasets", rows)


@app.command("info")
def info(ctx: typer.Context, dataset: Given, as_json: AsJson = False) -> None:
    """How a dataset came about: sources, licences, steps, counts; of a catalog row what is known before it is read."""
    from training.commands.given import on_disk
    from training.data.catalog import offers
    from training.data.folder import is_folder, read_card
    from training.errors import UnknownDataset
    from training.places import guild_folder

    workspace = workspace_of(ctx)
    own = guild_folder(workspace, TERMINAL) / "datasets" / dataset
    path = on_disk(dataset) or (own if is_folder(own) else None)
    if path is not None:
        _print_card(read_card(path), as_json)
        return
    found = offers(workspace, TERMINAL)
    if dataset not in found:
        raise UnknownDataset(name=dataset, choices=", ".join(found))
    if as_json:
        typer.echo(found[dataset].model_dump_json(indent=2))
    else:
        print_rows(dataset, {key: str(value) for key, value in found[dataset] if value not in (None, "")})


def _print_card(card: DatasetCard, as_json: bool) -> None:
    from training.data.foldernote import readme

    typer.echo(card.model_dump_json(indent=2) if as_json else visible(readme(card)))


@app.command("inspect")
def inspect(
    ctx: typer.Context,
    file: Given,
    *,
    oasst: Oasst = "best",
    keep_pruned: KeepPruned = False,
    detect_language: DetectLanguage = False,
    split: Split = None,
    permission: Permission = None,
    consent: Consent = None,
    proxies: Proxies = None,
    persona_author: PersonaAuthor = None,
    keep_names: KeepNames = False,
    persona: Annotated[str | None, typer.Option(help="For chat logs: whose voice.")] = None,
    as_json: AsJson = False,
) -> None:
    """Recognise the format of a file and count what its rows would become; nothing is written."""
    from training.commands.given import opened, reading_of, with_chat

    workspace = workspace_of(ctx)
    reading = with_chat(
        reading_of(oasst, keep_pruned, detect_language=detect_language, splits=tuple(split or ())),
        file,
        workspace,
        persona=persona,
        permission_file=permission,
        consent_file=consent,
        proxies=proxies,
        persona_authors=persona_author,
        keep_names=keep_names,
    )
    tally = Tally()
    with counting("reading") as show:
        for number, _ in enumerate(opened(file, workspace, tally, reading), start=1):
            show(number)
    print_inspection(file, tally.inspection(), as_json)


@app.command("show")
def show_data(
    ctx: typer.Context,
    dataset: Given,
    *,
    row: Annotated[int | None, typer.Option(min=1, help="Which conversation, counted from 1.")] = None,
    id: Annotated[str | None, typer.Option("--id", help="Which conversation, by its id.")] = None,
    masked: Annotated[
        bool,
        typer.Option("--masked", "--mask", help="Also as the base model reads it: it learns what is in ⟦⟧."),
    ] = False,
    base_model: BaseModel = None,
    as_json: AsJson = False,
) -> None:
    """Size, digest and first conversation of a dataset; with --row or --id that conversation alone."""
    from training.commands.given import opened

    workspace = workspace_of(ctx)
    rows = opened(dataset, workspace)
    if row is None and id is None:
        everything = list(rows)
        if not everything:
            raise EmptyDataset(name=dataset, count=0, needed=1)
        chosen = everything[0]
        if not as_json:
            print_conversations(dataset, everything)
    else:
        chosen = _chosen(dataset, rows, row, id)
        if not as_json:
            print_rows(chosen.id, {f"{message.role} {i}": message.content for i, message in enumerate(chosen.messages)})
    if as_json:
        typer.echo(chosen.model_dump_json(indent=2))
    elif masked:
        _print_masked(chosen, base_model, workspace)


def _chosen(name: str, rows: Iterable[Conversation], row: int | None, id: str | None) -> Conversation:
    count = 0
    for conversation in rows:
        count += 1
        if count == row or (row is None and conversation.id == id):
            return conversation
    raise NoSuchRow(name=name, wanted=row if row is not None else id, count=f"{count:,}")


def _print_masked(row: Conversation, base_model: str | None, workspace: Workspace) -> None:
    from training import models

    hush()
    base = models.choose(base_model, workspace)
    chat_format = models.load_format(base, workspace)
    for window in chat_format.examples(row, min(Hyperparameters().max_length, base.context)):
        typer.echo(visible(f"\n{chat_format.show(window)}"))


@app.command("validate")
def validate_data(
    file: Annotated[Path, typer.Argument(exists=True, help="A file, or a dataset folder.")], as_json: AsJson = False
) -> None:
    """Check that a file can be learnt from; the first bad line of canonical JSONL is named."""
    from training.data.folder import CARD, CONVERSATIONS, check_folder
    from training.data.formats import Reading, read_any
    from training.data.read import read_conversations

    if (file / CARD).is_file():
        check_folder(file)
        file = file / CONVERSATIONS
    tally = Tally()
    try:
        rows = read_conversations(file, str(file))
    except UnreadableData as strict:
        try:
            rows = list(islice(read_any(file, Reading(), tally, str(file)), 1))
            if tally.format == "canonical":
                raise strict
        except UnderstudyError:
            if tally.format == "canonical":
                raise strict from None
            raise
    if not rows:
        raise EmptyDataset(name=file, count=0, needed=1)
    if tally.format:
        tally = Tally()
        for _ in read_any(file, Reading(), tally, str(file)):
            continue
        print_inspection(f"{file} can be converted", tally.inspection(), as_json)
    elif as_json:
        typer.echo(_inspection(rows).model_dump_json(indent=2))
    else:
        print_conversations(f"{file} is valid", rows)


def _inspection(rows: list[Conversation]) -> Inspection:
    tally = Tally(format="canonical")
    for row in rows:
        tally.use()
        tally.made(row)
    return tally.inspection()


@app.command("stats")
def stats(
    ctx: typer.Context,
    dataset: Given,
    *,
    tokens: Annotated[bool, typer.Option("--tokens", help="Also count the base model's tokens.")] = False,
    base_model: BaseModel = None,
    split: Split = None,
    as_json: AsJson = False,
) -> None:
    """Counts, languages, sources, licences and lengths of a dataset."""
    import json

    from training.commands.given import counter_of, origin_of
    from training.data.folder import Account

    workspace = workspace_of(ctx)
    account = Account(counter_of(base_model, workspace) if tokens or base_model else None)
    characters: Counter[str] = Counter()
    origin, rows = origin_of(dataset, workspace, split)
    with counting("reading") as show:
        for number, row in enumerate(rows, start=1):
            account.add(row)
            characters.update({message.role: len(message.content) for message in row.messages})
            show(number)
    if not account.conversations:
        raise EmptyDataset(name=dataset, count=0, needed=1)
    histogram = account.histogram()
    read = origin.tally.inspection()
    found = {
        "rows": read.rows,
        "dropped": read.dropped,
        "splits": read.splits,
        "conversations": account.conversations,
        "turns": account.turns,
        "languages": dict(account.languages.most_common()),
        "licenses": dict(account.licenses.most_common()),
        "sources": {source.name: source.conversations for source in account.by_source()},
        "characters": dict(characters),
        "version": account.version.name(),
        "tokens": histogram.model_dump() if histogram else None,
    }
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False, indent=2))
        return
    from training.terminal import print_counts

    print_counts(dataset, found)
