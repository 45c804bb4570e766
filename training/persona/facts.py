"""What is true of a persona, as people write it down: with ids or without, as questions and answers, or as prose."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from training.schema import Fact

SHORT_ANSWER = 4
"""Up to so many words, an answer is what a reply must contain to show that it knows the fact."""

SHORT_VALUE = 12
_DOES = frozenset(
    [
        "likes",
        "loves",
        "dislikes",
        "hates",
        "fears",
        "owns",
        "wears",
        "drives",
        "speaks",
        "collects",
        "drinks",
        "eats",
        "enjoys",
        "wants",
    ]
)
_IS_ONE = frozenset(["occupation", "profession", "job", "species", "race"])
_HAS = re.compile(
    r"age|height|weight|birthday|birthplace|home(?:town)?|nationality|species|race|occupation|profession|job|weapon"
    r"|rank|title|fear|hobby|goal|dream|secret|pet|favou?rite \w+|(?:hair|eye|fur|skin) colou?r|hair|call sign"
)

_SENTENCE = re.compile(r"(?<=[.!?…])[\"”’)]?\s+(?=[\"“‘(]?[A-ZÀ-Þ0-9])|(?<=[。！？])\s*")
_SHORTENED = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|St|Prof|Capt|Lt|Sgt|Gen|Rev|vs|e\.g|i\.e|No|[A-Z])\.$")
_ASKED = re.compile(r"(?P<question>[^?？]{4,200}[?？])\s*(?:[-–—:=]+>?|→|A:)?\s*(?P<answer>\S.*)", re.DOTALL)
_ID = re.compile(r"(?P<id>[a-z0-9]+(?:[-_][a-z0-9]+)*):\s+(?P<text>\S.*)", re.DOTALL)
_NUMBERED = re.compile(
    r"(?:[\[(](?P<inside>[A-Za-z]+(?:[-_][A-Za-z0-9]+)*[-_]?\d+)[\])]:?|(?P<id>[A-Za-z]{1,4}\d{1,4})[.)])\s+(?P<text>\S.*)",
    re.DOTALL,
)
_BEHIND = re.compile(r"(?P<text>.*\S)\s*`id:\s*(?P<id>[A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)*)`", re.DOTALL)


def slug_of(text: str, limit: int = 40) -> str:
    """Lower-case Latin letters, digits and hyphens of a name; a digest of it where it has no such letters."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower().replace("'", "")
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:limit].rstrip("-")
    return slug or f"p-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def sentences(text: str) -> list[str]:
    """The sentences of a paragraph; titles and initials end none."""
    found: list[str] = []
    for piece in _SENTENCE.split(" ".join(text.split())):
        if found and _SHORTENED.search(found[-1][-12:]):
            found[-1] = f"{found[-1]} {piece}"
        elif piece:
            found.append(piece)
    return found


def fact_of(text: str, slug: str) -> Fact:
    """A fact as one entry tells it: `id: text`, `[f2] text`, `f2. text`, a question with its answer, or a sentence.

    Without an id of its own it gets one of the persona's slug, its first words and a digest, the same every time.
    """
    text = " ".join(text.split())
    if given := _ID.fullmatch(text) or _BEHIND.fullmatch(text):
        return asked(given["text"], given["id"].lower())
    if numbered := _NUMBERED.fullmatch(text):
        return asked(numbered["text"], (numbered["inside"] or numbered["id"]).lower())
    return asked(text, fact_id(text, slug))


def labelled(name: str, label: str, text: str) -> str:
    """What a label and its text say of the persona: a sentence where that is sure, else both as they are."""
    plain, low = text.strip().rstrip(".。"), label.casefold()
    if not plain or len(plain.split()) > SHORT_VALUE or re.search(r"[.!?:。！？：]", plain):
        return f"{label}: {text}"
    if low in _DOES:
        first, comma, last = plain.rpartition(", ")
        plain = f"{first} and {last}" if comma and " and " not in plain else plain
        return f"{name} {low} {plain}."
    if low in _IS_ONE and re.match(r"[a-z]", plain):
        article = "" if re.match(r"(?:an?|the|in|at)\s", plain) else "an " if plain[0] in "aeiou" else "a "
        return f"{name} is {article}{plain}."
    return f"{name}'s {low} is {plain}." if _HAS.fullmatch(low) else f"{label}: {text}"


def tells_surely(label: str) -> bool:
    """Whether a label and a short text make a sentence."""
    low = label.casefold()
    return low in _DOES or low in _IS_ONE or bool(_HAS.fullmatch(low))


def asked(text: str, fact_id: str) -> Fact:
    """The fact with its question apart, where its text begins with one that it then answers."""
    parts = _ASKED.fullmatch(text)
    if not parts:
        return Fact(id=fact_id, text=text)
    answer = re.sub(r"^(?:an?|the|in an?|in the)\s+", "", parts["answer"].strip().rstrip("."), flags=re.I)
    named = [name.strip() for name in re.split(r"[()]", answer.casefold()) if name.strip()]
    accept = tuple(named) if all(len(name.split()) <= SHORT_ANSWER for name in named) else ()
    return Fact(id=fact_id, text=text, question=parts["question"].strip(), accept=accept)


def fact_id(text: str, slug: str) -> str:
    """The same short id for the same text."""
    words = re.findall(r"[a-z0-9]+", text.casefold())[:3]
    return "-".join((slug, *words, hashlib.sha256(text.encode()).hexdigest()[:6]))
