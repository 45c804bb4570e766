"""Formats of one instruction and one answer: Alpaca and BELLE, Firefly, prompt and completion."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from training.data.canonical import NO_ANSWER, NO_QUESTION, Dropped, Role, Tally, Turn
from training.data.chats import NEEDS_MEDIA, NOT_TEXT, has_media, language_in, turns_of
from training.data.reading import Draft, Reading, convert_rows
from training.schema import Conversation

if TYPE_CHECKING:
    from training.data.files import Row

MERGED = "merged instructions"
QUESTIONS = ("prompt", "question", "query", "instruction")
ANSWERS = ("completion", "response", "answer", "output")

_NO_INPUT = re.compile(
    r"\W*(no[\s_-]*inputs?(\s+(is\s+)?(needed|required|provided|given|necessary|available))?"
    r"|n\s*/\s*a|not\s+applicable|无|无输入|没有输入)\W*",
    re.IGNORECASE,
)
_NO_OUTPUT = re.compile(r"\W*no[\s_-]*outputs?\W*", re.IGNORECASE)
_MERGED = re.compile(r"^[ \t]*#{2,}[ \t]*\n\s*\d+\s*\.\s*(Instruction|指令)\s*[:：]", re.MULTILINE | re.IGNORECASE)
_MEDIA = re.compile(
    r"\s*(https?://\S+|[<\[(]\s*(an?\s+|the\s+)?(picture|image|photo|photograph|painting|video|audio|sound|file|link"
    r"|url|graph|chart|diagram|map|图片|图像|照片|视频|音频)s?\b[^<>\[\]()]{0,60}[>\])])\s*",
    re.IGNORECASE,
)
_PACKED = re.compile(r"^(Human|Assistant)\s*[:：]", re.MULTILINE)
# Joiners (U+200C, U+200D) stay: emoji and several scripts are written with them.
_ZERO_WIDTH = dict.fromkeys(map(ord, "\u200b\u2060\ufeff"))
_CHINESE = re.compile(r"[\u3400-\u9fff]")
_CODE = re.compile(r"[`\"'{}=;<>]|\b[A-Za-z]:\\")
# A run of the two characters backslash and n that stands beside Chinese text or at an end, and not inside quotes.
_LITERAL_NEWLINES = re.compile(
    r"""(?<![!-~])(?:\\n)++(?!["'`])|(?<!["'`\\])(?:\\n)++(?=$|[^\x00-\x7f])""",
)


# --- formats -------------------------------------------------------------------------------------------------------


def convert_alpaca(rows: Iterator[Row], reading: Reading, tally: Tally) -> Iterator[Conversation]:
    """Rows `{"instruction", "input", "output"}`, BELLE's among them; also `history`, `system` and seed tasks."""
    return convert_rows(rows, reading, tally, _from_alpaca)


def convert_firefly(rows: Iterator[Row], reading: Reading, tally: Tally) -> Iterator[Conversation]:
    """Rows `{"kind", "input", "target"}`; the kind is kept in meta, and what Firefly took from BELLE is marked."""
    return convert_rows(rows, reading, tally, _from_firefly)


def convert_pairs(rows: Iterator[Row], reading: Reading, tally: Tally) -> Iterator[Conversation]:
    """Rows of one question and one answer under the usual names, each a text or a list of messages."""
    return convert_rows(rows, reading, tally, _from_pair)


# --- rows ----------------------------------------------------------------------------------------------------------


def _from_alpaca(value: dict[str, Any]) -> Sequence[Draft] | Dropped:
    instances = value.get("instances")
    if not isinstance(instances, list):
        turns = _exchange(value, value)
        return turns if isinstance(turns, Dropped) else _one(turns, value)
    if not all(isinstance(instance, dict) for instance in instances):
        return Dropped(NOT_TEXT)
    exchanges = [_exchange(value, instance) for instance in instances]
    drafts = [draft for turns in exchanges if isinstance(turns, list) for draft in _one(turns, value)]
    refused = [refusal for refusal in exchanges if isinstance(refusal, Dropped)]
    return drafts or (refused[0] if refused else Dropped(NO_ANSWER))


def _exchange(value: dict[str, Any], instance: dict[str, Any]) -> list[Turn] | Dropped:
    """The turns of an instruction with the input and output of one of its instances."""
    if has_media(value):
        return Dropped(NEEDS_MEDIA)
    texts = [value.get("instruction"), instance.get("input"), instance.get("output"), value.get("system")]
    if not all(isinstance(text, str | None) for text in texts):
        return Dropped(NOT_TEXT)
    instruction, given, output, system = _cleaned(texts)
    if any(_MERGED.search(text) for text in (instruction, given, output)):
        return Dropped(MERGED)
    if _MEDIA.fullmatch(given):
        return Dropped(NEEDS_MEDIA)
    if _NO_OUTPUT.fullmatch(output):
        return Dropped(NO_ANSWER)
    if not instruction:
        return Dropped(NO_QUESTION)
    earlier = _history(value.get("history"))
    if isinstance(earlier, Dropped):
        return earlier
    asked = "" if _NO_INPUT.fullmatch(given) else given
    return [("system", system), *earlier, *_asked(instruction, asked), ("assistant", output)]


def _from_firefly(value: dict[str, Any]) -> Sequence[Draft] | Dropped:
    question, answer, kind = value.get("input"), value.get("target"), value.get("kind")
    if not isinstance(question, str | None) or not isinstance(answer, str | None):
        return Dropped(NOT_TEXT)
    question, answer = _cleaned([question, answer])
    if not question:
        return Dropped(NO_QUESTION)
    meta = {"kind": kind} if isinstance(kind, str) and kind else {}
    if kind == "BELLE":
        meta["overlaps"] = "belle"
    return _one([*_asked(question, ""), ("assistant", answer)], value, meta)


def _from_pair(value: dict[str, Any]) -> Sequence[Draft] | Dropped:
    question = next((value[key] for key in QUESTIONS if value.get(key) is not None), None)
    answer = next((value[key] for key in ANSWERS if value.get(key) is not None), None)
    before = turns_of(question) if isinstance(question, list) else _side("user", question, value.get("context"))
    after = turns_of(answer) if isinstance(answer, list) else _side("assistant", answer, None)
    if isinstance(before, Dropped):
        return before
    if isinstance(after, Dropped):
        return after
    system = value.get("system") or value.get("system_prompt")
    head: list[Turn] = [("system", system)] if isinstance(system, str) else []
    return _one([*head, *before, *after], value)


def _one(turns: list[Turn], value: dict[str, Any], meta: dict[str, str] | None = None) -> list[Draft]:
    return [Draft(turns, value.get("id"), language_in(value), meta=meta or {})]


# --- turns ---------------------------------------------------------------------------------------------------------


def _side(role: Role, text: object, context: object) -> list[Turn] | Dropped:
    texts = [text, context]
    if not all(isinstance(part, str | None) for part in texts):
        return Dropped(NOT_TEXT)
    return [(role, "\n\n".join(part.strip() for part in texts if isinstance(part, str) and part.strip()))]


def _history(value: object) -> list[Turn] | Dropped:
    """Earlier rounds, each a list of a question and its answer."""
    turns: list[Turn] = []
    for turn in value if isinstance(value, list) else []:
        if not isinstance(turn, list) or len(turn) != 2 or not all(isinstance(text, str) for text in turn):
            return Dropped(NOT_TEXT)
        question, answer = _cleaned(turn)
        turns += [("user", question), ("assistant", answer)]
    return turns


def _asked(instruction: str, given: str) -> list[Turn]:
    """The user's turn; where BELLE packed a whole chat into it ("Human:… Assistant:…"), that chat's turns."""
    asked = f"{instruction}\n\n{given}" if given else instruction
    marks = list(_PACKED.finditer(asked))
    if len(marks) < 2 or marks[0].start() != 0 or marks[0].group(1) != "Human":
        return [("user", asked)]
    ends = [mark.start() for mark in marks[1:]] + [len(asked)]
    return [
        ("user" if mark.group(1) == "Human" else "assistant", asked[mark.end() : end].strip())
        for mark, end in zip(marks, ends, strict=True)
    ]


def _cleaned(texts: Sequence[str | None]) -> list[str]:
    """The texts of one row with one kind of line end, and without zero-width characters and outer white space."""
    plain = [(text or "").replace("\r\n", "\n").translate(_ZERO_WIDTH).strip() for text in texts]
    if not any("\\n" in text for text in plain) or not any(_CHINESE.search(text) for text in plain):
        return plain
    return [_with_newlines(text).strip() for text in plain]


def _with_newlines(text: str) -> str:
    """BELLE writes some newlines as backslash and n; in what looks like code those are left where they may be meant."""
    if _CODE.search(text):
        return _LITERAL_NEWLINES.sub(lambda run: "\n" * (len(run.group()) // 2), text)
    return text.replace("\\n", "\n")
