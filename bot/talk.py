"""Every word of a talk: the question as the channel sees it, and the answer as messages, with no I/O."""

from __future__ import annotations

from discord.utils import escape_mentions

from bot.cards import problem_text, sign
from bot.limits import CONTENT, clip, split, trim, width
from bot.phrases import REHEARSAL, harmless
from tasks.jobs import Event
from training.schema import ChatReply


def question(asker: str, persona: str, text: str) -> str:
    """What a channel sees of a /persona-chat: who asked whom, and what."""
    head = f"-# {harmless(asker, 80)} to {harmless(persona, 80)}"
    quoted = "\n".join(f"> {line}" for line in escape_mentions(text).strip().splitlines())
    return f"{head}\n{trim(quoted, CONTENT - width(head) - 1)}"


def reply_parts(event: Event, as_persona: bool) -> tuple[str, ...]:
    """The messages that a /persona-chat's end becomes; `as_persona`: they are sent under the persona's own name."""
    if event.reply is None:
        return (clip(f"{sign(event.state)} {problem_text(event.problem)}", CONTENT),)
    reply = event.reply
    head = f"**{harmless(reply.name, 80)}:** "
    small = f"\n-# {_voice(reply)}"
    # An open fence would swallow the line below it. The head is always allowed for, so that the number of parts is
    # known before it is known who may speak.
    text = reply.text.strip() + ("\n```" if reply.text.count("```") % 2 else "")
    parts = split(text or "…", CONTENT - width(head) - width(small))
    first, last = "" if as_persona else head, len(parts) - 1
    return tuple(f"{first if i == 0 else ''}{part}{small if i == last else ''}" for i, part in enumerate(parts))


def _voice(reply: ChatReply) -> str:
    version = f"v{reply.version}" if reply.version else "untrained: the base model with the character sheet"
    rehearsal = f" · {REHEARSAL}" if reply.rehearsal else ""
    return f"{harmless(reply.name, 80)} · {version}{rehearsal}"
