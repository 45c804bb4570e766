"""Character Cards V2 and V3, as JSON or inside a PNG: read into a Persona, and written from one.

A card has no field for much of what a sheet says. That rides along under the extension `understudy`, and counts for as
long as the card's own text is still what was written from it; whoever edits the text elsewhere is heard.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from training.errors import UnreadableCard, UnreadableSheet
from training.persona import png
from training.persona.examples import read_examples, write_examples
from training.persona.facts import asked, fact_id, sentences, slug_of
from training.persona.sheet import MAX_SHEET_BYTES, parse_sheet, sheet_text
from training.runs import write_bytes
from training.schema import Fact, Persona

Version = Literal["v2", "v3"]
SPECS = {"chara_card_v2": "2.0", "chara_card_v3": "3.0"}
EXTENSION = "understudy"
MAX_FILE_BYTES = 32 * 1024 * 1024
MAX_CARD_BYTES = 4 * 1024 * 1024
MAX_NAME = 80
# Best first: a picture that carries both is a V3 card with a V2 copy for older programs.
_KEYWORDS = ("ccv3", "chara")
_V1 = ("name", "description", "personality", "scenario", "first_mes", "mes_example")
_WITH_CARD_TEXT = {
    "name": ("name",),
    "description": ("bio", "style", "aliases", "relationships", "taboos"),
    "personality": ("traits",),
    "first_mes": ("greeting",),
    "mes_example": ("examples",),
}


# --- reading -------------------------------------------------------------------------------------------------------


def card_json(path: Path) -> dict[str, Any]:
    """The card in a JSON or PNG file, recognised by its content. Raises UnreadableCard."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UnreadableCard(name=path.name, reason=f"it is larger than {MAX_FILE_BYTES >> 20} MiB")
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableCard(name=path.name, reason=error.strerror or "the file system refused") from error
    return card_bytes(data, path.name)


def card_bytes(data: bytes, name: str) -> dict[str, Any]:
    """The card in the bytes of a JSON or PNG file, which people call `name`. Raises UnreadableCard."""
    if data.startswith(png.SIGNATURE):
        data = _carried(data, name)
    if len(data) > MAX_CARD_BYTES:
        raise UnreadableCard(name=name, reason=f"its text is larger than {MAX_CARD_BYTES >> 20} MiB")
    value = _parsed(data, name)
    if not is_card(value):
        raise UnreadableCard(name=name, reason="it is JSON, but not of a character card")
    return value


def holds_card(path: Path) -> bool:
    """Whether a file is a card rather than a sheet: a PNG, or JSON. Raises UnreadableCard where it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(MAX_SHEET_BYTES)
    except OSError as error:
        raise UnreadableCard(name=path.name, reason=error.strerror or "the file system refused") from error
    return head.startswith(png.SIGNATURE) or head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


def is_card(value: Any) -> bool:
    """Whether a JSON value is a Character Card: V2 and V3 say so, a V1 card has exactly its six texts or more."""
    if not isinstance(value, dict):
        return False
    if value.get("spec") in SPECS:
        return isinstance(value.get("data"), dict)
    return all(isinstance(value.get(key), str) for key in _V1)


def persona_from_card(value: dict[str, Any], slug: str | None = None, name: str = "") -> Persona:
    """The persona that a card describes; `name` is what errors call the card. Raises UnreadableCard."""
    called = name or "given"
    if not is_card(value):
        raise UnreadableCard(name=called, reason="it is no Character Card V2 or V3")
    data = value["data"] if value.get("spec") in SPECS else value
    wrong = [key for key in _V1 if not isinstance(data.get(key, ""), str)]
    if wrong:
        raise UnreadableCard(name=called, reason=f"its field {wrong[0]} is no text")
    plain = _plain(data, called)
    read = _with_kept(plain, data)
    return read if slug is None else read.model_copy(update={"slug": slug})


def _carried(data: bytes, name: str) -> bytes:
    try:
        texts = png.texts(data)
    except png.BadPicture as error:
        raise UnreadableCard(name=name, reason=str(error)) from error
    keyword = next((keyword for keyword in _KEYWORDS if keyword in texts), None)
    if keyword is None:
        raise UnreadableCard(name=name, reason="the picture carries no card")
    try:
        return base64.b64decode(texts[keyword], validate=True)
    except binascii.Error as error:
        raise UnreadableCard(name=name, reason=f"its part {keyword!r} is no base64 text") from error


def _parsed(data: bytes, name: str) -> Any:
    import orjson

    try:
        return orjson.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        reason = f"line {error.lineno}, column {error.colno} is not valid JSON"
        raise UnreadableCard(name=name, reason=reason) from error


def _plain(data: dict[str, Any], called: str) -> Persona:
    """What the card's own fields say."""
    name = " ".join(data.get("name", "").split())
    if not name or len(name) > MAX_NAME:
        raise UnreadableCard(name=called, reason=f"its name is {'missing' if not name else 'too long'}")
    nickname = data.get("nickname")
    aliases = (nickname,) if isinstance(nickname, str) and nickname.strip() and nickname != name else ()
    texts = {
        key: _told(data.get(key, "")[:MAX_SHEET_BYTES], name) for key in ("description", "personality", "scenario")
    }
    described = _described(name, texts["description"] or texts["scenario"] or texts["personality"] or name)
    spoken = data.get("first_mes", ""), data.get("mes_example", "")
    first, examples = (filled(text[:MAX_SHEET_BYTES], name, "friend") for text in spoken)
    facts = (*described.facts, *_facts(data.get("character_book"), name, described.slug))
    own = {
        "aliases": aliases,
        "traits": traits_in(texts["personality"]),
        "greeting": first.strip(),
        "examples": read_examples(examples, (name, *aliases)),
    }
    given = {part: told for part, told in own.items() if told}
    return described.model_copy(update=given | {"facts": tuple({fact.id: fact for fact in facts}.values())})


def _described(name: str, text: str) -> Persona:
    """What a description says; many have headings of their own, as a sheet has."""
    try:
        read = parse_sheet(f"Name: {name}\n\n{text}", slug_of(name))
    except UnreadableSheet:
        read = Persona(name=name, slug=slug_of(name), bio=" ".join(text.split()))
    return read.model_copy(update={"name": name})


def _told(text: str, name: str) -> str:
    told = filled(text, name, "the user").strip()
    return re.sub(r"(^|[.!?\n]\s*)the user\b", r"\1The user", told)


def filled(text: str, name: str, user: str) -> str:
    """The text with a card's placeholders filled in; of a random choice, the first is taken."""
    text = re.sub(r"\{\{\s*(?://|comment:|hidden_key:)[^{}]*\}\}", "", text, flags=re.I)
    text = re.sub(r"\{\{\s*(?:random|pick)\s*:+\s*([^,{}:]{0,200})[^{}]{0,2000}\}\}", r"\1", text, flags=re.I)
    text = re.sub(r"\{\{\s*char\s*\}\}|<bot>", lambda _: name, text, flags=re.I)
    return re.sub(r"\{\{\s*user\s*\}\}|<user>", lambda _: user, text, flags=re.I)


def traits_in(text: str) -> tuple[str, ...]:
    """The traits that a line lists by commas or semicolons, or else its sentences."""
    listed = [part.strip(" .") for part in re.split(r"[,;、，；\n]", text)]
    if all(len(part.split()) <= 8 for part in listed) and len(sentences(text)) <= 1:
        return tuple(part for part in listed if part)
    return tuple(sentences(text))


def _entries(book: Any) -> list[dict[str, Any]]:
    """A lorebook's entries that are switched on."""
    entries = book.get("entries", []) if isinstance(book, dict) else []
    # Some programs write an object keyed by numbers.
    listed = list(entries.values()) if isinstance(entries, dict) else entries if isinstance(entries, list) else []
    usable = (entry for entry in listed if isinstance(entry, dict) and entry.get("enabled", True))
    return [entry for entry in usable if isinstance(entry.get("content"), str) and entry["content"].strip()]


def _facts(book: Any, name: str, slug: str) -> tuple[Fact, ...]:
    facts: dict[str, Fact] = {}
    for entry in _entries(book):
        text = " ".join(_told(entry["content"], name).split())
        keys = [key.strip().casefold() for key in entry.get("keys", []) if isinstance(key, str) and key.strip()]
        fact = asked(text, fact_id(text, slug))
        if fact.question and keys:
            fact = fact.model_copy(update={"accept": tuple(keys)})
        facts.setdefault(fact.id, fact)
    return tuple(facts.values())


def _with_kept(plain: Persona, data: Mapping[str, Any]) -> Persona:
    """The persona that was written into the card, but for the parts whose text was edited since."""
    extensions = data.get("extensions")
    try:
        kept = Persona.model_validate(extensions[EXTENSION] if isinstance(extensions, dict) else None)
    except (KeyError, ValidationError):
        return plain
    written = _texts(kept) | _same_texts(kept, plain, data)
    edited = [part for key, parts in _WITH_CARD_TEXT.items() if data.get(key) != written[key] for part in parts]
    told = [entry["content"] for entry in _entries(data.get("character_book"))]
    if sorted(_told(text, kept.name) for text in told) != sorted(
        _told(fact.text, kept.name) for fact in kept.facts if fact.text.strip()
    ):
        edited.append("facts")
    # What the card has no words for is never taken from it.
    heard = {part: getattr(plain, part) for part in edited if part in ("name", "bio") or getattr(plain, part)}
    return kept.model_copy(update=heard)


# --- writing -------------------------------------------------------------------------------------------------------


def card_of(persona: Persona, version: Version, base: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The card of a persona; what another card, `base`, says beside that is kept."""
    old: dict[str, Any] = dict(base.get("data", base)) if base else {}
    spec = f"chara_card_{version}"
    unchanged = _same_texts(persona, persona_from_card(dict(base)), old) if base and is_card(base) else {}
    data = _blank(version) | old | _texts(persona) | unchanged
    data["extensions"] = dict(old.get("extensions") or {}) | {EXTENSION: persona.model_dump(mode="json")}
    data["character_book"] = _book(persona, old.get("character_book"), version)
    return {"spec": spec, "spec_version": SPECS[spec], "data": data}


def write_card(
    persona: Persona,
    path: Path,
    version: Version,
    portrait: bytes | None = None,
    *,
    as_png: bool | None = None,
    base: Mapping[str, Any] | None = None,
) -> None:
    """Write a persona's card as JSON, or as a PNG where the path ends in .png or a portrait is given.

    A V3 picture carries a V2 card too. Raises UnreadableCard where the portrait is no picture.
    """
    if as_png if as_png is not None else (portrait is not None or path.suffix.lower() == ".png"):
        write_bytes(path, card_picture(persona, version, portrait, base))
    else:
        text = json.dumps(card_of(persona, version, base), ensure_ascii=False, indent=2)
        write_bytes(path, text.encode() + b"\n")


def card_picture(
    persona: Persona, version: Version, portrait: bytes | None, base: Mapping[str, Any] | None = None
) -> bytes:
    """The bytes of a PNG card; without a portrait a plain one is drawn."""
    cards: dict[str, Version] = {"chara": "v2"} if version == "v2" else {"chara": "v2", "ccv3": "v3"}
    texts = {
        keyword: base64.b64encode(json.dumps(card_of(persona, kind, base), ensure_ascii=False).encode())
        for keyword, kind in cards.items()
    }
    try:
        picture = png.portrait_of(portrait) if portrait is not None else png.drawn(persona.name)
        return png.with_texts(picture, texts)
    except png.BadPicture as error:
        raise UnreadableCard(name=f"portrait of {persona.name}", reason=str(error)) from error


def _texts(persona: Persona) -> dict[str, str]:
    """The fields that every program shows and puts into its prompt."""
    about = [persona.bio]
    if persona.aliases:
        about.append(f"Also called: {', '.join(persona.aliases)}")
    if persona.style:
        about.append(f"How {persona.name} speaks: {persona.style}")
    if persona.relationships:
        known = "\n".join(f"- {other}: {sentence}" for other, sentence in persona.relationships.items())
        about.append(f"Relationships:\n{known}")
    if persona.taboos:
        about.append(f"{persona.name} never says:\n" + "\n".join(f"- {taboo}" for taboo in persona.taboos))
    return {
        "name": persona.name,
        "description": "\n\n".join(about),
        "personality": ", ".join(persona.traits),
        "first_mes": persona.greeting,
        "mes_example": write_examples(persona.examples, "{{char}}", "{{user}}"),
    }


def _same_texts(persona: Persona, read: Persona, data: Mapping[str, Any]) -> dict[str, str]:
    """The card's own texts, placeholders and all, of which the persona still says what was read from them.

    A persona that was kept as a sheet has lost the ends of its lines, which makes no other of it.
    """
    try:
        kept = parse_sheet(sheet_text(read), read.slug)
    except UnreadableSheet:
        kept = read
    return {
        key: data[key]
        for key, parts in _WITH_CARD_TEXT.items()
        if isinstance(data.get(key), str)
        and all(getattr(persona, part) in (getattr(read, part), getattr(kept, part)) for part in parts)
    }


def _blank(version: Version) -> dict[str, Any]:
    texts = ("scenario", "creator_notes", "system_prompt", "post_history_instructions", "creator", "character_version")
    blank: dict[str, Any] = dict.fromkeys(texts, "") | {"alternate_greetings": [], "tags": []}
    return blank | {"group_only_greetings": []} if version == "v3" else blank


def _book(persona: Persona, old: Any, version: Version) -> dict[str, Any]:
    """A lorebook with an entry for each fact; entries that another book has for one of them are kept as they are."""
    book: dict[str, Any] = dict(old) if isinstance(old, dict) else {"name": f"{persona.name}'s facts", "extensions": {}}
    listed = book.get("entries")
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    wanted = {_told(fact.text, persona.name) for fact in persona.facts}
    active = {id(entry) for entry in _entries({"entries": entries})}
    kept = [e for e in entries if id(e) not in active or _told(e["content"], persona.name) in wanted]
    known = {_told(e["content"], persona.name) for e in kept if id(e) in active}
    new = [fact for fact in persona.facts if fact.text.strip() and _told(fact.text, persona.name) not in known]
    return book | {"entries": [*kept, *(_entry(fact, len(kept) + place, version) for place, fact in enumerate(new))]}


def _entry(fact: Fact, place: int, version: Version) -> dict[str, Any]:
    keys = list(fact.accept) or [max(re.findall(r"\w+", fact.text) or [fact.id], key=len).casefold()]
    entry = {"keys": keys, "content": fact.text, "extensions": {}, "enabled": True, "insertion_order": place}
    entry |= {"case_sensitive": False, "constant": False, "name": fact.id, "comment": fact.id, "id": place}
    return entry | {"use_regex": False} if version == "v3" else entry
