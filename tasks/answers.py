"""Reads what the scripts in `tasks/lua` answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tasks.jobs import AdapterVersion, JobView
from training.evaluation.schema import CheckReport
from training.schema import Machine

PAYLOADS = ("progress", "checkpoint", "report", "version", "plan", "reply", "data", "check", "problem")


def payloads(fields: dict[str, str]) -> dict[str, Any]:
    """The parts of a record or an event that are JSON."""
    return {name: json.loads(fields[name]) for name in PAYLOADS if name in fields}


def pairs(flat: Sequence[str]) -> dict[str, str]:
    """A hash, which scripts answer as names and values in turn."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def view(raw: Any) -> JobView | None:
    """A record and its place in the queue, 0 for none, as a door shows them."""
    if not raw:
        return None
    fields = pairs(raw[0])
    return JobView.model_validate(
        {
            "job": json.loads(fields["job"]),
            "state": fields["state"],
            "position": raw[1] or None,
            "attempts": fields["attempts"],
            "wished": fields.get("wished", 0),
            **payloads(fields),
        }
    )


def weakest(raw: list[str]) -> Machine | None:
    """The machine with the least memory, any without a card first."""
    found = [Machine.model_validate_json(told) for told in raw]
    return min(found, key=lambda machine: (machine.device == "cuda", machine.free_gib), default=None)


def version(job_id: str, base_model: str) -> str:
    """What the registry holds of one version."""
    return json.dumps({"job_id": job_id, "base_model": base_model})


def order(kept: Sequence[AdapterVersion]) -> str:
    """Which versions were live, by their jobs and in that order, as a registry holds it."""
    return ",".join(job_id for _, job_id in sorted((place, entry.job_id) for entry in kept for place in entry.lived))


def adapter_versions(guild_id: str, persona: str, fields: dict[str, str]) -> list[AdapterVersion]:
    """The versions that a registry holds, oldest first."""
    lived = fields.get("lived", "").split(",")
    found = [
        AdapterVersion(
            guild_id=guild_id,
            persona=persona,
            version=int(name.removeprefix("version:")),
            live=name == f"version:{fields['live']}",
            lived=tuple(place for place, job_id in enumerate(lived) if job_id == told["job_id"]),
            **told,
        )
        for name, value in fields.items()
        if name.startswith("version:") and (told := json.loads(value))
    ]
    return sorted(found, key=lambda entry: entry.version)


def outline(report: CheckReport) -> str:
    """What stays of a check once its record is gone: all but the single replies and losses."""
    return report.outline().model_dump_json()


def places(report: CheckReport) -> tuple[str, ...]:
    """Where a registry of checks holds this one: by its run ("" is the base model), and by the two that it compared.

    Comparisons by more replies to each question have places of their own, so that one by fewer hides none of them;
    which of the two was compared with the other makes no difference.
    """
    run, spec = report.spec.run_id or "", report.spec
    if not (spec.compares and report.comparison):
        return (run,)
    return run, ":".join((*sorted((run, spec.against or "")), str(spec.samples)))


def checks(flat: Sequence[str]) -> dict[str, CheckReport]:
    """The newest check of each adapter, by the run that it checked."""
    return {place: CheckReport.model_validate_json(told) for place, told in pairs(flat).items() if ":" not in place}


def comparisons(flat: Sequence[str]) -> list[CheckReport]:
    """The newest check of each two adapters that compared them by so many replies, those by the most first."""
    found = [(place.count(":"), told) for place, told in pairs(flat).items() if ":" in place]
    # Of an earlier release, which had one place for each two, are those with one colon: they count after the others.
    reports = [(colons, CheckReport.model_validate_json(told)) for colons, told in found]
    return [report for _, report in sorted(reports, key=lambda entry: (-entry[1].spec.samples, -entry[0]))]
