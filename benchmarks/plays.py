"""Casts of personas with lines to learn from and lines held out: of a play, as its author gave them, or our own."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.data.mix import split
from training.lessons import said
from training.persona.dialogues import persona_conversations
from training.persona.sheet import load_cast
from training.schema import Fact, Persona, Workspace

NOWHERE = Path("no-such-folder")
WORKSPACE = Workspace(artifact_root=NOWHERE, dataset_warehouse=NOWHERE, cache_dir=NOWHERE)


@dataclass(frozen=True)
class Play:
    """Lines by persona: `train` to learn from, `gold` and `said` two halves of what is held out.

    `said` stand in for replies, so that no line is its own yardstick, nor one that a voice is known by.
    """

    personas: dict[str, Persona]
    train: dict[str, list[str]]
    gold: dict[str, list[str]]
    said: dict[str, list[str]]

    @property
    def known(self) -> dict[str, list[str]]:
        """All lines but those that stand in for replies."""
        return {slug: [*lines, *self.gold[slug]] for slug, lines in self.train.items()}

    @property
    def names(self) -> set[str]:
        """All that would give a speaker away by name."""
        return {word for persona in self.personas.values() for word in (persona.name, *persona.name.split())}


def read_play(folder: Path, *, least: int = 80, seed: int = 1) -> Play:
    """Everybody of the play who has so many lines; two in five of them are held out, drawn by the seed."""
    personas: dict[str, Persona] = {}
    sides: list[dict[str, list[str]]] = [{}, {}, {}]
    for home in sorted(path for path in folder.iterdir() if (path / "dialogue.jsonl").is_file()):
        lines = [json.loads(row)["text"] for row in (home / "dialogue.jsonl").read_text(encoding="utf-8").splitlines()]
        if len(lines) < least:
            continue
        personas[home.name] = _persona(home)
        random.Random(f"{seed} {home.name}").shuffle(lines)
        fifth = len(lines) // 5
        for side, part in zip(sides, (lines[2 * fifth :], lines[:fifth], lines[fifth : 2 * fifth]), strict=True):
            side[home.name] = part
    return Play(personas, *sides)


def shipped_cast(held_out: int = 48) -> Play:
    """The cast that ships with Understudy, as a run of each would learn from it."""
    personas = load_cast(WORKSPACE, "local")
    sides: list[dict[str, list[str]]] = [{}, {}, {}]
    for slug, persona in personas.items():
        train, kept = split(persona_conversations(persona, WORKSPACE, "local"), held_out, 42)
        lines = said(kept, "assistant")
        # In the file they stand by subject.
        random.Random(slug).shuffle(lines)
        half = len(lines) // 2
        for side, part in zip(sides, (said(train, "assistant"), lines[:half], lines[half:]), strict=True):
            side[slug] = part
    return Play(personas, *sides)


def _persona(home: Path) -> Persona:
    if not (home / "profile.md").is_file():
        return Persona(name=home.name.replace("-", " ").title(), slug=home.name, bio="")
    profile = (home / "profile.md").read_text(encoding="utf-8")
    asked: Sequence[dict[str, str]] = json.loads((home / "facts.json").read_text(encoding="utf-8"))
    told = re.search(r"## Who they are\n(.*?)\n\n", profile, re.DOTALL)
    return Persona(
        name=profile.splitlines()[0].removeprefix("# "),
        slug=home.name,
        bio=told[1] if told else "",
        facts=tuple(
            Fact(
                id=f"{home.name}-{i}",
                text=row["answer"],
                question=row["question"],
                accept=tuple(row["accept"]),
                reject=tuple(row["reject"]),
            )
            for i, row in enumerate(asked, 1)
        ),
    )
