"""What a sheet alone tells of a persona, as questions and answers in its own person.

It is for personas that nobody has written dialogues for. What a sentence does not surely say is not said.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from training.persona.facts import sentences
from training.persona.kin import role_of
from training.persona.person import told_of, turned
from training.persona.phrases import language
from training.schema import Fact, Persona

MOST_TRAITS = 4
SHORT_TRAIT = 4
"""Up to so many words, a trait is a quality rather than a habit."""
_TRADE = re.compile(r"[\w '’-]{1,80}? is (?:an?|the) [^,;]{1,80}? who (?P<does>[a-z]+s [^,;.]{1,120})\.")
_FORBIDDEN = re.compile(
    r"(?:(?:would|will|must|does|do|should)?\s*(?:never|not|n't)\s+)?(?:to\s+)?"
    r"(?:(?:speak|talk|tell)(?:s|ing)?\s+(?:of|about)|mention(?:s|ing)?|discuss(?:es|ing)?)\s+(?P<topic>[^.;,]{3,60})",
    re.I,
)


class Told(NamedTuple):
    """One exchange; those of one `about` tell the same and belong together."""

    about: str
    question: str
    answer: str


def biography(persona: Persona) -> Iterator[Fact]:
    """The sentences of bio, speech and traits that name the persona or may be read so, as facts to be told."""
    found: list[str] = []
    for place, sentence in enumerate(sentences(persona.bio)):
        told = told_of(persona, sentence, first=not place)
        found.append(told)
        trade = _TRADE.fullmatch(told)
        if trade and " and " not in trade["does"]:
            found.append(f"{persona.name} {trade['does']}.")
    habits = [trait for trait in persona.traits if not _is_quality(trait)]
    found += [
        told_of(persona, sentence[:1].upper() + sentence[1:]) for sentence in (*sentences(persona.style), *habits)
    ]
    for place, text in enumerate(dict.fromkeys(found), 1):
        if not of_the_user(text):
            yield Fact(
                id=f"{persona.slug}-bio-{place}", text=text if text.endswith((".", "!", "?", "…")) else f"{text}."
            )


def of_the_user(text: str) -> bool:
    """Whether a sentence speaks of whoever talks with the persona, as cards do."""
    return bool(re.search(r"\bthe user\b|\{\{user\}\}", text, re.I))


def portrait(persona: Persona, others: Collection[str] = ()) -> Iterator[Told]:
    """Who the persona is, how it greets, what it is like, who others are to it, and what it does not speak of."""
    spoken = language(persona)
    if spoken == "zh":
        yield from _in_chinese(persona)
    elif spoken:
        yield from _name(persona, others)
        yield from _hello(persona)
        yield from _traits(persona)
        yield from _people(persona)
        yield from _forbidden(persona)


def _name(persona: Persona, others: Collection[str]) -> Iterator[Told]:
    name = persona.name
    short = min((name, *persona.aliases), key=len)
    first = next((turned(fact.text, persona, "I", others) for fact in biography(persona)), None)
    if first:
        noun = re.match(r"I am ((?:an?|the)\s.*)", first)
        yield Told("name", "Who are you?", f"I am {name}, {noun[1]}" if noun else f"I am {name}. {first}")
        yield Told("name", "Can you introduce yourself?", f"{name}. {first}")
    known = f" Some call me {persona.aliases[0]}." if persona.aliases else ""
    yield Told("name", "What is your name?", f"My name is {name}.{known}")
    yield Told("name", "What should I call you?", f"{short} will do.")
    yield Told("name", "Who am I talking to?", f"You are talking to {name}.")


def _hello(persona: Persona) -> Iterator[Told]:
    if persona.greeting:
        yield Told("hello", "Hello.", persona.greeting)
    yield Told("hello", "Hi there.", f"Hello. I am {persona.name}.")
    yield Told("hello", "Good morning.", f"Good morning. {persona.name} here.")
    yield Told("hello", "Is anybody there?", f"Yes, {persona.name} is here.")


def _traits(persona: Persona) -> Iterator[Told]:
    short = [trait for trait in persona.traits if _is_quality(trait)][:MOST_TRAITS]
    if not short:
        return
    listed = " and ".join([", ".join(short[:-1]), short[-1]] if short[1:] else short)
    yield Told("traits", "How would you describe yourself?", f"In a few words: {listed}.")
    if one := next((trait for trait in short if " " not in trait), ""):
        yield Told("traits", "Which one word fits you best?", f"{one[:1].upper()}{one[1:]}.")
    if short[1:]:
        pair = f"{short[0]} and {short[1]}"
        yield Told("traits", "What would others say you are like?", f"{pair[:1].upper()}{pair[1:]}, I should think.")


def _is_quality(trait: str) -> bool:
    """Whether a trait is a word or a few, rather than a sentence or a habit such as `counts gulls`."""
    first, *others = trait.split()[: SHORT_TRAIT + 1] or [""]
    habit = others and re.fullmatch(r"[A-Za-z]+[^su]s|never|always|often|rarely", first)
    return bool(first) and len(others) < SHORT_TRAIT and not habit and not re.search(r"[.:;!?]", trait)


def _people(persona: Persona) -> Iterator[Told]:
    for other, sentence in persona.relationships.items():
        role, rest = role_of(sentence)
        if role:
            about = f"knows-{other.casefold()}"
            yield Told(about, f"Who is {other} to you?", f"{other} is my {role}{rest}.")
            yield Told(about, f"Do you know {other}?", f"Yes, {other}. My {role}.")


def _forbidden(persona: Persona) -> Iterator[Told]:
    for place, taboo in enumerate(persona.taboos):
        found = _FORBIDDEN.match(taboo)
        if not found or re.search(r"\b(?:he|she|they|him|it|that|what|who|the user)\b", found["topic"], re.I):
            continue
        topic = re.sub(r"\b(?:her|his|their)\b", "your", found["topic"], flags=re.I).strip()
        yield Told(f"forbidden-{place}", f"Tell me about {topic}.", "I do not speak of that.")
        yield Told(
            f"forbidden-{place}", f"Why do you never talk about {topic}?", "Because I choose not to. Let it rest."
        )


def _in_chinese(persona: Persona) -> Iterator[Told]:
    yield Told("name", "你是谁？", f"我是{persona.name}。")
    yield Told("name", "你叫什么名字？", f"我叫{persona.name}。")
    if persona.greeting:
        yield Told("hello", "你好。", persona.greeting)
    short = [trait for trait in persona.traits if len(trait) <= len("一二三四")]
    if short:
        yield Told("traits", "用几个词形容一下你自己。", f"{'、'.join(short[:MOST_TRAITS])}。")
    for other, sentence in persona.relationships.items():
        if role := role_of(sentence)[0]:
            yield Told(f"knows-{other}", f"{other}是你什么人？", f"{other}是我的{role}。")
