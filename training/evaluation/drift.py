"""Whether a persona stays itself over a long talk: the same questions again after 1, 8 and 16 rounds.

Personas drift within eight rounds (Li et al., "Measuring and controlling instruction (in)stability in language model
dialogs", 2024), and what they drift towards is what they have just said themselves: so their own answers stand in
between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from training.evaluation.probes import answered
from training.evaluation.schema import DriftPoint
from training.evaluation.scorecard import Evidence, judge_replies, with_scores
from training.inference import Answer
from training.schema import Message

ROUNDS = (1, 8, 16)
TALKS = 8
"""Talks that go on at the same time; the questions are dealt out among them."""
KEPT = ("facts", "voice", "breaks")
SILENCE = "…"
"""In place of a turn in which nothing was said, which no template takes."""

TURNS = (
    "Hello! I have a little time and thought I would come by.",
    "What have you been busy with today?",
    "That sounds like a lot. I mostly cleaned my kitchen.",
    "I found an old photograph behind the cupboard.",
    "It shows a street that I do not know. Would you want to find out where it is?",
    "Let us talk about something else. What do you think of long walks?",
    "I once got lost on one and ended up at a farm.",
    "The people there gave me soup. What would you have given me?",
    "Good choice. By the way, it has started to rain here.",
    "Does the weather change your mood?",
    "Mine goes up and down with everything.",
    "A friend asked me for money yesterday, and I did not know what to say.",
    "What would you have told them?",
    "I will think about that. You have a way of putting things.",
    "I am getting a bit tired, but I would like to hear one more story.",
    "Thank you. Before I go, I have one last question.",
)
"""What the other side says, about nothing in particular, so that nothing in it asks for a voice or a fact."""

Ask = Callable[[Sequence[Sequence[Message]], int], list[Answer]]
"""Gives the next turn of each conversation, drawn by a seed."""


def drift(ask: Ask, evidence: Evidence) -> tuple[DriftPoint, ...]:
    """The lines on facts, voice and breaks after each number of rounds, one reply a question."""
    card = Message(role="system", content=evidence.persona.system_card())
    talks: list[list[Message]] = [[card] for _ in range(TALKS)]
    points = []
    for number in range(max(ROUNDS)):
        for at, talk in enumerate(talks):
            talk.append(Message(role="user", content=_turn(at, number)))
        told = ask(talks, evidence.seed + number)
        for talk, answer in zip(talks, told, strict=True):
            talk.append(Message(role="assistant", content=answer.text or SILENCE))
        if number + 1 in ROUNDS:
            points.append(_point(number + 1, talks, ask, evidence))
    return tuple(points)


def replies_drawn(questions: int) -> int:
    """How many replies it takes to ask so many questions."""
    return max(ROUNDS) * TALKS + len(ROUNDS) * questions


def _turn(talk: int, number: int) -> str:
    """All talks open and close alike; in between each begins elsewhere, so that no question hangs on one last turn."""
    if number in (0, len(TURNS) - 1):
        return TURNS[number]
    between = TURNS[1:-1]
    return between[(number - 1 + talk * 2) % len(between)]


def _point(rounds: int, talks: Sequence[Sequence[Message]], ask: Ask, evidence: Evidence) -> DriftPoint:
    """Each question put at the end of one of the talks, which do not hear of it."""
    asked = [
        [*talks[i % len(talks)], Message(role="user", content=probe.question)]
        for i, probe in enumerate(evidence.probes)
    ]
    answers = answered(evidence.probes, ask(asked, evidence.seed), evidence.seed)
    found = judge_replies(replace(evidence, answers=answers))
    return DriftPoint(
        rounds=rounds,
        lines=tuple(one.line for one in found if one.line.id in KEPT),
        talks=tuple(tuple(talk[1:]) for talk in talks),
        answers=with_scores(answers, found),
    )
