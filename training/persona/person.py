"""Sentences about a persona, turned into ones that it says of itself or hears about itself.

Only what is certain is turned. Where a pronoun may mean somebody else, or a word may or may not be a verb of the
persona's, there is no answer, and the caller leaves the sentence out.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from training.schema import Persona

Speaker = Literal["I", "you"]


class _Unsure(Exception):
    """The sentence could be turned in more than one way."""


_GENDERS = {
    "he": {"he": "subject", "him": "object", "his": "possessive", "himself": "self"},
    "she": {"she": "subject", "herself": "self"},
}
_BEGINS = {"he": re.compile(r"his\b|he\b", re.I), "she": re.compile(r"she\b|her\b", re.I), "": re.compile("(?!)")}
_SHORT_HAS = re.compile(r"\b(she|he)['’]s(?= (?:got|been|had|never been)\b)", re.I)
_SHORT_IS = re.compile(r"\b(she|he)['’]s\b", re.I)
_PRONOUNS = frozenset(["he", "him", "his", "himself", "she", "her", "hers", "herself"])
_FORMS = {
    "I": {"subject": "I", "object": "me", "possessive": "my", "self": "myself"},
    "you": {"subject": "you", "object": "you", "possessive": "your", "self": "yourself"},
}
_BE = {"is": {"I": "am", "you": "are"}, "was": {"I": "was", "you": "were"}, "isn't": {"I": "am not", "you": "aren't"}}
_IRREGULAR = {"has": "have", "does": "do", "goes": "go", "doesn't": "don't", "hasn't": "haven't"}
_UNCHANGING = frozenset(
    ["can", "could", "will", "would", "may", "might", "must", "shall", "should", "had", "did", "cannot", "can't", "and"]
)
_ADVERBS = frozenset(
    [
        "never",
        "always",
        "often",
        "once",
        "also",
        "still",
        "now",
        "only",
        "just",
        "really",
        "secretly",
        "sometimes",
        "usually",
        "first",
    ]
)
_PAST = ("took", "came", "went", "made", "gave", "left", "fell", "were", "been", "said")
_OBJECTS = re.compile(r"an?|the|his|her|every|no|many|two|three|all|everything|nothing|people|\d+")
_COMMON = re.compile(r"lives|speaks|talks|works|comes|sleeps|sits|travels|believes|looks|acts|dreams|is|has|was")
_LIKES = re.compile(r"likes|loves|hates|dislikes|fears|owns|enjoys|collects|knows|believes|refuses|wants|needs")
LONGEST_NOUN = 8
_NO_NOUN = re.compile(
    r"(?:every|some|any|no)(?:thing|one|body|where)|how|what|when|where|why|who|which|whether|or|but|if|while|because|than"
    r"|until|again|alone|away|back|home|down|up|out|off|well|too|twice|all|more|most|there|here"
)
_NO_VERB = re.compile(r"(?:ss|us|is|ous)$")
_PREPOSITIONS = frozenset(
    [
        "a",
        "an",
        "the",
        "to",
        "at",
        "in",
        "on",
        "of",
        "for",
        "from",
        "with",
        "by",
        "about",
        "into",
        "under",
        "over",
        "near",
        "as",
        "it",
        "him",
        "her",
        "them",
        "things",
        "every",
        "his",
        "that",
        "so",
        "and",
    ]
)

_TITLES = re.compile(
    r"the|old|young|big|little|great|lord|lady|captain|doctor|dr\.?|mr\.?|mrs\.?|ms\.?|miss|major|general|king|queen"
    r"|prince|princess|ambassador|sir|dame|aunt|uncle|father|mother|brother|sister|professor|saint|st\.?",
    re.I,
)


@dataclass
class _Place:
    """How far a sentence is turned: its words, the next one, and what was met before it."""

    words: list[str]
    at: int = 0
    clause: bool = False
    relative: bool = False
    stranger: bool = False


def turned(text: str, persona: Persona, speaker: Speaker, others: Collection[str] = ()) -> str | None:
    """The sentence in first person ("I"), or second person ("you"); None where that is not certain.

    `others` are the names of people who may be meant by a pronoun; capitalised words of the sentence count too.
    """
    marked = text.strip()
    for known in _names(persona):
        named = rf"(?<!\bis )(?<!called )(?<!named )\b{re.escape(known)}(['’]s)?(?=\W|$)"
        marked = re.sub(named, lambda m: "\x01" if m[1] else "\x02", marked)
    if "\x01" not in marked and "\x02" not in marked and not _BEGINS[gender(persona)].match(marked):
        return None
    marked = _SHORT_HAS.sub(r"\1 has", marked)
    marked = _SHORT_IS.sub(r"\1 is", marked)
    if re.search(r"\b(?:she|he)['’]|\x01 (?:an?|the|not|afraid|always|never|been|got|very)\b", marked, re.I):
        return None
    place = _Place(re.findall(r"[\w\x01\x02'’-]+|[^\w\x01\x02\s]+|\s+", marked))
    try:
        told = "".join(_turn(place, persona, speaker, {part for other in others for part in other.split()}))
    except _Unsure:
        return None
    return told[:1].upper() + told[1:]


def told_of(persona: Persona, sentence: str, first: bool = False) -> str:
    """A sentence of a sheet with the persona's name in front where it only lacks that; any other as it is.

    first: whether it begins the bio, where `A grumpy owl.` says what the persona is.
    """
    text = sentence.strip()
    begun = re.match(r"(?P<word>[A-Z][a-z]+)(?:\s+(?P<next>[\w'’-]+))?", text)
    if first and re.match(r"(?:An?|The)\s", text) and not _has_verb(text):
        return f"{persona.name} is {text[:1].lower()}{text[1:]}"
    if begun and begun["word"] in ("Born", "Raised", "Trained", "Known", "Educated"):
        return f"{persona.name} was {text[:1].lower()}{text[1:]}"
    if re.match(r"(?:Never|Always|Often|Rarely)\s+[a-z]+s\b", text):
        return f"{persona.name} {text[:1].lower()}{text[1:]}"
    if begun and begun["next"] and _is_verb(word := begun["word"].casefold()) and word not in _UNCHANGING:
        following = begun["next"].casefold()
        sure = bool(_OBJECTS.fullmatch(following))
        manner = following in _PREPOSITIONS or re.fullmatch(r"\w+ly|fast|hard|like|little|much", following)
        sure = sure or bool(_COMMON.fullmatch(word) and manner) or bool(_LIKES.fullmatch(word))
        return f"{persona.name} {text[:1].lower()}{text[1:]}" if sure else text
    return text


def _has_verb(text: str) -> bool:
    """Whether a sentence that begins with an article has a verb of its own before what only explains its noun."""
    head = re.split(r",|\b(?:who|that|which|whose|with|from|in|on|of|at|by|for)\b", text)[0]
    words = re.findall(r"[\w'’]+", head.casefold())
    return bool({*words} & ({*_BE, *_IRREGULAR, *_UNCHANGING, *_PAST} | _PRONOUNS)) or len(words) > LONGEST_NOUN


def gender(persona: Persona) -> str:
    """The pronoun that the sheet uses for the persona: "he", "she", or "" where that is not plain."""
    told = " ".join([persona.bio, persona.style, *(fact.text for fact in persona.facts)]).casefold()
    counts = {"he": len(re.findall(r"\b(?:he|his|him)\b", told)), "she": len(re.findall(r"\b(?:she|hers?)\b", told))}
    best = max(counts, key=lambda pronoun: counts[pronoun])
    return best if counts[best] > 2 * (sum(counts.values()) - counts[best]) else ""


def _names(persona: Persona) -> list[str]:
    """What the persona is called, longest first; a bio that begins with a longer name tells that too."""
    longer = re.match(rf"{re.escape(persona.name)}(?: [A-Z]\w+)+(?= (?:is|was|has)\b)", persona.bio)
    names = {persona.name, *persona.aliases} | ({longer[0]} if longer else set())
    called = [part for part in persona.name.split() if not _TITLES.fullmatch(part)]
    if 1 <= len(called) <= 2:
        names.add(called[0])
    return sorted(names, key=len, reverse=True)


def _turn(place: _Place, persona: Persona, speaker: Speaker, others: set[str]) -> list[str]:
    """The words of the sentence, turned one by one."""
    forms = _FORMS[speaker]
    pronouns = _GENDERS.get(gender(persona), {})
    made: list[str] = []
    while place.at < len(place.words):
        word = place.words[place.at]
        low = word.casefold()
        place.at += 1
        if word == "\x01":
            made.append(forms["possessive"])
        elif word == "\x02":
            made += _named(place, speaker, bool("".join(made).strip()))
        elif low in _PRONOUNS and (low in pronouns or (low == "her" and "she" in pronouns) or not pronouns):
            if place.stranger or not pronouns:
                raise _Unsure
            role = pronouns.get(low) or ("possessive" if word == "Her" else _her(place))
            made.append(forms[role])
            if role == "subject":
                made += _verb(place, speaker)
        elif low == "and" and place.clause:
            made.append(word)
            made += _second_verb(place, speaker)
        else:
            place.relative = place.relative or low in ("who", "which", "that", "whose", "where", "because")
            place.stranger = place.stranger or word in others
            made.append(word)
    return made


def _named(place: _Place, speaker: Speaker, inside: bool) -> list[str]:
    """The persona's name as the subject of what follows, or, inside a sentence with no verb after it, as its object."""
    rest = "".join(place.words[place.at :])
    pair = re.match(r" and ([A-Z]\w+(?: [A-Z]\w+)?)(?= [a-z])", rest)
    if pair and not inside:
        for _ in re.findall(r"\w+|\s+", pair[0]):
            place.at += 1
        place.stranger = True
        return [f"{pair[1]} and I" if speaker == "I" else f"you and {pair[1]}"]
    following = re.match(r"\s+([\w'’-]+)", rest)
    if inside and not (following and _is_verb(following[1].casefold())):
        return [_FORMS[speaker]["object"]]
    place.clause = True
    return [_FORMS[speaker]["subject"], *_verb(place, speaker)]


def _her(place: _Place) -> str:
    """Whether a "her" just met is a possessive or an object; in front of a plain word it is the first."""
    following = re.match(r"\s+([a-z][\w'’-]*)", "".join(place.words[place.at :]))
    if not following or following[1] in _PREPOSITIONS | _ADVERBS or _NO_NOUN.fullmatch(following[1]):
        return "object"
    return "possessive"


def _is_verb(word: str) -> bool:
    known = word in _BE or word in _IRREGULAR or word in _UNCHANGING
    return known or (word.endswith("s") and word not in _ADVERBS and not _NO_VERB.search(word))


def _verb(place: _Place, speaker: Speaker) -> list[str]:
    """The words up to and with the verb that agrees with a subject just named."""
    made: list[str] = []
    while place.at < len(place.words):
        word = place.words[place.at]
        place.at += 1
        if word.isspace() or word.casefold() in _ADVERBS:
            made.append(word)
            continue
        if not word.islower():
            raise _Unsure
        place.clause = True
        return [*made, _agreeing(word, speaker)]
    return made


def _second_verb(place: _Place, speaker: Speaker) -> list[str]:
    """What follows an "and": a verb of the same subject is turned too; where it could be a noun, nothing is certain."""
    before = place.at
    made = _verb_words(place)
    word = place.words[place.at] if place.at < len(place.words) else ""
    low = word.casefold()
    if low in _BE or low in _IRREGULAR:
        if place.relative:
            raise _Unsure
        place.at += 1
        return [*made, _agreeing(word, speaker)]
    if low.endswith("s") and low.isalpha() and low not in _ADVERBS and low not in _PREPOSITIONS and low.islower():
        following = re.match(r"\s+([\w'’-]+)", "".join(place.words[place.at + 1 :]))
        if place.relative or not (following and following[1].casefold() in _PREPOSITIONS):
            raise _Unsure
        place.at += 1
        return [*made, _agreeing(word, speaker)]
    place.at = before
    return []


def _verb_words(place: _Place) -> list[str]:
    made: list[str] = []
    while place.at < len(place.words) and (
        place.words[place.at].isspace() or place.words[place.at].casefold() in _ADVERBS
    ):
        made.append(place.words[place.at])
        place.at += 1
    return made


def _agreeing(word: str, speaker: Speaker) -> str:
    """A verb of the third person as it agrees with I or you."""
    low = word.casefold()
    if low in _BE:
        return _BE[low][speaker]
    if low in _IRREGULAR:
        return _IRREGULAR[low]
    if low in _UNCHANGING or not low.endswith("s") or _NO_VERB.search(low):
        return word
    if low.endswith("ies") and len(low) > 4:
        return word[:-3] + "y"
    return word[:-2] if re.search(r"(?:ss|x|zz|sh|ch|o)es$", low) else word[:-1]
