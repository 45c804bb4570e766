"""Takes the words of members, and single messages, out of everything that was made of them.

Which messages were forgotten is kept with their server, so that no later conversion takes them in again; whole members
are kept out by the server's ledger of consent.
"""

from __future__ import annotations

import fcntl
import glob
import json
import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from training.data.derive import Origin
from training.data.folder import (
    CARD,
    CONVERSATIONS,
    LINEAGE,
    README,
    is_export,
    is_folder,
    open_folder,
    write_folder,
)
from training.data.lineage import DATA_FILE, SESSION, Kept, Link, keep, kept_links, read_links
from training.data.schema import DatasetCard, Step
from training.errors import ExportNotForgotten, UnreadableData
from training.places import guild_folder
from training.runs import OWNER_ONLY, write_bytes, write_json
from training.schema import Conversation, Noun, Workspace

RETRAIN_FILE = "retrain.json"
MESSAGES_FILE = "forgotten.json"
FORGOTTEN = "forgotten on request"

_LEFT = re.compile(r"\.(?P<name>.+)\.(?P<what>forgotten|part|part\.old|[0-9]+-[0-9]+\.making\.old)")


class Rewritten(Noun):
    """A dataset that something was removed from; version None: nothing was left, and it is gone."""

    name: str
    removed: int
    before: str
    version: str | None


class Forgotten(Noun):
    """The record of a wish to be forgotten: when, and what became of it, without any words."""

    at: str = Field(description="UTC, ISO 8601.")
    examples: int = 0
    datasets: tuple[Rewritten, ...] = ()
    retrain: tuple[str, ...] = Field((), description="Ids of the runs whose adapters learnt from what is gone.")
    unreadable: tuple[str, ...] = Field((), description="Files of such runs that tell no more what they learnt from.")
    exports: tuple[str, ...] = Field((), description="Folders for other trainers, to be made anew or deleted.")


class ForgottenMessages(Noun):
    """`forgotten.json`: the messages of one server that were forgotten, by their ids."""

    messages: tuple[str, ...] = ()


# --- messages that stay forgotten ------------------------------------------------------------------------------------


def forgotten_messages(workspace: Workspace, guild_id: str) -> frozenset[str]:
    """Ids of the messages that a server's conversions leave out. Raises UnreadableData."""
    path = guild_folder(workspace, guild_id) / MESSAGES_FILE
    if not path.is_file():
        return frozenset()
    try:
        return frozenset(ForgottenMessages.model_validate_json(path.read_bytes()).messages)
    except ValidationError as error:
        raise UnreadableData(name=f"{guild_id}/{MESSAGES_FILE}", reason="it is no list of messages") from error


def forget_messages(workspace: Workspace, guild_id: str, messages: Collection[str]) -> None:
    """Keep these messages out of every later conversion. Raises UnreadableData."""
    every = forgotten_messages(workspace, guild_id) | set(messages)
    path = guild_folder(workspace, guild_id) / MESSAGES_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, ForgottenMessages(messages=tuple(sorted(every))).model_dump_json().encode(), OWNER_ONLY)


# --- what was made of them -------------------------------------------------------------------------------------------


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
    than too little, and the same command finishes the work. Raises UnreadableData, and ExportNotForgotten where one of
    `folders` is no dataset but what was exported of one.
    """
    for folder in folders:
        _require_dataset(folder)
    kept = {home: kept_links(home) for home in homes}
    known = [link for found in kept.values() for link in found]
    made = [link for link in known if not link.export]
    own = [folder for home in homes for folder in _datasets(home)]
    places = sorted({place.resolve() for place in (*own, *(Path(link.folder) for link in made), *folders)})
    for place in places:
        _sweep(place)
    links = {folder: read_links(folder) for folder in places if is_folder(folder)}
    every = [*made, *(link for found in links.values() for link in found)]
    hit = {link.session for link in every if link.holds(users, messages)}
    retrain, unreadable = mark_runs(runs, hit)
    done = [new for folder, found in links.items() if (new := _without(folder, hit, found))]
    for home, found_there in kept.items():
        if len(left := [link for link in found_there if _stays(link, hit)]) < len(found_there):
            keep(home, left)
    return Forgotten(
        at=_now(),
        examples=sum(one.removed for one in done),
        datasets=tuple(done),
        retrain=tuple(retrain),
        unreadable=tuple(unreadable),
        exports=tuple(sorted({link.folder for link in known if _is_left(link) and link.holds(users, messages)})),
    )


def _require_dataset(folder: Path) -> None:
    if is_export(folder):
        raise ExportNotForgotten(folder=folder)
    open_folder(folder)


def _stays(link: Kept, hit: Collection[str]) -> bool:
    """An export is known for as long as it is there, since nothing can be taken out of it."""
    return _is_left(link) if link.export else link.session not in hit


def _is_left(link: Kept) -> bool:
    return link.export and is_export(Path(link.folder))


def mark_runs(runs: Path, sessions: Collection[str]) -> tuple[list[str], list[str]]:
    """Write into the folder of each run that learnt from these sessions that its adapter is to be trained anew.

    Returns the ids of the runs, and the files that do not tell any more: such a run is taken to have learnt from them.
    """
    marked: list[str] = []
    unreadable: list[str] = []
    for path in sorted(runs.glob(f"*/{DATA_FILE}")) if sessions else ():
        learnt = _learnt(path)
        if learnt is None:
            unreadable.append(str(path))
        if gone := set(sessions) & (set(sessions) if learnt is None else learnt):
            note = {"reason": FORGOTTEN, "at": _now(), "sessions": len(gone)}
            write_json(path.with_name(RETRAIN_FILE), note)
            marked.append(path.parent.name)
    return marked, unreadable


def _learnt(path: Path) -> set[str] | None:
    """The sessions that a run learnt from; None where its file does not tell."""
    try:
        return {str(session) for session in json.loads(path.read_bytes())["sessions"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _without(folder: Path, sessions: Collection[str], links: Sequence[Link]) -> Rewritten | None:
    """Write a dataset anew without some sessions; None where it holds none of them."""
    card = open_folder(folder)
    removed = sum(row.meta.get(SESSION) in sessions for row in _rows(folder))
    kept_links = [link for link in links if link.session not in sessions]
    if not removed and len(kept_links) == len(links):
        return None
    extra_files = _extra_files(folder, card, sessions, kept_links)
    # Votes may have left judgements of single answers alone, which are no conversations.
    least = min(1, card.conversations)
    if removed == card.conversations and (least or not any(map(any, extra_files.values()))):
        gone = folder.with_name(f".{folder.name}.forgotten")
        folder.rename(gone)
        shutil.rmtree(gone)
        return Rewritten(name=card.name, removed=removed, before=card.version, version=None)
    new = write_folder(
        folder,
        card.name,
        (row for row in _rows(folder) if row.meta.get(SESSION) not in sessions),
        digest_of=Origin(card.name, folder).digest_of,
        steps=_steps(card, removed),
        persona=card.persona,
        notes=_notes(card, removed),
        permission=card.permission,
        extra_files=extra_files,
        least=least,
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
    if not removed:  # only judgements of single answers, or held-out conversations, were
        return card.notes
    today = _now()[:10]
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


# --- what a crash left -----------------------------------------------------------------------------------------------


def _datasets(home: Path) -> Iterator[Path]:
    """Where a server's own datasets lie, or lay when a crash left something of them."""
    for folder in (home / "datasets").glob("*"):
        if left := _LEFT.fullmatch(folder.name):
            yield folder.with_name(left["name"])
        elif not folder.name.startswith("."):
            yield folder


def _sweep(place: Path) -> None:
    """Clear away what a crash left beside a dataset, and put back the older one where the newer did not come."""
    for path in place.parent.glob(f".{glob.escape(place.name)}.*"):
        left = _LEFT.fullmatch(path.name)
        if left is None or left["name"] != place.name or path.is_symlink() or not path.is_dir():
            continue
        if left["what"] == "forgotten":
            shutil.rmtree(path)
        elif left["what"] == "part":
            _sweep_unfinished(path)
        elif place.exists():
            shutil.rmtree(path)
        else:
            path.rename(place)


def _sweep_unfinished(part: Path) -> None:
    """Remove a conversion that nobody is at work on; it can only be begun anew."""
    handle = os.open(part, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(part)
    except BlockingIOError:
        pass
    finally:
        os.close(handle)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
