"""Who speaks, told from how they speak."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from threadpoolctl import threadpool_limits

from training.evaluation.schema import Separation

Lines = Mapping[str, Sequence[str]]
Scores = NDArray[np.float64]

# Single letters and marks are words too: an "um …" or a "?!" is a habit of speech.
TOKEN = r"\w+|[^\w\s]"


FOLDS = 5
"""In so many parts people's own lines are scored, each part by a classifier that learnt the others."""
ONE_SIDED = 1.645
"""The standard normal quantile that 19 of 20 draws stay below."""


@dataclass(frozen=True)
class Yardstick:
    """Log-probabilities of people's own lines (rows), by speaker, each from a classifier that did not learn the line.

    In `centre` and `spread`, the mean and the standard deviation of each column, every speaker weighs the same.
    """

    lines: Mapping[str, Scores]

    @cached_property
    def means(self) -> dict[str, Scores]:
        """What each column comes to over the lines of each speaker."""
        return {speaker: raw.mean(axis=0) for speaker, raw in self.lines.items()}

    @cached_property
    def centre(self) -> Scores:
        """What each column comes to over everybody's lines."""
        return np.asarray(np.mean(list(self.means.values()), axis=0))

    @cached_property
    def spread(self) -> Scores:
        """By how much the lines lie around it."""
        variances = [((raw - self.centre) ** 2).mean(axis=0) for raw in self.lines.values()]
        return np.maximum(np.sqrt(np.mean(variances, axis=0)), 1e-9)

    def standardised(self, raw: Scores) -> Scores:
        """Log-probabilities less the centre, in spreads."""
        return np.asarray((raw - self.centre) / self.spread)


class Voices:
    """Tells who speaks from how they speak.

    Word 1–2-grams and character 2–5-grams (TF-IDF, within words) feed a multinomial logistic regression over the
    personas. Names are masked first, so that no one is known by a name. The approach is that of authorship attribution
    (Stamatatos, "A survey of modern authorship attribution methods", JASIST 60, 2009).
    """

    def __init__(self, lines: Mapping[str, Sequence[str]], names: Collection[str]) -> None:
        """Learn from the lines of each persona that has any, two at least; `names` are the words to mask."""
        self.lines = {slug: list(lines[slug]) for slug in sorted(lines) if lines[slug]}
        self._given = names
        self.slugs = list(self.lines)
        words = sorted({word for name in names for word in re.findall(r"\w+", name.casefold())})
        self._names = re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})\b") if words else None
        features = make_union(
            TfidfVectorizer(analyzer="word", ngram_range=(1, 2), token_pattern=TOKEN, sublinear_tf=True),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
        )
        # C from 1 to 100 and a smaller tolerance tell voices equally well, and take longer.
        self._model = make_pipeline(features, LogisticRegression(C=1, class_weight="balanced", max_iter=300, tol=1e-3))
        texts = [self.masked(line) for said in self.lines.values() for line in said]
        # So small a fit gains little from a second thread, and takes many times as long where that core is wanted.
        with threadpool_limits(1, user_api="blas"):
            self._model.fit(texts, [slug for slug, said in self.lines.items() for _ in said])

    def log_probabilities(self, replies: Sequence[str]) -> Scores:
        """Log-probabilities of the speakers: rows are replies, columns the personas in order of `slugs`."""
        return np.asarray(self._model.predict_log_proba([self.masked(reply) for reply in replies]))

    @cached_property
    def yardstick(self) -> Yardstick:
        """What the lines themselves come to, by cross-validation; two speakers with two lines each at least."""
        if min(len(self.lines), *(len(said) for said in self.lines.values())) < 2:
            raise ValueError("a yardstick needs two lines each of at least two speakers")
        found = {slug: np.zeros((len(said), len(self.slugs))) for slug, said in self.lines.items()}
        for fold in range(FOLDS):
            others = {slug: [*said] for slug, said in self.lines.items()}
            apart = {slug: said[fold::FOLDS] for slug, said in self.lines.items()}
            for said in others.values():
                del said[fold::FOLDS]
            voices = Voices(others, self._given)
            for slug, said in apart.items():
                if said:
                    found[slug][fold::FOLDS] = voices.log_probabilities(said)
        return Yardstick(found)

    def shift(self, pool: Lines) -> Scores:
        """How far each column lies from its place over the lines, because other questions are answered.

        It is what `pool`, the replies of others, and their own lines differ by, without what a persona differs by in
        its own column, where a weak adapter shows too. One speaker alone tells nothing of it.
        """
        slugs = [slug for slug in self.slugs if pool.get(slug)]
        if len(slugs) < 2:
            return np.zeros(len(self.slugs))
        means = self.yardstick.means
        moved = np.array([self.log_probabilities(pool[slug]).mean(axis=0) - means[slug] for slug in slugs])
        others = np.array([[slug != column for column in self.slugs] for slug in slugs])
        return np.asarray((moved * others).sum(axis=0) / others.sum(axis=0))

    def masked(self, line: str) -> str:
        """The line in small letters, with "someone" for each name."""
        text = unicodedata.normalize("NFKC", line).casefold()
        return self._names.sub("someone", text) if self._names else text


@dataclass(frozen=True)
class Heard:
    """Whom one speaker's replies sound like, by standardised scores: rows are replies, columns the personas.

    `human` are the scores of people's own lines, by speaker.
    """

    speaker: str
    slugs: tuple[str, ...]
    scores: Scores
    human: Mapping[str, Scores]

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

    @property
    def gold(self) -> float:
        """The share of the speaker's own lines that sound most like them."""
        return float((self.human[self.speaker].argmax(axis=1) == self.slugs.index(self.speaker)).mean())

    @property
    def leads(self) -> list[float]:
        """By how much each reply sounds more like its speaker than, on average, like the others."""
        return self._leads(self.scores).tolist()

    def expected(self, count: int) -> tuple[float, float]:
        """What the mean lead of `count` lines comes to: (of the speaker's own above, of anybody else's below).

        One-sided 95 % prediction bounds of a mean, by the normal distribution; of the others' the highest counts.
        """

        def bound(raw: Scores, side: int) -> float:
            found = self._leads(raw)
            error = found.std(ddof=1) * np.sqrt(1 / count + 1 / found.size)
            return float(found.mean() + side * ONE_SIDED * error)

        others = [bound(raw, 1) for speaker, raw in self.human.items() if speaker != self.speaker]
        return bound(self.human[self.speaker], -1), max(others)

    def _leads(self, scores: Scores) -> Scores:
        own = scores[:, self.slugs.index(self.speaker)]
        return np.asarray(own - (scores.sum(axis=1) - own) / (len(self.slugs) - 1))

    def told(self, reply: int) -> str:
        """The scores that decided one reply, in words."""
        shown = dict.fromkeys((self.speaker, self.given[reply]))
        return ", ".join(f"{slug} {self.scores[reply, self.slugs.index(slug)]:+.2f}" for slug in shown)


def hear(voices: Voices, replies: Lines, pool: Lines | None = None) -> list[Heard]:
    """Whom the replies of each speaker sound like, none of which `voices` learnt from.

    From each column of log-probabilities its mean over people's own lines is taken, and the rest divided by its
    standard deviation. `pool` are others' replies to the same questions, where there are any: by how far those have
    moved from their own lines, these are moved back. Replies that are judged are never part of either, since they would
    then stand for the voice that they lack.
    """
    known = voices.yardstick
    human = {speaker: known.standardised(raw) for speaker, raw in known.lines.items()}
    found = []
    for speaker, lines in replies.items():
        others = {slug: said for slug, said in (pool or {}).items() if slug != speaker}
        scores = known.standardised(voices.log_probabilities(lines) - voices.shift(others))
        found.append(Heard(speaker, tuple(voices.slugs), scores, human))
    return found


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
    return Separation(right=float(right.mean()), distance=float(np.mean(apart)), speakers=len(speakers))


def _jensen_shannon(one: Scores, other: Scores) -> float:
    """The square root of the divergence, which is a metric (Endres and Schindelin, 2003)."""
    middle = (one + other) / 2
    bits = sum(float((p * np.log2(np.maximum(p, 1e-300) / middle)).sum()) for p in (one, other)) / 2
    return float(np.sqrt(max(bits, 0.0)))
