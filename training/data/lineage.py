"""From a message to the examples, datasets and adapters that learnt from it.

A chat log's dataset has a `lineage.jsonl`, which holds the ids of messages and members and leaves the folder with no
export; the server's own folder keeps the same for all its datasets and exports, wherever they lie, so that adapters are
found even if their dataset was deleted. Each conversation carries its session in `meta`, wherever it is mixed in, and a
run keeps the sessions that it learnt from in `data.json`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from training.data.folder import LINEAGE, PERMISSION
from training.data.schema import DatasetCard
from training.errors import UnreadableData
from training.places import TERMINAL, guild_folder
from training.runs import OWNER_ONLY, write_bytes, write_json
from training.schema import Conversation, Noun, Workspace

DATA_FILE = "data.json"
SESSION = "session"

L = TypeVar("L", bound="Link")


class Link(Noun):
    """Which messages, of which members, one example was made of."""

    example: str
    session: str
    messages: tuple[str, ...]
    authors: tuple[str, ...]
    source: str = ""
    guild: str = ""

    def holds(self, users: Collection[str], messages: Collection[str]) -> bool:
        """Whether the example holds something of these members, or one of these messages."""
        return not (set(users).isdisjoint(self.authors) and set(messages).isdisjoint(self.messages))


class Kept(Link):
    """A link as the server's own lineage keeps it: also in which version of which dataset the example is."""

    dataset: str
    version: str
    folder: str
    export: bool = False


@dataclass
class Lineage:
    """The links of a conversion, noted while it goes on and written when it has ended."""

    links: list[Link] = field(default_factory=list)

    def add(self, link: Link) -> None:
        """Note where one example comes from."""
        self.links.append(link)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (link.model_dump(mode="json") for link in self.links)


# --- what a server keeps -------------------------------------------------------------------------------------------


def remember(workspace: Workspace, folder: Path, card: DatasetCard, lineage: Lineage, *, export: bool = False) -> None:
    """Keep the lineage of a dataset or export just made with each server whose messages are in it.

    What was known of an older one in that place goes. Raises UnreadableData.
    """
    where = str(folder.absolute())
    there = {home.name for home in homes(workspace) if _mentions(home, where)}
    for guild in there | {link.guild for link in lineage.links if link.guild}:
        home = guild_folder(workspace, guild)
        kept = [one for one in kept_links(home) if one.folder != where]
        new = (
            Kept(**link.model_dump(), dataset=card.name, version=card.version, folder=where, export=export)
            for link in lineage.links
            if link.guild == guild
        )
        keep(home, [*kept, *new])


def homes(workspace: Workspace) -> list[Path]:
    """The folders of all servers that something was made for."""
    return sorted(path for path in guild_folder(workspace, TERMINAL).parent.glob("*") if path.is_dir())


def links_of(workspace: Workspace, sessions: Collection[str]) -> list[Link]:
    """What the servers know of these sessions. Raises UnreadableData."""
    kept = (link for home in homes(workspace) for link in kept_links(home) if link.session in sessions)
    return list(dict.fromkeys(Link(**link.model_dump(include=set(Link.model_fields))) for link in kept))


def kept_links(home: Path) -> list[Kept]:
    """Everything that a server's own lineage knows. Raises UnreadableData."""
    return _links(home / LINEAGE, Kept)


def keep(home: Path, links: Iterable[Kept]) -> None:
    """Replace a server's own lineage at once."""
    home.mkdir(parents=True, exist_ok=True)
    write_bytes(home / LINEAGE, "".join(link.model_dump_json() + "\n" for link in links).encode(), OWNER_ONLY)


def read_links(folder: Path) -> list[Link]:
    """The lineage of a dataset folder; none where it holds no chat. Raises UnreadableData."""
    return _links(folder / LINEAGE, Link)


def _mentions(home: Path, folder: str) -> bool:
    path = home / LINEAGE
    return path.is_file() and json.dumps(folder, ensure_ascii=False).encode() in path.read_bytes()


def _links(path: Path, kind: type[L]) -> list[L]:
    if not path.is_file():
        return []
    links: list[L] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                links.append(kind.model_validate_json(line))
            except ValidationError as error:
                raise UnreadableData(name=f"{path.parent.name}/{path.name}", reason=f"line {number}") from error
    return links


# --- what a run keeps ----------------------------------------------------------------------------------------------


def sessions_of(conversations: Iterable[Conversation]) -> list[str]:
    """The chat sessions that conversations come from."""
    return sorted({row.meta[SESSION] for row in conversations if SESSION in row.meta})


def permissions_of(conversations: Iterable[Conversation]) -> list[str]:
    """The permissions of Discord's that conversations are used under."""
    return sorted({row.meta[PERMISSION] for row in conversations if row.meta.get(PERMISSION)})


def note_data(run_dir: Path, dataset: str | None, conversations: Sequence[Conversation]) -> None:
    """Keep in a run's folder what it learns from, where that was chat."""
    if sessions := sessions_of(conversations):
        write_json(run_dir / DATA_FILE, {"dataset": dataset, "sessions": sessions})
