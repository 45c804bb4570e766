"""A persona's written dialogues, ready to learn from."""

from __future__ import annotations

from training.data.read import read_conversations
from training.errors import EmptyDataset
from training.persona.sheet import sheet_home
from training.schema import Conversation, Message, Persona, Workspace


def persona_conversations(persona: Persona, workspace: Workspace, guild_id: str) -> list[Conversation]:
    """The persona's dialogues, each opened by its system card.

    They lie beside its sheet: a guild's own persona never learns from a shipped file that happens to share its slug.
    Raises EmptyDataset where there are none, UnreadableData for a bad line.
    """
    path = sheet_home(workspace, guild_id, persona.slug) / "dialogues" / f"{persona.slug}.jsonl"
    name = f"{persona.name}'s dialogues"
    rows = read_conversations(path, name) if path.is_file() else []
    if not rows:
        raise EmptyDataset(name=name, count=0, needed=1)
    return [with_card(row, persona) for row in rows]


def with_card(row: Conversation, persona: Persona) -> Conversation:
    """The row with the persona's system card in place of any system turn of its own."""
    card = Message(role="system", content=persona.system_card())
    spoken = tuple(message for message in row.messages if message.role != "system")
    return row.model_copy(update={"messages": (card, *spoken)})
