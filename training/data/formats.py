"""Recognises what a file holds by its rows, and reads any of the known formats as canonical conversations."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.data import chats, instruct, oasst
from training.data.canonical import Tally
from training.data.reading import Reading
from training.errors import UnknownFormat, UnreadableData
from training.schema import Conversation

if TYPE_CHECKING:
    from training.data.files import Row

__all__ = ["FAMILIES", "Family", "Reading", "family_of", "read_any"]

ROWS_LOOKED_AT = 5
SHOWN = 200
_FLAT = ("message_id", "parent_id", "message_tree_id", "text", "role")
_ALPACA = ("instruction", "input", "output")


@dataclass(frozen=True)
class Family:
    """A format: how its rows are known, and what they become. `fields` are those that a row of it may hold alone."""

    id: str
    expects: str
    matches: Callable[[dict[str, Any]], bool]
    convert: Callable[[Iterator[Row], Reading, Tally], Iterator[Conversation]]
    fields: frozenset[str] = frozenset()


def read_any(path: Path, reading: Reading, tally: Tally, name: str = "") -> Iterator[Conversation]:
    """The conversations of a file or folder, whatever its format; `tally` counts what became of every row.

    Raises UnknownFormat, or UnreadableData with the row's number; both call the file by `name`.
    """
    from training.data.files import Row, read_rows
    from training.data.shards import Wanted

    name = name or path.name
    rows = read_rows(path, name, Wanted(reading.splits, reading.usual_splits), tally.splits.update)
    first = list(islice(rows, ROWS_LOOKED_AT))
    if not first:
        raise UnreadableData(name=name, reason="it holds no rows")
    if len(first) == 1 and (wrapped := _wrapped(first[0].value)):
        rows = (Row(number, value) for number, value in enumerate(_objects(wrapped, name), start=1))
        first = list(islice(rows, ROWS_LOOKED_AT))
    family = family_of([row.value for row in first], name)
    tally.format = family.id
    if not reading.source:
        reading = replace(reading, source=_stem(name))
    seen = _seen(_of_one_family(chain(first, rows), family, name), tally)
    made = family.convert(seen, reading, tally)
    if family.id == "canonical":
        made = _with_sure_permissions(made, path if path.is_dir() else path.parent)
    yield from _in_found_languages(made, tally) if reading.detect_language else made


def _seen(rows: Iterator[Row], tally: Tally) -> Iterator[Row]:
    for row in rows:
        tally.see(row.number)
        yield row


def _with_sure_permissions(conversations: Iterator[Conversation], home: Path) -> Iterator[Conversation]:
    """Without the permissions that rows claim for themselves, unless they lie in `home`, made of a chat log by us."""
    from training.data.folder import CARD, LINEAGE, PERMISSION, read_card

    ours = (home / CARD).is_file() and (home / LINEAGE).is_file()
    given = (read_card(home).permission or "") if ours else ""
    for row in conversations:
        if row.meta.get(PERMISSION, "") in given:
            yield row
        else:
            meta = {key: value for key, value in row.meta.items() if key != PERMISSION}
            yield row.model_copy(update={"meta": meta})


def family_of(first: list[dict[str, Any]], name: str) -> Family:
    """The format of a file's first rows; one that only the very first row has is as good. Raises UnknownFormat."""
    fitting = [family for family in FAMILIES if family.matches(first[0])]
    if not fitting:
        shown = json.dumps(first[0], ensure_ascii=False, default=str)
        expected = "; ".join(f"{family.id} ({family.expects})" for family in FAMILIES)
        raise UnknownFormat(name=name, first_row=_shortened(shown), expected=expected)
    return next((family for family in fitting if all(map(family.matches, first))), fitting[0])


def _wrapped(value: dict[str, Any]) -> list[Any]:
    """The rows of a file that is one object with all of them under one of its keys; empty for any other object."""
    lists = [items for items in value.values() if isinstance(items, list) and items and isinstance(items[0], dict)]
    if len(lists) != 1 or not any(family.matches(lists[0][0]) for family in FAMILIES):
        return []
    return lists[0]


def _objects(values: list[Any], name: str) -> Iterator[dict[str, Any]]:
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise UnreadableData(name=name, reason=f"row {number} is not an object")
        yield value


def _in_found_languages(conversations: Iterator[Conversation], tally: Tally) -> Iterator[Conversation]:
    from training.data.languages import with_language

    for claimed in conversations:
        found = with_language(claimed)
        if found is not claimed:
            tally.found_language(claimed.lang, found.lang)
        yield found


def _of_one_family(rows: Iterator[Row], family: Family, name: str) -> Iterator[Row]:
    for row in rows:
        if not family.matches(row.value):
            _refuse_stranger(row, family, name)
        yield row


def _refuse_stranger(row: Row, family: Family, name: str) -> None:
    """A row that lacks a part is the converter's to drop; one of another format means that the file is a mixture."""
    other = next((other for other in FAMILIES if other.matches(row.value)), None)
    if other is None and (not row.value or not family.fields.isdisjoint(row.value)):
        return
    found = f"is {other.id}" if other else "is in no known format"
    raise UnreadableData(
        name=name, reason=f"row {row.number} {found}, but the rows before it are {family.id} ({family.expects})"
    )


def _stem(name: str) -> str:
    return Path(name).name.split(".")[0] or name


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


# --- the families --------------------------------------------------------------------------------------------------


def _has(*fields: str) -> Callable[[dict[str, Any]], bool]:
    wanted = frozenset(fields)
    return lambda value: wanted <= value.keys()


def _list_of(field: str, kind: type) -> Callable[[dict[str, Any]], bool]:
    """Rows with a list, or nothing, in a field; the first thing in the list shows what it holds."""

    def matches(value: dict[str, Any]) -> bool:
        items = value.get(field, 0)
        return items is None or (isinstance(items, list) and (not items or isinstance(items[0], kind)))

    return matches


def _is_export(value: dict[str, Any]) -> bool:
    return "messages" in value and "guild" in value and isinstance(value.get("channel"), dict)


def _is_card(value: dict[str, Any]) -> bool:
    from training.persona.card import is_card

    return ("spec" in value or "first_mes" in value) and is_card(value)


_is_messages = _list_of("messages", dict)
_is_sharegpt = _list_of("conversations", dict)
_is_ultrachat = _list_of("data", str)


def _is_canonical(value: dict[str, Any]) -> bool:
    return "id" in value and "source" in value and _is_messages(value)


def _is_tree(value: dict[str, Any]) -> bool:
    return "message_tree_id" in value and isinstance(value.get("prompt"), dict | None) and "message_id" not in value


def _is_alpaca(value: dict[str, Any]) -> bool:
    return "instruction" in value and ("output" in value or isinstance(value.get("instances"), list))


def _is_pair(value: dict[str, Any]) -> bool:
    return any(key in value for key in instruct.QUESTIONS) and any(key in value for key in instruct.ANSWERS)


def _convert_export(rows: Iterator[Row], reading: Reading, tally: Tally) -> Iterator[Conversation]:
    from training.data.chatlog import convert_export

    return convert_export(rows, reading, tally)


def _family(
    name: str,
    expects: str,
    matches: Callable[[dict[str, Any]], bool],
    convert: Callable[[Iterator[Row], Reading, Tally], Iterator[Conversation]],
    *fields: str,
) -> Family:
    return Family(name, expects, matches, convert, frozenset(fields))


FAMILIES: tuple[Family, ...] = (
    _family("oasst_tree", "message_tree_id, prompt with replies", _is_tree, oasst.convert_trees, "prompt"),
    _family("oasst_messages", ", ".join(_FLAT), _has(*_FLAT), oasst.convert_flat, *_FLAT),
    _family("discord_chat_exporter", "guild, channel, messages", _is_export, _convert_export, "channel"),
    _family("character_card", "spec chara_card_v2 or chara_card_v3, data", _is_card, chats.convert_cards),
    _family("canonical", "id, source, messages", _is_canonical, chats.convert_canonical, "messages"),
    _family("messages", "messages of role and content", _is_messages, chats.convert_messages, "messages"),
    _family("sharegpt", "conversations of from and value", _is_sharegpt, chats.convert_sharegpt, "conversations"),
    _family("ultrachat", "id, data as a list of texts", _is_ultrachat, chats.convert_ultrachat, "data"),
    _family("alpaca", ", ".join(_ALPACA), _is_alpaca, instruct.convert_alpaca, *_ALPACA),
    _family("firefly", "kind, input, target", _has("input", "target"), instruct.convert_firefly, "input", "target"),
    _family(
        "prompt_completion",
        "prompt and completion, question and answer, or prompt and response",
        _is_pair,
        instruct.convert_pairs,
        *instruct.QUESTIONS,
        *instruct.ANSWERS,
    ),
)
