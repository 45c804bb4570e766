"""What every format becomes: turns in canonical order, and an account of every row that did not make it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import orjson
from pydantic import TypeAdapter

from training.data.schema import Inspection, RowProblem, Step
from training.schema import Conversation, Message

Role = Literal["system", "user", "assistant"]
Turn = tuple[Role, str]
PROBLEMS_SHOWN = 20

# Checks all of a conversation's turns at once, in two thirds of the time that they take one by one.
_MESSAGES = TypeAdapter(tuple[Message, ...])

NO_TURNS = "no turns"
NO_ANSWER = "no assistant turn"
NO_QUESTION = "no user turn"


@dataclass(frozen=True)
class Dropped:
    """Why a row is left out, in the few words that its count is listed under."""

    reason: str


def canonical_turns(turns: Iterable[Turn]) -> tuple[Message, ...] | Dropped:
    """An optional system turn, then user and assistant in turn, ending with the assistant; or why that cannot be.

    Blank turns vanish, neighbours of one role are merged by a newline, all system turns move to the front, a leading
    assistant and a trailing user are dropped. No turn is invented.
    """
    system: list[str] = []
    spoken: list[Turn] = []
    for role, text in turns:
        if not text.strip():
            continue
        if role == "system":
            system.append(text)
        elif spoken and spoken[-1][0] == role:
            spoken[-1] = (role, f"{spoken[-1][1]}\n{text}")
        else:
            spoken.append((role, text))
    roles = {role for role, _ in spoken}
    if spoken and spoken[0][0] == "assistant":
        spoken = spoken[1:]
    if spoken and spoken[-1][0] == "user":
        spoken = spoken[:-1]
    if not spoken:
        return Dropped(NO_TURNS if not roles else NO_ANSWER if "assistant" not in roles else NO_QUESTION)
    head: list[Turn] = [("system", "\n".join(system))] if system else []
    return _MESSAGES.validate_python([{"role": role, "content": text} for role, text in head + spoken])


def to_line(conversation: Conversation) -> bytes:
    """The conversation as its line of a JSONL file, newline included; half the cost of `model_dump_json`."""
    row = {
        "id": conversation.id,
        "source": conversation.source,
        "license": conversation.license,
        "lang": conversation.lang,
        "messages": [{"role": message.role, "content": message.content} for message in conversation.messages],
        "meta": conversation.meta,
    }
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


@dataclass
class Tally:
    """Counts what becomes of the rows of one source; every row is either used or dropped, exactly once."""

    format: str = ""
    rows: int = 0
    used: int = 0
    conversations: int = 0
    turns: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    splits: dict[str, bool] = field(default_factory=dict)
    problems: list[RowProblem] = field(default_factory=list)

    def see(self, row: int) -> None:
        """Hear that a row was read; what becomes of it is told later, of some formats once all are read."""

    def use(self, rows: int = 1) -> None:
        """Note rows that went into a conversation."""
        self.rows += rows
        self.used += rows

    def drop(self, row: int, reason: str) -> None:
        """Note a row that is left out; `row` counts from 1."""
        self.rows += 1
        self.dropped[reason] += 1
        self._show(row, reason)

    def lose(self, row: int, reason: str) -> None:
        """Note a part that is left out of a row, whatever becomes of the rest."""
        self.lost[reason] += 1
        self._show(row, reason)

    def made(self, conversation: Conversation) -> None:
        """Note a conversation that came out."""
        self.conversations += 1
        self.turns += len(conversation.messages) - (conversation.messages[0].role == "system")
        self.languages[conversation.lang or "und"] += 1
        if kind := conversation.meta.get("kind"):
            self.kinds[kind] += 1

    def found_language(self, claimed: str, found: str) -> None:
        """Note the language of a conversation that was counted under another."""
        self.languages[claimed or "und"] -= 1
        self.languages[found] += 1
        self.languages += Counter()  # leaves out what came to nothing

    def inspection(self) -> Inspection:
        """The account so far."""
        return Inspection(
            format=self.format,
            rows=self.rows,
            used=self.used,
            conversations=self.conversations,
            turns=self.turns,
            languages=dict(self.languages.most_common()),
            kinds=dict(self.kinds.most_common()),
            dropped=dict(self.dropped.most_common()),
            lost=dict(self.lost.most_common()),
            splits=dict(sorted(self.splits.items())),
            problems=tuple(self.problems),
        )

    def step(self) -> Step:
        """The reading as a step of a dataset's making, in rows."""
        return Step(name="read", before=self.rows, after=self.used, removed=dict(self.dropped.most_common()))

    def notes(self) -> list[str]:
        """What a dataset's card should tell of the reading besides its step, one sentence each."""
        notes = []
        if not all(self.splits.values()):
            read = ", ".join(split for split, was_read in sorted(self.splits.items()) if was_read)
            notes.append(f"Splits held: {', '.join(sorted(self.splits))}; read: {read}.")
        if self.used != self.conversations:
            notes.append(f"{self.used:,} rows that were used became {self.conversations:,} conversations.")
        notes += [f"Left out of rows that are used: {reason}, {count:,}." for reason, count in self.lost.most_common()]
        return notes

    def _show(self, row: int, reason: str) -> None:
        if len(self.problems) < PROBLEMS_SHOWN:
            self.problems.append(RowProblem(row=row, why=reason))
