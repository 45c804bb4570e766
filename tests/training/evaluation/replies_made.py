"""Replies made for tests, in the shapes that the scorers take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.evaluation.schema import CheckReport, CheckSpec, Probe, ProbeAnswer
from training.schema import Conversation, Verdict, Workspace

Sides = tuple[dict[str, list[str]], dict[str, list[str]]]
NOWHERE = Path("no-such-folder")
WORKSPACE = Workspace(artifact_root=NOWHERE, dataset_warehouse=NOWHERE, cache_dir=NOWHERE)


def lines_of(rows: Sequence[Conversation]) -> list[str]:
    return [message.content for row in rows for message in row.messages if message.role == "assistant"]


def answer(probe: Probe, reply: str, sample: int = 0, ended: bool = True) -> ProbeAnswer:
    return ProbeAnswer(
        probe=probe.id,
        kind=probe.kind,
        question=probe.question,
        sample=sample,
        seed=42 + sample,
        reply=reply,
        tokens=len(reply.split()),
        ended=ended,
    )


def answers(probes: Sequence[Probe], replies: Sequence[str], ended: Sequence[bool] | None = None) -> list[ProbeAnswer]:
    """The replies to the probes in turn, beginning again where there are more replies than probes."""
    said = [
        answer(probes[i % len(probes)], reply, sample=i // len(probes), ended=ended is None or ended[i])
        for i, reply in enumerate(replies)
    ]
    assert len(said) >= len(probes)
    return said


def neutral(replies: Sequence[str], questions: int | None = None) -> list[ProbeAnswer]:
    """The replies to so many neutral questions, by default to one each."""
    count = questions or len(replies)
    return answers([Probe(id=f"neutral-{i}", kind="neutral", question=f"Question {i}?") for i in range(count)], replies)


def replies_of(lines: Sequence[str], probes: Sequence[Probe]) -> list[str]:
    """One line a probe, beginning again where there are too few."""
    return [lines[i % len(lines)] for i in range(len(probes))]


def report(persona: str, run_id: str | None, **told: Any) -> CheckReport:
    """A check of a run's adapter as this persona, in which nothing was found but what is told."""
    empty: dict[str, Any] = {
        "job_id": "check0000000",
        "spec": CheckSpec(guild_id="1", persona=persona, run_id=run_id),
        "persona": persona,
        "name": persona.title(),
        "adapter": f"{persona} by {run_id}",
        "base_model": "base",
        "rehearsal": False,
        "device": "cpu",
        "system": "",
        "temperature": 0.7,
        "max_new_tokens": 96,
        "seconds": 1.0,
        "verdict": Verdict.PASS,
        "lines": (),
    }
    return CheckReport.model_validate(empty | told)
