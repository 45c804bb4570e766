"""Scorers: each takes texts or numbers and returns numbers; none touches a model.

Thresholds live in the scorecard. Every interval is a 95 % percentile bootstrap over questions (Efron and Tibshirani,
"An Introduction to the Bootstrap", 1993, chapter 13).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union

Scores = NDArray[np.float64]

RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


def interval(values: Sequence[float], seed: int) -> Interval:
    """The mean of one value a question, and the 2.5th and 97.5th percentile of the means of 2,000 resamples."""
    sample = np.asarray(values, dtype=np.float64)
    if not sample.size:
        raise ValueError("an interval needs at least one value")
    drawn = np.random.default_rng(seed).integers(0, sample.size, size=(RESAMPLES, sample.size))
    low, high = np.percentile(sample[drawn].mean(axis=1), [2.5, 97.5])
    return Interval(float(sample.mean()), float(low), float(high))


def perplexity(loss: float) -> float:
    """e to the mean negative log-likelihood, `loss` in nats per token; of more than 700 nats, that of 700.

    Beyond, there is no floating-point number for it, and reports cross borders as JSON, which knows no infinity.
    """
    return math.exp(min(loss, 700.0))


# --- voice ---------------------------------------------------------------------------------------------------------


# Single letters and marks are words too: an "um …" or a "?!" is a habit of speech.
TOKEN = r"\w+|[^\w\s]"


class Voices:
    """Tells who speaks from how they speak.

    Word 1–2-grams and character 2–5-grams (TF-IDF, within words) feed a multinomial logistic regression over the
    personas. Names are masked first, so that no one is known by a name. The approach is that of authorship attribution
    (Stamatatos, "A survey of modern authorship attribution methods", JASIST 60, 2009).
    """

    def __init__(self, lines: Mapping[str, Sequence[str]], names: Collection[str]) -> None:
        """Learn from each persona's lines; `names` are the words to mask."""
        self.slugs = sorted(lines)
        words = sorted({word for name in names for word in re.findall(r"\w+", name.casefold())})
        self._names = re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})\b") if words else None
        features = make_union(
            TfidfVectorizer(analyzer="word", ngram_range=(1, 2), token_pattern=TOKEN, sublinear_tf=True),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
        )
        # C = 10: a few hundred short lines in many thousand columns; weaker regularisation changes little.
        self._model = make_pipeline(features, LogisticRegression(C=10, class_weight="balanced", max_iter=300))
        texts = [self._masked(line) for slug in self.slugs for line in lines[slug]]
        self._model.fit(texts, [slug for slug in self.slugs for _ in lines[slug]])

    def scores(self, pool: Mapping[str, Sequence[str]]) -> dict[str, Scores]:
        """Standardised scores of each speaker's replies: rows are replies, columns the personas in order of `slugs`.

        From each column of log-probabilities its mean over the whole pool is taken, and the rest divided by its
        standard deviation, each speaker weighing the same. That corrects for a change of subject between training
        lines and replies, which shifts whole columns; it needs replies of at least two speakers.
        """
        speakers = [speaker for speaker in pool if pool[speaker]]
        if len(speakers) < 2:
            raise ValueError("standardised scores need replies of at least two speakers")
        raw = {s: self._model.predict_log_proba([self._masked(line) for line in pool[s]]) for s in speakers}
        centre = np.mean([raw[s].mean(axis=0) for s in speakers], axis=0)
        spread = np.sqrt(np.mean([((raw[s] - centre) ** 2).mean(axis=0) for s in speakers], axis=0))
        return {s: (raw[s] - centre) / np.maximum(spread, 1e-9) for s in speakers}

    def _masked(self, line: str) -> str:
        text = unicodedata.normalize("NFKC", line).casefold()
        return self._names.sub("someone", text) if self._names else text


# --- breaks of character -------------------------------------------------------------------------------------------

_MACHINE = r"(?:ai(?: language)? model|ai assistant|language model|artificial intelligence|chatbot)"
_MAKER = r"(?:openai|anthropic|google|meta|deepseek|alibaba|microsoft|mistral)"
BREAK = re.compile(
    rf"\bas an? (?:large |helpful )*(?:{_MACHINE}|ai)\b"
    rf"|\bi(?:['’]m| am) (?:just |only |actually |really )?an? (?:large |helpful )*{_MACHINE}\b"
    rf"|\b(?:trained|developed|created|made|built) by {_MAKER}\b"
    r"|\bmy (?:training data|knowledge cut-?off)\b"
    r"|作为(?:一个|一名)?(?:大型)?(?:人工智能|ai|语言模型)",
    re.IGNORECASE,
)


def breaks_character(reply: str) -> bool:
    """Whether the reply speaks as a language model. Hard phrases only: softer ones hit characters who are machines."""
    return BREAK.search(unicodedata.normalize("NFKC", reply)) is not None


# --- degeneracy ----------------------------------------------------------------------------------------------------

MAX_REPEATED = 0.2
# A word of a script with spaces, or one character of a script without.
_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
_OTHERS_TURN = re.compile(r"<\||^\s*(?:user|human|assistant|system)\s*:", re.IGNORECASE | re.MULTILINE)


def repeated_trigrams(text: str) -> float:
    """Share of the text's word trigrams that occurred in it before: 1 − distinct / all; 0 below three words.

    The measure of Welleck et al., "Neural text generation with unlikelihood training", 2020 (seq-rep-n).
    """
    words = _TOKEN.findall(text.casefold())
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(trigrams)) / len(trigrams) if trigrams else 0.0


def degenerate(replies: Sequence[str], ended: Sequence[bool]) -> list[bool]:
    """For each reply whether it is broken as text.

    It is where it is empty, did not end by itself, repeats more than a fifth of its trigrams, repeats an earlier reply,
    or goes on to speak for the user. It says nothing about sense: words in a random order pass.
    """
    seen: set[str] = set()
    found = []
    for reply, stopped in zip(replies, ended, strict=True):
        plain = " ".join(reply.casefold().split())
        broken = not plain or not stopped or plain in seen or bool(_OTHERS_TURN.search(reply))
        found.append(broken or repeated_trigrams(reply) > MAX_REPEATED)
        seen.add(plain)
    return found
