"""Keeps the run folders in step with the queue: what an ended run need not keep, and what Redis may lose."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tasks import store
from tasks.jobs import AdapterVersion, voiced
from tasks.settings import TaskSettings
from tasks.store import Store
from tasks.timings import Timings
from training.evaluation.schema import CheckReport, Suite
from training.runs import write_json
from training.schema import Report, TrainSpec

log = logging.getLogger(__name__)
VERSION, CHECK = "version", "check"
"""What a run folder keeps of each persona that it gave a voice: its entry in the registry, and its newest check."""


class Shelf:
    """The run folders, tended by the train worker, whose folders they are.

    A run whose adapter is registered keeps its entry of the registry in `version.json`, one for the whole cast an entry
    for each persona in `version-PERSONA.json`, so that an emptied Redis gets all versions back, under their numbers,
    with the same one live, and with what is known of those that were live before it and of the last checks. Checkpoints
    go when their job has ended.
    """

    def __init__(self, settings: TaskSettings, timings: Timings | None = None) -> None:
        self._runs = settings.run_dir("any").parent
        self._checks = settings.check_dir("any").parent
        self._pause = (timings or Timings()).sweep
        self._due = 0.0
        self._specs: dict[str, TrainSpec] = {}
        self._casts: dict[str, tuple[str, ...]] = {}
        self._kept: dict[Path, AdapterVersion] = {}

    def __call__(self, connection: Store) -> None:
        """One round, if one is due."""
        if time.monotonic() < self._due:
            return
        self._clear(connection)
        self._keep(connection)
        self._due = time.monotonic() + self._pause

    def _clear(self, connection: Store) -> None:
        for folder in self._runs.glob("*/checkpoints"):
            spec = self._spec(folder.parent)
            view = connection.do(store.show(spec.guild_id, folder.parent.name)) if spec else None
            if view and view.state.ended:
                # What cannot be removed now, since another worker is at it too, is looked at again in the next round.
                shutil.rmtree(folder, ignore_errors=True)

    def _keep(self, connection: Store) -> None:
        for (guild_id, persona), runs in self._trained().items():
            known = connection.do(store.versions(guild_id, persona))
            there = {entry.job_id for entry in known}
            noted = [entry for run in runs if (entry := self._noted(self._file_of(run, persona, VERSION)))]
            lost = [entry for entry in noted if entry.job_id not in there]
            if lost:
                self._recall(connection, lost)  # first, since what is not lost any more is not looked at again
                count = connection.do(store.restore(lost, noted))
                log.warning("Redis had lost %d versions of %s in guild %s; it has them back.", count, persona, guild_id)
                continue
            for run in runs:
                entry = next((entry for entry in known if entry.job_id == run.name), None)
                self._note(self._file_of(run, persona, VERSION), entry)

    def _recall(self, connection: Store, lost: Sequence[AdapterVersion]) -> None:
        """Tell Redis again what checks of these versions found, the newest first, since the first one told counts.

        They left the last of each version in its run folder, and all, with what they compared, in their own.
        """
        voices = {(entry.persona, entry.job_id) for entry in lost}
        beside = [self._file_of(self._runs / job_id, persona, CHECK) for persona, job_id in voices]
        own = self._checks.glob("*/report.json")
        for path in sorted(filter(Path.is_file, (*beside, *own)), key=_written_at, reverse=True):
            try:
                report = CheckReport.model_validate_json(path.read_bytes())
            except (OSError, ValueError) as error:
                log.debug("%s says nothing of a check: %s", path, error)
                continue
            if report.spec.suite is Suite.PERSONA and (report.persona, report.spec.run_id) in voices:
                connection.do(store.recall(report))

    def _trained(self) -> dict[tuple[str, str], list[Path]]:
        """The finished runs of each guild's personas."""
        found: dict[tuple[str, str], list[Path]] = {}
        for run in self._finished():
            spec = self._spec(run)
            if spec:
                for persona in self._cast(run, spec):
                    found.setdefault((spec.guild_id, persona), []).append(run)
        return found

    def _cast(self, run: Path, spec: TrainSpec) -> tuple[str, ...]:
        """Whom a finished run gave a voice."""
        if run.name not in self._casts:
            try:
                report = Report.model_validate_json((run / "report.json").read_bytes())
                self._casts[run.name] = voiced(spec, report)
            except (OSError, ValueError) as error:
                log.debug("Run folder %s does not say whom it gave a voice: %s", run, error)
        return self._casts.get(run.name, ())

    def _file_of(self, run: Path, persona: str, what: str) -> Path:
        """The file of a run that keeps one thing of one persona's; with several personas each has its own."""
        alone = self._casts.get(run.name) == (persona,)
        return run / (f"{what}.json" if alone else f"{what}-{persona}.json")

    def _finished(self) -> Iterator[Path]:
        for report in self._runs.glob("*/report.json"):
            if (report.parent / "adapter").is_dir():
                yield report.parent

    def _spec(self, run: Path) -> TrainSpec | None:
        """What a run was asked for; None where it has not written it yet, or it cannot be read any more."""
        if run.name not in self._specs:
            try:
                self._specs[run.name] = TrainSpec.model_validate_json((run / "spec.json").read_bytes())
            except (OSError, ValueError) as error:
                log.debug("Run folder %s says nothing of its job: %s", run, error)
        return self._specs.get(run.name)

    def _noted(self, note: Path) -> AdapterVersion | None:
        if note not in self._kept:
            try:
                self._kept[note] = AdapterVersion.model_validate_json(note.read_bytes())
            except (OSError, ValueError) as error:
                log.debug("%s says nothing of a version: %s", note, error)
        return self._kept.get(note)

    def _note(self, note: Path, entry: AdapterVersion | None) -> None:
        if entry and entry != self._noted(note):
            write_json(note, entry.model_dump(mode="json"))
            self._kept[note] = entry


def _written_at(path: Path) -> int:
    return path.stat().st_mtime_ns
