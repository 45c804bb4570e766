"""A dataset folder: conversations, the card that says how they came about, and a README made from that card."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

from pydantic import ValidationError

from training.data.foldernote import readme
from training.data.mix import SetDigest
from training.data.schema import DatasetCard, Source, Step, TokenHistogram
from training.errors import EmptyDataset, FolderTaken, UnreadableData
from training.runs import OWNER_ONLY, publish, write_bytes
from training.schema import Conversation, Message

CARD = "dataset.json"
CONVERSATIONS = "conversations.jsonl"
README = "README.md"
LINEAGE = "lineage.jsonl"
REJECTED = "rejected.jsonl"
PERMISSION = "permission"
"""What a conversation from chat has in its `meta`: the permission of Discord's that it is used under."""
UNKNOWN_LICENSE = "unknown"
UNLICENSED = "Conversations that state no licence"

MAX_CARD_BYTES = 4 * 1024 * 1024
SMALLEST_BUCKET = 128
ABANDONED_SECONDS = 3600

T = TypeVar("T")
ExtraFiles: TypeAlias = Mapping[str, Iterable[Mapping[str, Any]]]
Late: TypeAlias = Callable[[], T] | T
"""A value, or what is asked for it once the last conversation is written: counts are not known before."""


class Counts(Protocol):
    """Counts the tokens of a whole conversation; `name` is the tokenizer's."""

    name: str

    def count(self, messages: Sequence[Message]) -> int:
        """Tokens of these turns, as the model's template writes them."""
        ...


# --- writing -------------------------------------------------------------------------------------------------------


@dataclass
class Account:
    """What a card tells of the conversations of a folder, counted one by one as they are written."""

    counter: Counts | None = None
    conversations: int = 0
    turns: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    licenses: Counter[str] = field(default_factory=Counter)
    sources: Counter[tuple[str, str]] = field(default_factory=Counter)
    permissions: set[str] = field(default_factory=set)
    tokens: int = 0
    longest: int = 0
    buckets: Counter[int] = field(default_factory=Counter)
    version: SetDigest = field(default_factory=SetDigest)
    _ids: set[bytes] = field(default_factory=set)

    def add(self, conversation: Conversation, tokens: int | None = None) -> bytes:
        """Count one conversation and return its line; pass `tokens` where they are counted already.

        An id that was there before gets a number behind it, so that ids stay unique within a folder.
        """
        conversation = self._with_own_id(conversation)
        line = conversation.model_dump_json().encode()
        self.version.add(line)
        self.conversations += 1
        self.turns += sum(message.role != "system" for message in conversation.messages)
        self.languages[conversation.lang or "und"] += 1
        license = conversation.license or UNKNOWN_LICENSE
        self.licenses[license] += 1
        self.sources[conversation.source, license] += 1
        if permission := conversation.meta.get(PERMISSION):
            self.permissions.add(permission)
        if tokens is None and self.counter is not None:
            tokens = self.counter.count(conversation.messages)
        if tokens is not None:
            self._count_tokens(tokens)
        return line + b"\n"

    def histogram(self) -> TokenHistogram | None:
        """How long the conversations are; None where nothing counted their tokens."""
        if self.counter is None:
            return None
        return TokenHistogram(
            tokenizer=self.counter.name,
            total=self.tokens,
            longest=self.longest,
            buckets={_bucket_name(floor): self.buckets[floor] for floor in sorted(self.buckets)},
        )

    def by_source(self, digest_of: Callable[[Source], str] = lambda source: "") -> tuple[Source, ...]:
        """The sources as the conversations themselves name them, with the digests of the files they are from."""
        found = (
            Source(name=name, license="" if license == UNKNOWN_LICENSE else license, conversations=count)
            for (name, license), count in sorted(self.sources.items())
        )
        return tuple(source.model_copy(update={"sha256": digest_of(source)}) for source in found)

    def _count_tokens(self, tokens: int) -> None:
        self.tokens += tokens
        self.longest = max(self.longest, tokens)
        self.buckets[_bucket(tokens)] += 1

    def _with_own_id(self, conversation: Conversation) -> Conversation:
        wanted, number = conversation.id, 1
        while (short := hashlib.blake2b(wanted.encode(), digest_size=12).digest()) in self._ids:
            number += 1
            wanted = f"{conversation.id}~{number}"
        self._ids.add(short)
        return conversation if number == 1 else conversation.model_copy(update={"id": wanted})


def write_folder(
    folder: Path,
    name: str,
    conversations: Iterable[Conversation],
    *,
    digest_of: Callable[[Source], str] = lambda source: "",
    steps: Late[Sequence[Step]] = (),
    persona: str | None = None,
    counter: Counts | None = None,
    notes: Late[Sequence[str]] = (),
    permission: Late[str | None] = None,
    extra_files: Late[ExtraFiles | None] = None,
    least: int = 1,
) -> DatasetCard:
    """Write a dataset folder, whole or not at all, in place of an older dataset of that place.

    `digest_of` tells the SHA-256 of a source's file. It is called once the last conversation is written, and so are
    `steps`, `notes`, `permission` and `extra_files` where they are functions; without `permission` those that the
    conversations name are taken. Raises FolderTaken, and EmptyDataset where there are fewer than `least` conversations.
    """
    require_free(folder)
    made = room_for(folder)
    account = Account(counter)
    try:
        with (made / CONVERSATIONS).open("wb") as file:
            file.writelines(account.add(conversation) for conversation in conversations)
        for file_name, rows in (now(extra_files) or {}).items():
            write_rows(made / file_name, rows)
        return finish_folder(
            made,
            folder,
            name,
            account,
            sources=account.by_source(digest_of),
            steps=now(steps),
            persona=persona,
            notes=now(notes),
            permission=now(permission),
            least=least,
        )
    finally:
        shutil.rmtree(made, ignore_errors=True)


def finish_folder(
    made: Path,
    folder: Path,
    name: str,
    account: Account,
    *,
    sources: Sequence[Source],
    steps: Sequence[Step] = (),
    persona: str | None = None,
    notes: Sequence[str] = (),
    permission: str | None = None,
    usage: str = "",
    least: int = 1,
) -> DatasetCard:
    """Give the files in `made` their card and README, and move them to `folder`.

    `usage` says how to use them, in the README of what another trainer reads. Raises FolderTaken, and EmptyDataset
    where `account` counted fewer than `least`.
    """
    if account.conversations < least:
        raise EmptyDataset(name=name, count=account.conversations, needed=least)
    require_free(folder)
    card = DatasetCard(
        name=name,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        version=account.version.name(),
        persona=persona,
        sources=tuple(sources),
        licenses=tuple(sorted(account.licenses)),
        steps=tuple(steps),
        conversations=account.conversations,
        turns=account.turns,
        languages=dict(account.languages.most_common()),
        tokens=account.histogram(),
        permission=permission or "; ".join(sorted(account.permissions)) or None,
        notes=_with_unlicensed(notes, account.licenses[UNKNOWN_LICENSE]),
    )
    write_bytes(made / README, readme(card, usage).encode())
    files = {file.name: file_sha256(file) for file in sorted(made.iterdir())}
    card = card.model_copy(update={"files": files})
    write_bytes(made / CARD, (card.model_dump_json(indent=2) + "\n").encode())
    publish(made, folder)
    return card


def _with_unlicensed(notes: Sequence[str], count: int) -> tuple[str, ...]:
    """The notes, each once, and how many conversations state no licence now, whatever a parent's card says."""
    kept = dict.fromkeys(note for note in notes if not note.startswith(UNLICENSED))
    return (*kept, f"{UNLICENSED}: {count:,}.") if count else tuple(kept)


def require_free(folder: Path) -> None:
    """Refuse a place that holds anything but a dataset of ours. Raises FolderTaken."""
    if not os.path.lexists(folder):
        return
    if folder.is_symlink() or not folder.is_dir():
        raise FolderTaken(folder=folder)
    there = {path.name for path in folder.iterdir()}
    if not there:
        return
    try:
        ours = {CARD, *read_card(folder).files}
    except UnreadableData:
        raise FolderTaken(folder=folder) from None
    if there - ours:
        raise FolderTaken(folder=folder)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON lines; a lineage, which names members, for its owner alone."""
    import orjson

    if path.name == LINEAGE:
        path.touch(OWNER_ONLY)
    with path.open("wb") as file:
        file.writelines(orjson.dumps(dict(row), option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def dataset_name(text: str) -> str:
    """The nearest name that a dataset may have, such as `my-set` for `My Set!`."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:40]
    return plain or "dataset"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- reading -------------------------------------------------------------------------------------------------------


def is_folder(path: Path) -> bool:
    """Whether this is a dataset folder of ours."""
    return (path / CARD).is_file() and (path / CONVERSATIONS).is_file()


def is_export(path: Path) -> bool:
    """Whether this is what was exported of a dataset for another trainer."""
    return (path / CARD).is_file() and not (path / CONVERSATIONS).is_file()


def open_folder(folder: Path) -> DatasetCard:
    """The card of a dataset folder. Raises UnreadableData; it calls the folder by the last part of its path."""
    card = read_card(folder)
    if not (folder / CONVERSATIONS).is_file():
        raise UnreadableData(name=folder.name, reason=f"{CONVERSATIONS} is missing")
    return card


def read_card(folder: Path) -> DatasetCard:
    """The card of a dataset folder, or of one exported for another trainer. Raises UnreadableData."""
    try:
        if (folder / CARD).stat().st_size > MAX_CARD_BYTES:
            raise UnreadableData(name=folder.name, reason=f"{CARD} is larger than {MAX_CARD_BYTES // 2**20} MiB")
        return DatasetCard.model_validate_json((folder / CARD).read_bytes())
    except OSError as error:
        raise UnreadableData(name=folder.name, reason=f"{CARD}: {error.strerror}") from error
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        reason = f"{CARD}, field {where}: {fault['msg']}" if where else f"{CARD} is not valid JSON"
        raise UnreadableData(name=folder.name, reason=reason) from error


def check_folder(folder: Path) -> DatasetCard:
    """The card of a dataset folder whose files are those that the card names. Raises UnreadableData."""
    card = open_folder(folder)
    for name, digest in card.files.items():
        # A name from a card that somebody else wrote is never a path.
        file = folder / Path(name).name
        if not file.is_file() or file_sha256(file) != digest:
            raise UnreadableData(name=f"{folder.name}/{Path(name).name}", reason=f"it is not the file {CARD} names")
    return card


# --- the place -----------------------------------------------------------------------------------------------------


def room_for(folder: Path) -> Path:
    """A folder of our own beside the one to be written; what a killed process left of one is swept away."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(f".{folder.name}.*.making"):
        if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    made = folder.with_name(f".{folder.name}.{os.getpid()}-{time.monotonic_ns()}.making")
    made.mkdir()
    return made


def now(value: Late[T]) -> T:
    """The value, asked for where it is late."""
    return value() if callable(value) else value


def _bucket(tokens: int) -> int:
    """The lower edge of the bucket: 0, 128, 256, 512, …"""
    return 0 if tokens < SMALLEST_BUCKET else 1 << (tokens.bit_length() - 1)


def _bucket_name(floor: int) -> str:
    return f"{floor}-{floor * 2 - 1}" if floor else f"0-{SMALLEST_BUCKET - 1}"
