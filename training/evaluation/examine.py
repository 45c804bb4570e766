"""One pass over a subject: what it replies to the questions, and how well it foretells what it never learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.evaluation import general
from training.evaluation.probes import ANSWER_TOKENS, answered
from training.evaluation.schema import CheckSpec, Continued, Probe, ProbeAnswer
from training.evaluation.subject import Drawn, Subject
from training.pipeline import TEMPERATURE
from training.schema import Conversation, Message

Losses = Mapping[str, tuple[float, ...]]
IN_VOICE = Drawn(ANSWER_TOKENS, TEMPERATURE)
AT_LENGTH = Drawn(256, TEMPERATURE)
"""How a persona's replies are drawn, as right after its training, and how answers to general questions."""


@dataclass(frozen=True)
class Seen:
    """What came of a pass.

    answers: `samples` replies to each question. base_answers: one to each, with the adapter off. losses, base_losses:
    nats per token of each held-out conversation, by persona. general, general_base: of each general text.
    """

    answers: tuple[ProbeAnswer, ...]
    base_answers: tuple[ProbeAnswer, ...]
    losses: Losses
    base_losses: Losses
    general: tuple[float, ...]
    general_base: tuple[float, ...]


def examine(
    subject: Subject,
    card: str,
    probes: Sequence[Probe],
    rows: Mapping[str, Sequence[Conversation]],
    spec: CheckSpec,
) -> Seen:
    """Measure the subject on the rows and the general texts, and ask it every question below the card.

    Losses come first, since weights that are no numbers cannot be asked. Of sample n the seed is the spec's plus n.
    """
    measured = {slug: subject.losses(found) for slug, found in rows.items()}
    own, base = subject.losses(general.texts())
    asked = put(probes, card)
    answers: list[ProbeAnswer] = []
    for sample in range(spec.samples):
        seed = spec.seed + sample
        answers += answered(probes, subject.ask(asked, IN_VOICE, seed), seed, sample)
    with subject.without_adapter():
        told = answered(probes, subject.ask(asked, IN_VOICE, spec.seed), spec.seed)
    return Seen(
        answers=tuple(answers),
        base_answers=tuple(told),
        losses={slug: found[0] for slug, found in measured.items()},
        base_losses={slug: found[1] for slug, found in measured.items()},
        general=own,
        general_base=base,
    )


def work_of(probes: Sequence[Probe], rows: Mapping[str, Sequence[Conversation]], spec: CheckSpec) -> int:
    """How many steps a pass has: replies to draw, and conversations to measure with the adapter on and off."""
    measured = sum(map(len, rows.values())) + len(general.texts())
    return len(probes) * (spec.samples + 1) + 2 * measured


def put(probes: Sequence[Probe], card: str) -> list[list[Message]]:
    """The questions as they are asked: each alone, below the card."""
    head = Message(role="system", content=card)
    return [[head, Message(role="user", content=probe.question)] for probe in probes]


@dataclass(frozen=True)
class SeenGeneral:
    """What came of general questions and texts.

    continued: replies to the turns of held-out conversations; likeness: see `general.likeness`.
    """

    answers: tuple[ProbeAnswer, ...]
    base_answers: tuple[ProbeAnswer, ...]
    general: tuple[float, ...]
    general_base: tuple[float, ...]
    continued: tuple[Continued, ...]
    likeness: Mapping[str, float]


def examine_general(subject: Subject, rows: Sequence[Conversation], spec: CheckSpec) -> SeenGeneral:
    """Ask the general questions with the adapter on and off, and have it answer what was said in held-out `rows`.

    The questions stand alone, below no card: what is looked at is what the adapter does, and not what a card does.
    """
    own, base = subject.losses(general.texts())
    answers: list[ProbeAnswer] = []
    for sample in range(spec.samples):
        answers += _general_answers(subject, spec.seed + sample, sample)
    replies = subject.ask([row.messages[:-1] for row in rows], IN_VOICE, spec.seed) if rows else []
    with subject.without_adapter():
        told = _general_answers(subject, spec.seed, 0)
    continued = tuple(
        Continued(conversation=row.id, seed=spec.seed, reply=reply.text)
        for row, reply in zip(rows, replies, strict=True)
    )
    references = [row.messages[-1].content for row in rows]
    likeness = general.likeness([one.reply for one in continued], references) if rows else {}
    return SeenGeneral(tuple(answers), tuple(told), own, base, continued, likeness)


def general_work(rows: Sequence[Conversation], spec: CheckSpec) -> int:
    """How many steps that has."""
    return len(general.questions()) * (spec.samples + 1) + 2 * len(general.texts()) + len(rows)


def _general_answers(subject: Subject, seed: int, sample: int) -> list[ProbeAnswer]:
    asked = general.questions()
    written = subject.ask([[Message(role="user", content=one.question)] for one in asked], AT_LENGTH, seed)
    return [
        ProbeAnswer(
            probe=one.id,
            kind="general",
            question=one.question,
            sample=sample,
            seed=seed,
            reply=reply.text,
            tokens=reply.tokens,
            ended=reply.ended,
        )
        for one, reply in zip(asked, written, strict=True)
    ]
