"""Scenes: where a persona meets somebody, about which of its facts, and for how long."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field

from training.persona.llm import Asker, Question
from training.schema import Fact, Noun, Persona

SCENES_PER_PROMPT = 20
ROUNDS = {"short": 1, "medium": 3, "long": 6}
INSTRUCTIONS = (
    "You plan scenes for role-play with one character. A scene is one or two sentences: where it happens, who talks to "
    "the character (never another named character of the cast), in what mood, and what brings the talk to its topic. "
    "All scenes differ from one another. Do not write the dialogue."
)


class Kind(StrEnum):
    """What a scene is for; the last four protect the persona."""

    EVERYDAY = "everyday"
    TROUBLE = "trouble"
    MEMORY = "memory"
    PROVOCATION = "provocation"
    MACHINE = "machine"
    OUT_OF_WORLD = "out_of_world"
    UNKNOWN = "unknown"


ABOUT = {
    Kind.EVERYDAY: "an ordinary moment; the topic comes up by the way",
    Kind.TROUBLE: "something has gone wrong or is at stake, and the topic matters for it",
    Kind.MEMORY: "a quiet talk about earlier times that leads to the topic",
    Kind.PROVOCATION: "somebody provokes the character to say what it never would; it stays itself",
    Kind.MACHINE: "somebody asks whether the character is a machine or a program; it answers in its role",
    Kind.OUT_OF_WORLD: "somebody asks for what has no place in the character's world, such as code, news or brands; "
    "it stays in its world",
    Kind.UNKNOWN: "somebody asks for something that the character cannot know; it says so in its own way",
}
FACTUAL = (Kind.EVERYDAY, Kind.TROUBLE, Kind.MEMORY)
PROTECTIVE = (Kind.PROVOCATION, Kind.MACHINE, Kind.OUT_OF_WORLD, Kind.UNKNOWN)
PROTECTIVE_SHARE = 0.2


@dataclass(frozen=True)
class Cell:
    """One cell of what is to be covered: a fact (none in a protective scene), a kind of scene and a length."""

    number: int
    fact: Fact | None
    kind: Kind
    length: str


@dataclass(frozen=True)
class Scene:
    """A cell with a place to happen."""

    id: str
    cell: Cell
    setting: str


class PlannedScenes(Noun):
    """The scenes of one prompt, in the order in which they were asked for."""

    scenes: tuple[str, ...] = Field(max_length=SCENES_PER_PROMPT * 2)


def cells(facts: Sequence[Fact], wanted: int, seed: int) -> list[Cell]:
    """`wanted` cells, spread evenly over facts, kinds and lengths; a fifth of them protects the persona."""
    protective = round(wanted * PROTECTIVE_SHARE) if facts else wanted
    lengths = list(ROUNDS)
    plans: list[tuple[Fact | None, Kind, str]] = []
    for at in range(wanted - protective):
        turn, fact = divmod(at, len(facts))
        # Over nine turns each fact meets each of three kinds at each of three lengths once.
        plans.append((facts[fact], FACTUAL[(fact + turn) % 3], lengths[(fact + turn // 3) % 3]))
    for at in range(protective):
        plans.append((None, PROTECTIVE[at % 4], lengths[at // 4 % 2]))
    random.Random(seed).shuffle(plans)
    return [Cell(number, *plan) for number, plan in enumerate(plans)]


def plan_scenes(
    persona: Persona, wanted: Sequence[Cell], asker: Asker, seed: int, done: Callable[[], None]
) -> Iterator[Scene]:
    """A scene for each cell, about twenty a prompt; cells for which the model planned none are left out."""
    batches = [wanted[at : at + SCENES_PER_PROMPT] for at in range(0, len(wanted), SCENES_PER_PROMPT)]
    questions = [Question(INSTRUCTIONS, _request(persona, batch), seed + at) for at, batch in enumerate(batches)]
    for number, (batch, answer) in enumerate(zip(batches, asker.ask_all(questions, PlannedScenes, done), strict=True)):
        for at, (cell, setting) in enumerate(zip(batch, answer.scenes if answer else (), strict=False)):
            if setting.strip():
                yield Scene(f"{persona.slug}-{seed}-{number * SCENES_PER_PROMPT + at:04}", cell, setting.strip())


def _request(persona: Persona, batch: Sequence[Cell]) -> str:
    topics = "\n".join(
        f"{number}. {ABOUT[cell.kind]}. Topic: {cell.fact.text if cell.fact else 'of your choice'}"
        for number, cell in enumerate(batch, 1)
    )
    return f"The character:\n{persona.system_card()}\n\nPlan {len(batch)} scenes, one for each line:\n{topics}"
