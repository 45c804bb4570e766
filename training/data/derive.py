"""What a dataset made from other datasets takes over from them, so that nothing is forgotten on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from training.data.canonical import Tally
from training.data.folder import CONVERSATIONS, LINEAGE, file_sha256, is_folder, open_folder
from training.data.lineage import Lineage, Link, links_of, permissions_of, read_links, sessions_of
from training.data.schema import DatasetCard, Source, Step
from training.schema import Conversation, Workspace


@dataclass
class Origin:
    """One source of a new dataset: what became of its rows, and its own history where it is a dataset folder."""

    name: str
    path: Path
    tally: Tally = field(default_factory=Tally)
    held: set[tuple[str, str]] = field(default_factory=set)

    @cached_property
    def card(self) -> DatasetCard | None:
        """The card of a dataset folder, whose conversations may stand for the folder."""
        folder = self.path.parent if self.path.name == CONVERSATIONS else self.path
        return open_folder(folder) if is_folder(folder) else None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file, or of the names and digests of a folder's files; empty where there is none to read."""
        return content_sha256(self.path)

    def watch(self, conversations: Iterable[Conversation]) -> Iterator[Conversation]:
        """The same conversations; which sources they name is noted as they pass."""
        for conversation in conversations:
            self.notice(conversation)
            yield conversation

    def notice(self, conversation: Conversation) -> None:
        """Note the source and licence of one conversation."""
        self.held.add((conversation.source, conversation.license))

    def steps(self) -> tuple[Step, ...]:
        """How it was made, then how it was read, unless that is a dataset folder of which nothing was lost."""
        if self.card is None:
            return (self.tally.step(),)
        return (*self.card.steps, self.tally.step()) if self.tally.dropped else self.card.steps

    def notes(self) -> tuple[str, ...]:
        """What its card tells besides, and what there is to tell of the reading."""
        return (*(self.card.notes if self.card else ()), *self.tally.notes())

    def digest_of(self, source: Source) -> str:
        """SHA-256 of the file that a source's conversations were first read from, as far as it is known."""
        if self.card is None:
            return self.digest
        return next((one.sha256 for one in self.card.sources if _key(one) == _key(source)), "")


def digests_in(origins: Sequence[Origin]) -> Callable[[Source], str]:
    """What tells the digest of a source's file; empty where its conversations are from several."""

    def digest_of(source: Source) -> str:
        found = {origin.digest_of(source) for origin in origins if _key(source) in origin.held}
        return found.pop() if len(found) == 1 else ""

    return digest_of


def content_sha256(path: Path) -> str:
    """SHA-256 of a file, or of the names and digests of a folder's files; empty where there is none to read."""
    if path.is_file():
        return file_sha256(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    lines = (f"{file.relative_to(path).as_posix()} {file_sha256(file)}" for file in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest() if files else ""


def _key(source: Source) -> tuple[str, str]:
    return source.name, source.license


@dataclass
class Parents:
    """The dataset folders among the sources, and which chats what was taken from them holds."""

    folders: Sequence[Path]
    workspace: Workspace
    _sessions: set[str] = field(default_factory=set)
    _permissions: set[str] = field(default_factory=set)

    def watch(self, conversations: Iterable[Conversation]) -> Iterator[Conversation]:
        """The same conversations, noted as they pass."""
        for conversation in conversations:
            self.notice(conversation)
            yield conversation

    def notice(self, conversation: Conversation) -> None:
        """Note one conversation that passes."""
        self._sessions.update(sessions_of([conversation]))
        self._permissions.update(permissions_of([conversation]))

    def files(self) -> dict[str, Iterable[Mapping[str, Any]]]:
        """The lineage as a further file of the new folder, where chats passed; to be asked for after they have."""
        lineage = self.lineage()
        return {LINEAGE: lineage} if lineage.links else {}

    def lineage(self) -> Lineage:
        """Where the chats that passed come from, as their folders tell, or else their servers."""
        links = [link for folder in self.folders for link in read_links(folder) if link.session in self._sessions]
        missing = self._sessions - {link.session for link in links}
        return Lineage([*links, *self._kept(missing)])

    def permission(self) -> str | None:
        """The permissions of the chats that passed, in one line."""
        return "; ".join(sorted(self._permissions)) or None

    def _kept(self, sessions: set[str]) -> list[Link]:
        # Most data is no chat, for which the servers' lineages need not be read.
        return links_of(self.workspace, sessions) if sessions else []


def parents_of(paths: Iterable[Path | None], workspace: Workspace) -> tuple[Parents, list[DatasetCard]]:
    """The parents among these paths, and their cards; a folder's conversations stand for the folder."""
    named = (path.parent if path.name == CONVERSATIONS else path for path in paths if path is not None)
    folders = [path for path in named if is_folder(path)]
    return Parents(folders, workspace), [open_folder(folder) for folder in folders]
