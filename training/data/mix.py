"""Splits, mixes and names sets of conversations, the same way every time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from training.schema import Conversation


class Mixable(Protocol):
    """What the place of a conversation in a split or a mix depends on."""

    @property
    def id(self) -> str:
        """Its own."""
        ...

    @property
    def source(self) -> str:
        """Where it is from."""
        ...

    @property
    def meta(self) -> Mapping[str, str]:
        """Of which `group` and `fact` count."""
        ...


Row = TypeVar("Row", bound=Mixable)


def split(conversations: Sequence[Row], held_out: int, seed: int) -> tuple[list[Row], list[Row]]:
    """(train, held out), both in the given order; which rows are held out depends on their ids and the seed alone.

    So a row stays on its side when others are added in moderate numbers or the file is sorted anew. Rows of one group
    (`meta["group"]`, such as the tree they are cut from) stay on one side; so that fewer than `held_out` rows may be
    held out where groups are large. A group that holds all tellings of a fact is held out last: what is in no training
    row is never known.
    """
    if not 0 <= held_out <= len(conversations):
        raise ValueError(f"cannot hold out {held_out} of {len(conversations)} conversations")
    chosen: set[int] = set()
    for group in sorted(
        _groups(conversations), key=lambda group: (_tells_fact(group), rank(group[0], seed, grouped=True))
    ):
        if len(chosen) + len(group) <= held_out:
            chosen.update(id(row) for row in group)
    train = [row for row in conversations if id(row) not in chosen]
    return train, [row for row in conversations if id(row) in chosen]


def mix(
    persona: Sequence[Conversation], general: Sequence[Conversation], share: float, seed: int
) -> list[Conversation]:
    """All persona rows and as many general ones as make up `share` of the result, in an order fixed by the seed.

    Nothing is repeated: where there are too few general rows, all are taken and their share is smaller.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share must be at least 0 and below 1, not {share}")
    wanted = min(round(len(persona) * share / (1 - share)), len(general))
    chosen = sorted(general, key=lambda row: rank(row, seed))[:wanted]
    return sorted([*persona, *chosen], key=lambda row: rank(row, seed))


def digest(conversations: Sequence[Conversation]) -> str:
    """A short name for exactly this set of conversations: 12 hexadecimal digits of SHA-256, whatever their order."""
    found = SetDigest()
    for row in conversations:
        found.add(row.model_dump_json().encode())
    return found.name()


class SetDigest:
    """Names a set of lines as it grows: their SHA-256s are added up, so that neither order nor memory matters."""

    def __init__(self) -> None:
        self._sum = 0

    def add(self, line: bytes) -> None:
        """Take in one line, without its line break."""
        self._sum += int.from_bytes(hashlib.sha256(line).digest(), "big")

    def name(self) -> str:
        """12 hexadecimal digits."""
        return hashlib.sha256(str(self._sum).encode()).hexdigest()[:12]


def _groups(conversations: Sequence[Row]) -> list[list[Row]]:
    """Rows that must stay together; a row without a group is one of its own."""
    groups: dict[str, list[Row]] = {}
    single: list[list[Row]] = []
    for row in conversations:
        if "group" in row.meta:
            # Not by source as well: what was written by hand and what was composed may tell one fact.
            groups.setdefault(row.meta["group"], []).append(row)
        else:
            single.append([row])
    return [*groups.values(), *single]


def _tells_fact(group: Sequence[Mixable]) -> bool:
    return "group" in group[0].meta and "fact" in group[0].meta


def rank(row: Mixable, seed: int, *, grouped: bool = False) -> str:
    """What a row, or the group it is of, is ordered by: as good as chance, and the same every time."""
    named = row.meta["group"] if grouped and "group" in row.meta else f"{row.source}\0{row.id}"
    return hashlib.sha256(f"{seed}\0{named}".encode()).hexdigest()
