"""Checks that were made before: found, read, and left beside the adapters that they are of."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from training.evaluation.schema import CheckReport, Matrix, Probe
from training.evaluation.unseen import Run
from training.runs import write_json
from training.schema import Workspace

log = logging.getLogger(__name__)
SAME_LOSS = 0.02
"""Nats by which rounding may move the loss of one conversation under one base model, in another batch."""


def leave(report: CheckReport, run: Run | None) -> None:
    """Keep a check with the run of its adapter, in place of an older one, unless that was trained for somebody else."""
    if run and report.persona in run.personas:
        write_json(_place(run, report.persona), report.model_dump(mode="json"))


def last_of(run: Run | None, persona: str) -> CheckReport | None:
    """The last check of a run's adapter as this persona; None where there is none that can be read."""
    return _read(_place(run, persona)) if run else None


def _place(run: Run, persona: str) -> Path:
    """Whoever shares an adapter with others has a check of their own."""
    alone = len(run.personas) == 1
    return run.folder / ("check.json" if alone else f"check-{persona}.json")


def _read(path: Path) -> CheckReport | None:
    try:
        return CheckReport.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        log.warning("%s of run %s is not of this version and counts as none: %s", path.name, path.parent.name, error)
        return None


def others_of(report: CheckReport, workspace: Workspace) -> list[CheckReport]:
    """Of each other persona of the guild the newest check that was made like this one, with the same base model.

    One of the very same adapter, which a whole cast shares, only where there is none of another.
    """
    files = (workspace.artifact_root / "runs").glob("*/check*.json")
    read = [_read(path) for path in sorted(files, key=lambda path: path.stat().st_mtime_ns)]
    alike = [found for found in read if found and found.persona != report.persona and _alike(found, report)]
    alike.sort(key=lambda found: found.spec.run_id != report.spec.run_id)
    newest = {found.persona: found for found in alike}
    return [newest[persona] for persona in sorted(newest)]


def answers_to(report: CheckReport, probes: Sequence[Probe]) -> list[str]:
    """What it replied to those of the neutral questions that are put to it as well."""
    asked = {probe.question for probe in probes if probe.kind == "neutral"}
    return [answer.reply for answer in report.answers if answer.kind == "neutral" and answer.question in asked]


def rivals_of(report: CheckReport, others: Iterable[CheckReport]) -> dict[str, tuple[float, ...]]:
    """The losses of this persona's held-out conversations under the others' adapters, by label.

    Only where they are the very same conversations, which the base model's own losses tell.
    """
    return {
        other.adapter: other.losses[report.persona]
        for other in _of_other_runs(report, others)
        if _same_rows(report.base_losses.get(report.persona, ()), other.base_losses.get(report.persona, ()))
    }


def gains(report: CheckReport, others: Iterable[CheckReport]) -> Matrix:
    """Nats per token that each adapter gains on each persona's held-out lines over the base model."""
    rows = {one.adapter: _gains(one) for one in (report, *_of_other_runs(report, others)) if one.losses}
    return _matrix(rows)


def sounds_like(report: CheckReport, shares: Mapping[str, float], others: Iterable[CheckReport]) -> Matrix:
    """The share of each adapter's replies that sounds like each persona; `shares` are this one's own."""
    rows = {report.adapter: dict(shares)} | {one.adapter: _own_row(one) for one in others}
    return _matrix({label: row for label, row in rows.items() if row})


def _of_other_runs(report: CheckReport, others: Iterable[CheckReport]) -> list[CheckReport]:
    """Without checks of the very same adapter, which is no rival of its own."""
    return [other for other in others if other.spec.run_id != report.spec.run_id]


def _alike(found: CheckReport, report: CheckReport) -> bool:
    same_guild = found.spec.guild_id == report.spec.guild_id and found.spec.run_id is not None
    return same_guild and found.base_model == report.base_model and _drawn(found) == _drawn(report)


def _drawn(report: CheckReport) -> tuple[float, int]:
    return report.temperature, report.max_new_tokens


def _same_rows(one: Sequence[float], other: Sequence[float]) -> bool:
    return 0 < len(one) == len(other) and bool(np.allclose(one, other, rtol=0, atol=SAME_LOSS))


def _gains(report: CheckReport) -> dict[str, float]:
    return {
        persona: float(np.mean(report.base_losses[persona]) - np.mean(losses))
        for persona, losses in report.losses.items()
        if losses
    }


def _own_row(report: CheckReport) -> dict[str, float]:
    """What a check said of its own adapter, whose row is the first."""
    shares = report.sounds_like
    if report.adapter not in shares.rows:
        return {}
    row = shares.values[shares.rows.index(report.adapter)]
    return {column: value for column, value in zip(shares.columns, row, strict=True) if value is not None}


def _matrix(rows: Mapping[str, Mapping[str, float]]) -> Matrix:
    columns = sorted({column for row in rows.values() for column in row})
    values = tuple(tuple(row.get(column) for column in columns) for row in rows.values())
    return Matrix(rows=tuple(rows), columns=tuple(columns), values=values)
