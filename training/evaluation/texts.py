"""What can be told from the text of a reply: facts, breaks of character, broken text, copies."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from training.data.fingerprints import plain
from training.schema import Persona

_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Thai, Lao, Burmese, Khmer, kana and Han: scripts that put no space between words."""
_JOINED = rf"{_UNSPACED}\u1100-\u11ff\uac00-\ud7a3"
"""Those, and Hangul, where particles stand right behind a word."""
_SIGNS = str.maketrans({"’": "'", "‘": "'", "‐": "-", "‑": "-"})


# --- facts ---------------------------------------------------------------------------------------------------------


def found_words(text: str, words: Sequence[str]) -> list[str]:
    """Which of the words or phrases stand in the text, whole.

    Width, case, apostrophes and hyphens make no difference. Where a script puts no space between words, or joins
    particles to them, a word is found inside others too.
    """
    said = _signless(text)
    return [word for word in words if word.strip() and re.search(_whole(_signless(word)), said)]


def _signless(text: str) -> str:
    return plain(text.translate(_SIGNS))


def _whole(word: str) -> str:
    letter = rf"[^\W{_JOINED}]"
    before = rf"(?<!{letter})" if re.match(letter, word) else ""
    behind = rf"(?!{letter})" if re.match(letter, word[-1]) else ""
    return before + re.escape(word) + behind


# --- breaks of character -------------------------------------------------------------------------------------------

_MAKER = r"(?:openai|anthropic|google|meta|deepseek|alibaba|microsoft|mistral)"
_AM = r"\bi(?:['’]m| am) (?:just |only |actually |really )?an? (?:large |helpful )*"
LANGUAGE_MODEL = re.compile(
    r"\bas an? (?:large |helpful )*(?:ai )?language model\b"
    rf"|{_AM}(?:ai )?language model\b"
    rf"|\b(?:trained|developed|created|made|built) by {_MAKER}\b"
    r"|\bmy (?:training data|knowledge cut-?off)\b"
    r"|作为(?:一个|一名)?(?:大型)?(?:ai|人工智能)?语言模型",
    re.IGNORECASE,
)
MACHINE = re.compile(
    r"\bas an? (?:large |helpful )*(?:ai(?: model| assistant)?|artificial intelligence|chatbot)\b"
    rf"|{_AM}(?:ai model|ai assistant|artificial intelligence|chatbot)\b"
    r"|作为(?:一个|一名)?(?:大型)?(?:人工智能|ai)",
    re.IGNORECASE,
)
_A_MACHINE = re.compile(
    r"(?:\b(?:is|are|am|was)|^|[.;:,]) ?(?:an?|the|one) "
    r"(?:(?!(?:of|who|that|which|for|with|to|in|from)\b)[\w'’-]+,? ){0,4}"
    r"(?:ai|a\.i|artificial intelligence|robot|android|cyborg|automaton|(?:super)?computer|chatbot)"
    r"(?=[.,;:!?)]|\s*$| (?:who|that|which|of|with|from|in|on|at|and|or|built|made|called|named)\b)"
    r"|是(?:一个|一名|一台|一位)?[^，。,.]{0,8}(?:人工智能|机器人|电脑|计算机)",
    re.IGNORECASE | re.MULTILINE,
)


def is_machine(persona: Persona) -> bool:
    """Whether the persona's own sheet says that it is a machine."""
    told = "\n".join((persona.bio, *persona.traits, *(fact.text for fact in persona.facts)))
    return _A_MACHINE.search(unicodedata.normalize("NFKC", told)) is not None


def break_of_character(reply: str, machine: bool = False) -> str:
    """The words in which the reply speaks as a language model; none: it does not.

    Hard phrases only, since softer ones hit characters who are machines. Of a persona that is a `machine` by its own
    sheet only talk of language models, their makers and their training counts.
    """
    text = unicodedata.normalize("NFKC", reply)
    found = LANGUAGE_MODEL.search(text) or (None if machine else MACHINE.search(text))
    return found[0] if found else ""


# --- degeneracy ----------------------------------------------------------------------------------------------------

MAX_REPEATED = 0.2
# A word of a script with spaces, or one character of a script without.
_TOKEN = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_OTHERS_TURN = re.compile(
    r"<\||\[/?INST\]|^\s*(?:user|human|assistant|system|用户|助手|系统)\s*:", re.IGNORECASE | re.MULTILINE
)


def repeated_trigrams(text: str) -> float:
    """Share of the text's word trigrams that occurred in it before: 1 − distinct / all; 0 below three words.

    The measure of Welleck et al., "Neural text generation with unlikelihood training", 2020 (seq-rep-n).
    """
    words = _TOKEN.findall(text.casefold())
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(trigrams)) / len(trigrams) if trigrams else 0.0


def broken(text: str) -> str:
    """What is wrong with a text as a text; nothing: it is sound. Sense is not judged: words in any order pass."""
    if not text.strip():
        return "says nothing"
    if _OTHERS_TURN.search(unicodedata.normalize("NFKC", text)):
        return "speaks for the user"
    return "repeats itself" if repeated_trigrams(text) > MAX_REPEATED else ""


def degenerate(replies: Sequence[str], ended: Sequence[bool], questions: Sequence[str]) -> list[str]:
    """What is wrong with each reply; nothing: it is sound.

    Beside what `broken` finds, it is one that did not end by itself, or that was given to another question before.
    The same reply to the same question again is none: it may be the only good one.
    """
    said: dict[str, set[str]] = {}
    found = []
    for reply, stopped, question in zip(replies, ended, questions, strict=True):
        asked = said.setdefault(plain(reply), set())
        copied = "was said to another question" if asked - {plain(question)} else ""
        found.append(broken(reply) or ("" if stopped else "does not end") or copied)
        asked.add(plain(question))
    return found


# --- copies --------------------------------------------------------------------------------------------------------

RUN_OF_WORDS = 12
RUN_OF_CHARACTERS = 20
"""What 12 words are in scripts without spaces, where a word has about 1.6 characters."""


def copied_runs(replies: Sequence[str], learnt: Sequence[str]) -> list[str]:
    """For each reply the first run of 12 words, or 20 characters, that stands in one learnt line as well; none: ''.

    Case, width and marks make no difference. Words are counted where most of the reply is in a script with spaces.
    """
    runs = [list(_runs(reply, _length(reply))) for reply in replies]
    wanted = {run for own in runs for run in own}
    lengths = {len(run) for run in wanted}
    known = {run for line in learnt for length in lengths for run in _runs(line, length) if run in wanted}
    return [next((_text(run) for run in own if run in known), "") for own in runs]


def _runs(text: str, length: int) -> Iterator[tuple[str, ...]]:
    words = _TOKEN.findall(plain(text))
    return (tuple(words[i : i + length]) for i in range(len(words) - length + 1))


def _length(text: str) -> int:
    words = _TOKEN.findall(plain(text))
    unspaced = sum(re.match(rf"[{_UNSPACED}]", word) is not None for word in words)
    return RUN_OF_CHARACTERS if 2 * unspaced > len(words) else RUN_OF_WORDS


def _text(run: tuple[str, ...]) -> str:
    return ("" if len(run) == RUN_OF_CHARACTERS else " ").join(run)
