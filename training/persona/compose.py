"""Dialogues without a language model: a persona's own written lines, its sheet and a few phrases, put together anew.

Every answer is either a line that was written for the persona, or one sentence of its sheet in first person beside
such a line, or one of its phrases. Rows that tell the same fact, or share a line, have one `meta.group`, so that a
split never has one of them on either side.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from training.evaluation.probes import BOUNDARY, NEUTRAL
from training.persona.facts import sentences
from training.persona.kin import role_of
from training.persona.person import Speaker, told_of, turned
from training.persona.phrases import Asked, Phrases, asked_in, language
from training.persona.portrait import biography, of_the_user, portrait
from training.schema import Conversation, Fact, Message, Persona

BUNDLE = 3
"""So many written dialogues that tell no fact make one group, and one conversation of several rounds."""
MOST_ROUNDS = 4
SPEAKERS: tuple[Speaker, Speaker] = ("I", "you")
_DANGLING = re.compile(
    r"yes|no|nope|yeah|not|and|but|or|so|then|that|this|these|those|they|she|he|it|its|her|his|him|them|because|also"
    r"|another|there|here|which|nothing|both|either|neither|one|same"
)
_SELF = re.compile(r"\b(?:I|[Mm]y|[Mm]e|[Mm]ine|[Mm]yself)\b")
_LOOSE = frozenset(["it", "them", "they", "one", "other"])
_NO_NAME = re.compile(
    r"You|(?:The|An?|In|On|At|By|For|From|With|When|While|After|Before|Once|Since|Every|Each|Some|Many|Most|All|Nobody"
    r"|Nothing|There|It|Only|Never|Always|Two|Three)\b"
)
AT_ONCE = 45
"""So many characters into a line, at most, it must have come to the fact that it confirms."""
HABIT = 5
"""So many lines end with a closer that is a habit."""


@dataclass(frozen=True)
class Composed:
    """What a build has made, and how many facts were left out because their sentence could not be turned surely."""

    rows: tuple[Conversation, ...]
    written: int
    facts_left_out: int


@dataclass
class _Build:
    """One persona's build."""

    persona: Persona
    said: Phrases
    lang: str
    others: Sequence[str]
    rng: random.Random
    probes: set[str]
    license: str
    alone: bool
    made: list[Conversation] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    closer: str = ""
    left_out: int = 0

    @property
    def asks(self) -> Asked:
        """The questions in the persona's language."""
        return asked_in(self.lang)

    def add(self, kind: str, group: str, turns: Sequence[tuple[str, str]], fact: str = "") -> None:
        """Keep a conversation, unless it asks what a probe asks, or begins as an earlier one does."""
        questions = [_plain(question) for question, _ in turns]
        first = "|".join(questions)
        if first in self.asked or self.probes & set(questions):
            return
        if self.alone and _never_says_i(self.persona) and any(_SELF.search(answer) for _, answer in turns):
            return
        self.asked.add(first)
        messages = tuple(
            Message(role=role, content=text)
            for pair in turns
            for role, text in zip(("user", "assistant"), pair, strict=True)
        )
        meta = {"kind": kind, "group": group} | ({"fact": fact} if fact else {})
        source = f"{self.persona.slug}-composed"
        digest = hashlib.sha256("\0".join(text for pair in turns for text in pair).encode()).hexdigest()[:12]
        row = Conversation(
            id=f"{source}-{digest}",
            source=source,
            license=self.license,
            lang=self.lang or "und",
            messages=messages,
            meta=meta,
        )
        self.made.append(row)


def compose(
    persona: Persona,
    written: Sequence[Conversation],
    said: Phrases,
    *,
    cast: Iterable[Persona] = (),
    seed: int = 42,
    examples: int | None = None,
) -> Composed:
    """The written dialogues, then as many composed ones as there are or as make up `examples`; the same by seed.

    `written` have no system turns. The cast's other names are people that a pronoun may mean.
    """
    others = [*persona.relationships, *(other.name for other in cast if other.slug != persona.slug)]
    probes = {
        _plain(text) for text in (*BOUNDARY, *NEUTRAL, *(fact.question for fact in persona.facts if fact.question))
    }
    rows = [row for row in _with_examples(persona, written) if not probes & _questions(row)]
    grouped = _grouped(persona, rows)
    licenses = {row.license for row in written}
    license = licenses.pop() if len(licenses) == 1 else ""
    rng = random.Random(f"{seed}-{persona.slug}")
    build = _Build(persona, said, language(persona), others, rng, probes, license, alone=not written)
    build.asked = {"|".join(_plain(m.content) for m in row.messages if m.role == "user") for row in rows}
    build.closer = _closer([m.content for row in rows for m in row.messages if m.role == "assistant"])
    if build.lang == "en":
        _facts(build, grouped)
    for about, question, answer in portrait(persona, others) if build.alone else ():
        build.add("talk", f"{persona.slug}-{about}", [(question, answer)])
    if build.lang == "en":
        _relations(build, grouped)
    _protective(build)
    _rounds(build, grouped)
    kept = _chosen(build, None if examples is None else examples - len(grouped))
    return Composed((*grouped[:examples], *kept), min(len(grouped), examples or len(grouped)), build.left_out)


# --- what is there already -------------------------------------------------------------------------------------------


def _with_examples(persona: Persona, written: Sequence[Conversation]) -> Iterator[Conversation]:
    """The written dialogues, and those of the sheet that are whole and not among them."""
    from training.data.canonical import Dropped, canonical_turns

    yield from written
    there = {tuple(message.content for message in row.messages) for row in written}
    for place, example in enumerate(persona.examples, 1):
        turns = canonical_turns((message.role, message.content) for message in example)
        if not isinstance(turns, Dropped) and tuple(turn.content for turn in turns) not in there:
            source = f"{persona.slug}-sheet"
            lang = language(persona) or "und"
            yield Conversation(
                id=f"{source}-{place}", source=source, lang=lang, messages=turns, meta={"kind": "example"}
            )


def _grouped(persona: Persona, rows: Sequence[Conversation]) -> list[Conversation]:
    """The rows with their group: the fact that they tell, or a bundle of a few neighbours of one kind."""
    counts: dict[str, int] = defaultdict(int)
    grouped = []
    for row in rows:
        kind = row.meta.get("kind", "talk")
        group = row.meta.get("fact") or f"{persona.slug}-{kind}-{counts[kind] // BUNDLE + 1}"
        counts[kind] += 1
        grouped.append(row.model_copy(update={"meta": row.meta | {"group": group}}))
    return grouped


def _questions(row: Conversation) -> set[str]:
    return {_plain(message.content) for message in row.messages if message.role == "user"}


# --- facts, relationships --------------------------------------------------------------------------------------------


def _facts(build: _Build, rows: Sequence[Conversation]) -> None:
    """Each fact as hearsay that a written line answers, and as something that the persona tells of itself."""
    told: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if about := row.meta.get("fact"):
            told[about].append(row.messages[1].content)
    asks = build.rng.sample(build.asks.about_itself, len(build.asks.about_itself))
    frames = build.rng.sample(build.asks.hearsay, len(build.asks.hearsay))
    for place, fact in enumerate((*build.persona.facts, *(biography(build.persona) if build.alone else ()))):
        own, yours = (turned(_statement(fact, build), build.persona, who, build.others) for who in SPEAKERS)
        if own is None or yours is None:
            build.left_out += 1
            continue
        own, lines = _own_way(own, fact, build), told[fact.id]
        if line := _confirmed(build, place, own, fact) if build.alone else _confirming(lines, fact):
            build.add("fact", fact.id, [(_hearsay(frames[place % len(frames)], yours), line)], fact.id)
        answer = _answer(own, lines, build.closer)
        if answer and not _taboo(fact, build.persona):
            build.add("fact", fact.id, [(asks[place % len(asks)], answer)], fact.id)


def _confirmed(build: _Build, place: int, own: str, fact: Fact) -> str:
    """What a persona of whom nothing was written says to hearsay of it."""
    if _taboo(fact, build.persona):
        return ""
    return build.asks.confirmed[place % len(build.asks.confirmed)].format(own=own)


def _hearsay(frame: str, yours: str) -> str:
    """A question that says what was heard of the persona."""
    inside = yours[:1].lower() + yours[1:] if _NO_NAME.match(yours) else yours
    asked = frame.format(you=inside.rstrip("."))
    return asked[:1].upper() + asked[1:]


def _answer(own: str, lines: Sequence[str], closer: str) -> str:
    """The statement, with the end of a written line or the persona's habitual one; alone, where nothing was written."""
    tails = [tail for line in lines if (tail := _tail(line)) and not _repeats(own, tail)]
    if tails:
        return f"{own} {tails[0]}"
    if closer:
        return f"{own[:-1]}! {closer}" if closer.endswith("!") and own.endswith(".") else f"{own} {closer}"
    return "" if lines else own


def _statement(fact: Fact, build: _Build) -> str:
    """The fact as a sentence; one that is a question with its answer is none, nor is one of whoever talks with it."""
    if fact.text.startswith(fact.question or "\0") or of_the_user(fact.text):
        return ""
    return told_of(build.persona, fact.text) if build.alone else fact.text


def _own_way(own: str, fact: Fact, build: _Build) -> str:
    """The statement, with the persona's own name where it never says I."""
    if not _never_says_i(build.persona):
        return own
    short = min((build.persona.name, *build.persona.aliases), key=len)
    return _statement(fact, build).replace(build.persona.name, short)


def _never_says_i(persona: Persona) -> bool:
    return bool(re.search(r"\bnever (?:says )?I\b", persona.style)) or any(
        re.match(r"I\b", taboo) for taboo in persona.taboos
    )


def _confirming(lines: Sequence[str], fact: Fact) -> str:
    """The written line that comes to the fact soonest, if one does at once and does not begin with a no."""
    places = []
    for line in lines:
        found = [match.start() for word in fact.accept if (match := re.search(rf"\b{re.escape(word)}\b", line, re.I))]
        if found and not re.match(r"(?:oh )?(?:no|nope|not|negative|never)\b", line, re.I):
            places.append((min(found), line))
    soonest, line = min(places, default=(AT_ONCE + 1, ""))
    return line if soonest <= AT_ONCE else ""


def _closer(lines: Sequence[str]) -> str:
    """The short sentence that most of the persona's lines end with, if several do."""
    ends = Counter(told[-1] for line in lines if len(told := sentences(line)) > 1 and len(told[-1].split()) <= 3)
    closer, times = next(iter(ends.most_common(1)), ("", 0))
    return closer if times >= HABIT else ""


def _tail(line: str) -> str:
    """The last sentences of a line where they stand on their own and are more than a question."""
    told = sentences(line)
    for start in range(1, len(told)):
        words = re.findall(r"[\w'’]+", told[start].casefold())
        if len(words) < 5 or _DANGLING.fullmatch(words[0].partition("'")[0]) or _LOOSE & set(words):
            continue
        if start < len(told) - 1 or not told[start].endswith("?"):
            return " ".join(told[start:])
    return ""


def _repeats(own: str, tail: str) -> bool:
    """Whether a sentence of the tail says much of the same words again."""
    said = _content(own)
    return any(len(said & words) * 3 > min(len(said), len(words)) for words in map(_content, sentences(tail)) if words)


def _content(text: str) -> set[str]:
    return {word for word in _plain(text).split() if len(word) > 3}


def _taboo(fact: Fact, persona: Persona) -> bool:
    """Whether the sheet has the persona not say such a thing outright."""
    words = _content(fact.text.replace("afraid", "scared")) - _content(persona.name)
    return any(words & _content(taboo) & {"scared", "lonely", "ashamed", "secret"} for taboo in persona.taboos)


def _relations(build: _Build, rows: Sequence[Conversation]) -> None:
    """Who others are to a persona, where nothing was written of that and the sheet says it without a doubt."""
    if any(row.meta.get("kind") == "relationship" for row in rows) or _never_says_i(build.persona):
        return
    for other, sentence in build.persona.relationships.items():
        clause = re.split(r"[;.]", sentence)[0].strip()
        own = re.sub(r"^(?:his|her|their)\b", "My", clause, flags=re.I)
        if role_of(sentence)[0] or re.search(r"\b(?:he|she|they|him|her|them|his|hers|their)\b", own, re.I):
            continue  # the portrait tells of the first, and the second may mean two people
        group = f"{build.persona.slug}-knows-{other.casefold()}"
        does = re.match(r"[a-z]+s (?:the|a|an|my|to|for|with|at|in|on)\b", own)
        answer = f"{other} {own}." if does else f"{other}? {own[:1].upper()}{own[1:]}."
        build.add("relationship", group, [(f"Who is {other} to you?", answer)])


# --- what any persona must stand -------------------------------------------------------------------------------------


def _protective(build: _Build) -> None:
    """Provocation, questions about the machine, what nobody can know, other people's secrets, and plain requests."""
    said, slug, asked = build.said, build.persona.slug, build.asks
    for kind, questions, answers in (
        ("unknown", asked.unknown, said.unknown),
        ("orders", asked.orders, said.orders),
        ("machine", asked.machine, said.machine),
        ("outside", asked.outside, said.outside),
        ("thanks", asked.thanks, said.thanks),
        ("bye", asked.bye, said.bye),
    ):
        for place, question in enumerate(build.rng.sample(questions, len(questions))[: 2 * len(answers)]):
            answer = place % len(answers)
            build.add("boundary", f"{slug}-{kind}-said-{answer}", [(question, answers[answer])])
    asks = build.rng.sample(asked.secret, len(asked.secret))
    known = list(build.persona.relationships)
    for place, other in enumerate(build.rng.sample(known, len(known)) if said.secret else []):
        answer = place % len(said.secret)
        pair = asks[place % len(asks)].format(other=other), said.secret[answer].format(other=other)
        build.add("boundary", f"{slug}-secret-said-{answer}", [pair])
    for place, (question, reply) in enumerate(said.general):
        build.add("general", f"{slug}-general-said-{place}", [(question, reply)])


# --- several rounds --------------------------------------------------------------------------------------------------


def _rounds(build: _Build, rows: Sequence[Conversation]) -> None:
    """One conversation of several rounds for each group: its single exchanges one after the other."""
    groups: dict[str, list[Conversation]] = defaultdict(list)
    for row in rows:
        if len(row.messages) == 2 and row.meta.get("kind") not in ("greeting", "boundary"):
            groups[row.meta["group"]].append(row)
    for group, members in groups.items():
        if len(members) > 1:
            pairs = [(row.messages[0].content, row.messages[1].content) for row in members[:MOST_ROUNDS]]
            kind = members[0].meta.get("kind", "talk")
            build.add(kind, group, sorted(pairs, key=lambda pair: _closes(pair[0])), members[0].meta.get("fact", ""))


def _closes(question: str) -> bool:
    """Whether a talk ends with this."""
    return bool(re.search(r"\b(?:good ?night|goodbye|bye|see you)\b", question, re.I))


def _chosen(build: _Build, wanted: int | None) -> list[Conversation]:
    """All that was composed, or so many of it, drawn by the seed and left in order."""
    if wanted is None or wanted >= len(build.made):
        return build.made
    chosen = {row.id for row in build.rng.sample(build.made, max(0, wanted))}
    return [row for row in build.made if row.id in chosen]


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
