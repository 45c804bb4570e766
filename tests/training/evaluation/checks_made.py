"""A place with two finished runs on the tiny stand-in, in which checks are made."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import Finished
from training.evaluation import check as checking
from training.evaluation import examine
from training.evaluation.examine import IN_VOICE
from training.evaluation.schema import CheckReport, CheckSpec
from training.evaluation.subject import Drawn
from training.runs import write_json
from training.schema import Progress, Report, Workspace

GLORDON, OLGA = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
BRIEF = Drawn(16, IN_VOICE.temperature)


@contextmanager
def brief_replies() -> Iterator[None]:
    """Draw few tokens a reply: a model that babbles never ends by itself, and its first words show as much as all."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (checking, examine):
            patch.setattr(module, "IN_VOICE", BRIEF)
            patch.setattr(module, "AT_LENGTH", BRIEF)
        yield


@dataclass
class House:
    """Runs of one guild, and checks of them. told: what the last check said on its way."""

    workspace: Workspace
    told: list[Progress] = field(default_factory=list)
    made: int = 0

    def run(self, run_id: str) -> Path:
        return self.workspace.artifact_root / "runs" / run_id

    def report(self, run_id: str) -> Report:
        return Report.model_validate_json((self.run(run_id) / "report.json").read_bytes())

    def take(self, folder: Path, run_id: str, **changes: Any) -> Path:
        """A copy of a run under another id, its report changed."""
        shutil.copytree(folder, self.run(run_id))
        report = self.report(run_id).model_dump(mode="json") | {"job_id": run_id} | changes
        write_json(self.run(run_id) / "report.json", report)
        return self.run(run_id)

    def spec(self, run_id: str | None, persona: str = "glordon", **asked: Any) -> CheckSpec:
        return CheckSpec(guild_id="1", persona=persona, run_id=run_id, **{"samples": 1, **asked})

    def folder(self) -> Path:
        """Where the next check goes."""
        self.made += 1
        return self.workspace.artifact_root / "checks" / f"check{self.made:07d}"

    def check(
        self,
        spec: CheckSpec,
        folder: Path | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        **given: Any,
    ) -> CheckReport:
        self.told.clear()
        with brief_replies():
            return self._check(spec, folder, should_stop, given)

    def _check(
        self, spec: CheckSpec, folder: Path | None, should_stop: Callable[[], bool], given: dict[str, Any]
    ) -> CheckReport:
        return checking.check(
            spec,
            job_id="check0000000",
            workspace=given.pop("workspace", self.workspace),
            run_dir=folder or self.folder(),
            on_progress=self.told.append,
            should_stop=should_stop,
            **given,
        )


def house_at(finished: Finished, root: Path) -> House:
    """The runs of Glordon and of Olga, as they were trained, in a place of their own."""
    house = House(finished.workspace.model_copy(update={"artifact_root": root}))
    house.take(finished.folders["glordon"], GLORDON)
    house.take(finished.folders["olga"], OLGA)
    return house
