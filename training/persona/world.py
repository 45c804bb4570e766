"""Lore documents, distilled to facts that a persona may know; every fact quotes the passage that it comes from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import Field

from training.errors import UnreadableData
from training.persona.llm import Asker, Question
from training.schema import Fact, Noun

PASSAGE_CHARACTERS = 2500
MAX_DOCUMENT_BYTES = 2 * 1024 * 1024
INSTRUCTIONS = (
    "You read a passage about an invented world and list what it states, as separate facts. A fact is one plain "
    "sentence that can be understood alone: names instead of pronouns. Quote the words of the passage that say it, "
    "letter by letter. Give two or three short words or names that any answer which knows the fact would contain. "
    "Add nothing that the passage does not say."
)


class StatedFact(Noun):
    """A fact as the language model tells it."""

    text: str = Field(min_length=5, max_length=400)
    quote: str = Field(min_length=3, max_length=800)
    accept: tuple[str, ...] = Field(max_length=6)


class StatedFacts(Noun):
    """The facts of one passage."""

    facts: tuple[StatedFact, ...] = Field(max_length=40)


def passages(files: Sequence[Path]) -> list[str]:
    """The documents, cut at blank lines into passages of at most about 2,500 characters; raises UnreadableData."""
    return [passage for file in files for passage in _cut(_text(file))]


def world_facts(
    texts: Sequence[str], asker: Asker, seed: int, done: Callable[[], None]
) -> tuple[list[Fact], list[dict[str, str]]]:
    """(facts, rejected ones with the reason): one whose quote is not in its passage is not believed."""
    questions = [Question(INSTRUCTIONS, f"The passage:\n\n{text}", seed, temperature=0.2) for text in texts]
    facts: dict[str, Fact] = {}
    rejected: list[dict[str, str]] = []
    for text, answer in zip(texts, asker.ask_all(questions, StatedFacts, done), strict=True):
        for stated in answer.facts if answer else ():
            if _plain(stated.quote) not in _plain(text):
                rejected.append({"reason": "the quote is not in the passage", "fact": stated.text})
                continue
            accept = tuple(word for word in stated.accept if word.strip())
            fact = Fact(id=_fact_id(stated.text), text=stated.text, accept=accept)
            facts.setdefault(fact.id, fact)
    return list(facts.values()), rejected


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_DOCUMENT_BYTES:
            raise UnreadableData(name=file.name, reason=f"it is larger than {MAX_DOCUMENT_BYTES // 2**20} MiB")
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UnreadableData(name=file.name, reason=error.strerror or "the file system refused") from error
    except UnicodeDecodeError as error:
        raise UnreadableData(name=file.name, reason="it is not UTF-8 text") from error


def _cut(text: str) -> list[str]:
    made: list[str] = []
    for paragraph in (part.strip() for part in re.split(r"\n\s*\n", text)):
        for start in range(0, len(paragraph), PASSAGE_CHARACTERS):
            piece = paragraph[start : start + PASSAGE_CHARACTERS]
            if made and len(made[-1]) + len(piece) + 2 <= PASSAGE_CHARACTERS:
                made[-1] = f"{made[-1]}\n\n{piece}"
            else:
                made.append(piece)
    return made


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _fact_id(text: str) -> str:
    return f"world-{hashlib.sha256(_plain(text).encode()).hexdigest()[:10]}"
