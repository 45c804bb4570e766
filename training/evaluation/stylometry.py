"""Two older measures of whose manner replies have, shown beside the voice line; neither decides anything.

Both are weaker than the classifier of `voice.py`, yet plain: they only count words.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from training.evaluation.voice import TOKEN, Scores, Voices

FREQUENT = 150
"""Burrows took the 150 most frequent words, which carry little but manner."""


def leads(replies: Sequence[str], speaker: str, voices: Voices) -> dict[str, float]:
    """How much nearer the replies, as one text, are to the speaker's lines than to those of the nearest other persona.

    burrows_delta_lead: by Burrows's Delta. centroid_lead: by the cosine of TF-IDF vectors. Above 0 the speaker is the
    nearest. Names are masked as for `voices`, whose lines they are compared with.
    """
    if not any(reply.strip() for reply in replies):
        return {}
    texts = {slug: "\n".join(map(voices.masked, lines)) for slug, lines in voices.lines.items()}
    said = "\n".join(map(voices.masked, replies))
    near = {"burrows_delta_lead": _deltas(said, texts), "centroid_lead": _distances(said, texts)}
    own = voices.slugs.index(speaker)
    return {name: float(np.delete(found, own).min() - found[own]) for name, found in near.items()}


def _deltas(said: str, texts: dict[str, str]) -> Scores:
    """Burrows's Delta from each text: the mean absolute difference of the frequent words' standardised frequencies.

    Burrows, "'Delta': a measure of stylistic difference and a guide to likely authorship", Literary and Linguistic
    Computing 17, 2002.
    """
    counted = CountVectorizer(token_pattern=TOKEN, max_features=FREQUENT).fit(texts.values())
    counts = counted.transform([*texts.values(), said]).toarray().astype(np.float64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    spread = shares[:-1].std(axis=0)
    varied = spread > 0
    if not varied.any():
        return np.zeros(len(texts))
    standing = (shares[:, varied] - shares[:-1, varied].mean(axis=0)) / spread[varied]
    return np.asarray(np.abs(standing[:-1] - standing[-1]).mean(axis=1))


def _distances(said: str, texts: dict[str, str]) -> Scores:
    """One minus the cosine with each text, of TF-IDF vectors of words."""
    model = TfidfVectorizer(token_pattern=TOKEN, sublinear_tf=True)
    vectors = model.fit_transform(texts.values())
    return np.asarray(1 - (vectors @ model.transform([said]).T).toarray().ravel())
