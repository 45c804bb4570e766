"""A persona's written dialogues, ready to learn from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from training.data.folder import CONVERSATIONS, is_folder, open_folder
from training.data.read import read_conversations
from training.errors import EmptyDataset, NotThatPersonas
from training.persona.compose import Composed, compose
from training.persona.phrases import read_phrases
from training.persona.sheet import load_cast, sheet_home
from training.places import TERMINAL, guild_folder
from training.schema import Conversation, Message, Persona, Workspace


def persona_conversations(persona: Persona, workspace: Workspace, guild_id: str) -> list[Conversation]:
    """The persona's dialogues, each opened by its system card.

    Raises EmptyDataset where there are none, UnreadableData for a bad line.
    """
    rows = written_dialogues(persona, workspace, guild_id)
    if not rows:
        raise EmptyDataset(name=f"{persona.name}'s dialogues", count=0, needed=1)
    return [with_card(row, persona) for row in rows]


def written_dialogues(persona: Persona, workspace: Workspace, guild_id: str) -> list[Conversation]:
    """What was written for the persona, as it was written; nothing, where nothing was.

    It lies beside its sheet: a guild's own persona never learns from a shipped file that happens to share its slug.
    """
    path = sheet_home(workspace, guild_id, persona.slug) / "dialogues" / f"{persona.slug}.jsonl"
    return read_conversations(path, f"{persona.name}'s dialogues") if path.is_file() else []


def composed_dialogues(
    persona: Persona, workspace: Workspace, guild_id: str, *, seed: int = 42, examples: int | None = None
) -> Composed:
    """What was written for the persona and what is composed of it and of its sheet, each opened by its system card.

    Raises EmptyDataset where the sheet and the dialogues give nothing, UnreadableData for a bad line.
    """
    composed = compose(
        persona,
        written_dialogues(persona, workspace, guild_id),
        read_phrases(sheet_home(workspace, guild_id, persona.slug), persona),
        cast=load_cast(workspace, guild_id).values(),
        seed=seed,
        examples=examples,
    )
    if not composed.rows:
        raise EmptyDataset(name=f"{persona.name}'s sheet", count=0, needed=1)
    return replace(composed, rows=tuple(with_card(row, persona) for row in composed.rows))


def built_conversations(persona: Persona, name: str, workspace: Workspace, guild_id: str) -> list[Conversation]:
    """The rows of a dataset that the guild built for this persona, each opened by its system card.

    Whoever sits at the terminal may also name a dataset's folder.

    Raises NotThatPersonas, which lists those there are, and UnreadableData.
    """
    own = _built_for(persona, workspace, guild_id)
    folder = Path(name)
    if guild_id == TERMINAL and is_folder(folder) and open_folder(folder).persona == persona.slug:
        own[name] = folder
    if name not in own:
        raise NotThatPersonas(name=name, persona=persona.name, choices=", ".join(sorted(own)) or "none yet")
    return [with_card(row, persona) for row in read_conversations(own[name] / CONVERSATIONS, name)]


def _built_for(persona: Persona, workspace: Workspace, guild_id: str) -> dict[str, Path]:
    """The guild's datasets whose card says that they are this persona's."""
    folders = (guild_folder(workspace, guild_id) / "datasets").glob("*/")
    return {path.name: path for path in folders if is_folder(path) and open_folder(path).persona == persona.slug}


def with_card(row: Conversation, persona: Persona) -> Conversation:
    """The row with the persona's system card in place of any system turn of its own."""
    card = Message(role="system", content=persona.system_card())
    spoken = tuple(message for message in row.messages if message.role != "system")
    return row.model_copy(update={"messages": (card, *spoken)})
