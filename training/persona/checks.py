"""What a written dialogue must stand before it is learnt from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from training.schema import Conversation, Fact, Message, Persona

NGRAM = 5
MOST_SHARED = 0.5
"""A dialogue of which more 5-word runs than this were said before is not new."""
LONGEST_TURN = 1500
LEAST_OVERLAP = 0.34
OUT_OF_CHARACTER = re.compile(
    r"\b(?:as an ai|language model|openai|chatgpt|ai assistant|i(?:'m| am) an? (?:ai|assistant|program|bot|chatbot))\b",
    re.I,
)
FIRST_PERSON = re.compile(r"\b(?:i|i'm|i've|i'd|my|mine|me|myself)\b", re.I)
SENTENCE = re.compile(r"[^.!?…]+[.!?…]*")


class Checks:
    """The checks of one persona's dialogues; they remember what was accepted, so that nothing is said twice.

    facts: everything this persona may know, by id. probes: questions that evaluation asks, which are never learnt.
    others: the rest of the cast.
    """

    def __init__(
        self, persona: Persona, facts: Mapping[str, Fact], others: Iterable[Persona], said: Iterable[Conversation] = ()
    ) -> None:
        self._facts = facts
        self._own = _words(" ".join([persona.system_card(), *_known(persona), *(fact.text for fact in facts.values())]))
        self._foreign = _distinctive(others, self._own)
        self._probes = {_plain(fact.question) for fact in persona.facts if fact.question}
        self._said: set[tuple[str, ...]] = set()
        for conversation in said:
            self._said |= _ngrams(_lines(conversation.messages, "assistant"))

    def fault(self, messages: tuple[Message, ...], cites: tuple[str, ...], expected: tuple[str, ...]) -> str | None:
        """Why this dialogue is refused; None accepts it, and remembers it.

        cites: fact ids the writer says it used. expected: those that its scene was about, none for a protective one.
        """
        spoken = _lines(messages, "assistant")
        fault = (
            self._form_fault(messages)
            or self._citation_fault(cites, expected, spoken)
            or self._contradiction(cites, spoken)
            or self._stolen_fact(spoken)
            or self._novelty_fault(spoken)
        )
        if fault is None:
            self._said |= _ngrams(spoken)
        return fault

    def _form_fault(self, messages: tuple[Message, ...]) -> str | None:
        if any(len(message.content) > LONGEST_TURN for message in messages):
            return f"a turn is longer than {LONGEST_TURN} characters"
        if any(OUT_OF_CHARACTER.search(line) for line in _lines(messages, "assistant")):
            return "breaks character"
        if any(_plain(line) in self._probes for line in _lines(messages, "user")):
            return "asks a question that evaluation asks"
        return None

    def _citation_fault(self, cites: tuple[str, ...], expected: tuple[str, ...], spoken: list[str]) -> str | None:
        unknown = [fact for fact in cites if fact not in self._facts]
        if unknown:
            return f"cites {unknown[0]!r}, which is no fact of this persona"
        if not expected:
            return None
        missing = [fact for fact in expected if fact not in cites]
        if missing:
            return f"does not cite {missing[0]}"
        unsaid = [fact for fact in expected if not _shows(self._facts[fact], spoken)]
        return f"does not say {unsaid[0]}" if unsaid else None

    def _contradiction(self, cites: tuple[str, ...], spoken: list[str]) -> str | None:
        for fact in (self._facts[cited] for cited in cites):
            for sentence in _sentences(spoken):
                if _has_any(sentence, fact.reject) and not _has_any(sentence, fact.accept):
                    return f"contradicts {fact.id}"
        return None

    def _stolen_fact(self, spoken: list[str]) -> str | None:
        """Another persona's fact, told as one's own."""
        for sentence in _sentences(spoken):
            if not FIRST_PERSON.search(sentence):
                continue
            for fact_id, needed in self._foreign.items():
                if needed <= _words(sentence):
                    return f"tells {fact_id} as its own"
        return None

    def _novelty_fault(self, spoken: list[str]) -> str | None:
        grams = _ngrams(spoken)
        if grams and len(grams & self._said) / len(grams) > MOST_SHARED:
            return "too close to what was said before"
        return None


def _shows(fact: Fact, spoken: list[str]) -> bool:
    """Whether what is said knows the fact: by its accept words, else by a third of its own words."""
    if fact.accept:
        return _has_any(" ".join(spoken), fact.accept)
    needed = _words(fact.text)
    return len(needed & _words(" ".join(spoken))) >= LEAST_OVERLAP * len(needed)


def _distinctive(others: Iterable[Persona], own: set[str]) -> dict[str, set[str]]:
    """For each fact of the others the words, at least two, that nothing in this persona's own sheet explains."""
    needed = {}
    for other in others:
        names = _words(" ".join((other.name, *other.aliases)))
        for fact in other.facts:
            words = _words(fact.text) - own - names
            if len(words) >= 2:
                needed[fact.id] = words
    return needed


def _known(persona: Persona) -> list[str]:
    return [*persona.relationships, *persona.relationships.values(), *persona.traits, persona.greeting]


def _lines(messages: Iterable[Message], role: str) -> list[str]:
    return [message.content for message in messages if message.role == role]


def _sentences(lines: Iterable[str]) -> list[str]:
    return [match[0] for line in lines for match in SENTENCE.finditer(line)]


def _has_any(text: str, words: Iterable[str]) -> bool:
    plain = f" {_plain(text)} "
    return any(f" {_plain(word)} " in plain for word in words if _plain(word))


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _words(text: str) -> set[str]:
    """The words that carry meaning: those of four letters or more, and numbers."""
    return {word for word in re.findall(r"\w+", text.casefold()) if len(word) >= 4 or word.isdigit()}


def _ngrams(lines: Iterable[str]) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for line in lines:
        words = _plain(line).split()
        # A language that writes no spaces is compared by its characters.
        units = list("".join(words)) if len(words) < NGRAM <= len("".join(words)) else words
        found |= {tuple(units[i : i + NGRAM]) for i in range(len(units) - NGRAM + 1)}
    return found
