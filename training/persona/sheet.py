"""Persona sheets: Markdown that people write, read into a Persona."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from training.errors import UnknownPersona, UnreadableSheet
from training.places import SHIPPED, guild_folder
from training.schema import Fact, Persona, Workspace

log = logging.getLogger(__name__)
HEADINGS = ("Aliases", "Who", "Traits", "Speech", "Facts", "Relationships", "Never says", "Greeting")
NEVER_EMPTY = ("Who", "Speech")
MAX_SHEET_BYTES = 64 * 1024


def parse_sheet(text: str, slug: str) -> Persona:
    """Read a sheet; `slug` is its file's name without the ending.

    Raises UnreadableSheet, which names every missing heading and every bad entry at once.
    """
    name, sections, problems = _sections(text)
    facts, fact_problems = _facts(sections.get("Facts", []))
    relationships, relation_problems = _relationships(sections.get("Relationships", []))
    problems += fact_problems + relation_problems
    if problems:
        raise UnreadableSheet(name=slug, reason="; ".join(problems))
    try:
        return Persona(
            name=name,
            slug=slug,
            aliases=tuple(_bullets(sections["Aliases"])),
            bio=_paragraph(sections["Who"]),
            traits=tuple(_bullets(sections["Traits"])),
            style=_paragraph(sections["Speech"]),
            facts=tuple(facts),
            relationships=relationships,
            taboos=tuple(_bullets(sections["Never says"])),
            greeting=_paragraph(sections["Greeting"]),
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise UnreadableSheet(name=slug, reason=f"{first['loc'][0]}: {first['msg']}") from error


def load_cast(workspace: Workspace, guild_id: str) -> dict[str, Persona]:
    """All personas that a guild may use, by slug: the shipped cast and its own, which win over shipped ones.

    A sheet that cannot be read is left out, and the log says why; the others must not go with it.
    """
    cast: dict[str, Persona] = {}
    for slug, path in _sheets(workspace, guild_id).items():
        try:
            cast[slug] = read_sheet(path)
        except UnreadableSheet as error:
            _warn_once(path, str(error))
    return cast


def find_persona(workspace: Workspace, guild_id: str, slug: str) -> Persona:
    """One persona of the guild. Raises UnknownPersona, which lists the choices, or UnreadableSheet."""
    sheets = _sheets(workspace, guild_id)
    if slug not in sheets:
        raise UnknownPersona(name=slug, choices=", ".join(sorted(load_cast(workspace, guild_id))))
    return read_sheet(sheets[slug])


def sheet_home(workspace: Workspace, guild_id: str, slug: str) -> Path:
    """The folder that holds `personas/` and `dialogues/` of this persona: the guild's own, else the shipped one."""
    own = guild_folder(workspace, guild_id)
    return own if (own / "personas" / f"{slug}.md").is_file() else SHIPPED / "data"


def read_sheet(path: Path) -> Persona:
    """Read one sheet's file; it is parsed again only once it has changed. Raises UnreadableSheet."""
    try:
        seen = path.stat()
        return _read_version(path, seen.st_mtime_ns, seen.st_size)
    except OSError as error:
        raise UnreadableSheet(name=path.stem, reason=error.strerror or "the file system refused") from error


@lru_cache(maxsize=1024)
def _read_version(path: Path, _changed_at: int, size: int) -> Persona:
    if size > MAX_SHEET_BYTES:
        raise UnreadableSheet(name=path.stem, reason=f"it is larger than {MAX_SHEET_BYTES // 1024} KiB")
    try:
        return parse_sheet(path.read_text(encoding="utf-8-sig"), path.stem)
    except UnicodeDecodeError as error:
        raise UnreadableSheet(name=path.stem, reason="it is not UTF-8 text") from error


def _sheets(workspace: Workspace, guild_id: str) -> dict[str, Path]:
    """Where each persona's sheet lies, by slug."""
    by_slug = {path.stem: path for path in sorted((SHIPPED / "data" / "personas").glob("*.md"))}
    own = guild_folder(workspace, guild_id) / "personas"
    return by_slug | {path.stem: path for path in sorted(own.glob("*.md"))}


@lru_cache(maxsize=256)
def _warn_once(path: Path, sentence: str) -> None:
    """Say once what is wrong with a sheet, though it is read again and again."""
    log.warning("%s is left out of its cast: %s", path, sentence)


def _sections(text: str) -> tuple[str, dict[str, list[str]], list[str]]:
    """The name, each heading's lines, and what is wrong with the headings."""
    name = ""
    sections: dict[str, list[str]] = {}
    problems: list[str] = []
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("## "):
            heading = line[3:].strip()
            if heading not in HEADINGS:
                problems.append(f"the heading '## {heading}' is not known")
            elif heading in sections:
                problems.append(f"the heading '## {heading}' comes twice")
            lines = sections.setdefault(heading, [])
        elif line.startswith("# ") and not name:
            name = line[2:].strip()
        else:
            lines.append(line)
    if not name:
        problems.append("the first heading '# Name' is missing")
    problems += [f"the heading '## {heading}' is missing" for heading in HEADINGS if heading not in sections]
    problems += [
        f"nothing stands under '## {heading}'"
        for heading in NEVER_EMPTY
        if heading in sections and not _paragraph(sections[heading])
    ]
    return name, sections, problems


def _paragraph(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())


def _items(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Each bullet's indent and text, with wrapped lines joined."""
    indent, text = 0, ""
    for line in lines:
        bullet = re.match(r"(\s*)[-*]\s+(.*)", line)
        if bullet:
            if text:
                yield indent, text
            indent, text = len(bullet[1]), bullet[2].strip()
        elif line.strip():
            text = f"{text} {line.strip()}".strip()
    if text:
        yield indent, text


def _bullets(lines: list[str]) -> list[str]:
    return [text for _, text in _items(lines)]


def _facts(lines: list[str]) -> tuple[list[Fact], list[str]]:
    """Facts are top bullets `id: text`; the bullets under each give ask, accept and reject."""
    facts: dict[str, dict[str, str]] = {}
    problems: list[str] = []
    current: dict[str, str] | None = None
    for indent, item in _items(lines):
        key, colon, value = (part.strip() for part in item.partition(":"))
        if not colon or not (value or indent):
            problems.append(f"'{item[:60]}' under '## Facts' needs the form 'id: text'")
            current = {} if indent == 0 else current
        elif indent == 0:
            if key in facts:
                problems.append(f"the fact '{key}' comes twice")
            current = facts[key] = {"text": value}
        elif current is None:
            problems.append(f"'{item[:60]}' under '## Facts' stands before any fact")
        elif key in ("ask", "accept", "reject"):
            current[key] = value
        else:
            problems.append(f"'{key}' under '## Facts' is not known: use ask, accept or reject")
    return [_fact(key, parts) for key, parts in facts.items()], problems


def _fact(key: str, parts: dict[str, str]) -> Fact:
    accept, reject = (
        tuple(word.strip() for word in parts.get(kind, "").split(";") if word.strip()) for kind in ("accept", "reject")
    )
    return Fact(id=key, text=parts["text"], question=parts.get("ask", ""), accept=accept, reject=reject)


def _relationships(lines: list[str]) -> tuple[dict[str, str], list[str]]:
    relationships: dict[str, str] = {}
    problems: list[str] = []
    for item in _bullets(lines):
        other, colon, sentence = (part.strip() for part in item.partition(":"))
        if not colon or not sentence:
            problems.append(f"'{item[:60]}' under '## Relationships' needs the form 'Name: one sentence'")
        relationships[other] = sentence
    return relationships, problems
