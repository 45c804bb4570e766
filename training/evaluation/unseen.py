"""The run that is checked, and the conversations that it never learnt, which alone it may be measured on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from training.data.fingerprints import plain
from training.data.mix import rank
from training.errors import UncheckableRun, UnderstudyError
from training.lessons import cast_rows, gather, said
from training.runs import is_adapter
from training.schema import Conversation, Persona, Report, RunId, TaskType, TrainSpec, Workspace

log = logging.getLogger(__name__)
ROWS_MEASURED = 40
"""Held-out conversations of one persona; from five on, the right adapter is told from all others by its losses."""

Rows = Mapping[str, Sequence[Conversation]]


@dataclass(frozen=True)
class Run:
    """A finished run with its adapter, or an adapter without report, of which nobody knows what it learnt."""

    id: RunId
    folder: Path
    report: Report | None

    @property
    def name(self) -> str:
        """What people called it."""
        return self.report.spec.job_name if self.report else self.folder.name

    @property
    def personas(self) -> tuple[str, ...]:
        """Whom it gave a voice, as far as is known."""
        return self.report.personas if self.report else ()

    @property
    def adapter(self) -> Path:
        """The folder of its adapter."""
        return self.folder / "adapter" if self.report else self.folder


def find_run(run_id: RunId, workspace: Workspace, guild_id: str, places: Mapping[RunId, Path]) -> Run:
    """The guild's finished run, in its place among `places` or else below the artifact root.

    In a place of its own an adapter may lie without a run. Raises UncheckableRun.
    """
    folder = places.get(run_id) or workspace.artifact_root / "runs" / run_id
    try:
        report = Report.model_validate_json((folder / "report.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValidationError) as error:
        if run_id in places and is_adapter(folder):
            return Run(run_id, folder, None)
        raise UncheckableRun(run=run_id, reason="there is no such finished run here") from error
    if report.spec.guild_id != guild_id:
        raise UncheckableRun(run=run_id, reason="there is no such finished run here")
    if not (folder / "adapter" / "adapter_model.safetensors").is_file():
        raise UncheckableRun(run=run_id, reason="its adapter is gone")
    return Run(run_id, folder, report)


@dataclass(frozen=True)
class Unseen:
    """What an adapter learnt, and what it did not.

    learnt: every conversation of the run and of those that it went on from. train, held_out: both sides of each
    persona's own conversations, by slug, without anything learnt on the second. left_out: of how many it is without.
    doubt: why nobody can tell any more what was learnt, if so; nothing may then be measured on.
    """

    learnt: tuple[Conversation, ...]
    train: Rows
    held_out: Rows
    left_out: Mapping[str, int] = field(default_factory=dict)
    doubt: str = ""

    def measured(self) -> dict[str, list[Conversation]]:
        """At most 40 held-out conversations of each persona, the same ones in every check."""
        if self.doubt:
            return {}
        return {
            slug: sorted(rows, key=lambda row: rank(row, 0))[:ROWS_MEASURED]
            for slug, rows in self.held_out.items()
            if rows
        }


def unseen(
    run: Run | None, persona: Persona, guild_id: str, workspace: Workspace, places: Mapping[RunId, Path]
) -> Unseen:
    """What the run never learnt, as its own spec and those of the runs it went on from have it; None learnt nothing.

    Sides are cut as for the run, and from what is held out goes every conversation of which an answer was learnt all
    the same, in general data or in an earlier run.
    """
    past = _past(run, workspace, places) if run else _Past()
    train, held_out = cast_rows(_own_spec(past.specs, persona, guild_id), workspace)
    known = {plain(line) for line in said(past.rows, "assistant")}
    kept = {slug: [row for row in rows if not _known(row, known)] for slug, rows in held_out.items()}
    left_out = {slug: len(rows) - len(kept[slug]) for slug, rows in held_out.items()}
    return Unseen(tuple(past.rows), train, kept, left_out, past.doubt)


@dataclass
class _Past:
    """What a run and those before it learnt. specs: of those whose data can be read, the newest first."""

    specs: list[TrainSpec] = field(default_factory=list)
    rows: list[Conversation] = field(default_factory=list)
    doubt: str = ""


def _past(run: Run, workspace: Workspace, places: Mapping[RunId, Path]) -> _Past:
    past, newest = _Past(), run
    while True:
        if newest.report is None:
            past.doubt = f"No report of a run lies beside {newest.name}, so nobody knows what is new to it."
            return past
        spec = newest.report.spec
        try:
            lessons = gather(spec, workspace)
        except UnderstudyError as error:
            log.info("What run %s learnt from cannot be read again: %s", newest.id, error)
            past.doubt = f"What {spec.job_name} learnt from cannot be read any more, so nobody knows what is new to it."
        else:
            past.specs.append(spec)
            past.rows += [*lessons.learnt, *(pair.rejected for pair in lessons.pairs)]
            if lessons.digest != newest.report.data_digest:
                past.doubt = f"What {spec.job_name} learnt from has changed since, so nobody knows what is new to it."
        if not spec.start_from:
            return past
        try:
            newest = find_run(spec.start_from, workspace, spec.guild_id, places)
        except UncheckableRun:
            past.doubt = f"The run that {spec.job_name} went on from is gone, so nobody knows what is new to it."
            return past


def _own_spec(specs: Sequence[TrainSpec], persona: Persona, guild_id: str) -> TrainSpec:
    """The newest spec that trained this persona on its own dialogues, which may be a dataset that was built for it."""
    own = (spec for spec in specs if spec.task_type is TaskType.PERSONA and spec.persona == persona.slug)
    return next(own, TrainSpec(job_name="check", guild_id=guild_id, persona=persona.slug))


def _known(row: Conversation, learnt: set[str]) -> bool:
    return any(plain(line) in learnt for line in said([row], "assistant"))
