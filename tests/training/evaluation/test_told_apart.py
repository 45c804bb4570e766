"""Answers of several personas to one question are told apart by how the cast speaks, where its lines are at hand."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from training.data.prepare import prepare
from training.data.schema import DataAction, DataReport, DataSpec
from training.evaluation.separation import clearly_different
from training.evaluation.voice import Voices, separation
from training.lessons import cast_lines
from training.persona.sheet import load_cast
from training.schema import TrainSpec, Workspace

GUILD = "77"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(
        artifact_root=tmp_path / "artifacts", dataset_warehouse=tmp_path / "warehouse", cache_dir=tmp_path / "cache"
    )


def apart(workspace: Workspace, job_id: str, **replies: str) -> DataReport:
    return prepare(
        DataSpec(action=DataAction.APART, guild_id=GUILD, replies={k.replace("_", "-"): v for k, v in replies.items()}),
        workspace, job_id=job_id, most_rows=1, fetch=lambda upload, path: None,
        on_progress=lambda look: None, should_stop=lambda: False,
    )  # fmt: skip


def test_two_personas_are_told_apart_and_one_persona_from_itself_less(workspace: Workspace) -> None:
    held_out = cast_lines(TrainSpec(job_name="lines", guild_id=GUILD, persona="glordon"), workspace)[1]
    said, other = (max(held_out[slug], key=len) for slug in ("glordon", "lord-grigon"))
    again = sorted(held_out["glordon"], key=len)[-2]
    two = apart(workspace, "a" * 12, glordon=said, lord_grigon=other).separation
    one = apart(workspace, "b" * 12, glordon=said, lord_grigon=again).separation
    assert two
    assert one
    assert (two.right, two.speakers) == (1.0, 2)
    assert one.distance < two.distance


def test_whom_nobody_knows_by_their_lines_is_not_told_apart(workspace: Workspace) -> None:
    assert apart(workspace, "a" * 12, glordon="Honk.", stranger="Well met.").separation is None
    assert apart(workspace, "b" * 12, glordon="Honk.").separation is None


def test_voices_differ_clearly_where_they_are_two_and_seldom_where_they_are_one(workspace: Workspace) -> None:
    train, held_out = cast_lines(TrainSpec(job_name="lines", guild_id=GUILD, persona="glordon"), workspace)
    cast = load_cast(workspace, GUILD).values()
    voices = Voices(train, {name for who in cast for name in (who.name, *who.aliases)})
    drawn = random.Random(3)

    def clear(alike: bool) -> bool:
        one, other = drawn.sample(sorted(held_out), 2)
        said, again, third = drawn.sample(held_out[one], 3)
        told = third if alike else drawn.choice(held_out[other])
        own = separation(voices, {one: said, other: again})
        return clearly_different(separation(voices, {one: said, other: told}), own)

    assert sum(clear(alike=False) for _ in range(100)) > 75
    assert sum(clear(alike=True) for _ in range(100)) < 12
