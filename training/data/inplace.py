"""The texts of a row where they stand, whatever format the row is in: found by the names of their fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from training.data.anonymise.words import words

TEXTS = words(
    """content text value instruction input output target prompt completion response question answer system
    system_prompt query chosen rejected arguments body message msg utterance reply comment caption title summary
    transcript topic
    description personality scenario first_mes mes_example creator_notes post_history_instructions bio note notes"""
)
LISTS = words(
    """messages conversations conversation data dialog dialogue turns utterances history replies alternate_greetings
    group_only_greetings"""
)
GROUPS = ("conversation_id", "conversation", "message_tree_id", "thread_id", "channel_id", "session_id")
ALONE = ("text", "content")


def replaced(value: Any, change: Callable[[str], str], *, key: str = "", within: bool = False) -> Any:
    """The value with every text in it changed; all else as it is. A text is known by the field that it is in."""
    if isinstance(value, str):
        return change(value) if key in TEXTS or (within and key in LISTS) else value
    if isinstance(value, list | tuple):
        return [replaced(item, change, key=key, within=True) for item in value]
    if isinstance(value, Mapping):
        return {name: replaced(item, change, key=str(name)) for name, item in value.items()}
    return value


def texts(value: Any) -> list[str]:
    """Every text of a row, in order."""
    found: list[str] = []

    def note(text: str) -> str:
        found.append(text)
        return text

    replaced(value, note)
    return found


def holds_text(value: Any) -> bool:
    """Whether a row has a field that texts are in, be it an empty one."""
    if isinstance(value, Mapping):
        return any(
            (key in TEXTS and isinstance(item, str)) or (key in LISTS and isinstance(item, list)) or holds_text(item)
            for key, item in value.items()
        )
    return isinstance(value, list | tuple) and any(map(holds_text, value))


def conversation_of(row: Mapping[str, Any], number: int, file: str) -> str:
    """The conversation that a row's texts belong to.

    A row of several turns is one of its own. Rows of one message each tell theirs, or the file is one.
    """
    told = next((str(row[name]) for name in GROUPS if isinstance(row.get(name), str | int)), "")
    if told or any(isinstance(row.get(name), str) for name in ALONE):
        return told or file
    own = row.get("id")
    return str(own) if isinstance(own, str | int) else f"{file}-{number}"
