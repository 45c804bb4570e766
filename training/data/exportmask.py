"""An export of a chat in which nobody is known again: the same form, with other names, ids and words."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from training.data.anonymise.spans import Span
from training.data.inplace import TEXTS
from training.data.participants import Participants, id_of

if TYPE_CHECKING:
    from training.data.anonymise.anonymiser import Anonymiser

# They hold ids, or names that people gave to their files.
_EMPTIED = frozenset({"avatarUrl", "fileName"})
_FILES = frozenset({"attachments", "stickers"})


class ExportMask:
    """Masks one export. Within it, which is one conversation, each person has one pseudonym and one other id."""

    def __init__(
        self, export: dict[str, Any], make: Callable[[Sequence[str], Sequence[str]], Anonymiser], key: bytes
    ) -> None:
        messages = export.get("messages")
        self._messages = messages if isinstance(messages, list) else []
        self._who = Participants(self._messages)
        self._hidden = self._who.hidden(make)
        self._conversation = f"{id_of(export, 'guild')}/{id_of(export, 'channel')}"
        self._ids = {person: _other_id(key, person) for person in self._who.people}
        self._export = export

    def contents(self) -> Iterator[str]:
        """What each message says."""
        for message in self._messages:
            content = message.get("content") if isinstance(message, dict) else None
            if isinstance(content, str):
                yield content

    def spans(self, text: str) -> list[Span]:
        """What is personal in a text, the members' names among it also where they are words."""
        found = self._hidden.anonymiser.spans(text)
        taken = {place for span in found for place in range(span.start, span.end)}
        called = (Span(*place, "PERSON") for place in self._hidden.calls(text))
        return sorted([*found, *(span for span in called if taken.isdisjoint(range(span.start, span.end)))])

    def masked(self) -> dict[str, Any]:
        """The export, masked."""
        made: dict[str, Any] = self._of(self._export, "")
        return made

    def _of(self, value: Any, key: str) -> Any:
        if isinstance(value, str):
            return self._text(value) if key in TEXTS else "" if key in _EMPTIED else self._ids.get(value, value)
        if isinstance(value, list):
            return [self._of(item, key) for item in value]
        if not isinstance(value, dict):
            return value
        made = {name: self._of(item, name) for name, item in value.items()}
        if key in _FILES and "url" in made:
            made["url"] = ""
        return self._person(made, id_of(value)) if id_of(value) in self._ids and "name" in value else made

    def _person(self, made: dict[str, Any], person: str) -> dict[str, Any]:
        """A member: under another name and id, with no more than that."""
        name = self._hidden.text(self._hidden.label(person), self._conversation)
        other = {"id": self._ids[person], "name": name, "nickname": name, "discriminator": "0000", "roles": []}
        return made | {field: value for field, value in other.items() if field in made}

    def _text(self, text: str) -> str:
        return self._hidden.text(self._hidden.spoken(text), self._conversation)


def _other_id(key: bytes, person: str) -> str:
    drawn = hmac.new(key, f"member\0{person}".encode(), hashlib.sha256).digest()
    return str(10**17 + int.from_bytes(drawn[:8], "big") % (9 * 10**17))
