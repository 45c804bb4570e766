"""Persona sheets: Markdown that people write, read into a Persona, and written from one."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from training.errors import UnknownPersona, UnreadableSheet
from training.persona.examples import read_examples, write_examples
from training.persona.facts import fact_of, labelled, sentences, slug_of
from training.persona.frontmatter import BadFrontMatter
from training.persona.headings import Outline, items, outline, paragraph
from training.persona.kin import named_by_role
from training.persona.phrases import language
from training.places import SHIPPED, guild_folder
from training.schema import Fact, Persona, Workspace

log = logging.getLogger(__name__)
MAX_SHEET_BYTES = 64 * 1024
SHORTEST_BIO = 16
_UNDER_FACT = {"ask": "ask", "question": "ask", "accept": "accept", "reject": "reject", "confirmed": "confirmed"}
_PAIR = re.compile(r"(?P<other>[^:：—–]{1,80}?)\s*(?:[:：]|\s[—–-]\s|[—–])\s*(?P<sentence>\S.*)")


@dataclass(frozen=True)
class Understood:
    """What was made of a sheet, and what a person should know of it, one phrase each."""

    persona: Persona
    notes: tuple[str, ...] = ()


def parse_sheet(text: str, slug: str) -> Persona:
    """Read a sheet; `slug` is its file's name without the ending, or "" to make one from the name.

    Raises UnreadableSheet, which names everything that is wrong at once.
    """
    return understand_sheet(text, slug).persona


def understand_sheet(text: str, slug: str, called: str = "") -> Understood:
    """Read a sheet, and tell what it lacks and what was kept as facts for want of a better place.

    called: what an error calls the sheet, such as its file's name.
    """
    called = called or slug or "given"
    try:
        made = outline(text.replace("\0", ""))
    except BadFrontMatter as error:
        raise UnreadableSheet(name=called, reason=str(error)) from error
    made.name = made.name or _subject(made)
    slug = slug or slug_of(made.name)
    bio = _bio(made)
    facts, problems = _facts(made, slug)
    if not made.name:
        problems.insert(0, "the first heading '# Name' is missing")
    if not bio:
        problems.append("nothing says who this is: add a heading '## Who'")
    if problems:
        raise UnreadableSheet(name=called, reason="; ".join(problems))
    relationships, loose = _relationships(made.parts.get("Relationships", []))
    facts += [fact_of(sentence, slug) for sentence in loose]
    aliases = tuple(_listed(made, "Aliases"))
    try:
        persona = Persona(
            name=made.name,
            slug=slug,
            aliases=aliases,
            bio=bio,
            traits=tuple(_listed(made, "Traits")),
            style=paragraph(made.parts.get("Speech", [])),
            facts=tuple({fact.id: fact for fact in facts}.values()),
            relationships=relationships,
            taboos=tuple(_listed(made, "Never says")),
            greeting=_greeting(made),
            examples=read_examples("\n".join(made.parts.get("Examples", [])), (made.name, *aliases)),
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise UnreadableSheet(name=called, reason=f"{first['loc'][0]}: {first['msg']}") from error
    return Understood(persona, (*lacking(persona), *_kept_notes(made)))


def sheet_text(persona: Persona) -> str:
    """The persona as a sheet in our own form, which reads back as the same persona."""
    parts: dict[str, Iterable[str]] = {
        "Aliases": (f"- {_line(alias)}" for alias in persona.aliases),
        "Who": [_line(persona.bio)],
        "Traits": (f"- {_line(trait)}" for trait in persona.traits),
        "Speech": [_line(persona.style)],
        "Facts": (line for fact in persona.facts for line in _fact_lines(fact)),
        "Relationships": (f"- {other}: {_line(sentence)}" for other, sentence in persona.relationships.items()),
        "Never says": (f"- {_line(taboo)}" for taboo in persona.taboos),
        "Greeting": [_line(persona.greeting)],
        "Example dialogues": [write_examples(persona.examples, persona.name)] if persona.examples else [],
    }
    lines = [f"# {persona.name}"]
    for heading, told in parts.items():
        lines += [f"## {heading}", *(line for line in told if line)]
    return "\n".join(lines) + "\n"


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
    """One persona of the guild, by its slug or its name in any case.

    Raises UnknownPersona, which lists the choices, or UnreadableSheet.
    """
    sheets = _sheets(workspace, guild_id)
    slug = slug if slug in sheets else _slug_called(slug, workspace, guild_id)
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


def read_text(path: Path) -> str:
    """The text of one sheet's file. Raises UnreadableSheet."""
    try:
        if path.stat().st_size > MAX_SHEET_BYTES:
            raise UnreadableSheet(name=path.stem, reason=f"it is larger than {MAX_SHEET_BYTES // 1024} KiB")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableSheet(name=path.stem, reason="it is not UTF-8 text") from error


@lru_cache(maxsize=1024)
def _read_version(path: Path, _changed_at: int, _size: int) -> Persona:
    return parse_sheet(read_text(path), path.stem)


def _sheets(workspace: Workspace, guild_id: str) -> dict[str, Path]:
    """Where each persona's sheet lies, by slug."""
    by_slug = {path.stem: path for path in sorted((SHIPPED / "data" / "personas").glob("*.md"))}
    own = guild_folder(workspace, guild_id) / "personas"
    return by_slug | {path.stem: path for path in sorted(own.glob("*.md"))}


def _slug_called(name: str, workspace: Workspace, guild_id: str) -> str:
    """The slug that a person means by a name; what is no one's name stays as it is."""
    wanted = _line(name).casefold()
    cast = load_cast(workspace, guild_id)
    return next((slug for slug, who in cast.items() if wanted in (slug, who.name.casefold())), name)


@lru_cache(maxsize=256)
def _warn_once(path: Path, sentence: str) -> None:
    """Say once what is wrong with a sheet, though it is read again and again."""
    log.warning("%s is left out of its cast: %s", path, sentence)


# --- what is made of the parts ---------------------------------------------------------------------------------------


def _subject(made: Outline) -> str:
    """Whom the first sentence of a sheet without a name is about, where it says who that is."""
    first = next(iter(sentences(paragraph([*made.preface, *made.parts.get("Who", [])]))), "")
    found = re.match(
        r"((?!(?:He|She|It|They|This|There|That|The|A|An|My|I|You|We)\b)[A-Z]\w+(?: [A-Z]\w+){0,2}) is ", first
    )
    return found[1] if found else ""


def _bio(made: Outline) -> str:
    """Who it is: under its heading, else what stands first, else under the first unknown heading, else the traits.

    A label with a word or two behind it tells a fact, so that it is asked last of all.
    """
    told = paragraph(made.parts.get("Who", [])) or paragraph(made.preface)
    for label in [] if told else list(made.others):
        if not told and len(paragraph(made.others[label])) >= SHORTEST_BIO:
            told = paragraph(made.others.pop(label))
    if not told and (traits := _listed(made, "Traits")):
        whole = any(trait.endswith(".") for trait in traits)
        listed = ", ".join(trait[:1].lower() + trait[1:] for trait in traits)
        told = " ".join(traits) if whole else f"{made.name} is {listed}."
    for label in [] if told else list(made.others):
        told = told or paragraph(made.others.pop(label))
    return re.sub(r"^[*_]([^*_]+)[*_](?=\s|$)", r"\1", told)


def _greeting(made: Outline) -> str:
    told = paragraph(made.parts.get("Greeting", []))
    quoted = re.fullmatch(r"[\"“«]([^\"”»“«]+)[\"”»]", told)
    return quoted[1] if quoted else told


def _listed(made: Outline, part: str) -> list[str]:
    """The bullets of a part; prose is taken apart at its commas, or into its sentences where it has several."""
    found: list[str] = []
    for item in items(made.parts.get(part, [])):
        text = item.text.replace("**", "")
        found += [text] if item.bullet else _taken_apart(text)
    return [text for text in found if text]


def _taken_apart(text: str) -> list[str]:
    told = sentences(text)
    if len(told) > 1:
        return told
    pieces = (piece.strip() for piece in re.split(r"[,;、，；]", text))
    return [piece if re.search(r"\b[A-Z]\.$", piece) else piece.strip(" .") for piece in pieces]


def _facts(made: Outline, slug: str) -> tuple[list[Fact], list[str]]:
    """Facts are top bullets, with or without an id; bullets under each may give ask, accept, reject and confirmed."""
    facts: dict[str, Fact] = {}
    problems: list[str] = []
    newest = ""
    for item in items(made.parts.get("Facts", [])):
        key, colon, value = (part.strip() for part in item.text.replace("**", "").partition(":"))
        kind = _UNDER_FACT.get(key.casefold()) if item.indent and colon else None
        kind = None if kind == "confirmed" and not _confirmation(value) else kind
        if kind and not newest:
            problems.append(f"'{item.text[:60]}' under '## Facts' stands before any fact")
        elif kind:
            facts[newest] = _told_more(facts[newest], kind, value)
        else:
            for text in [item.text] if item.bullet else sentences(item.text):
                fact = fact_of(_sentence(made.name, text.replace("**", "")), slug)
                if fact.id in facts and facts[fact.id].text != fact.text:
                    problems.append(f"the fact '{fact.id}' comes twice")
                facts[fact.id], newest = fact, fact.id
    others = (fact_of(text, slug) for text in _other_facts(made))
    return [*facts.values(), *(fact for fact in others if fact.id not in facts)], problems


def _sentence(name: str, text: str) -> str:
    """An entry `Age: 34` as a sentence; any other as it is."""
    label, colon, value = text.partition(": ")
    return labelled(name, label, value) if colon and label[:1].isupper() else text


def _told_more(fact: Fact, kind: str, value: str) -> Fact:
    if kind == "ask":
        return fact.model_copy(update={"question": value})
    if kind == "confirmed":
        return fact.model_copy(update={"confirmed": _confirmation(value)})
    return fact.model_copy(update={kind: tuple(word.strip() for word in value.split(";") if word.strip())})


def _confirmation(value: str) -> date | None:
    """The day on which a fact was confirmed, as the sheet has it; None where it does not read so."""
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None


def _other_facts(made: Outline) -> Iterator[str]:
    """What stands under headings that are not known, and before the first heading where `Who` has one of its own."""
    for label, lines in made.others.items():
        for item in items(lines):
            for text in [item.text] if item.bullet else sentences(item.text):
                plain = text.replace("**", "")
                whole = plain.endswith((".", "!", "?")) and len(plain.split()) > 4
                yield plain if whole else labelled(made.name, label, plain)
    if made.parts.get("Who"):
        for item in items(made.preface):
            yield from sentences(item.text.replace("**", ""))


def _relationships(lines: list[str]) -> tuple[dict[str, str], list[str]]:
    """Each entry `Name: sentence`, and the entries that name nobody."""
    relationships: dict[str, str] = {}
    loose: list[str] = []
    for _, entry, _ in items(_one_a_line(lines)):
        pair = _PAIR.fullmatch(entry.replace("**", ""))
        if pair:
            other, sentence = pair["other"].strip(), pair["sentence"].strip()
            relationships |= named_by_role(other, sentence) or {other: sentence}
        else:
            loose.append(entry)
    return relationships, loose


def _one_a_line(lines: list[str]) -> list[str]:
    """Lines `Name: sentence` without bullets as bullets, unless there are bullets, whose wrapped lines stay whole."""
    bulleted = any(item.bullet for item in items(lines))
    own = [not bulleted or line.lstrip().startswith(("**", "__")) for line in lines]
    return [f"- {line.strip()}" if begins and line.strip() else line for begins, line in zip(own, lines, strict=True)]


def lacking(persona: Persona) -> Iterator[str]:
    """What a persona lacks, and what that means, one phrase each."""
    asked = sum(bool(fact.question and fact.accept) for fact in persona.facts)
    if not persona.facts:
        yield "no facts: the scorecard will have no fact line"
    elif asked < len(persona.facts):
        yield f"no probe asks for {len(persona.facts) - asked} of {len(persona.facts)} facts: they lack ask or accept"
    if not persona.style:
        yield "no speech: nothing tells the model how they talk"
    if not persona.traits:
        yield "no traits"
    if not persona.greeting:
        yield "no greeting"
    if not persona.taboos:
        yield "nothing they would never say"
    if not persona.examples:
        yield "no example dialogues"
    if not language(persona):
        yield "not in English or Chinese: data build takes only the example dialogues, and composes none"


def _kept_notes(made: Outline) -> Iterator[str]:
    for label in made.others:
        yield f"the heading '{label}' is not known; what stands under it is kept as facts"


# --- how a sheet is written ------------------------------------------------------------------------------------------


def _line(text: str) -> str:
    return " ".join(text.split())


def _fact_lines(fact: Fact) -> Iterator[str]:
    yield f"- {fact.id}: {_line(fact.text)}"
    for kind, told in (("ask", fact.question), ("accept", "; ".join(fact.accept)), ("reject", "; ".join(fact.reject))):
        if told:
            yield f"  - {kind}: {_line(told)}"
    if fact.confirmed:
        yield f"  - confirmed: {fact.confirmed}"
