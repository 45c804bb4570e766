"""Conversations that wait on disk until it is known which of them are wanted; memory holds what that depends on."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from training.data.canonical import to_line
from training.schema import Conversation

_DECISIVE = ("group", "fact")
"""Fields of `meta` that decide where a conversation goes in a split."""
_NONE: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Spilled:
    """A conversation that waits on disk: what its place in a mix depends on, and where its line begins."""

    id: str
    source: str
    meta: Mapping[str, str]
    size: int
    place: int

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Spilled:
        """The same with other values, as a Conversation makes it."""
        return replace(self, **(update or {}))


class Spill:
    """A file of conversations, in reach one by one; whoever makes it removes the file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b")

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, row: Conversation, size: int) -> Spilled:
        """Put one conversation away; `size` is what it counts in a mix."""
        meta = {key: row.meta[key] for key in _DECISIVE if key in row.meta} or _NONE
        place = self._file.seek(0, 2)
        self._file.write(to_line(row))
        return Spilled(row.id, sys.intern(row.source), meta, size, place)

    def rows(self, wanted: Iterable[Spilled]) -> Iterator[Conversation]:
        """The conversations in the order asked for, each with the id and group that it is asked for under."""
        for spilled in wanted:
            self._file.seek(spilled.place)
            row = Conversation.model_validate_json(self._file.readline())
            if spilled.id != row.id or spilled.meta.get("group") != row.meta.get("group"):
                row = row.model_copy(update={"id": spilled.id, "meta": {**row.meta, **spilled.meta}})
            yield row
