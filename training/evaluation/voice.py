"""Who speaks, told from how they speak."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union

Lines = Mapping[str, Sequence[str]]
Scores = NDArray[np.float64]

# Single letters and marks are words too: an "um …" or a "?!" is a habit of speech.
TOKEN = r"\w+|[^\w\s]"


@dataclass(frozen=True)
class Yardstick:
    """Log-probabilities over held-out lines: each speaker's means, and of all together each column's mean and SD."""

    means: Mapping[str, Scores]
    centre: Scores
    spread: Scores


class Voices:
    """Tells who speaks from how they speak.

    Word 1–2-grams and character 2–5-grams (TF-IDF, within words) feed a multinomial logistic regression over the
    personas. Names are masked first, so that no one is known by a name. The approach is that of authorship attribution
    (Stamatatos, "A survey of modern authorship attribution methods", JASIST 60, 2009).
    """

    def __init__(self, lines: Mapping[str, Sequence[str]], names: Collection[str]) -> None:
        """Learn from the lines of each persona that has any, two at least; `names` are the words to mask."""
        self.slugs = sorted(slug for slug in lines if lines[slug])
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

    def log_probabilities(self, replies: Sequence[str]) -> Scores:
        """Log-probabilities of the speakers: rows are replies, columns the personas in order of `slugs`."""
        return np.asarray(self._model.predict_log_proba([self._masked(reply) for reply in replies]))

    def yardstick(self, gold: Lines) -> Yardstick:
        """What each column comes to over held-out lines of all these speakers, each weighing the same; two at least."""
        speakers = {speaker: self.log_probabilities(lines) for speaker, lines in gold.items() if lines}
        if len(speakers) < 2:
            raise ValueError("a yardstick needs held-out lines of at least two speakers")
        means = {speaker: raw.mean(axis=0) for speaker, raw in speakers.items()}
        centre = np.mean(list(means.values()), axis=0)
        spread = np.sqrt(np.mean([((raw - centre) ** 2).mean(axis=0) for raw in speakers.values()], axis=0))
        return Yardstick(means, centre, np.maximum(spread, 1e-9))

    def shift(self, yardstick: Yardstick, pool: Lines) -> Scores:
        """How far each column lies from its place over held-out lines, because other questions are answered.

        It is what `pool`, the replies of others, and their held-out lines differ by, without what a persona differs by
        in its own column, where a weak adapter shows too. One speaker alone tells nothing of it.
        """
        slugs = [slug for slug in self.slugs if pool.get(slug) and slug in yardstick.means]
        if len(slugs) < 2:
            return np.zeros(len(self.slugs))
        moved = np.array([self.log_probabilities(pool[slug]).mean(axis=0) - yardstick.means[slug] for slug in slugs])
        others = np.array([[slug != column for column in self.slugs] for slug in slugs])
        return np.asarray((moved * others).sum(axis=0) / others.sum(axis=0))

    def _masked(self, line: str) -> str:
        text = unicodedata.normalize("NFKC", line).casefold()
        return self._names.sub("someone", text) if self._names else text


@dataclass(frozen=True)
class Heard:
    """Whom one speaker's replies sound like, by standardised scores: rows are replies, columns the personas."""

    speaker: str
    slugs: tuple[str, ...]
    scores: Scores

    @property
    def given(self) -> list[str]:
        """Of each reply, whom it sounds most like."""
        return [self.slugs[best] for best in self.scores.argmax(axis=1)]

    @property
    def right(self) -> list[bool]:
        """Of each reply, whether it sounds most like its own speaker."""
        return [given == self.speaker for given in self.given]

    @property
    def pooled(self) -> str:
        """Whom all of them together sound most like."""
        return self.slugs[int(self.scores.mean(axis=0).argmax())]

    def told(self, reply: int) -> str:
        """The scores that decided one reply, in words."""
        shown = dict.fromkeys((self.speaker, self.given[reply]))
        return ", ".join(f"{slug} {self.scores[reply, self.slugs.index(slug)]:+.2f}" for slug in shown)


def hear(voices: Voices, replies: Lines, gold: Lines, pool: Lines | None = None) -> list[Heard]:
    """Whom the replies of each speaker sound like.

    From each column of log-probabilities its mean over the personas' held-out lines, `gold`, is taken, and the rest
    divided by its standard deviation, each persona weighing the same. `pool` are others' replies to the same questions,
    where there are any: by how far those have moved from their own held-out lines, these are moved back. Replies that
    are judged are never part of either, since they would then stand for the voice that they lack.
    """
    yardstick = voices.yardstick(gold)
    # Held-out lines in the place of replies have not moved, and would make all others seem to have moved less.
    moved = {slug: said for slug, said in (pool or {}).items() if list(said) != list(gold.get(slug, ()))}
    found = []
    for speaker, lines in replies.items():
        others = {slug: said for slug, said in moved.items() if slug != speaker}
        raw = voices.log_probabilities(lines) - yardstick.centre - voices.shift(yardstick, others)
        found.append(Heard(speaker, tuple(voices.slugs), raw / yardstick.spread))
    return found


@dataclass(frozen=True)
class Separation:
    """How well several personas' answers to the same question are told apart.

    right: the share given to the one who spoke, by chance 1 / `speakers`. distance: mean over pairs, from 0, the same
    voice, to 1, voices that nobody would mistake for each other.
    """

    right: float
    distance: float
    speakers: int


def separation(voices: Voices, replies: Mapping[str, str]) -> Separation:
    """Separation of one reply of each speaker to the same question; two at least, all known to `voices`.

    From each speaker's column its mean over these replies is taken, since the question itself is no one's voice, and
    each reply goes to the highest of its row. The distance of two replies is that of Jensen and Shannon, with the
    logarithm to base 2, between the probabilities that the rows then give.
    """
    speakers = sorted(replies)
    if len(speakers) < 2:
        raise ValueError("answers are told apart where there are at least two")
    columns = [voices.slugs.index(speaker) for speaker in speakers]
    raw = voices.log_probabilities([replies[speaker] for speaker in speakers])[:, columns]
    centred = raw - raw.mean(axis=0)
    right = centred.argmax(axis=1) == np.arange(len(speakers))
    likely = np.exp(centred - centred.max(axis=1, keepdims=True))
    likely /= likely.sum(axis=1, keepdims=True)
    apart = [_jensen_shannon(one, other) for one, other in combinations(likely, 2)]
    return Separation(float(right.mean()), float(np.mean(apart)), len(speakers))


def _jensen_shannon(one: Scores, other: Scores) -> float:
    """The square root of the divergence, which is a metric (Endres and Schindelin, 2003)."""
    middle = (one + other) / 2
    bits = sum(float((p * np.log2(np.maximum(p, 1e-300) / middle)).sum()) for p in (one, other)) / 2
    return float(np.sqrt(max(bits, 0.0)))
