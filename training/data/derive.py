"""What a dataset made from other datasets takes over from them, so that nothing is forgotten on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.data.folder import LINEAGE, is_folder, open_folder
from training.data.lineage import Lineage, permissions_of, read_links, sessions_of
from training.data.schema import DatasetCard
from training.schema import Conversation


@dataclass
class Parents:
    """The dataset folders among the sources, and which chats what was taken from them holds."""

    folders: Sequence[Path]
    _sessions: set[str] = field(default_factory=set)
    _permissions: set[str] = field(default_factory=set)

    def watch(self, conversations: Iterable[Conversation]) -> Iterator[Conversation]:
        """The same conversations, noted as they pass."""
        for conversation in conversations:
            self._sessions.update(sessions_of([conversation]))
            self._permissions.update(permissions_of([conversation]))
            yield conversation

    def files(self) -> dict[str, Iterable[Mapping[str, Any]]]:
        """The lineage as a further file of the new folder, where a parent has one."""
        return {LINEAGE: self._lines()} if any((folder / LINEAGE).is_file() for folder in self.folders) else {}

    def lineage(self) -> Lineage:
        """Where the chats that passed come from."""
        links = [link for folder in self.folders for link in read_links(folder)]
        return Lineage([link for link in links if link.session in self._sessions])

    def permission(self) -> str | None:
        """The permissions of the chats that passed, in one line."""
        return "; ".join(sorted(self._permissions)) or None

    def _lines(self) -> Iterator[dict[str, Any]]:
        # Only once the conversations have passed is it known which of the chats are among them.
        yield from self.lineage()


def parents_of(paths: Iterable[Path | None]) -> tuple[Parents, list[DatasetCard]]:
    """The parents among these paths, and their cards."""
    folders = [path for path in paths if path is not None and is_folder(path)]
    return Parents(folders), [open_folder(folder) for folder in folders]
