"""The adapter that a run begins with, where it is to learn on from an earlier run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from training.errors import AdapterMissing
from training.schema import Report, TrainSpec, Workspace


@dataclass(frozen=True)
class Start:
    """An earlier run's adapter, and the base model that it belongs to."""

    adapter: Path
    base_model: str


def starting_point(spec: TrainSpec, workspace: Workspace) -> Start | None:
    """What `start_from` names, None where it names nothing; another guild's run counts as none there is.

    Raises AdapterMissing, also where the run has another base model than is asked for.
    """
    if spec.start_from is None:
        return None
    folder = workspace.artifact_root / "runs" / spec.start_from
    try:
        report = Report.model_validate_json((folder / "report.json").read_bytes())
    except (FileNotFoundError, ValidationError) as error:
        raise AdapterMissing(run=spec.start_from, reason="there is no such finished run here") from error
    if report.spec.guild_id != spec.guild_id or not (folder / "adapter").is_dir():
        raise AdapterMissing(run=spec.start_from, reason="there is no such finished run here")
    if spec.base_model not in (None, report.base_model):
        raise AdapterMissing(run=spec.start_from, reason=f"its base model is {report.base_model}")
    return Start(folder / "adapter", report.base_model)
