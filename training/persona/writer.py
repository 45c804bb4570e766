"""Facts → scenes → dialogues → checks: a persona's conversations, written by a language model and held to its sheet."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import Field

from training.data.canonical import Dropped, Turn, canonical_turns
from training.persona.checks import Checks
from training.persona.llm import Asker, Question, Usage
from training.persona.scenes import ABOUT, ROUNDS, SCENES_PER_PROMPT, Cell, Scene, cells, plan_scenes
from training.persona.world import passages, world_facts
from training.schema import Conversation, Fact, Message, Noun, Persona

PASSES = 3
"""Cells whose dialogues were refused are asked for again, with other scenes, this often in all."""
DIALOGUES_AT_ONCE = 40
CANDIDATES = 4
"""The judge tells the speaker from three others of the cast."""
Stage = Literal["world", "scenes", "dialogues", "judging"]
WRITE = (
    "You write role-play dialogues between a user and one character, as training data. The character never leaves its "
    "role, speaks only in its own way, and knows nothing that its description and the given facts do not tell. It "
    "speaks of itself as I. The user talks like a real person, never recites the facts, and speaks first; the "
    "character speaks last. No narration, no stage directions, no names in front of the turns."
)
JUDGE = (
    "You check a dialogue against the description of characters. Say who of them speaks in the character's turns, "
    "going by the voice; list the ids of facts that those turns contradict (not those they leave out); and say whether "
    "the character does something it never would."
)


class WrittenTurn(Noun):
    """One turn as the language model wrote it."""

    speaker: Literal["user", "character"]
    text: str = Field(min_length=1)


class WrittenDialogue(Noun):
    """One dialogue as the language model wrote it, with the ids of the facts that it used."""

    turns: tuple[WrittenTurn, ...] = Field(min_length=2, max_length=40)
    cites: tuple[str, ...] = Field(max_length=20)


class Judgement(Noun):
    """What the judge says of one dialogue."""

    speaker: str
    contradicts: tuple[str, ...] = Field(max_length=20)
    does_what_it_never_would: bool


class WritingProgress(Noun):
    """One look at a running build."""

    stage: Stage
    done: int
    total: int
    accepted: int
    rejected: int
    usage: Usage


@dataclass(frozen=True)
class Draft:
    """A dialogue that a scene led to."""

    scene: Scene
    messages: tuple[Message, ...]
    cites: tuple[str, ...]


@dataclass(frozen=True)
class Written:
    """What came of a build.

    rejected: every refused dialogue with its reason. coverage: how many accepted ones tell each fact, are of each kind
    of scene and of each length.
    """

    conversations: tuple[Conversation, ...]
    rejected: tuple[dict[str, object], ...]
    facts: tuple[Fact, ...]
    coverage: dict[str, dict[str, int]]
    usage: Usage
    model: str

    def notes(self) -> tuple[str, ...]:
        """What a dataset's card says of the writing, a sentence each."""
        told = self.coverage["fact"]
        missing = [fact.id for fact in self.facts if fact.id not in told]
        spread = ", ".join(f"{count} {name}" for name, count in self.coverage["length"].items())
        cost = f" for {self.usage.dollars:.2f} US dollars" if self.usage.dollars else ""
        return (
            f"{self.model} wrote {len(self.conversations)} dialogues ({spread or 'none'}); "
            f"{len(self.rejected)} were refused.",
            f"They tell {len(told)} of {len(self.facts)} facts"
            + (f"; none tells {', '.join(missing[:10])}." if missing else "."),
            f"{self.usage.calls} calls, {self.usage.prompt_tokens:,} tokens read and "
            f"{self.usage.completion_tokens:,} written{cost}.",
        )


@dataclass
class Writer:
    """Has dialogues written for one persona.

    cast: the other personas, whose facts are not this one's to tell. said: dialogues that exist already. judge: whether
    the model also judges each dialogue (another server is better: one writes, another judges).
    """

    persona: Persona
    cast: Sequence[Persona]
    asker: Asker
    said: Sequence[Conversation] = ()
    judge: Asker | None = None
    seed: int = 42
    lang: str = "en"
    on_progress: Callable[[WritingProgress], None] = lambda _: None
    _accepted: list[Conversation] = field(default_factory=list)
    _rejected: list[dict[str, object]] = field(default_factory=list)
    _covered: dict[str, Counter[str]] = field(
        default_factory=lambda: {axis: Counter() for axis in ("fact", "scene", "length")}
    )

    def write(self, wanted: int, world: Sequence[Path] = ()) -> Written:
        """At most `wanted` accepted dialogues, spread over facts, scenes and lengths.

        Raises UnreadableData for a bad lore document, LanguageModelFailed, or RunStopped; the same call goes on then.
        """
        facts = [*self.persona.facts, *self._facts_of(world)]
        checks = Checks(self.persona, {fact.id: fact for fact in facts}, self.cast, self.said)
        missing = cells(facts, wanted, self.seed)
        for attempt in range(PASSES):
            if missing:
                missing = self._one_pass(missing, checks, self.seed + 1000 * attempt)
        return Written(
            conversations=tuple(self._accepted),
            rejected=tuple(self._rejected),
            facts=tuple(facts),
            coverage={axis: dict(counts.most_common()) for axis, counts in self._covered.items()},
            usage=_sum(self._usages()),
            model=self.asker.model,
        )

    def _facts_of(self, world: Sequence[Path]) -> list[Fact]:
        texts = passages(world)
        facts, rejected = world_facts(texts, self.asker, self.seed, self._counter("world", len(texts)))
        self._rejected += [dict(row) for row in rejected]
        return facts

    def _one_pass(self, wanted: list[Cell], checks: Checks, seed: int) -> list[Cell]:
        """Scenes and dialogues for these cells; returns those that have no accepted dialogue after it."""
        prompts = -(-len(wanted) // SCENES_PER_PROMPT)
        scenes = list(plan_scenes(self.persona, wanted, self.asker, seed, self._counter("scenes", prompts)))
        written = self._counter("dialogues", len(scenes))
        judged = self._counter("judging", len(scenes))
        told: set[int] = set()
        for at in range(0, len(scenes), DIALOGUES_AT_ONCE):
            drafts = self._drafts(scenes[at : at + DIALOGUES_AT_ONCE], seed, written)
            for draft, fault in zip(drafts, self._verdicts(drafts, seed, judged), strict=True):
                if self._take(draft, fault, checks):
                    told.add(draft.scene.cell.number)
            # Those of this batch were taken or refused only after the last answer was told of.
            stage: Stage = "judging" if self.judge else "dialogues"
            self._tell(stage, min(at + DIALOGUES_AT_ONCE, len(scenes)), len(scenes))
        return [cell for cell in wanted if cell.number not in told]

    def _drafts(self, scenes: Sequence[Scene], seed: int, done: Callable[[], None]) -> list[Draft]:
        questions = [Question(WRITE, self._request(scene), seed) for scene in scenes]
        drafts = []
        for scene, answer in zip(scenes, self.asker.ask_all(questions, WrittenDialogue, done), strict=True):
            if answer is None:
                self._refuse(scene, "no dialogue in the shape that was asked for", ())
                continue
            messages = canonical_turns(_turns(answer))
            if isinstance(messages, Dropped):
                self._refuse(scene, messages.reason, answer.turns)
            else:
                drafts.append(Draft(scene, messages, answer.cites))
        return drafts

    def _verdicts(self, drafts: Sequence[Draft], seed: int, done: Callable[[], None]) -> list[str | None]:
        """What the judge finds wrong with each; nothing where there is no judge, or it gives no usable answer."""
        if self.judge is None:
            return [None] * len(drafts)
        line_ups = [self._line_up(draft.scene) for draft in drafts]
        questions = [
            Question(JUDGE, _case(draft, line_up), seed, temperature=0.0)
            for draft, line_up in zip(drafts, line_ups, strict=True)
        ]
        answers = self.judge.ask_all(questions, Judgement, done)
        return [self._judged(answer) for answer in answers]

    def _judged(self, answer: Judgement | None) -> str | None:
        if answer is None:
            return None
        if answer.speaker.strip().casefold() not in {
            name.casefold() for name in (self.persona.name, self.persona.slug)
        }:
            return f"sounds like {answer.speaker[:60]} to the judge"
        if answer.contradicts:
            return f"contradicts {answer.contradicts[0][:60]}, says the judge"
        return "does what it never would, says the judge" if answer.does_what_it_never_would else None

    def _take(self, draft: Draft, fault: str | None, checks: Checks) -> bool:
        cell = draft.scene.cell
        expected = (cell.fact.id,) if cell.fact else ()
        fault = fault or checks.fault(draft.messages, draft.cites, expected)
        if fault:
            self._refuse(draft.scene, fault, draft.messages)
            return False
        self._accepted.append(self._row(draft))
        self._covered["fact"].update(draft.cites)
        self._covered["scene"][cell.kind] += 1
        self._covered["length"][cell.length] += 1
        return True

    def _row(self, draft: Draft) -> Conversation:
        cell = draft.scene.cell
        meta = {"kind": cell.kind.value, "length": cell.length, "scene": draft.scene.setting}
        if draft.cites:
            meta["facts"] = ",".join(draft.cites)
        return Conversation(
            id=draft.scene.id,
            source=f"{self.persona.slug}-written",
            license=f"generated by {self.asker.model}",
            lang=self.lang,
            messages=draft.messages,
            meta=meta,
        )

    def _refuse(self, scene: Scene, reason: str, turns: Sequence[Message | WrittenTurn]) -> None:
        self._rejected.append(
            {
                "id": scene.id,
                "reason": reason,
                "scene": scene.setting,
                "fact": scene.cell.fact.id if scene.cell.fact else None,
                "turns": [turn.model_dump() for turn in turns],
            }
        )

    def _request(self, scene: Scene) -> str:
        cell = scene.cell
        parts = [f"The character:\n{self.persona.system_card()}"]
        if self.persona.traits:
            parts.append("Traits: " + "; ".join(self.persona.traits))
        if self.persona.taboos:
            parts.append("It never does or says: " + "; ".join(self.persona.taboos))
        if samples := self._samples(scene):
            parts.append("How it has spoken before (do not repeat these lines):\n" + "\n".join(samples))
        parts.append(f"The scene: {scene.setting}\nWhat it is for: {ABOUT[cell.kind]}")
        if cell.fact:
            parts.append(f"The fact that comes up, by its id:\n{cell.fact.id}: {cell.fact.text}\nPut that id in cites.")
        else:
            parts.append("No fact has to come up; leave cites empty unless one of its ids is known to you.")
        parts.append(f"Write {ROUNDS[cell.length]} exchange(s): the user, then the character, and so on.")
        return "\n\n".join(parts)

    def _samples(self, scene: Scene) -> list[str]:
        lines = [message.content for row in self.said for message in row.messages if message.role == "assistant"]
        return random.Random(scene.id).sample(lines, min(4, len(lines)))

    def _line_up(self, scene: Scene) -> list[Persona]:
        """The persona among up to three others, in an order of the scene's own."""
        order = random.Random(scene.id)
        line_up = [self.persona, *order.sample(list(self.cast), min(CANDIDATES - 1, len(self.cast)))]
        order.shuffle(line_up)
        return line_up

    def _counter(self, stage: Stage, total: int) -> Callable[[], None]:
        done = 0

        def count() -> None:
            nonlocal done
            done += 1
            self._tell(stage, done, total)

        return count

    def _tell(self, stage: Stage, done: int, total: int) -> None:
        self.on_progress(
            WritingProgress(
                stage=stage,
                done=done,
                total=total,
                accepted=len(self._accepted),
                rejected=len(self._rejected),
                usage=_sum(self._usages()),
            )
        )

    def _usages(self) -> list[Usage]:
        return [self.asker.usage, *([self.judge.usage] if self.judge and self.judge is not self.asker else [])]


def _turns(answer: WrittenDialogue) -> list[Turn]:
    return [("user" if turn.speaker == "user" else "assistant", turn.text) for turn in answer.turns]


def _case(draft: Draft, line_up: Sequence[Persona]) -> str:
    cards = "\n\n".join(_description(persona) for persona in line_up)
    talk = "\n".join(f"{'User' if m.role == 'user' else 'Character'}: {m.content}" for m in draft.messages)
    return f"The characters:\n\n{cards}\n\nThe dialogue:\n{talk}"


def _description(persona: Persona) -> str:
    facts = "\n".join(f"{fact.id}: {fact.text}" for fact in persona.facts)
    taboos = "; ".join(persona.taboos) or "nothing in particular"
    return f"{persona.system_card()}\nNever: {taboos}\nFacts:\n{facts}"


def _sum(usages: Sequence[Usage]) -> Usage:
    return Usage(
        calls=sum(usage.calls for usage in usages),
        prompt_tokens=sum(usage.prompt_tokens for usage in usages),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
        dollars=sum(usage.dollars for usage in usages),
    )
