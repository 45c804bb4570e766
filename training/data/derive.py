"""What a dataset made from other datasets takes over from them, so that nothing is forgotten on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.data.folder import CONVERSATIONS, LINEAGE, is_folder, open_folder
from training.data.lineage import Lineage, Link, links_of, permissions_of, read_links, sessions_of
from training.data.schema import DatasetCard
from training.schema import Conversation, Workspace


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
