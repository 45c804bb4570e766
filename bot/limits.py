"""Discord's limits on text, and the two ways to keep them: cut short, or split into several messages.

Lengths are counted in UTF-16 units, which is never less than what Discord counts.
"""

from __future__ import annotations

import re

CONTENT = 2000
EMBED_TITLE = 256
EMBED_DESCRIPTION = 4096
EMBED_FIELD_NAME = 256
EMBED_FIELD_VALUE = 1024
EMBEDS_IN_ALL = 6000
CHOICES = 25
CHOICE_NAME = 100
WEBHOOK_NAME = 80
NONCE = 25
THREAD_NAME = 100
MODAL_TEXT = 45
FORM_TEXT = 4000
FILE_BYTES = 10 * 2**20

_FENCE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_FENCE_OPENING = re.compile(r"```[^\n`]{0,40}(?=\n)")
_FENCE_CLOSING = "\n```"
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*(?=\s)|[。！？]")


def width(text: str) -> int:
    """The length of a text in UTF-16 units."""
    return len(text.encode("utf-16-le", "replace")) // 2


def clip(text: str, limit: int) -> str:
    """The longest beginning of a text that is at most `limit` wide; never half a character."""
    return text.encode("utf-16-le", "replace")[: 2 * limit].decode("utf-16-le", "ignore")


def trim(text: str, limit: int) -> str:
    """A text cut to `limit`, with an ellipsis where something was left out."""
    text = text.strip()
    if width(text) <= limit:
        return text
    kept = clip(text, limit - 1).rstrip()
    # A backslash that lost the character it escaped would escape the ellipsis.
    if (len(kept) - len(kept.rstrip("\\"))) % 2:
        kept = kept[:-1]
    return f"{kept}…"


def split(text: str, limit: int = CONTENT) -> tuple[str, ...]:
    """A text as messages of at most `limit`: cut at paragraphs, sentences or words, with code fences kept whole.

    A fence that alone is too long is closed at the cut and opened again in the next message.
    """
    parts = []
    rest = text.strip()
    while width(rest) > limit:
        part, rest = _cut(rest, limit)
        parts.append(part)
    if rest:
        parts.append(rest)
    return tuple(parts)


def _cut(text: str, limit: int) -> tuple[str, str]:
    window = clip(text, limit)
    at = _border(window)
    fence = next((m for m in _FENCE.finditer(text) if m.start() < at < m.end()), None)
    if fence is None:
        return text[:at].rstrip(), text[at:].lstrip()
    if text[: fence.start()].strip():
        return text[: fence.start()].rstrip(), text[fence.start() :]
    if fence.end() <= len(window):
        return text[: fence.end()], text[fence.end() :].lstrip()
    return _cut_fence(text, limit)


def _cut_fence(text: str, limit: int) -> tuple[str, str]:
    found = _FENCE_OPENING.match(text)
    opening = found.group() if found else "```"
    room = clip(text, limit - width(_FENCE_CLOSING))
    line_end = room.rfind("\n")
    at = line_end if line_end > len(opening) else len(room)
    return room[:at] + _FENCE_CLOSING, f"{opening}\n{text[at:].removeprefix(chr(10))}"


def _border(window: str) -> int:
    """Where to cut: the last paragraph, line or sentence that leaves the message half full, else the last word."""
    half = len(window) // 2
    sentence = max((m.end() for m in _SENTENCE_END.finditer(window)), default=0)
    for at in (window.rfind("\n\n"), window.rfind("\n"), sentence):
        if at > half:
            return at
    word = max((m.start() for m in re.finditer(r"\s", window)), default=0)
    return word or len(window)
