"""`understudy data convert | filter | mix | export`: from what there is to what is learnt from."""

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
    Given,
    KeepNames,
    KeepPruned,
    Oasst,
    Out,
    Permission,
    PersonaAuthor,
    Proxies,
    counter_of,
    on_disk,
    opened,
    reading_of,
    takes_cleaning,
    with_chat,
)
from training.data.canonical import Tally
from training.data.cleaning import STANDARD, Cleaning
from training.data.schema import DatasetCard
from training.places import TERMINAL
from training.schema import SLUG_PATTERN, Conversation, Workspace
from training.terminal import counting, print_card, print_inspection, workspace_of

if TYPE_CHECKING:
    from training.data.blend import Part
    from training.data.convert import Recipe

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
    source_name: Annotated[str, typer.Option("--source", help="What the conversations' source is called.")] = "",
    license: Annotated[str, typer.Option("--license", "--licence", help="Their licence, where rows have none.")] = "",
    lang: Annotated[str, typer.Option(help="Their language, where rows have none.")] = "",
    detect_language: Annotated[bool, typer.Option("--detect-language", help="Find out languages not stated.")] = False,
    max_tokens: Annotated[
        int | None, typer.Option(min=16, help="Cut into windows of whole rounds, of at most these tokens.")
    ] = None,
    base_model: BaseModel = None,
    permission: Permission = None,
    consent: Consent = None,
    proxies: Proxies = None,
    persona_author: PersonaAuthor = None,
    keep_names: KeepNames = False,
    persona: Annotated[str | None, typer.Option(help="Whose dialogues these are; in a chat log, whose voice.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a dataset folder of a file of any known format. A killed conversion goes on when asked again."""
    from training.data.convert import Recipe
    from training.data.derive import parents_of
    from training.data.folder import LINEAGE
    from training.data.languages import with_language
    from training.data.lineage import remember

    workspace = workspace_of(ctx)
    reading = reading_of(oasst, keep_pruned, source=source_name, license=license, lang=lang)
    reading = with_chat(
        reading,
        source,
        workspace,
        persona=persona,
        permission_file=permission,
        consent_file=consent,
        proxies=proxies,
        persona_authors=persona_author,
        keep_names=keep_names,
    )
    parents, _ = parents_of([on_disk(source)], workspace)
    chat = reading.chatlog
    recipe = Recipe(
        reading=reading,
        filters=cleaning.steps(opened(cleaning.leaks, workspace) if cleaning.leaks else ()),
        counter=counter_of(base_model, workspace) if max_tokens or base_model else None,
        max_tokens=max_tokens,
        options={**cleaning.model_dump(mode="json"), "detect_language": detect_language},
        prepare=with_language if detect_language else None,
        persona=_slug(persona),
        permission=chat.permission.quote() if chat else None,
        notice=parents.notice,
        extra_files={LINEAGE: chat.lineage} if chat else parents.files,
    )
    tally = Tally()
    card = _converted(source, out, recipe, tally, workspace)
    remember(workspace, out, card, chat.lineage if chat else parents.lineage())
    _tell(card, out, as_json, tally)


def _converted(source: str, out: Path, recipe: Recipe, tally: Tally, workspace: Workspace) -> DatasetCard:
    """A file is converted so that it can go on after a kill; a dataset of the catalog is in one go."""
    from training.data.convert import convert
    from training.data.filters import Sieve
    from training.data.folder import dataset_name, write_folder
    from training.data.tokens import windows

    with counting("converting") as show:
        if path := on_disk(source):
            return convert(path, out, recipe, tally=tally, on_progress=lambda rows, made: show(rows))
        sieve = Sieve(recipe.filters)
        rows = opened(source, workspace, tally, recipe.reading)
        rows = sieve(map(recipe.prepare, rows) if recipe.prepare else rows)
        if (counter := recipe.counter) and (budget := recipe.max_tokens):
            rows = (window for row in rows for window in windows(row, counter, budget))
        return write_folder(
            out,
            dataset_name(out.name),
            _noticed(_shown(rows, show), recipe),
            steps=sieve.steps,
            counter=recipe.counter,
            extra_files=recipe.extra_files,
        )


def _noticed(rows: Iterable[Conversation], recipe: Recipe) -> Iterator[Conversation]:
    for row in rows:
        recipe.notice(row)
        yield row


# --- filter --------------------------------------------------------------------------------------------------------


@app.command("filter")
@takes_cleaning
def filter_data(ctx: typer.Context, source: Given, out: Out, *, cleaning: Cleaning, as_json: AsJson = False) -> None:
    """Make a new folder of what passes the chosen steps; with none chosen: dedup, near-dedup, refusals, repetition."""
    from training.data.derive import parents_of
    from training.data.filters import Sieve
    from training.data.folder import dataset_name, require_free, write_folder
    from training.data.lineage import remember
    from training.errors import NothingLeft

    workspace = workspace_of(ctx)
    if not cleaning.steps():
        cleaning = STANDARD.model_copy(update={"threshold": cleaning.threshold})
    require_free(out)
    sieve = Sieve(cleaning.steps(opened(cleaning.leaks, workspace) if cleaning.leaks else ()))
    parents, cards = parents_of([on_disk(source)], workspace)
    with counting("filtering") as show:
        rows = parents.watch(sieve(_shown(opened(source, workspace), show)))
        first = next(rows, None)
        if first is None:
            why = [f"{reason} {n:,}" for step in sieve.steps() for reason, n in step.removed.items()]
            raise NothingLeft(name=source, step="cleaning", dropped=", ".join(why) or "it held nothing")
        card = write_folder(
            out,
            dataset_name(out.name),
            chain([first], rows),
            steps=lambda: (*(step for card in cards for step in card.steps), *sieve.steps()),
            persona=next((card.persona for card in cards), None),
            notes=[note for card in cards for note in card.notes],
            permission=parents.permission,
            extra_files=parents.files,
        )
    remember(workspace, out, card, parents.lineage())
    _tell(card, out, as_json)


# --- mix -----------------------------------------------------------------------------------------------------------


@app.command("mix")
def mix_data(
    ctx: typer.Context,
    out: Out,
    part: Annotated[list[str], typer.Option("--part", help="PATH=WEIGHT, or a dataset's name; given once for each.")],
    *,
    by: Annotated[str, typer.Option(help="What the weights count.", metavar="examples|tokens")] = "examples",
    ratio: Annotated[str | None, typer.Option(help="The weights in the order of the parts, such as 80:20.")] = None,
    oversample: Annotated[
        float, typer.Option(min=1, help="How often a part that is too small may be repeated at most.")
    ] = 1,
    held_out: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of each part to set aside, by source group.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same mix.")] = 42,
    accept_licence: Annotated[
        bool,
        typer.Option("--accept-licence", "--accept-license", help="Use sources for research or non-commercial use."),
    ] = False,
    base_model: BaseModel = None,
    as_json: AsJson = False,
) -> None:
    """Mix datasets by weight into a new folder. Nothing is repeated unless --oversample allows it."""
    from training.data.blend import blend, one_each
    from training.data.derive import parents_of
    from training.data.folder import dataset_name, require_free, write_folder
    from training.data.lineage import remember

    if by not in ("examples", "tokens"):
        raise typer.BadParameter(f"--by is examples or tokens, not {by}")
    workspace = workspace_of(ctx)
    require_free(out)
    weights = _weights(part, ratio)
    with counting("reading") as show:
        parts = [_part(given, weight, workspace, show) for given, weight in weights]
    _require_licences(parts, accept_licence, workspace)
    counter = counter_of(base_model, workspace) if by == "tokens" or base_model else None
    size = (lambda row: counter.count(row.messages)) if counter and by == "tokens" else one_each
    made = blend(parts, size=size, unit=by, oversample=oversample, held_out=held_out, seed=seed)
    parents, cards = parents_of((on_disk(given) for given, _ in weights), workspace)
    personas = {card.persona for card in cards}
    aside = {HELD_OUT: [row.model_dump(mode="json") for row in made.held_out]} if made.held_out else {}
    for _ in parents.watch(made.held_out):
        continue
    card = write_folder(
        out,
        dataset_name(out.name),
        parents.watch(made.train),
        steps=made.steps,
        persona=personas.pop() if len(personas) == 1 else None,
        counter=counter,
        notes=(*made.notes, f"Mixed with seed {seed}."),
        permission=parents.permission,
        extra_files=lambda: {**parents.files(), **aside},
    )
    remember(workspace, out, card, parents.lineage())
    _tell(card, out, as_json)


def _weights(parts: Sequence[str], ratio: str | None) -> list[tuple[str, float]]:
    """The parts with their weights, from either spelling."""
    if ratio is None:
        return [_weighed(part) for part in parts]
    numbers = ratio.split(":")
    if len(numbers) != len(parts):
        raise typer.BadParameter(f"--ratio {ratio} has {len(numbers)} numbers for {len(parts)} parts")
    return [(part, _number(number, f"--ratio {ratio}")) for part, number in zip(parts, numbers, strict=True)]


def _weighed(part: str) -> tuple[str, float]:
    name, equals, weight = part.rpartition("=")
    if not equals or not name:
        raise typer.BadParameter(f"--part {part} has no weight: write {part}=1, or give a --ratio")
    return name, _number(weight, f"--part {part}")


def _number(text: str, where: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = 0
    if not 0 < weight < 1e9:
        raise typer.BadParameter(f"{where}: {text} is no weight above 0")
    return weight


def _require_licences(parts: Sequence[Part], accepted: bool, workspace: Workspace) -> None:
    """What the rows say of their licence counts, and what the catalog says of a dataset by name."""
    from training.data.catalog import offers
    from training.data.licences import require_accepted
    from training.data.schema import Source

    known = offers(workspace, TERMINAL)
    sources = []
    for part in parts:
        if part.name in known and known[part.name].restricted:
            sources.append(Source(name=part.name, license=known[part.name].license or "none stated", conversations=0))
        said = {(row.source, row.license) for row in part.conversations}
        sources += [Source(name=source, license=license, conversations=0) for source, license in said]
    require_accepted(sources, accepted=accepted, how="--accept-licence")


def _part(given: str, weight: float, workspace: Workspace, show: Callable[[int], None]) -> Part:
    from training.data.blend import Part

    return Part(given, weight, list(_shown(opened(given, workspace), show)))


# --- export --------------------------------------------------------------------------------------------------------


@app.command("export")
def export_data(
    ctx: typer.Context,
    source: Given,
    out: Out,
    target: Annotated[
        str, typer.Option("--format", help="Who shall read it.", metavar="openai|sharegpt|alpaca|trl|axolotl|…")
    ],
    as_json: AsJson = False,
) -> None:
    """Write a dataset for another trainer: openai, sharegpt, alpaca, trl, axolotl or llamafactory."""
    from training.data.derive import parents_of
    from training.data.export import Target, export
    from training.data.folder import dataset_name
    from training.data.lineage import remember

    if target not in list(Target):
        raise typer.BadParameter(f"--format is one of {', '.join(Target)}, not {target}")
    workspace = workspace_of(ctx)
    parents, _ = parents_of([on_disk(source)], workspace)
    with counting("writing") as show:
        rows = parents.watch(_shown(opened(source, workspace), show))
        card = export(out, dataset_name(out.name), rows, Target(target), parents.watch(_held_out(source)))
    remember(workspace, out, card, parents.lineage(), export=True)
    _tell(card, out, as_json)


def _held_out(source: str) -> Sequence[Conversation]:
    """What a mix set aside."""
    from training.data.read import read_conversations

    path = Path(source) / HELD_OUT
    return read_conversations(path, str(path)) if on_disk(source) and path.is_file() else ()


# --- what they share -----------------------------------------------------------------------------------------------


def _shown(rows: Iterable[Conversation], show: Callable[[int], None]) -> Iterator[Conversation]:
    """The rows, counted on the terminal as they pass."""
    for number, row in enumerate(rows, start=1):
        show(number)
        yield row


def _tell(card: DatasetCard, out: Path, as_json: bool, tally: Tally | None = None) -> None:
    """What was made; of a conversion also what became of the rows that were read."""
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
