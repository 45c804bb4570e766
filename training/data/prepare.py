"""Does what a guild asks of its datasets: the table of contents of `/dataset`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from training.data.canonical import Tally
from training.data.catalog import dataset_row, offers, open_dataset
from training.data.filters import Sieve, exact_duplicates
from training.data.folder import is_folder, open_folder, write_folder
from training.data.formats import Reading, read_any
from training.data.room import JOURNALS, Room
from training.data.schema import DataAction, DataReport, DataSpec, Upload
from training.errors import (
    DatasetNotYours,
    DatasetTaken,
    DatasetUnavailable,
    EmptyDataset,
    PersonaUploaded,
    RunStopped,
    TooManyDatasets,
    UnderstudyError,
    UnknownDataset,
    UploadRefused,
)
from training.schema import Conversation, Message, Phase, Progress, Workspace

log = logging.getLogger(__name__)
MOST_DATASETS = 100
PREVIEWED = 3
PREVIEWED_TURNS = 6
PREVIEWED_CHARACTERS = 300
LOOK_ROWS = 200
CHARACTER_CARD = "character_card"
Fetch = Callable[[Upload, Path], None]


@dataclass
class Desk:
    """One piece of work and what it needs."""

    spec: DataSpec
    workspace: Workspace
    room: Room
    most_rows: int
    fetch: Fetch
    on_progress: Callable[[Progress], None]
    should_stop: Callable[[], bool]

    @property
    def name(self) -> str:
        """The dataset it is about."""
        assert self.spec.name is not None
        return self.spec.name

    @property
    def target(self) -> Path:
        """Where the guild's own dataset of that name lies."""
        return self.room.datasets / self.name

    @property
    def reserved(self) -> bool:
        """Whether the name is one of the catalog's, which no server may give."""
        return dataset_row(self.name, self.workspace.dataset_warehouse) is not None

    def look(self, done: int, total: int = 0) -> None:
        """Tell how far it is; raises RunStopped when it is to stop."""
        if self.should_stop():
            raise RunStopped(step=done)
        self.on_progress(Progress(phase=Phase.DATA, step=done, total_steps=total))


@dataclass
class Watched(Tally):
    """A tally of an upload: it ends the reading where there are too many rows, or where the job is to stop."""

    desk: Desk | None = field(default=None, kw_only=True)
    name: str = field(default="", kw_only=True)

    def use(self, rows: int = 1) -> None:
        """Note rows that went into a conversation."""
        super().use(rows)
        self._watch()

    def drop(self, row: int, reason: str) -> None:
        """Note a row that is left out."""
        super().drop(row, reason)
        self._watch()

    def _watch(self) -> None:
        assert self.desk is not None
        if self.format == CHARACTER_CARD:
            raise PersonaUploaded(name=self.name)
        if self.rows > self.desk.most_rows:
            raise UploadRefused(name=self.name, reason=f"it has more than {self.desk.most_rows:,} rows")
        if self.rows % LOOK_ROWS == 1:
            self.desk.look(self.rows)


def prepare(
    spec: DataSpec,
    workspace: Workspace,
    *,
    job_id: str,
    most_rows: int,
    fetch: Fetch,
    on_progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
) -> DataReport:
    """Do the work, whole or not at all; the same `job_id` again goes on from where a crash cut it off.

    Raises an UnderstudyError for what is wrong with the request or the file, and RunStopped when asked to stop.
    """
    room = Room(workspace, spec.guild_id, job_id)
    desk = Desk(spec, workspace, room, most_rows, fetch, on_progress, should_stop)
    done = room.open()
    try:
        report = room.publish(done, desk.target) if done else _DEEDS[spec.action](desk)
    except RunStopped:
        raise  # what was made so far is kept: the job may be given to another worker
    except UnderstudyError:
        room.leave()
        raise
    room.leave()
    return report


# --- files that members upload -------------------------------------------------------------------------------------


def _validate(desk: Desk) -> DataReport:
    tally, conversations = _uploaded(desk)
    for _ in conversations:
        continue
    return DataReport(action=DataAction.VALIDATE, name=tally.name, inspection=tally.inspection())


def _upload(desk: Desk) -> DataReport:
    _require_free(desk)
    tally, conversations = _uploaded(desk)
    kept = Sieve([("exact duplicates", exact_duplicates())])
    card = write_folder(
        desk.room.made,
        desk.name,
        kept(conversations),
        steps=kept.steps,
    )
    report = DataReport(action=DataAction.UPLOAD, name=desk.name, card=card, inspection=tally.inspection())
    return desk.room.keep(report, desk.target)


def _uploaded(desk: Desk) -> tuple[Watched, Iterator[Conversation]]:
    """The conversations of the attached file; whose they are is not known, so neither is their licence."""
    upload = desk.spec.upload
    assert upload is not None
    file = desk.room.folder / "upload"
    if not file.exists():
        part = file.with_name("upload.part")
        desk.fetch(upload, part)
        part.rename(file)
    tally = Watched(desk=desk, name=upload.filename)
    return tally, read_any(file, Reading(source=desk.spec.name or "upload"), tally, upload.filename)


# --- looking at datasets -------------------------------------------------------------------------------------------


def _info(desk: Desk) -> DataReport:
    card = open_folder(desk.target) if is_folder(desk.target) else None
    if card is None and not desk.reserved:
        raise UnknownDataset(name=desk.name, choices=_choices(desk))
    return DataReport(action=DataAction.INFO, name=desk.name, card=card)


def _preview(desk: Desk) -> DataReport:
    offer = offers(desk.workspace, desk.spec.guild_id).get(desk.name)
    if offer is not None and offer.where == "hub":
        raise DatasetUnavailable(name=desk.name, reason="it is fetched from the hub when a job first learns from it")
    conversations = open_dataset(desk.name, desk.workspace, desk.spec.guild_id)
    shown = tuple(_shortened(row) for row in islice(conversations, PREVIEWED))
    if not shown:
        raise EmptyDataset(name=desk.name, count=0, needed=1)
    return DataReport(action=DataAction.PREVIEW, name=desk.name, preview=shown)


def _shortened(row: Conversation) -> Conversation:
    """The row as far as a message can show it; whole rounds, so that it stays a conversation."""
    head = [message for message in row.messages if message.role == "system"]
    spoken = [message for message in row.messages if message.role != "system"][:PREVIEWED_TURNS]
    return row.model_copy(update={"messages": tuple(_cut(message) for message in head + spoken), "meta": {}})


def _cut(message: Message) -> Message:
    text = message.content
    short = text if len(text) <= PREVIEWED_CHARACTERS else text[: PREVIEWED_CHARACTERS - 1] + "…"
    return message.model_copy(update={"content": short})


# --- making and removing -------------------------------------------------------------------------------------------


def _build(desk: Desk) -> DataReport:
    from training.data.build import Build

    _require_free(desk)
    journals = desk.room.folder.parent / JOURNALS
    card = Build(desk.spec, desk.workspace, journals, desk.look, desk.should_stop).write(desk.room.made)
    return desk.room.keep(DataReport(action=DataAction.BUILD, name=desk.name, card=card), desk.target)


def _delete(desk: Desk) -> DataReport:
    if desk.reserved:
        raise DatasetNotYours(name=desk.name, choices=_choices(desk))
    if not (is_folder(desk.target) or (desk.room.folder / "removed").exists()):
        raise UnknownDataset(name=desk.name, choices=_choices(desk))
    return desk.room.remove(desk.target, DataReport(action=DataAction.DELETE, name=desk.name))


def _require_free(desk: Desk) -> None:
    if desk.reserved or desk.target.exists():
        raise DatasetTaken(name=desk.name)
    if len(own := _own(desk)) >= MOST_DATASETS:
        raise TooManyDatasets(count=len(own))


def _own(desk: Desk) -> Sequence[str]:
    folders = desk.room.datasets.iterdir() if desk.room.datasets.is_dir() else ()
    return sorted(folder.name for folder in folders if is_folder(folder))


def _choices(desk: Desk) -> str:
    return ", ".join(_own(desk)[:20]) or "none yet"


_DEEDS: dict[DataAction, Callable[[Desk], DataReport]] = {
    DataAction.INFO: _info,
    DataAction.PREVIEW: _preview,
    DataAction.VALIDATE: _validate,
    DataAction.UPLOAD: _upload,
    DataAction.BUILD: _build,
    DataAction.DELETE: _delete,
}
