"""Where built personas are kept: the sheet, and beside it the card and the portrait that it came from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from training.errors import UnreadableCard, UnreadableData
from training.persona import png
from training.persona.card import MAX_FILE_BYTES, card_json, holds_card, persona_from_card
from training.persona.facts import fact_id
from training.persona.sheet import MAX_SHEET_BYTES, Understood, lacking, read_text, sheet_text, understand_sheet
from training.runs import write_bytes
from training.schema import Fact

MAX_FACTS_BYTES = 4 * 1024 * 1024


def understand(path: Path, facts: Sequence[Fact] = ()) -> Understood:
    """The persona in a sheet or a card, with facts that lie in a file of their own, and what it lacks.

    Raises UnreadableSheet or UnreadableCard.
    """
    if holds_card(path):
        found = Understood(persona_from_card(card_json(path), name=path.name))
    else:
        found = understand_sheet(read_text(path), "", path.name)
    slug = found.persona.slug
    added = [fact.model_copy(update={"id": fact_id(fact.text, slug)}) for fact in facts]
    asked = {fact.question for fact in added}
    own = [fact for fact in found.persona.facts if not fact.question or fact.question not in asked]
    persona = found.persona.model_copy(update={"facts": (*own, *added)})
    kept = tuple(note for note in found.notes if note not in set(lacking(found.persona)))
    return Understood(persona, (*lacking(persona), *kept))


def keep(found: Understood, source: Path, folder: Path) -> Path:
    """Write the persona's sheet, and its card and portrait where it came from one; returns the sheet's path."""
    folder.mkdir(parents=True, exist_ok=True)
    slug = found.persona.slug
    text = sheet_text(found.persona).encode()
    if len(text) > MAX_SHEET_BYTES:
        raise UnreadableCard(name=source.name, reason=f"its sheet would be larger than {MAX_SHEET_BYTES // 1024} KiB")
    sheet = folder / f"{slug}.md"
    write_bytes(sheet, text)
    # What an earlier sheet of that slug came from is not where this one comes from.
    for left in (f"{slug}.card.json", f"{slug}.png"):
        (folder / left).unlink(missing_ok=True)
    if holds_card(source):
        write_bytes(folder / f"{slug}.card.json", json.dumps(card_json(source), ensure_ascii=False).encode())
        if (data := source.read_bytes()).startswith(png.SIGNATURE):
            write_bytes(folder / f"{slug}.png", data)
    return sheet


def kept_card(folder: Path, slug: str) -> dict[str, Any] | None:
    """The card that a persona came from, if any."""
    path = folder / f"{slug}.card.json"
    return card_json(path) if path.is_file() else None


def kept_portrait(folder: Path, slug: str) -> bytes | None:
    """The picture that a persona's card came in, if any."""
    path = folder / f"{slug}.png"
    return read_portrait(path) if path.is_file() else None


def read_portrait(path: Path) -> bytes:
    """The bytes of a picture. Raises UnreadableCard where it is too large."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise UnreadableCard(name=path.name, reason=f"it is larger than {MAX_FILE_BYTES >> 20} MiB")
    return path.read_bytes()


def read_facts(path: Path) -> list[Fact]:
    """Facts from a JSON list of objects with text, or question and answer, and accept and reject where there are any.

    Raises UnreadableData, which names the entry.
    """
    import orjson

    try:
        if path.stat().st_size > MAX_FACTS_BYTES:
            raise UnreadableData(name=path.name, reason=f"it is larger than {MAX_FACTS_BYTES >> 20} MiB")
        rows = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        reason = f"line {error.lineno}, column {error.colno} is not valid JSON"
        raise UnreadableData(name=path.name, reason=reason) from error
    if not isinstance(rows, list):
        raise UnreadableData(name=path.name, reason="it is no list of facts")
    return [_fact(row, number, path.name) for number, row in enumerate(rows, 1)]


def _fact(row: Any, number: int, name: str) -> Fact:
    told = row if isinstance(row, dict) else {}
    question, answer = told.get("question", ""), told.get("answer", "")
    text = told.get("text") or f"{question} {answer}".strip()
    if not isinstance(text, str) or not text:
        raise UnreadableData(name=name, reason=f"row {number}: neither text nor question and answer")
    try:
        return Fact.model_validate(
            {
                "id": f"fact-{number}",
                "text": text,
                "question": question,
                "accept": told.get("accept", ()),
                "reject": told.get("reject", ()),
            }
        )
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise UnreadableData(name=name, reason=f"row {number}, field {first['loc'][0]}: {first['msg']}") from error
