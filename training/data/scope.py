"""Which servers and channels a permission covers: by their ids, or by words that hold their ids or names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_HOLDERS = ("guild_id", "server_id", "channel_id")
_ONLY_IDS = re.compile(r"[\s,;]*[0-9]{1,20}(?:[\s,;]+[0-9]{1,20})*[\s,;]*")
_ID = re.compile(r"(?<!\w)[0-9]{15,20}(?!\w)|(?<=[:=])[0-9]{1,20}(?!\w)")
_NOT_ALL = re.compile(r"\b(?:except|excluding|not|without|but|other than|no|none)\b", re.IGNORECASE)
_CHANNEL = re.compile(r"#|\b(?:channel|thread)\b", re.IGNORECASE)
_ONE_CHANNEL = re.compile(r"#|\b(?:channels?|threads?)\b", re.IGNORECASE)
_EVERY = re.compile(r"\b(?:all|every|any|each|whole)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Place:
    """Where messages come from: the ids of a server and a channel, and their names where they are known."""

    guild: str
    channel: str = ""
    guild_name: str = ""
    channel_name: str = ""

    def __str__(self) -> str:
        server = f"server {self.guild}" + (f" ({self.guild_name})" if self.guild_name else "")
        if not self.channel:
            return server
        return f"{server} or channel {self.channel}" + (f" ({self.channel_name})" if self.channel_name else "")


def scope_lines(permission: dict[str, Any]) -> Any:
    """The lines of a scope, however it is written: ids, words, or things by name.

    Words that hold no id are completed by what the file says beside them, such as its `guild_id`.
    """
    scope = permission.get("scope")
    lines = _lines(scope)
    if isinstance(lines, list) and lines and not any(map(ids_in, lines)):
        beside = [f"{key} {permission[key]}" for key in _HOLDERS if isinstance(permission.get(key), str | int)]
        lines = [", ".join([line, *beside]) for line in lines]
    return lines


def ids_in(line: str) -> list[str]:
    """The ids that a line of a scope holds."""
    return re.findall("[0-9]+", line) if _ONLY_IDS.fullmatch(line) else _ID.findall(line)


def covers(line: str, place: Place) -> bool:
    """Whether a line of a scope names the place; in doubt it does not."""
    if _NOT_ALL.search(line):
        return False
    ids = ids_in(line)
    if not ids:
        return _names(line, place)
    if place.channel and place.channel in ids:
        return True
    # "Channel 444 of server 333" is about the channel.
    return place.guild in ids and not (len(ids) > 1 and _ONE_CHANNEL.search(line))


def _names(line: str, place: Place) -> bool:
    guild, channel = (_holds(line, name) for name in (place.guild_name, place.channel_name))
    if guild:
        return channel or not _CHANNEL.search(line) or _EVERY.search(line) is not None
    plain = re.sub(r"#|\b(?:the|channel|thread)\b", " ", line, flags=re.IGNORECASE)
    return bool(place.channel_name) and _folded(plain) == _folded(place.channel_name)


def _holds(line: str, name: str) -> bool:
    """Whether the words of a name stand in a line."""
    return bool(name.strip()) and re.search(rf"(?<!\w){re.escape(_folded(name))}(?!\w)", _folded(line)) is not None


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _lines(scope: Any) -> Any:
    """A scope as a list of texts, where it can be one."""
    if isinstance(scope, str):
        return re.split(r"[\s,;]+", scope.strip(" ,;")) if _ONLY_IDS.fullmatch(scope) else [scope]
    if isinstance(scope, int) and not isinstance(scope, bool):
        return [str(scope)]
    if isinstance(scope, dict):
        return [", ".join(f"{key} {_joined(value)}" for key, value in scope.items())]
    if isinstance(scope, list | tuple):
        found = [_lines(item) for item in scope]
        return [line for lines in found for line in lines] if all(isinstance(one, list) for one in found) else scope
    return scope


def _joined(value: Any) -> str:
    return " ".join(map(_joined, value)) if isinstance(value, list) else str(value)
