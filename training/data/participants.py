"""Who takes part in a chat export, and how they are hidden: by who they are first, by what they are called after."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from training.data.anonymise.words import words

if TYPE_CHECKING:
    from training.data.anonymise.anonymiser import Anonymiser

DELETED_USER = "456226577798135808"
SOMEONE = "Someone"

_STAND_IN = re.compile(r"Zq[a-p]{12}")
_MENTION = re.compile(r"<@!?(\d{1,20})>")
_LETTERS = str.maketrans("0123456789abcdef", "abcdefghijklmnop")

# Words that are nobody's name, whatever somebody calls themself: every sentence holds one.
_NOBODYS = words(
    """i a an the me my you your u he him his she her it its we us our they them their is are am be was no not yes so to
    of in on at and or but if as by do who what this that all any one oh ok lol"""
)
# Of the words that begin many sentences, those that are names as readily; and names that are such words themselves.
_RARE = words("alexa april asia august berlin christian dev easter eve india june london mario paris queen")
_EVERYDAY = words("can guy hope al bin max rich even")
_AT = re.compile(r"(?<![\w/.])@(\w+(?:[.-]\w+)*)")
_WORD = re.compile(r"(?<![\w/.=&#:<@-])([^\W_]+(?:['’.-][^\W_]+)*?)(?=['’]s\b|[^\w@/'’.-]|[_'’.-](?!\w)|$)")
_A_THING = re.compile(r"\b(?:an?|the|my|your|his|their|our|its|every|each|some|any)\s+$", re.IGNORECASE)
_START = re.compile(r"(?:^|[\n.!?…*\"“])[\s*_\"“]*$")
_CALLED = re.compile(
    r"\b(?:hey|hi|hello|hiya|yo|oi|dear|thanks|thank you|thx|ty|bye|gn|gm|sorry|ask|asked|tell|told|with|from|about"
    r"|for|by|to|at|like|love|miss|named|called|call me|name is|name's|i'm|im|i am|it's|this is|poor|meet|met|saw|said|"
    r"says|ping|blame|kicked|banned)\s*$",
    re.IGNORECASE,
)
_APART = re.compile(r"(?:[,;:–—-]|\band|&)\s*$", re.IGNORECASE)
_AND = re.compile(r"\s+(?:and|&)\s", re.IGNORECASE)
_CLAUSE_ENDS = re.compile(r"\s*(?:[,.!?;:)*~…\"”\n]|$)")
_SPEAKS = re.compile(
    r"['’]s\b|\s+(?:here|says?|said|asks|asked|told|is|was|has|had|wants|thinks|knows|likes|loves|left|went|came|"
    r"comes|goes|looks|nods|waves|smiles|laughs)\b",
    re.IGNORECASE,
)
_ACTS = re.compile(r"\s+(?:you|he|she|it|they|we|i|this|that|the|there|be|not|go|have)\b", re.IGNORECASE)


class Participants:
    """The people and the characters of one export."""

    def __init__(self, messages: Iterable[Any], characters: Iterable[str] = ()) -> None:
        shown: dict[str, Counter[str]] = {}
        self.people: dict[str, set[str]] = {}
        self.characters = {name for name in characters if name}
        for one in (one for message in messages for one in people_of(message)):
            name, nickname = str(one.get("name") or ""), str(one.get("nickname") or "")
            shown.setdefault(id_of(one), Counter())[_plain(nickname) or name] += 1
            if one.get("isBot") or id_of(one) == DELETED_USER:
                self.characters |= {name for name in (name, nickname) if name}
            else:
                self.people.setdefault(id_of(one), set()).update((name, nickname))
        self.labels = {author: names.most_common(1)[0][0] for author, names in shown.items()}

    def hidden(self, make: Callable[[Sequence[str], Sequence[str]], Anonymiser]) -> Hidden:
        """The same people, behind an anonymiser that is made for them."""
        return Hidden(self, make)


class Hidden:
    """Puts a stand-in wherever a person is labelled, mentioned or called; `text` makes it that person's pseudonym.

    A stand-in is one invented word, of which the person's names are other names. So the person has one pseudonym in a
    conversation, by whatever name, and is known for certain where the export itself tells who it is.
    """

    def __init__(self, who: Participants, make: Callable[[Sequence[str], Sequence[str]], Anonymiser]) -> None:
        self._who = who
        self._stand_ins = {author: _stand_in(author) for author in who.people}
        called = self._called()
        self.anonymiser = make(self._roster(called), sorted(who.characters))
        # Those of the cast are none of the people, even where somebody goes by the same name.
        kept = {name for name in called if not _is_person(name, self.anonymiser)}
        self._called_here = {name: author for name, author in called.items() if name not in kept}
        self._quiet = frozenset(name for name in self._called_here if not _is_person(name, self.anonymiser, as_is=True))
        self._long = {name.casefold(): author for author, names in who.people.items() for name in self._in_parts(names)}
        self._long_names = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, self._long))})(?!\w)", re.IGNORECASE)

    def label(self, author: str) -> str:
        """What a person is called as a speaker."""
        return self._stand_ins.get(author) or self._who.labels.get(author, "")

    def spoken(self, content: str) -> str:
        """A message with everyone who is mentioned or called by name behind a stand-in."""
        mentioned = _MENTION.sub(lambda found: self.label(found[1]) or found[0], content)
        at = _AT.sub(lambda found: self._stand_in_for(found[1]) or found[0], mentioned)
        if self._long:
            at = self._long_names.sub(lambda found: self._stand_ins[self._long[found[0].casefold()]], at)
        return _WORD.sub(lambda found: (self._calls(found, at) and self._stand_in_for(found[1])) or found[0], at)

    def text(self, text: str, conversation: str) -> str:
        """A text with all that is personal replaced."""
        # A stand-in that something else took for its own, such as an address, is nobody's name any more.
        return _STAND_IN.sub(SOMEONE, self.anonymiser.text(text, conversation))

    def calls(self, content: str) -> Iterator[tuple[int, int]]:
        """Where people are called by a name that is also a word, which the anonymiser leaves alone."""
        return (found.span(1) for found in _WORD.finditer(content) if self._calls(found, content))

    def _calls(self, found: re.Match[str], text: str) -> bool:
        return found[1].casefold() in self._quiet and _is_called(found, text)

    def _stand_in_for(self, name: str) -> str:
        return self._stand_ins.get(self._called_here.get(name.casefold(), ""), "")

    def _in_parts(self, names: Iterable[str]) -> list[str]:
        """Names of several words of which one would be taken for the whole, the longest first."""
        parts = [name for name in _whole(names) if not self._quiet.isdisjoint(name.casefold().split()[:-1])]
        whole = (name for name in parts if " " in name and _is_person(name, self.anonymiser))
        return sorted(whole, key=len, reverse=True)

    def _called(self) -> dict[str, str]:
        """Single words that people are called by, each with the id of one whom it may mean."""
        owners: dict[str, set[str]] = {}
        for author, names in self._who.people.items():
            for name in {name.casefold() for name in (*_whole(names), *_parts(names)) if " " not in name}:
                owners.setdefault(name, set()).add(author)
        return {name: min(found) for name, found in owners.items() if len(name) > 1 and name not in _NOBODYS}

    def _roster(self, called: dict[str, str]) -> list[str]:
        """A line for each person: the stand-in, then every name that is no one else's."""
        return [_line(self._stand_ins[author], author, names, called) for author, names in self._who.people.items()]


def people_of(message: Any) -> Iterator[dict[str, Any]]:
    """A message's author and those whom it mentions."""
    if isinstance(message, dict):
        mentioned = message.get("mentions")
        for one in (message.get("author"), *(mentioned if isinstance(mentioned, list) else ())):
            if isinstance(one, dict) and id_of(one):
                yield one


def id_of(value: Any, key: str | None = None) -> str:
    """An id as text, empty where there is none."""
    holder = value.get(key) if key and isinstance(value, dict) else value
    found = holder.get("id") if isinstance(holder, dict) else None
    return str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""


def _line(stand_in: str, author: str, names: Iterable[str], called: dict[str, str]) -> str:
    own = [
        name
        for name in dict.fromkeys([*_whole(names), *_parts(names)])
        if called.get(name.casefold(), author) == author
    ]
    listed = [name for name in own if len(name) > 1 and name.casefold() not in _NOBODYS]
    return ",".join(name.replace(",", " ") for name in (stand_in, *listed))


def _whole(names: Iterable[str]) -> list[str]:
    """Names as they are given, and without decoration."""
    return sorted({plain for name in names for plain in (_plain(name), name) if plain.strip()})


def _parts(names: Iterable[str]) -> list[str]:
    return sorted({part for name in _whole(names) for part in name.split() if _is_own(part)})


def _is_own(part: str) -> bool:
    """Whether a part of a longer name is a name by itself."""
    from training.data.anonymise.cues import STOP
    from training.data.anonymise.names import PARTICLES

    return len(part) > 2 and part.isalpha() and part.casefold() not in STOP | PARTICLES


def _is_person(name: str, anonymiser: Anonymiser, *, as_is: bool = False) -> bool:
    found = anonymiser.spans(name if as_is else name.title())
    return any(span.label == "PERSON" for span in found)


def _is_called(found: re.Match[str], text: str) -> bool:
    """Whether a word that is also a name is one here: the rarer the word, the more readily."""
    before, after = text[: found.start()][-40:], text[found.end() :][:40]
    if not _is_everyday(found[1].casefold()):
        return not _A_THING.search(before)
    if _SPEAKS.match(after) or (_APART.search(before) and _CLAUSE_ENDS.match(after)):
        return True
    if _CALLED.search(before):
        return not _ACTS.match(after)
    return _START.search(before) is not None and (_CLAUSE_ENDS.match(after) or _AND.match(after)) is not None


def _is_everyday(word: str) -> bool:
    from training.data.anonymise.cues import STOP

    return word in _EVERYDAY or (word in STOP and word not in _RARE)


def _stand_in(author: str) -> str:
    return "Zq" + hashlib.sha256(author.encode()).hexdigest()[:12].translate(_LETTERS)


def _plain(name: str) -> str:
    """A nickname without decoration: no brackets with what they hold, no signs at its ends."""
    return re.sub(r"^[\W_]+|[\W_]+$", "", re.sub(r"\([^()]*\)|\[[^\[\]]*\]|\|.*", "", name))
