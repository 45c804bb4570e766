"""Replies made for tests, in the shapes that the scorers take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from training.evaluation.schema import Probe, ProbeAnswer
from training.schema import Conversation, Workspace

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
