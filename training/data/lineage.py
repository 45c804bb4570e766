"""From a message to the examples, datasets and adapters that learnt from it; and back, when somebody wants to go.

A chat log's dataset has a `lineage.jsonl`, which holds the ids of messages and members and leaves the folder with no
export; the server's own folder keeps the same for all its datasets, wherever they lie, so that adapters are found even
if their dataset was deleted. Each conversation carries its session in `meta`, wherever it is mixed in, and a run keeps
the sessions that it learnt from in `data.json`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from training.data.folder import CARD, CONVERSATIONS, LINEAGE, README, is_folder, open_folder, write_folder
from training.data.schema import DatasetCard, Step
from training.errors import UnreadableData
from training.places import guild_folder
from training.runs import write_bytes, write_json
from training.schema import Conversation, Noun, Workspace

DATA_FILE = "data.json"
RETRAIN_FILE = "retrain.json"
SESSION = "session"
PERMISSION = "permission"
FORGOTTEN = "forgotten on request"

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


def remember(workspace: Workspace, folder: Path, card: DatasetCard, lineage: Lineage) -> None:
    """Keep the lineage of a dataset just made with each server whose messages are in it."""
    for guild in {link.guild for link in lineage.links if link.guild}:
        home, where = guild_folder(workspace, guild), folder.absolute()
        kept = [one for one in kept_links(home) if one.folder != str(where)]
        new = (
            Kept(**link.model_dump(), dataset=card.name, version=card.version, folder=str(where))
            for link in lineage.links
            if link.guild == guild
        )
        _keep(home, [*kept, *new])


def kept_links(home: Path) -> list[Kept]:
    """Everything that a server's own lineage knows. Raises UnreadableData."""
    return _links(home / LINEAGE, Kept)


def _keep(home: Path, links: Iterable[Kept]) -> None:
    home.mkdir(parents=True, exist_ok=True)
    write_bytes(home / LINEAGE, "".join(link.model_dump_json() + "\n" for link in links).encode())


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


# --- forgetting ----------------------------------------------------------------------------------------------------


class Rewritten(Noun):
    """A dataset that something was removed from; version None: nothing was left, and it is gone."""

    name: str
    removed: int
    before: str
    version: str | None


class Forgotten(Noun):
    """What became of a wish to be forgotten."""

    examples: int = 0
    datasets: tuple[Rewritten, ...] = ()
    retrain: tuple[str, ...] = Field((), description="Ids of the runs whose adapters learnt from what is gone.")


def forget(
    homes: Sequence[Path],
    folders: Sequence[Path],
    runs: Path,
    users: Collection[str] = (),
    messages: Collection[str] = (),
) -> Forgotten:
    """Remove every example that holds the members' words or the messages, and mark the adapters that learnt from them.

    It looks through the datasets in `homes`, the folders of servers, those that their lineages know, and `folders`.
    Adapters are marked first, and the servers' lineages forget last: a crash in between leaves too much noted rather
    than too little, and the same command finishes the work. Raises UnreadableData.
    """
    kept = {home: kept_links(home) for home in homes}
    known = [link for found in kept.values() for link in found]
    own = [folder for home in homes for folder in (home / "datasets").glob("*")]
    places = [*own, *(Path(link.folder) for link in known), *folders]
    there = sorted({place.resolve() for place in places if is_folder(place)})
    links = {folder: read_links(folder) for folder in there}
    every = [*known, *(link for found in links.values() for link in found)]
    hit = {link.session for link in every if link.holds(users, messages)}
    retrain = mark_runs(runs, hit)
    done = [made for folder, found in links.items() if (made := _without(folder, hit, found))]
    for home, found_there in kept.items():
        if any(link.session in hit for link in found_there):
            _keep(home, [link for link in found_there if link.session not in hit])
    return Forgotten(examples=sum(one.removed for one in done), datasets=tuple(done), retrain=tuple(retrain))


def read_links(folder: Path) -> list[Link]:
    """The lineage of a dataset folder; none where it holds no chat. Raises UnreadableData."""
    return _links(folder / LINEAGE, Link)


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


def mark_runs(runs: Path, sessions: Collection[str]) -> list[str]:
    """Write into the folder of each run that learnt from these sessions that its adapter is to be trained anew."""
    marked = []
    for path in sorted(runs.glob(f"*/{DATA_FILE}")):
        learnt = json.loads(path.read_bytes()).get("sessions", [])
        if gone := set(sessions) & set(learnt):
            note = {"reason": FORGOTTEN, "at": datetime.now(UTC).isoformat(timespec="seconds"), "sessions": len(gone)}
            write_json(path.with_name(RETRAIN_FILE), note)
            marked.append(path.parent.name)
    return marked


def _without(folder: Path, sessions: Collection[str], links: Sequence[Link]) -> Rewritten | None:
    """Write a dataset anew without some sessions; None where it holds none of them."""
    card = open_folder(folder)
    removed = sum(row.meta.get(SESSION) in sessions for row in _rows(folder))
    kept_links = [link for link in links if link.session not in sessions]
    if not removed and len(kept_links) == len(links):
        return None
    if removed == card.conversations:
        gone = folder.with_name(f".{folder.name}.forgotten")
        folder.rename(gone)
        shutil.rmtree(gone)
        return Rewritten(name=card.name, removed=removed, before=card.version, version=None)
    new = write_folder(
        folder,
        card.name,
        (row for row in _rows(folder) if row.meta.get(SESSION) not in sessions),
        steps=_steps(card, removed),
        persona=card.persona,
        notes=_notes(card, removed),
        permission=card.permission,
        extra_files=_extra_files(folder, card, sessions, kept_links),
    )
    return Rewritten(name=card.name, removed=removed, before=card.version, version=new.version)


def _rows(folder: Path) -> Iterator[Conversation]:
    with (folder / CONVERSATIONS).open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield Conversation.model_validate_json(line)
            except ValidationError as error:
                raise UnreadableData(name=f"{folder.name}/{CONVERSATIONS}", reason=f"line {number}") from error


def _steps(card: DatasetCard, removed: int) -> tuple[Step, ...]:
    left = card.conversations - removed
    return (*card.steps, Step(name="forget", before=card.conversations, after=left, removed={FORGOTTEN: removed}))


def _notes(card: DatasetCard, removed: int) -> tuple[str, ...]:
    today = datetime.now(UTC).date().isoformat()
    return (*card.notes, f"{removed} conversations were removed on {today} because somebody wished to be forgotten.")


def _extra_files(
    folder: Path, card: DatasetCard, sessions: Collection[str], links: Sequence[Link]
) -> Mapping[str, Iterable[Mapping[str, Any]]]:
    """The folder's other files without the sessions, held-out conversations among them; and what lineage is left."""
    files: dict[str, Iterable[Mapping[str, Any]]] = {}
    for name in card.files:
        path = folder / Path(name).name
        if path.name not in (CARD, CONVERSATIONS, README, LINEAGE) and path.suffix == ".jsonl" and path.is_file():
            rows = [json.loads(line) for line in path.read_bytes().splitlines() if line.strip()]
            files[path.name] = [row for row in rows if (row.get("meta") or {}).get(SESSION) not in sessions]
    if links:
        files[LINEAGE] = [link.model_dump(mode="json") for link in links]
    return files
