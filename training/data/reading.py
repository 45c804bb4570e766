"""How the rows of a file are read, and the one loop that turns drafts of conversations into canonical ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import xxhash

from training.data.canonical import Dropped, Tally, Turn, canonical_turns
from training.schema import Conversation

if TYPE_CHECKING:
    from training.data.chatpolicy import ChatLogPolicy
    from training.data.files import Row

UNKNOWN_LANGUAGE = "und"
MAX_ID = 200
MAX_SOURCE = 40
MAX_LICENSE = 100
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")


@dataclass(frozen=True)
class Reading:
    """How to read a file; the defaults are right for training.

    source, license, lang: of conversations whose rows name none. splits: to read of a folder, all of which it must
    hold; where none is named, those of `usual_splits` that it holds, else the one to train on.
    """

    source: str = ""
    license: str = ""
    lang: str = ""
    oasst: Literal["best", "all"] = "best"
    keep_pruned: bool = False
    chatlog: ChatLogPolicy | None = None
    splits: tuple[str, ...] = ()
    usual_splits: tuple[str, ...] = ()
    detect_language: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """A conversation as a row has it; what it leaves empty, the reading fills in."""

    turns: Sequence[Turn]
    id: object = None
    lang: object = None
    source: str = ""
    license: str = ""
    meta: dict[str, str] = field(default_factory=dict)


class Ids:
    """Gives the conversations of one file their ids: the row's own where it has one, and never the same twice."""

    def __init__(self, source: str) -> None:
        self._source = source
        # Hashes, since a file may hold millions of ids; where two ids share one, the later is only made longer.
        self._taken: set[int] = set()

    def of(self, own: object, number: int) -> str:
        """The id for a conversation from row `number`."""
        wanted = _own_id(own) or f"{self._source}-{number}"
        given = wanted
        while (key := xxhash.xxh64_intdigest(given.encode())) in self._taken:
            given = f"{wanted}-{number}"
            number += 1
        self._taken.add(key)
        return given


def language_of(value: object) -> str:
    """A row's language code as it stands ("pt-BR"), empty where it has none."""
    return value if isinstance(value, str) and _LANGUAGE.fullmatch(value) else ""


class Maker:
    """Makes the conversations of one file, each with an id of its own, and counts them."""

    def __init__(self, reading: Reading, tally: Tally) -> None:
        self.reading = reading
        self._tally = tally
        self._ids = Ids(reading.source)

    def make(self, draft: Draft, row: int) -> Conversation | Dropped:
        """The conversation that a draft from row `row` makes, or why it makes none."""
        messages = canonical_turns(draft.turns)
        if isinstance(messages, Dropped):
            return messages
        made = Conversation(
            id=self._ids.of(draft.id, row),
            source=draft.source or self.reading.source,
            license=draft.license or self.reading.license,
            lang=language_of(draft.lang) or self.reading.lang or UNKNOWN_LANGUAGE,
            messages=messages,
            meta=draft.meta,
        )
        self._tally.made(made)
        return made


def convert_rows(
    rows: Iterator[Row],
    reading: Reading,
    tally: Tally,
    drafts_of: Callable[[dict[str, Any]], Sequence[Draft] | Dropped],
) -> Iterator[Conversation]:
    """The conversations of a format in which every row stands for itself; a row that makes none is dropped."""
    maker = Maker(reading, tally)
    for row in rows:
        drafts = drafts_of(row.value)
        if isinstance(drafts, Dropped):
            tally.drop(row.number, drafts.reason)
            continue
        results = [maker.make(_stated(draft, row.value), row.number) for draft in drafts]
        made = [result for result in results if isinstance(result, Conversation)]
        if made:
            tally.use()
        else:
            tally.drop(row.number, next(result.reason for result in results if isinstance(result, Dropped)))
        yield from made


def _stated(draft: Draft, value: dict[str, Any]) -> Draft:
    """The draft with the licence and source that its row states, where those are names and no texts."""
    source = draft.source or _name_in(value.get("source"), MAX_SOURCE)
    license = draft.license or _name_in(value.get("license", value.get("licence")), MAX_LICENSE)
    return replace(draft, source=source, license=license) if source or license else draft


def _name_in(value: object, longest: int) -> str:
    if not isinstance(value, str) or len(value) > longest or "\n" in value:
        return ""
    return value.strip()


def _own_id(own: object) -> str:
    if isinstance(own, str):
        return own.strip() if len(own) <= MAX_ID else ""
    return str(own) if isinstance(own, int) and not isinstance(own, bool) else ""
