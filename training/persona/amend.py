"""Writes one fact of a guild's persona anew, in its sheet."""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from training.data.schema import FactChange
from training.errors import FactRefused, UnknownFact, UnreadableSheet
from training.persona.sheet import MAX_SHEET_BYTES, find_persona, parse_sheet, sheet_home, sheet_text
from training.places import guild_folder
from training.runs import write_bytes
from training.schema import Fact, Persona, Workspace

MOST_WORDS = 24
MOST_CHARACTERS = {"text": 600, "question": 300, "accept": 80, "reject": 80}
LISTED = 20
LOCK = ".lock"
BESIDE = {"dialogues": ".jsonl", "phrases": ".toml"}
"""What lies beside a persona's sheet and is read from there: folders, and how its file in each ends."""


def amend_fact(workspace: Workspace, guild_id: str, slug: str, change: FactChange) -> Persona:
    """Write a fact anew and return the persona as its sheet then has it; one that ships becomes the guild's own.

    Raises UnknownPersona, UnknownFact, FactRefused, or UnreadableSheet.
    """
    own = guild_folder(workspace, guild_id)
    with _alone(own / "personas"):
        persona = find_persona(workspace, guild_id, slug)
        amended = _amended(persona, change)
        text = _proven(amended, change.id)
        if (home := sheet_home(workspace, guild_id, persona.slug)) != own:
            _take_along(persona.slug, home, own)
        # Last, since from then on all that lies beside it is read from there too.
        write_bytes(own / "personas" / f"{persona.slug}.md", text)
    return amended


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep others from writing there meanwhile: what two change of one sheet at a time must both be in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _amended(persona: Persona, change: FactChange) -> Persona:
    """The persona with the fact changed. Raises UnknownFact or FactRefused."""
    known = {fact.id: fact for fact in persona.facts}
    if change.id not in known:
        choices = ", ".join(list(known)[:LISTED]) or "none yet"
        raise UnknownFact(persona=persona.name, name=change.id[: MOST_CHARACTERS["accept"]], choices=choices)
    fact = changed(known[change.id], change)
    if problems := list(_problems(fact)):
        raise FactRefused(name=fact.id, persona=persona.name, reason="; ".join(problems))
    return persona.model_copy(update={"facts": tuple((known | {fact.id: fact}).values())})


def changed(fact: Fact, change: FactChange) -> Fact:
    """The fact as it is to be, confirmed if this change confirms it."""
    lines = {name: _line(told) for name in ("text", "question") if (told := getattr(change, name)) is not None}
    words = {name: _words(told) for name in ("accept", "reject") if (told := getattr(change, name)) is not None}
    return fact.model_copy(update={**lines, **words, "confirmed": change.confirmed})


def _line(text: str) -> str:
    return " ".join(text.split())


def _words(told: Iterable[str]) -> tuple[str, ...]:
    """Each word or phrase once, on one line."""
    return tuple(dict.fromkeys(line for text in told if (line := _line(text))))


def _problems(fact: Fact) -> Iterator[str]:
    """What is wrong with a fact, a phrase each."""
    if not fact.text:
        yield "a fact needs a text"
    for name, most in MOST_CHARACTERS.items():
        told = getattr(fact, name)
        entries: Sequence[str] = (told,) if isinstance(told, str) else told
        if any(len(entry) > most for entry in entries):
            yield f"{name} may have at most {most} characters" + ("" if isinstance(told, str) else " an entry")
    for name in ("accept", "reject"):
        if len(getattr(fact, name)) > MOST_WORDS:
            yield f"{name} may have at most {MOST_WORDS} entries"
    if both := {word.casefold() for word in fact.accept} & {word.casefold() for word in fact.reject}:
        yield f"{', '.join(sorted(both))} cannot both show that a reply knows it and that it does not"


def _proven(persona: Persona, fact_id: str) -> bytes:
    """The persona's sheet, which reads back as the same persona. Raises FactRefused where it would not."""
    text = sheet_text(persona)
    reason = ""
    if len(text.encode()) > MAX_SHEET_BYTES:
        reason = f"the sheet would be larger than {MAX_SHEET_BYTES // 1024} KiB"
    elif not _reads_back(text, persona):
        reason = "a sheet would not tell it like that again; use plain sentences, and words without ;"
    if reason:
        raise FactRefused(name=fact_id, persona=persona.name, reason=reason)
    return text.encode()


def _reads_back(text: str, persona: Persona) -> bool:
    try:
        return parse_sheet(text, persona.slug) == persona
    except UnreadableSheet:
        return False


def _take_along(slug: str, home: Path, own: Path) -> None:
    """Copy what lies beside a sheet, unless the guild has its own already."""
    for folder, ending in BESIDE.items():
        source, target = home / folder / f"{slug}{ending}", own / folder / f"{slug}{ending}"
        if source.is_file() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(target, source.read_bytes())
