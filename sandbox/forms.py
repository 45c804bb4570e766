"""What Discord checks in a message that an app sends: text, embeds, components, files and mentions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntFlag
from typing import Any

from sandbox import limits
from sandbox.components import Check, check_attached, check_url, numbered
from sandbox.errors import Json, Path, Problems, empty_message, too_large

MENTION = re.compile(r"<@!?(\d+)>")
ROLE_MENTION = re.compile(r"<@&(\d+)>")
EVERYONE = re.compile(r"@(everyone|here)\b")
UNSAFE_IN_NAMES = re.compile(r"[^\w.\-]")


class Flag(IntFlag):
    """The message flags that the sandbox knows."""

    SUPPRESS_EMBEDS = 1 << 2
    HAS_THREAD = 1 << 5
    EPHEMERAL = 1 << 6
    LOADING = 1 << 7
    SUPPRESS_NOTIFICATIONS = 1 << 12
    COMPONENTS_V2 = 1 << 15


NO_FLAGS = Flag(0)
SETTABLE_IN_CHANNEL = Flag.SUPPRESS_EMBEDS | Flag.SUPPRESS_NOTIFICATIONS | Flag.COMPONENTS_V2
SETTABLE_IN_ANSWER = SETTABLE_IN_CHANNEL | Flag.EPHEMERAL


@dataclass(frozen=True)
class Upload:
    """One file of a multipart request; `key` is the N of `files[N]`."""

    key: str
    filename: str
    content_type: str
    data: bytes = field(repr=False)
    description: str | None = None


@dataclass(frozen=True)
class Allowed:
    """Which mentions of a text may become real ones."""

    users: bool | frozenset[str] = True
    roles: bool | frozenset[str] = True
    everyone: bool = True
    replied_user: bool = True


# A channel message pings whom it names; an interaction's or a webhook's answer pings users only.
ALLOWED_IN_CHANNEL = Allowed()
ALLOWED_IN_ANSWER = Allowed(roles=False, everyone=False)


@dataclass(frozen=True)
class Draft:
    """A checked message: what it will hold once it is sent or edited."""

    content: str
    embeds: list[Json]
    components: list[Json]
    flags: Flag
    allowed: Allowed
    uploads: tuple[Upload, ...]
    kept: frozenset[str] | None
    """Ids of the attachments that an edit keeps; None keeps all."""


@dataclass(frozen=True)
class Before:
    """What an edited message held until now."""

    content: str
    embeds: list[Json]
    components: list[Json]
    flags: Flag
    attachments: dict[str, str]
    """File name by attachment id."""


def check_message(
    body: Json,
    uploads: Sequence[Upload],
    *,
    settable: Flag,
    allowed: Allowed,
    path: Path = (),
    before: Before | None = None,
) -> Draft:
    """Read a message form, or an edit of `before`; raise 50035, 50006 or 40005 where Discord would."""
    if len(uploads) > limits.FILES or any(len(upload.data) > limits.FILE_BYTES for upload in uploads):
        raise too_large()
    problems = Problems()
    content = _content(problems, path, body, before)
    flags = _flags(problems, path, body, settable, before)
    described, kept = _attachments(problems, (*path, "attachments"), body, uploads, before)
    names = {upload.filename for upload in described}
    if before:
        names |= {name for key, name in before.attachments.items() if kept is None or key in kept}
    embeds = _listed(problems, (*path, "embeds"), body, "embeds", before.embeds if before else [])
    if "embeds" in body:
        _check_embeds(problems, (*path, "embeds"), embeds, names)
    components = _listed(problems, (*path, "components"), body, "components", before.components if before else [])
    if flags & Flag.COMPONENTS_V2:
        _check_exclusive(problems, path, body)
        Check(problems, names).version_2((*path, "components"), components)
    else:
        Check(problems, names).legacy((*path, "components"), components)
    mentions = _allowed_mentions(problems, (*path, "allowed_mentions"), body.get("allowed_mentions"), allowed)
    problems.refuse_if_any()
    attached = bool(names)
    if not (content or embeds or attached or (flags & Flag.COMPONENTS_V2 and components)):
        raise empty_message()
    return Draft(content, embeds, numbered(components), flags, mentions, described, kept)


def _content(problems: Problems, path: Path, body: Json, before: Before | None) -> str:
    if "content" not in body and before:
        return before.content
    content = body.get("content")
    if isinstance(content, int | float):
        content = str(content)
    if content is None or not problems.longer((*path, "content"), content, limits.CONTENT):
        return ""
    return str(content).strip()


def _flags(problems: Problems, path: Path, body: Json, settable: Flag, before: Before | None) -> Flag:
    old = before.flags if before else NO_FLAGS
    given = body.get("flags")
    if given is None:
        return old
    if not isinstance(given, int):
        problems.add((*path, "flags"), "NUMBER_TYPE_COERCE", f'Value "{given}" is not int.')
        return old
    # Version 2 cannot be taken back, and an edit cannot change who sees a message.
    return (Flag(given) & settable) | (old & (Flag.COMPONENTS_V2 | Flag.EPHEMERAL | Flag.HAS_THREAD))


def _listed(problems: Problems, path: Path, body: Json, key: str, old: list[Json]) -> list[Json]:
    if key not in body:
        return old
    value = body[key]
    if value is None:
        return []
    if not isinstance(value, list):
        problems.add(path, "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
        return []
    return value


def _attachments(
    problems: Problems, path: Path, body: Json, uploads: Sequence[Upload], before: Before | None
) -> tuple[tuple[Upload, ...], frozenset[str] | None]:
    """The uploads with their descriptions, and the ids of earlier attachments that are kept."""
    by_key = {upload.key: upload for upload in uploads}
    listed = body.get("attachments")
    kept: set[str] = set()
    for at, entry in enumerate(listed or []):
        key = str(entry.get("id"))
        problems.longer((*path, at, "description"), entry.get("description"), 1024)
        if upload := by_key.get(key):
            name = entry.get("filename") or upload.filename
            by_key[key] = Upload(key, name, upload.content_type, upload.data, entry.get("description"))
        elif before and key in before.attachments:
            kept.add(key)
        else:
            problems.add((*path, at, "id"), "ATTACHMENT_NOT_FOUND", f"No file or earlier attachment {key}.")
    named = tuple(
        Upload(u.key, UNSAFE_IN_NAMES.sub("_", u.filename) or "file", u.content_type, u.data, u.description)
        for u in by_key.values()
    )
    return named, frozenset(kept) if "attachments" in body else None


def _check_exclusive(problems: Problems, path: Path, body: Json) -> None:
    for key in ("content", "embeds", "poll", "sticker_ids"):
        if body.get(key):
            code = "MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2"
            message = f"The '{key}' field cannot be used when using MessageFlags.IS_COMPONENTS_V2"
            problems.add((*path, key), code, message)


def _check_embeds(problems: Problems, path: Path, embeds: list[Json], names: set[str]) -> None:
    if len(embeds) > limits.EMBEDS:
        problems.add(path, "BASE_TYPE_MAX_LENGTH", f"Must be {limits.EMBEDS} or fewer in length.")
    total = 0
    for at, embed in enumerate(embeds):
        if isinstance(embed, dict):
            total += _check_embed(problems, (*path, at), embed, names)
        else:
            problems.add((*path, at), "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")
    if total > limits.EMBED_CHARACTERS:
        message = f"Embed size exceeds maximum size of {limits.EMBED_CHARACTERS}"
        problems.add(path, "MAX_EMBED_SIZE_EXCEEDED", message)


def _check_embed(problems: Problems, path: Path, embed: Json, names: set[str]) -> int:
    """Check one embed; return how many characters it counts."""
    footer, author = embed.get("footer") or {}, embed.get("author") or {}
    texts: list[tuple[Path, Any, int]] = [
        (("title",), embed.get("title"), limits.EMBED_TITLE),
        (("description",), embed.get("description"), limits.EMBED_DESCRIPTION),
        (("footer", "text"), footer.get("text"), limits.EMBED_FOOTER),
        (("author", "name"), author.get("name"), limits.EMBED_AUTHOR),
    ]
    for place, text, most in texts:
        problems.longer((*path, *place), text, most)
    for key, text in (("footer", footer.get("text")), ("author", author.get("name"))):
        if embed.get(key) and not text:
            problems.required((*path, key, "text" if key == "footer" else "name"))
    counted = sum(len(str(text or "")) for _, text, _ in texts)
    counted += _check_fields(problems, (*path, "fields"), embed.get("fields") or [])
    colour = embed.get("color")
    if colour is not None and not (isinstance(colour, int) and 0 <= colour <= limits.EMBED_COLOUR):
        problems.add(
            (*path, "color"), "NUMBER_TYPE_MAX", f"int value should be less than or equal to {limits.EMBED_COLOUR}."
        )
    _check_timestamp(problems, (*path, "timestamp"), embed.get("timestamp"))
    check_url(problems, (*path, "url"), embed.get("url"), ("http", "https"))
    check_url(problems, (*path, "author", "url"), author.get("url"), ("http", "https"))
    pictures = [((key, "url"), (embed.get(key) or {}).get("url")) for key in ("image", "thumbnail")]
    pictures += [(("author", "icon_url"), author.get("icon_url")), (("footer", "icon_url"), footer.get("icon_url"))]
    for place, url in pictures:
        if check_url(problems, (*path, *place), url, ("http", "https", "attachment")):
            check_attached(problems, (*path, *place), str(url), names)
    empty = not counted and not any(url for _, url in pictures)
    if empty:
        problems.required((*path, "description"))
    return counted


def _check_fields(problems: Problems, path: Path, fields: list[Json]) -> int:
    if len(fields) > limits.EMBED_FIELDS:
        problems.add(path, "BASE_TYPE_MAX_LENGTH", f"Must be {limits.EMBED_FIELDS} or fewer in length.")
    counted = 0
    for at, entry in enumerate(fields):
        for key, most in (("name", limits.EMBED_FIELD_NAME), ("value", limits.EMBED_FIELD_VALUE)):
            text = str(entry.get(key) or "").strip()
            counted += len(text)
            if not text:
                problems.required((*path, at, key))
            problems.longer((*path, at, key), text, most)
    return counted


def _check_timestamp(problems: Problems, path: Path, value: object) -> None:
    if value is None:
        return
    try:
        datetime.fromisoformat(str(value))
    except ValueError:
        problems.add(path, "DATE_TIME_TYPE_PARSE", f"Could not parse {value}. Should be ISO8601.")


def _allowed_mentions(problems: Problems, path: Path, given: Json | None, default: Allowed) -> Allowed:
    if given is None:
        return default
    parse = given.get("parse") or []
    parsed: dict[str, bool | frozenset[str]] = {}
    for at, kind in enumerate(parse):
        problems.choice((*path, "parse", at), kind, ("users", "roles", "everyone"))
    for kind in ("users", "roles"):
        ids = given.get(kind) or []
        if ids and kind in parse:
            message = f'parse:["{kind}"] and {kind}: [ids...] are mutually exclusive.'
            problems.add(path, "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE", message)
        if len(ids) > limits.MENTIONED_IDS:
            problems.add((*path, kind), "BASE_TYPE_MAX_LENGTH", f"Must be {limits.MENTIONED_IDS} or fewer in length.")
        parsed[kind] = True if kind in parse else frozenset(map(str, ids))
    return Allowed(parsed["users"], parsed["roles"], "everyone" in parse, bool(given.get("replied_user", False)))


def mentioned(content: str, allowed: Allowed) -> tuple[list[str], list[str], bool]:
    """The user ids, role ids and whether everyone is really mentioned by a text."""

    def pick(found: list[str], rule: bool | frozenset[str]) -> list[str]:
        unique = dict.fromkeys(found)
        return [one for one in unique if rule is True or (isinstance(rule, frozenset) and one in rule)]

    users = pick(MENTION.findall(content), allowed.users)
    roles = pick(ROLE_MENTION.findall(content), allowed.roles)
    return users, roles, allowed.everyone and bool(EVERYONE.search(content))
