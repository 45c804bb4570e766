"""`understudy data mix`: several datasets by weight into one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.commands.given import (
    AsJson,
    BaseModel,
    Force,
    NoCount,
    Out,
    counter_of,
    origin_of,
    require_out,
)
from training.commands.refining import HELD_OUT, shown, tell
from training.places import TERMINAL
from training.schema import Workspace
from training.terminal import counting, workspace_of

if TYPE_CHECKING:
    from training.data.derive import Origin
    from training.data.schema import Step
    from training.data.spill import Spill

app = typer.Typer()


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
    no_count: NoCount = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Mix datasets by weight into a new folder. Nothing is repeated unless --oversample allows it."""
    from training.data.blend import Part, blend
    from training.data.derive import digests_in, parents_of
    from training.data.folder import dataset_name, write_folder
    from training.data.lineage import remember

    if by not in ("examples", "tokens"):
        raise typer.BadParameter(f"--by is examples or tokens, not {by}")
    workspace = workspace_of(ctx)
    weights = _weights(part, ratio)
    sources = [origin_of(given, workspace) for given, _ in weights]
    origins = [origin for origin, _ in sources]
    _require_once(origins)
    require_out(out, [origin.path for origin in origins], force)
    counter = counter_of(base_model, workspace) if by == "tokens" or not no_count else None
    with _spill_beside(out) as spill:
        with counting("reading") as show:
            parts = [
                Part(
                    origin.name,
                    weight,
                    [
                        spill.add(row, counter.count(row.messages) if counter and by == "tokens" else 1)
                        for row in shown(rows, show)
                    ],
                )
                for (_, weight), (origin, rows) in zip(weights, sources, strict=True)
            ]
        _require_licences([given for given, _ in weights], origins, accept_licence, workspace)
        made = blend(parts, size=lambda row: row.size, unit=by, oversample=oversample, held_out=held_out, seed=seed)
        parents, cards = parents_of((origin.path for origin in origins), workspace)
        personas = {card.persona for card in cards}
        # Chats that are held out have a lineage as well, which is written after the conversations.
        for _ in parents.watch(spill.rows(made.held_out)):
            continue
        aside = {HELD_OUT: (row.model_dump(mode="json") for row in spill.rows(made.held_out))} if made.held_out else {}
        card = write_folder(
            out,
            dataset_name(out.name),
            parents.watch(spill.rows(made.train)),
            digest_of=digests_in(origins),
            steps=[*_histories(origins), *made.steps],
            persona=personas.pop() if len(personas) == 1 else None,
            counter=counter,
            notes=(*(note for origin in origins for note in origin.notes()), *made.notes, f"Mixed with seed {seed}."),
            permission=parents.permission,
            extra_files=lambda: {**parents.files(), **aside},
        )
    remember(workspace, out, card, parents.lineage())
    tell(card, out, as_json)


@contextmanager
def _spill_beside(out: Path) -> Iterator[Spill]:
    """A place for the conversations on the disk that the mix is for; nothing stays there."""
    from training.data.folder import CONVERSATIONS, room_for
    from training.data.spill import Spill

    room = room_for(out)
    try:
        with Spill(room / CONVERSATIONS) as spill:
            yield spill
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _histories(origins: Sequence[Origin]) -> Iterator[Step]:
    """How each part came about, under its name."""
    for origin in origins:
        for step in origin.steps():
            yield step.model_copy(update={"name": f"{origin.name}: {step.name}"})


def _require_once(origins: Sequence[Origin]) -> None:
    seen: dict[Path, str] = {}
    for origin in origins:
        real = origin.path.resolve()
        if real in seen:
            raise typer.BadParameter(f"--part {origin.name} is there already, as {seen[real]}; --oversample repeats")
        seen[real] = origin.name


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


def _require_licences(given: Sequence[str], origins: Sequence[Origin], accepted: bool, workspace: Workspace) -> None:
    """What the rows say of their licence counts, and what the catalog says of a dataset by name.

    Rows that say nothing pass, whatever their format: a schema does not tell who wrote them. The card counts them.
    """
    from training.data.catalog import offers
    from training.data.licences import require_accepted
    from training.data.schema import Source

    known = offers(workspace, TERMINAL)
    sources = []
    for name in given:
        if name in known and known[name].restricted:
            sources.append(Source(name=name, license=known[name].license or "none stated", conversations=0))
    for origin in origins:
        sources += [Source(name=source, license=license, conversations=0) for source, license in origin.held]
    require_accepted(sources, accepted=accepted, how="--accept-licence")
