"""Example dialogues as people write them into sheets and cards."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from training.schema import Message

Example = tuple[Message, ...]

START = "<START>"
USER = "User"
_BREAK = re.compile(
    r"\s*(?:<start>|[-*_=]{3,}|#{1,6}\s.*|(?:\*\*)?(?:example|scene|beispiel)\b[^:]{0,20}:?(?:\*\*)?)\s*", re.I
)
_SPOKEN = re.compile(
    r"\s*(?:[-*>•]\s*){0,6}(?:\*\*|__)?(?P<who>[^\s:：*][^:：*\n]{0,39}?)(?:\*\*|__)?\s*[:：](?:\*\*|__)?\s*(?P<text>.*)"
)
_QUOTED = re.compile(
    r"\s*(?:[-*•]|\d+[.)])\s+[\"“«](?P<text>[^\"”»]+)[\"”»]\s*(?:(?:[-–—=]+>?|→)\s*[\"“«](?P<reply>[^\"”»]+)[\"”»])?\s*"
)
_ASKERS = {
    "user",
    "{{user}}",
    "<user>",
    "you",
    "visitor",
    "guest",
    "human",
    "q",
    "question",
    "player",
    "me",
    "anon",
    "stranger",
    "interviewer",
    "customer",
    "client",
    "nutzer",
    "frage",
    "用户",
    "访客",
    "玩家",
    "你",
    "问",
    # What a card's {{user}} is filled in with.
    "friend",
}
_ANSWERERS = {
    "{{char}}",
    "<bot>",
    "char",
    "character",
    "assistant",
    "bot",
    "a",
    "answer",
    "reply",
    "antwort",
    "角色",
    "答",
}
_NO_NAME = frozenset(
    ["the", "of", "von", "van", "der", "and", "lord", "lady", "captain", "doctor", "major", "miss", "sir"]
)
"""Parts of names that a stranger may share."""


def read_examples(text: str, names: Iterable[str]) -> tuple[Example, ...]:
    """The dialogues in a text: `User:` and `Name:` lines or quoted lines, apart by `<START>`, rules or headings.

    A part of one of `names` is enough, and of two speakers of whom one is an asker the other is the persona. Whoever
    else speaks is the user. A line that nobody is named for goes on with the one before it.
    """
    own = _own_names(text, names)
    dialogues: list[list[Message]] = [[]]
    for line in (" ".join(line.split()) for line in text.splitlines()):
        if _BREAK.fullmatch(line):
            dialogues.append([])
        elif quoted := _QUOTED.fullmatch(line):
            dialogues.append(_quotes(quoted["text"], quoted["reply"]))
        elif (spoken := _SPOKEN.fullmatch(line)) and _is_speaker(spoken["who"], own):
            role: Literal["user", "assistant"] = "assistant" if spoken["who"].casefold().strip() in own else "user"
            _say(dialogues, role, _unquoted(spoken["text"]))
        elif line.strip():
            _go_on(dialogues[-1], line.strip())
    spoken_in = (tuple(turn for turn in turns if turn.content.strip()) for turns in dialogues)
    return tuple(turns for turns in spoken_in if turns)


def write_examples(examples: Sequence[Example], speaker: str, user: str = USER, start: str = START) -> str:
    """The dialogues as text, one turn a line; where a turn has several lines, those after the first are indented."""
    lines: list[str] = []
    for dialogue in examples:
        lines.append(start)
        for turn in dialogue:
            who = speaker if turn.role == "assistant" else user
            lines.append(f"{who}: " + "\n  ".join(turn.content.splitlines()))
    return "\n".join(lines)


def _own_names(text: str, names: Iterable[str]) -> set[str]:
    """All that the persona is called in this text."""
    whole = {name.casefold().strip() for name in names}
    parts = {part for name in whole for part in re.findall(r"[^\W\d_]{3,}", name)} - _NO_NAME - _ASKERS
    own = whole | parts | _ANSWERERS
    found = (_SPOKEN.fullmatch(" ".join(line.split())) for line in text.splitlines())
    speakers = {match["who"].casefold() for match in found if match and _is_speaker(match["who"], own)}
    others = speakers - _ASKERS
    return own | others if len(speakers) == 2 and len(others) == 1 else own


def _is_speaker(who: str, own: set[str]) -> bool:
    """Whether the words in front of a colon name somebody, rather than begin a sentence."""
    plain = who.strip()
    known = plain.casefold() in own | _ASKERS
    return known or (len(plain.split()) <= 3 and plain[:1].isupper() and not re.search(r"[.,!?\"“]", plain))


def _say(dialogues: list[list[Message]], role: Literal["user", "assistant"], text: str) -> None:
    # A user's turn straight after a blank-line break would be lost in the dialogue before; two answers stay apart too.
    dialogues[-1].append(Message(role=role, content=text or " "))


def _go_on(turns: list[Message], text: str) -> None:
    if turns:
        joined = f"{turns[-1].content}\n{text}".strip()
        turns[-1] = turns[-1].model_copy(update={"content": joined})


def _quotes(text: str, reply: str | None) -> list[Message]:
    """A quoted pair is a question and its answer; one quoted line alone is the persona's."""
    if reply:
        return [Message(role="user", content=text.strip()), Message(role="assistant", content=reply.strip())]
    return [Message(role="assistant", content=text.strip())]


def _unquoted(text: str) -> str:
    inner = re.fullmatch(r"[\"“«](?P<text>[^\"”»“«]+)[\"”»]", text.strip())
    return (inner["text"] if inner else text).strip()
