"""What stands in for what was found: keyed, readable, and the same for the same thing within a conversation."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import unicodedata
from collections import OrderedDict
from collections.abc import Iterable
from itertools import count
from pathlib import Path

from training.data.anonymise.spans import Label

# Names that no one has, so that a second masking knows them again and no one is taken for someone else.
HEADS = (
    "Bel",
    "Cor",
    "Dal",
    "Fen",
    "Gal",
    "Hal",
    "Jor",
    "Kel",
    "Lor",
    "Mav",
    "Nar",
    "Or",
    "Pel",
    "Quil",
    "Ral",
    "Sel",
    "Tal",
    "Ul",
    "Vel",
    "Wen",
    "Yar",
    "Zel",
)
TAILS = ("andro", "ebis", "evar", "imon", "ombry", "othen", "ubren", "avick", "ennor", "issom", "oveth", "urrin")
NAMES = tuple(head + tail for head in HEADS for tail in TAILS)
INVENTED = frozenset(name.casefold() for name in NAMES)
WORDS: dict[Label, str] = {
    "PHONE": "phone", "IP": "ip", "ADDRESS": "address", "URL": "link", "SECRET": "secret", "CARD": "card", "ID": "id",
}  # fmt: skip
KEY_BYTES = 32
CONVERSATIONS_REMEMBERED = 1024
NAME_PART = re.compile(r"[^\s.,-]+")


def read_key(path: Path) -> bytes:
    """The key that pseudonyms are made with; made on first use, for its owner's eyes only."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_hex(KEY_BYTES).encode())
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    return path.read_bytes().strip()


class Pseudonyms:
    """Gives names and placeholders; `avoid` are names that must not be given to anyone."""

    def __init__(self, key: bytes, avoid: Iterable[str] = ()) -> None:
        taken = {name.casefold() for name in avoid}
        self._key = key
        self._names = tuple(name for name in NAMES if name.casefold() not in taken)
        self._given: OrderedDict[str, dict[str, str]] = OrderedDict()

    def instead(self, found: str, label: Label, conversation_id: str) -> str:
        """What to write instead of `found`, in this conversation."""
        if label == "PERSON":
            return NAME_PART.sub(lambda part: self._name(part[0], conversation_id), found)
        mark = self._digest(label, _same(found), conversation_id).hex()[:6]
        if label == "EMAIL":
            return f"person-{mark}@example.org"
        return f"@person-{mark}" if label == "MENTION" else f"[{WORDS[label]} {mark}]"

    def _name(self, part: str, conversation_id: str) -> str:
        given = self._conversation(conversation_id)
        name = given.get(_same(part)) or self._next_name(_same(part), conversation_id, given)
        return name.lower() if part.islower() else name.upper() if part.isupper() and len(part) > 1 else name

    def _next_name(self, part: str, conversation_id: str, given: dict[str, str]) -> str:
        """A name that no one else in the conversation has got, as long as there are any."""
        start = int.from_bytes(self._digest("PERSON", part, conversation_id)[:8], "big")
        taken = set(given.values()) if len(given) < len(self._names) else set()
        places = (start + step for step in count())
        given[part] = next(name for at in places if (name := self._names[at % len(self._names)]) not in taken)
        return given[part]

    def _conversation(self, conversation_id: str) -> dict[str, str]:
        given = self._given.setdefault(conversation_id, {})
        self._given.move_to_end(conversation_id)
        if len(self._given) > CONVERSATIONS_REMEMBERED:
            self._given.popitem(last=False)
        return given

    def _digest(self, label: Label, thing: str, conversation_id: str) -> bytes:
        said = "\0".join((label, conversation_id, thing)).encode("utf-8", "surrogatepass")
        return hmac.new(self._key, said, hashlib.sha256).digest()


def _same(found: str) -> str:
    """One spelling for one thing: case, spaces and signs between do not count."""
    plain = unicodedata.normalize("NFKC", found).casefold()
    return re.sub(r"[\W_]+", "", plain) or plain
