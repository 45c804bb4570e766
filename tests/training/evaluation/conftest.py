"""The shipped cast, and what each of it says in rows to learn from and in rows held out."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.plays import Play, read_play
from tests.training.evaluation.replies_made import WORKSPACE, Sides, lines_of
from training.data.mix import split
from training.evaluation.voice import Voices
from training.persona.dialogues import persona_conversations
from training.persona.sheet import load_cast
from training.schema import Persona

EARNEST = Path(__file__).resolve().parents[4] / "shared" / "data" / "roleplay" / "earnest"


@pytest.fixture(scope="package")
def cast() -> dict[str, Persona]:
    return load_cast(WORKSPACE, "local")


@pytest.fixture(scope="package")
def sides(cast: dict[str, Persona]) -> Sides:
    """Assistant lines to learn from, and held-out ones, by persona."""
    split_rows = {
        slug: split(persona_conversations(persona, WORKSPACE, "local"), 20, 42) for slug, persona in cast.items()
    }
    train = {slug: lines_of(rows) for slug, (rows, _) in split_rows.items()}
    return train, {slug: lines_of(rows) for slug, (_, rows) in split_rows.items()}


@pytest.fixture(scope="package")
def voices(cast: dict[str, Persona], sides: Sides) -> Voices:
    return Voices(sides[0], [persona.name for persona in cast.values()])


@pytest.fixture(scope="package")
def earnest() -> Play:
    """Five people of a comedy, whose lines a playwright wrote and not we."""
    if not EARNEST.is_dir():
        pytest.skip("the shared samples are not here")
    return read_play(EARNEST)
