"""Does what a guild asks of its datasets and sheets: the table of contents of `/dataset`, and of what is written of
personas in the channel."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from training.data.canonical import Tally
from training.data.catalog import dataset_row, offers, open_dataset
from training.data.filters import Sieve, exact_duplicates
from training.data.folder import PERMISSION, file_sha256, is_folder, open_folder, write_folder
from training.data.formats import Reading, read_any
from training.data.licences import is_restricted
from training.data.lineage import SESSION, remember
from training.data.reading import UNKNOWN_LANGUAGE
from training.data.room import JOURNALS, Room
from training.data.schema import DataAction, DataReport, DataSpec, Inspection, Upload
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
    UnknownFormat,
    UnknownUpload,
    UploadRefused,
    disk_refused,
)
from training.schema import Conversation, Message, Persona, Phase, Progress, Workspace

log = logging.getLogger(__name__)
MOST_DATASETS = 100
PREVIEWED = 3
PREVIEWED_TURNS = 6
PREVIEWED_CHARACTERS = 300
LOOK_ROWS = 200
WORK_SECONDS = 1800.0
"""How long an upload may be read: nobody waits longer, and the queue's other work should not."""
MOST_TOLD = 50
"""Different languages, licences or reasons that are told of one upload; the rest are one more."""
MOST_LABEL = 200
OTHER = "other"
OTHER_LICENCES = "other, non-commercial or for research"
CANONICAL, CHARACTER_CARD = "canonical", "character_card"
CLAIMS = {PERMISSION, SESSION, "group"}
"""What our own converters put into a conversation's meta, and no row of a file may."""
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
    def persona(self) -> str:
        """The persona it is about."""
        assert self.spec.persona is not None
        return self.spec.persona

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

    desk: Desk = field(kw_only=True)
    name: str = field(kw_only=True)
    _began: float = field(default_factory=time.monotonic, kw_only=True)
    _read: int = field(default=0, kw_only=True)

    def see(self, row: int) -> None:
        """Note a row that was read: some formats are held in memory whole before any row is used."""
        self._read += 1
        self._limit(self._read)
        if self._read % LOOK_ROWS == 0 and self.desk.should_stop():
            raise RunStopped(step=self.rows)

    def use(self, rows: int = 1) -> None:
        """Note rows that went into a conversation."""
        super().use(rows)
        self._watch()

    def drop(self, row: int, reason: str) -> None:
        """Note a row that is left out."""
        super().drop(row, reason)
        self._watch()

    def told(self) -> Inspection:
        """The account, no longer than people want to read."""
        found = self.inspection()
        lists = {name: _most(getattr(found, name)) for name in ("languages", "kinds", "dropped")}
        return found.model_copy(update=lists)

    def _watch(self) -> None:
        if self.format == CHARACTER_CARD:
            raise PersonaUploaded(name=self.name)
        self._limit(self.rows)
        if self.rows % LOOK_ROWS == 1:
            self.desk.look(self.rows)

    def _limit(self, rows: int) -> None:
        if rows > self.desk.most_rows:
            raise UploadRefused(name=self.name, reason=f"it has more than {self.desk.most_rows:,} rows")
        if time.monotonic() - self._began > WORK_SECONDS:
            raise UploadRefused(name=self.name, reason=f"reading it took over {WORK_SECONDS / 60:.0f} minutes")


def _most(counts: Mapping[str, int]) -> dict[str, int]:
    """The largest counts, under short names, and the rest as one."""
    most = Counter(counts).most_common()
    told = Counter({name[:MOST_LABEL]: number for name, number in most[:MOST_TOLD]})
    told[OTHER] += sum(number for _, number in most[MOST_TOLD:])
    return dict((+told).most_common())


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

    Raises an UnderstudyError for what is wrong with the request, the file or the disk, and RunStopped when asked to
    stop.
    """
    room = Room(workspace, spec.guild_id, job_id)
    desk = Desk(spec, workspace, room, most_rows, fetch, on_progress, should_stop)
    try:
        done = room.open()
        report = room.publish(done, desk.target) if done else _DEEDS[spec.action](desk)
        room.leave()
    except RunStopped:
        raise  # what was made so far is kept: the job may be given to another worker
    except UnderstudyError:
        room.leave()
        raise
    except OSError as error:
        log.exception("The disk refused the work of job %s.", job_id)
        room.leave()
        if refused := disk_refused(error, f"What is kept of {spec.name or spec.persona or 'the upload'}"):
            raise refused from error
        raise
    return report


# --- files that members upload -------------------------------------------------------------------------------------


def _validate(desk: Desk) -> DataReport:
    tally, conversations = _uploaded(desk)
    for _ in conversations:
        continue
    return DataReport(action=DataAction.VALIDATE, name=tally.name, inspection=tally.told())


def _upload(desk: Desk) -> DataReport:
    from training.data.counting import counter_of_model

    _require_free(desk)
    tally, conversations = _uploaded(desk)
    kept = Sieve([("exact duplicates", exact_duplicates())])
    try:
        card = write_folder(
            desk.room.made,
            desk.name,
            _unclaimed(kept(conversations), desk.name, tally),
            digest_of=lambda source: file_sha256(desk.room.folder / "upload"),
            steps=lambda: (tally.step(), *kept.steps()),
            counter=counter_of_model(None, desk.workspace),
            notes=tally.notes,
        )
    except UnknownFormat as error:
        # It shows the file's first row, and this is told in a channel.
        raise UnknownUpload(name=tally.name) from error
    report = DataReport(action=DataAction.UPLOAD, name=desk.name, card=card, inspection=tally.told())
    return desk.room.keep(report, desk.target)


def _uploaded(desk: Desk) -> tuple[Watched, Iterator[Conversation]]:
    """The conversations of the attached file."""
    upload = desk.spec.upload
    assert upload is not None
    file = desk.room.folder / "upload"
    if not file.exists():
        part = file.with_name("upload.part")
        desk.fetch(upload, part)
        part.rename(file)
    tally = Watched(desk=desk, name=upload.filename)
    return tally, read_any(file, Reading(source=desk.spec.name or "upload"), tally, upload.filename)


def _unclaimed(conversations: Iterable[Conversation], name: str, tally: Tally) -> Iterator[Conversation]:
    """The conversations of an upload without what they say of their origin, which nobody has looked into.

    A licence that bars uses is believed all the same, since nobody gains by claiming one.
    """
    licenses: set[str] = set()
    languages: set[str] = set()
    for row in conversations:
        claims = CLAIMS if tally.format == CANONICAL else ()
        license = row.license[:MOST_LABEL] if is_restricted(row.license) else ""
        made = {
            "source": name,
            "license": _few(license, licenses, OTHER_LICENCES),
            "lang": _few(row.lang, languages, UNKNOWN_LANGUAGE),
            "meta": {key: value for key, value in row.meta.items() if key not in claims},
        }
        yield row.model_copy(update=made)


def _few(label: str, known: set[str], other: str) -> str:
    """The label, or where there are too many different ones, another."""
    if len(known) < MOST_TOLD and len(label) <= MOST_LABEL:
        known.add(label)
    return label if label in known else other


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
    labels = {name: getattr(row, name)[:MOST_LABEL] for name in ("id", "source", "license", "lang")}
    return row.model_copy(update={**labels, "messages": tuple(map(_cut, head + spoken)), "meta": {}})


def _cut(message: Message) -> Message:
    text = message.content
    short = text if len(text) <= PREVIEWED_CHARACTERS else text[: PREVIEWED_CHARACTERS - 1] + "…"
    return message.model_copy(update={"content": short})


# --- making and removing -------------------------------------------------------------------------------------------


def _build(desk: Desk) -> DataReport:
    from training.data.build import Build

    _require_free(desk)
    journals = desk.room.folder.parent / JOURNALS
    build = Build(desk.spec, desk.workspace, journals, desk.look, desk.should_stop)
    card = build.write(desk.room.made, known_as=desk.target)
    return desk.room.keep(DataReport(action=DataAction.BUILD, name=desk.name, card=card), desk.target)


def _delete(desk: Desk) -> DataReport:
    if desk.reserved:
        raise DatasetNotYours(name=desk.name, choices=_choices(desk))
    if not (is_folder(desk.target) or (desk.room.folder / "removed").exists()):
        raise UnknownDataset(name=desk.name, choices=_choices(desk))
    return desk.room.remove(desk.target, DataReport(action=DataAction.DELETE, name=desk.name))


def _votes(desk: Desk) -> DataReport:
    from training.data.counting import counter_of_model
    from training.data.voted import write_votes
    from training.data.votes import agreed
    from training.persona.sheet import find_persona

    _require_free(desk)
    assert desk.spec.votes is not None
    persona = find_persona(desk.workspace, desk.spec.guild_id, desk.persona)
    counter = counter_of_model(None, desk.workspace)
    allowed = agreed(desk.spec.typed, desk.workspace, desk.spec.guild_id)
    lineage = allowed.lineage(desk.spec.votes, desk.spec.guild_id)
    permission = allowed.permission.quote() if allowed.permission else None
    votes = allowed.marked(desk.spec.votes)
    card = write_votes(
        desk.room.made, desk.name, votes, persona, lineage=lineage, permission=permission, counter=counter
    )
    # Before it has its name: a crash in between leaves too much noted rather than too little.
    if lineage.links:
        remember(desk.workspace, desk.target, card, lineage)
    return desk.room.keep(DataReport(action=DataAction.VOTES, name=desk.name, card=card), desk.target)


def _agreed(desk: Desk) -> DataReport:
    """Which of the questions that members typed may be learnt from; asked before their words go anywhere."""
    from training.data.votes import agreed

    allowed = agreed(desk.spec.typed, desk.workspace, desk.spec.guild_id)
    return DataReport(action=DataAction.AGREED, name=desk.persona, agreed=tuple(allowed.typed))


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


# --- sheets --------------------------------------------------------------------------------------------------------


def _persona(desk: Desk) -> DataReport:
    from training.persona.sheet import find_persona

    return _sheet(desk, find_persona(desk.workspace, desk.spec.guild_id, desk.persona))


def _apart(desk: Desk) -> DataReport:
    """How well the answers of several personas are told apart; nothing where one of them has no lines to learn from."""
    from training.evaluation.duel import told_apart

    found = told_apart(desk.spec.replies, desk.spec.guild_id, desk.workspace)
    return DataReport(action=DataAction.APART, name=desk.spec.guild_id, separation=found)


def _fact(desk: Desk) -> DataReport:
    from training.persona.amend import amend_fact

    assert desk.spec.fact is not None
    return _sheet(desk, amend_fact(desk.workspace, desk.spec.guild_id, desk.persona, desk.spec.fact))


def _sheet(desk: Desk, persona: Persona) -> DataReport:
    """The persona, and how many of its written lines a run learns from and is checked on."""
    from training.data.holdout import hold_out
    from training.persona.dialogues import written_dialogues

    rows = written_dialogues(persona, desk.workspace, desk.spec.guild_id)
    try:
        learnt, held_out = hold_out(rows, persona.name)
    except EmptyDataset:  # too few to learn from, which is for a run to say
        learnt, held_out = rows, []
    return DataReport(
        action=desk.spec.action, name=persona.slug, persona=persona, learnt=_lines(learnt), held_out=_lines(held_out)
    )


def _lines(rows: Sequence[Conversation]) -> int:
    return sum(message.role == "assistant" for row in rows for message in row.messages)


_DEEDS: dict[DataAction, Callable[[Desk], DataReport]] = {
    DataAction.INFO: _info,
    DataAction.PREVIEW: _preview,
    DataAction.VALIDATE: _validate,
    DataAction.UPLOAD: _upload,
    DataAction.BUILD: _build,
    DataAction.DELETE: _delete,
    DataAction.PERSONA: _persona,
    DataAction.FACT: _fact,
    DataAction.VOTES: _votes,
    DataAction.AGREED: _agreed,
    DataAction.APART: _apart,
}
