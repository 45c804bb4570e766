"""What of a chat message is said in character: commands, links and out-of-character talk are not."""

from __future__ import annotations

import re
from collections.abc import Mapping

from training.data.boilerplate import is_boilerplate
from training.data.fingerprints import plain

COMMAND = "command"
OUT_OF_CHARACTER = "out of character"
LINKS_ONLY = "links only"
NO_TEXT = "no text"

_COMMAND = re.compile(r"[!/.;?$%][A-Za-z]|(?:pk|tul|tb|pls|owo|mee6|[a-z])[;!][a-z]|<@!?&?\d+>\s*[!/;?$%][A-Za-z]")
_OOC_LINE = re.compile(r"\s*(?://|[(\[{]{0,2}\s*(?:ooc|out of character)\b(?!\s+(?:of|the|a)\b))", re.IGNORECASE)
_OOC_PART = re.compile(r"\(\([^()]*\)\)|[(\[]\s*ooc\b[^()\[\]]*[)\]]", re.IGNORECASE)
_OPEN = re.compile(r"\(\(|\[\[")
_QUOTE = re.compile(r"> ")
_USER = re.compile(r"<@!?(\d{1,20})>")
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff"))


def without_mentions(content: str, names: Mapping[str, str]) -> str:
    """The text with members' mentions as their names; who is not known by name stays a mention."""
    return _USER.sub(lambda found: names.get(found[1]) or found[0], content)


def spoken_text(content: str) -> str:
    """What a message says in character: without asides, and without quoted lines, which are another's words."""
    content = content.replace("\r\n", "\n")
    lines: list[str] = []
    for line in content.split("\n"):
        if line.startswith(">>> "):
            break
        if not _QUOTE.match(line):
            lines.append(_in_character(line))
    return "\n".join(lines).strip()


def _in_character(line: str) -> str:
    if _OOC_LINE.match(line):
        return ""
    said = _OOC_PART.sub("", line)
    # An aside that is never closed goes on to the end of its line.
    if found := _OPEN.search(said):
        said = said[: found.start()]
    return said.rstrip()


def is_refusal(text: str) -> bool:
    """Whether a character spoke as a language model."""
    return is_boilerplate(plain(text))


def chat_reason(content: str, text: str) -> str | None:
    """Why a message is left out whatever its author allows, given also what it says in character."""
    whole = content.translate(_INVISIBLE).strip()
    if not whole:
        return NO_TEXT
    if _COMMAND.match(whole):
        return COMMAND
    if not text.translate(_INVISIBLE).strip():
        return OUT_OF_CHARACTER
    if all(_is_link(word) for word in text.split()):
        return LINKS_ONLY
    return None


def _is_link(word: str) -> bool:
    return word.strip("<>|()[]*_").startswith(("http://", "https://"))
