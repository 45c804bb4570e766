"""How near a reply comes to a text that it should tell."""

from __future__ import annotations

from collections.abc import Sequence

from sklearn.feature_extraction.text import TfidfVectorizer

from training.persona.facts import sentences


def nearness(told: Sequence[str], replies: Sequence[str]) -> list[float]:
    """How near each reply comes to the text beside it, from 0 to 1: the cosine of its nearest sentence.

    The vectors are TF-IDF of character 3–5-grams within words, over these texts alone. That needs no model, and finds
    the same words in another order or form; it does not find the same sense in other words.
    """
    if not any(text.strip() for text in (*told, *replies)):
        return [0.0] * len(replies)
    parts = [[part for part in sentences(reply) if part] or [reply] for reply in replies]
    model = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    model.fit([*told, *(part for reply in parts for part in reply)])
    wanted = model.transform(told)
    return [float((model.transform(reply) @ wanted[i].T).max()) for i, reply in enumerate(parts)]
