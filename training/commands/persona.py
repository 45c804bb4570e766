"""`understudy persona list | show`: the cast."""

from __future__ import annotations

from typing import Annotated

import typer

from training.errors import EmptyDataset
from training.places import TERMINAL
from training.terminal import print_rows, workspace_of

app = typer.Typer()


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
def show_persona(ctx: typer.Context, persona: Annotated[str, typer.Argument(help="Slug of the persona.")]) -> None:
    """What a persona's sheet says, as the models see it and as the scorecard uses it."""
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
    print_rows(who.name, rows)
