"""`understudy persona list | show | build | export`: the cast."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from training.errors import EmptyDataset, UnreadableSheet
from training.places import TERMINAL, guild_folder
from training.terminal import print_rows, workspace_of

if TYPE_CHECKING:
    from training.persona.sheet import Understood

app = typer.Typer()
Slug = Annotated[str, typer.Argument(help="Slug or name of the persona.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command("list")
def list_personas(ctx: typer.Context) -> None:
    """All personas, with how many conversations each has to learn from."""
    from training.persona.dialogues import persona_conversations
    from training.persona.sheet import load_cast

    workspace = workspace_of(ctx)
    rows = {}
    for slug, persona in load_cast(workspace, TERMINAL).items():
        try:
            count = len(persona_conversations(persona, workspace, TERMINAL))
        except EmptyDataset:
            count = 0
        rows[slug] = f"{persona.name} · {count} conversations"
    print_rows("Personas", rows)


@app.command("show")
def show_persona(ctx: typer.Context, persona: Slug) -> None:
    """What a persona's sheet says, as the models see it and as the scorecard uses it."""
    from training.persona.examples import write_examples
    from training.persona.sheet import find_persona

    who = find_persona(workspace_of(ctx), TERMINAL, persona)
    rows = {
        "aliases": ", ".join(who.aliases) or "none",
        "system card": who.system_card(),
        "traits": ", ".join(who.traits),
        "never says": "; ".join(who.taboos),
        "greeting": who.greeting,
    }
    rows |= {f"knows {other}": sentence for other, sentence in who.relationships.items()}
    rows |= {fact.id: fact.text for fact in who.facts}
    rows |= {f"example {n}": write_examples([told], who.name, start="") for n, told in enumerate(who.examples, 1)}
    print_rows(who.name, rows)


@app.command("build")
def build_personas(
    ctx: typer.Context,
    sheets: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="Markdown sheets, or cards.")],
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder for the sheets; default: this terminal's personas.")
    ] = None,
    facts: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="JSON list of facts with question and answer.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read sheets of any style and Character Cards, keep them as sheets of ours, and tell what was understood."""
    from training.persona.shelf import keep, read_facts, understand

    if facts and len(sheets) > 1:
        raise typer.BadParameter("--facts goes with one sheet: whose would they be?")
    folder = out or guild_folder(workspace_of(ctx), TERMINAL) / "personas"
    # All are read before the first is written: one that cannot be read leaves nothing half done.
    read = [understand(path, read_facts(facts) if facts else ()) for path in sheets]
    slugs = [found.persona.slug for found in read]
    if twice := {slug for slug in slugs if slugs.count(slug) > 1}:
        raise UnreadableSheet(name=", ".join(sorted(twice)), reason="two of the files would have that slug")
    kept = [keep(found, path, folder) for found, path in zip(read, sheets, strict=True)]
    shown = [_understood(found, path) for found, path in zip(read, kept, strict=True)]
    if as_json:
        typer.echo(json.dumps({"personas": shown}, ensure_ascii=False))
        return
    for told in shown:
        rows = {key: str(value) for key, value in told.items() if key not in ("name", "notes")}
        print_rows(told["name"], rows | {f"note {n}": note for n, note in enumerate(told["notes"], 1)})


@app.command("export")
def export_persona(  # noqa: PLR0917
    ctx: typer.Context,
    persona: Slug,
    out: Annotated[Path, typer.Option(dir_okay=False, help="File to write.")],
    card: Annotated[Literal["v2", "v3"], typer.Option("--format", help="Version of the Character Card.")] = "v3",
    as_png: Annotated[bool, typer.Option("--png", help="A picture that carries the card, rather than JSON.")] = False,
    portrait: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="PNG, JPEG or WebP; else the card's own, or drawn.")
    ] = None,
) -> None:
    """Write a persona as a Character Card; what else its own card held is kept."""
    from training.persona.card import write_card
    from training.persona.sheet import find_persona, sheet_home
    from training.persona.shelf import kept_card, kept_portrait, read_portrait

    workspace = workspace_of(ctx)
    who = find_persona(workspace, TERMINAL, persona)
    folder = sheet_home(workspace, TERMINAL, who.slug) / "personas"
    picture = as_png or portrait is not None or out.suffix.lower() == ".png"
    given = read_portrait(portrait) if portrait else kept_portrait(folder, who.slug)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_card(who, out, card, given if picture else None, as_png=picture, base=kept_card(folder, who.slug))
    typer.echo(f"{who.name} is in {out}", err=True)


def _understood(found: Understood, path: Path) -> dict[str, Any]:
    """What was made of one sheet, in figures."""
    who = found.persona
    return {
        "name": who.name,
        "slug": who.slug,
        "sheet": str(path),
        "aliases": len(who.aliases),
        "traits": len(who.traits),
        "facts": len(who.facts),
        "facts with a question": sum(bool(fact.question) for fact in who.facts),
        "relationships": len(who.relationships),
        "taboos": len(who.taboos),
        "examples": len(who.examples),
        "notes": list(found.notes),
    }
