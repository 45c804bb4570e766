"""Where work on a guild's data goes on until it is done: a folder of one job's own, which outlives a crash."""

from __future__ import annotations

import logging
import shutil
import time
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from training.data.schema import DataReport
from training.errors import DatasetTaken
from training.places import guild_folder
from training.runs import sync, write_bytes
from training.schema import Workspace

log = logging.getLogger(__name__)
ABANDONED_SECONDS = 2 * 86_400
JOURNALS = "journals"
"""Beside the rooms: what a language model has answered, which a later job may need again."""


class Room:
    """One job's folder. What is made there gets its name at the very end, in one step.

    The report is on disk before that step. So whoever does the job again, after a crash at any time, either finds no
    report and begins again, or finds one and only has to take the step if it was not taken.
    """

    def __init__(self, workspace: Workspace, guild_id: str, job_id: str) -> None:
        guild = guild_folder(workspace, guild_id)
        self.folder = guild / "work" / job_id
        self.made = self.folder / "made"
        self.datasets = guild / "datasets"

    def open(self) -> DataReport | None:
        """Make the folder and sweep out what others left; the report of a job that was done before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.parent.iterdir():
            if left.name not in (self.folder.name, JOURNALS) and time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
        return self._report()

    def keep(self, report: DataReport, target: Path) -> DataReport:
        """Report what is made, then give it its name; raises DatasetTaken."""
        write_bytes(self.folder / "report.json", report.model_dump_json().encode())
        return self.publish(report, target)

    def publish(self, report: DataReport, target: Path) -> DataReport:
        """Give what is made its name, unless that was done before; raises DatasetTaken."""
        if self.made.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                self.made.rename(target)
            except OSError as error:
                if not target.exists():
                    raise
                raise DatasetTaken(name=report.name) from error
            sync(target.parent)
        return report

    def remove(self, target: Path, report: DataReport) -> DataReport:
        """Take a dataset out of everyone's sight at once, then away."""
        removed = self.folder / "removed"
        if not removed.exists():
            target.rename(removed)
            sync(target.parent)
        write_bytes(self.folder / "report.json", report.model_dump_json().encode())
        shutil.rmtree(removed, ignore_errors=True)
        return report

    def leave(self) -> None:
        """Clear out all but the report, once the work is done, and the folder too where it left none."""
        if not self.folder.is_dir():
            return
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != "report.json":
                with suppress(OSError):  # what a broken disk keeps is swept out by a later job
                    path.unlink(missing_ok=True)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _report(self) -> DataReport | None:
        try:
            return DataReport.model_validate_json((self.folder / "report.json").read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            log.exception("The report in %s cannot be read; the job is done again.", self.folder)
            return None
