"""`understudy data convert | filter | export`: from what there is to what is learnt from."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.commands.given import (
    AsJson,
    BaseModel,
    Consent,
    DetectLanguage,
    Force,
    Given,
    KeepNames,
    KeepPruned,
    NoCount,
    Oasst,
    Out,
    Permission,
    PersonaAuthor,
    Proxies,
    Split,
    counter_of,
    located,
    opened,
    origin_of,
    reading_of,
    require_out,
    takes_cleaning,
    with_chat,
)
from training.data.canonical import Tally
from training.data.cleaning import STANDARD, Cleaning
from training.data.schema import DatasetCard
from training.schema import SLUG_PATTERN, Conversation
from training.terminal import counting, print_card, print_inspection, workspace_of

if TYPE_CHECKING:
    from training.data.derive import Origin
    from training.data.filters import Sieve

app = typer.Typer()
HELD_OUT = "held_out.jsonl"


# --- convert -------------------------------------------------------------------------------------------------------


@app.command("convert")
@takes_cleaning
def convert_data(
    ctx: typer.Context,
    source: Given,
    out: Out,
    *,
    cleaning: Cleaning,
    oasst: Oasst = "best",
    keep_pruned: KeepPruned = False,
    source_name: Annotated[
        str, typer.Option("--source", help="What their source is called, where rows name none.")
    ] = "",
    license: Annotated[str, typer.Option("--license", "--licence", help="Their licence, where rows have none.")] = "",
    lang: Annotated[str, typer.Option(help="Their language, where rows have none.")] = "",
    detect_language: DetectLanguage = False,
    split: Split = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=16, help="Cut into windows of whole rounds, of at most these tokens.")
    ] = None,
    base_model: BaseModel = None,
    no_count: NoCount = False,
    permission: Permission = None,
    consent: Consent = None,
    proxies: Proxies = None,
    persona_author: PersonaAuthor = None,
    keep_names: KeepNames = False,
    persona: Annotated[str | None, typer.Option(help="Whose dialogues these are; in a chat log, whose voice.")] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Make a dataset folder of a file of any known format. A killed conversion goes on when asked again."""
    from training.data.convert import Recipe, convert
    from training.data.derive import parents_of
    from training.data.folder import LINEAGE
    from training.data.lineage import remember

    workspace = workspace_of(ctx)
    wanted = {"splits": tuple(split or ()), "detect_language": detect_language}
    reading = with_chat(
        reading_of(oasst, keep_pruned, source=source_name, license=license, lang=lang, **wanted),
        source,
        workspace,
        persona=persona,
        permission_file=permission,
        consent_file=consent,
        proxies=proxies,
        persona_authors=persona_author,
        keep_names=keep_names,
    )
    path, reading = located(source, workspace, reading)
    require_out(out, [path], force)
    parents, cards = parents_of([path], workspace)
    chat = reading.chatlog
    recipe = Recipe(
        reading=reading,
        filters=cleaning.steps(opened(cleaning.leaks, workspace) if cleaning.leaks else ()),
        counter=counter_of(base_model, workspace) if max_tokens or not no_count else None,
        max_tokens=max_tokens,
        options=cleaning.model_dump(mode="json"),
        persona=_slug(persona) or next((card.persona for card in cards), None),
        permission=chat.permission.quote() if chat else None,
        notice=parents.notice,
        extra_files={LINEAGE: chat.lineage} if chat else parents.files,
    )
    tally = Tally()
    with counting("converting") as show:
        card = convert(path, out, recipe, tally=tally, on_progress=lambda rows, made: show(rows))
    remember(workspace, out, card, chat.lineage if chat else parents.lineage())
    tell(card, out, as_json, tally)


# --- filter --------------------------------------------------------------------------------------------------------


@app.command("filter")
@takes_cleaning
def filter_data(
    ctx: typer.Context,
    source: Given,
    out: Out,
    *,
    cleaning: Cleaning,
    split: Split = None,
    base_model: BaseModel = None,
    no_count: NoCount = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Make a new folder of what passes the chosen steps; with none chosen: dedup, near-dedup, refusals, repetition."""
    from training.data.derive import digests_in, parents_of
    from training.data.filters import Sieve
    from training.data.folder import dataset_name, write_folder
    from training.data.lineage import remember

    workspace = workspace_of(ctx)
    if not cleaning.steps():
        cleaning = STANDARD.model_copy(update={"threshold": cleaning.threshold})
    origin, rows = origin_of(source, workspace, split)
    require_out(out, [origin.path], force)
    sieve = Sieve(cleaning.steps(opened(cleaning.leaks, workspace) if cleaning.leaks else ()))
    parents, cards = parents_of([origin.path], workspace)
    with counting("filtering") as show:
        kept = parents.watch(sieve(shown(rows, show)))
        card = write_folder(
            out,
            dataset_name(out.name),
            _or_none_left(kept, source, origin, sieve),
            digest_of=digests_in([origin]),
            steps=lambda: (*origin.steps(), *sieve.steps()),
            persona=next((card.persona for card in cards), None),
            counter=None if no_count else counter_of(base_model, workspace),
            notes=origin.notes,
            permission=parents.permission,
            extra_files=parents.files,
        )
    remember(workspace, out, card, parents.lineage())
    tell(card, out, as_json, origin.tally)


def _or_none_left(rows: Iterator[Conversation], source: str, origin: Origin, sieve: Sieve) -> Iterator[Conversation]:
    """The rows; raises NothingLeft where there are none."""
    from training.errors import NothingLeft

    first = next(rows, None)
    if first is None:
        steps = (origin.tally.step(), *sieve.steps())
        why = [f"{reason} {n:,}" for step in steps for reason, n in step.removed.items()]
        raise NothingLeft(name=source, step="cleaning", dropped=", ".join(why) or "it held nothing")
    return chain([first], rows)


# --- export --------------------------------------------------------------------------------------------------------


@app.command("export")
def export_data(
    ctx: typer.Context,
    source: Given,
    out: Out,
    target: Annotated[
        str, typer.Option("--format", help="Who shall read it.", metavar="openai|sharegpt|alpaca|trl|axolotl|…")
    ],
    *,
    split: Split = None,
    base_model: BaseModel = None,
    no_count: NoCount = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write a dataset for another trainer: openai, sharegpt, alpaca, trl, axolotl or llamafactory."""
    from training.data.derive import digests_in, parents_of
    from training.data.export import Target, export
    from training.data.folder import dataset_name
    from training.data.lineage import remember

    if target not in list(Target):
        raise typer.BadParameter(f"--format is one of {', '.join(Target)}, not {target}")
    workspace = workspace_of(ctx)
    origin, rows = origin_of(source, workspace, split)
    require_out(out, [origin.path], force)
    parents, cards = parents_of([origin.path], workspace)
    with counting("writing") as show:
        card = export(
            out,
            dataset_name(out.name),
            parents.watch(shown(rows, show)),
            Target(target),
            parents.watch(_held_out(origin.path)),
            digest_of=digests_in([origin]),
            steps=origin.steps,
            notes=origin.notes,
            persona=next((card.persona for card in cards), None),
            counter=None if no_count else counter_of(base_model, workspace),
        )
    remember(workspace, out, card, parents.lineage(), export=True)
    tell(card, out, as_json, origin.tally)


def _held_out(source: Path) -> Sequence[Conversation]:
    """What a mix set aside."""
    from training.data.read import read_conversations

    path = source / HELD_OUT
    return read_conversations(path, str(path)) if path.is_file() else ()


# --- what they share -----------------------------------------------------------------------------------------------


def shown(rows: Iterable[Conversation], show: Callable[[int], None]) -> Iterator[Conversation]:
    """The rows, counted on the terminal as they pass."""
    for number, row in enumerate(rows, start=1):
        show(number)
        yield row


def tell(card: DatasetCard, out: Path, as_json: bool, tally: Tally | None = None) -> None:
    """What was made, and what became of the rows that it was made of."""
    if as_json:
        account = tally.inspection().model_dump(mode="json") if tally else {}
        typer.echo(json.dumps({**account, "folder": str(out), "card": card.model_dump(mode="json")}, indent=2))
        return
    if tally:
        print_inspection("Read", tally.inspection(), as_json=False)
    print_card(card, out)


def _slug(persona: str | None) -> str | None:
    """The persona as a card names it."""
    slug = re.sub(r"[^a-z0-9_-]+", "-", (persona or "").lower()).strip("-_")[:40]
    return slug if re.fullmatch(SLUG_PATTERN, slug) else None
