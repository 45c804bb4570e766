"""What an adapter does to everything else: general questions and texts, and likeness to held-out lines.

The questions are of the eight kinds of MT-Bench (Zheng et al., "Judging LLM-as-a-judge with MT-Bench and Chatbot
Arena", 2023), and like the texts they were written for this and are in nothing that anybody trains on here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from pydantic import TypeAdapter

from training.data.read import read_conversations
from training.places import SHIPPED
from training.schema import Conversation, Noun

DATA = SHIPPED / "data" / "evaluation"
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")


class GeneralQuestion(Noun):
    """A question that has nothing to do with any persona."""

    id: str
    category: str
    question: str


@cache
def questions() -> tuple[GeneralQuestion, ...]:
    """The general questions: eight categories of four."""
    lines = (DATA / "questions.jsonl").read_bytes().splitlines()
    return tuple(TypeAdapter(GeneralQuestion).validate_json(line) for line in lines)


@cache
def texts() -> tuple[Conversation, ...]:
    """General exchanges, on which no adapter should become worse."""
    return tuple(read_conversations(DATA / "general.jsonl"))


def likeness(replies: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """BLEU and chrF (0–100) and ROUGE-L (F1, 0–1) of replies against what was really said, one reference each.

    They say how like the words are, hardly whose they are: another persona's lines come nearly as close.
    """
    import sacrebleu
    from rouge_score import rouge_scorer

    unspaced = any(_UNSPACED.search(text) for text in references)
    wanted = [list(references)]
    rouge = rouge_scorer.RougeScorer(["rougeL"], tokenizer=_Words())
    found = [rouge.score(told, reply)["rougeL"].fmeasure for told, reply in zip(references, replies, strict=True)]
    return {
        "bleu": float(sacrebleu.corpus_bleu(list(replies), wanted, tokenize="char" if unspaced else "13a").score),
        "chrf": float(sacrebleu.corpus_chrf(list(replies), wanted).score),
        "rouge_l": sum(found) / len(found),
    }


class _Words:
    """Words of any script for ROUGE, whose own are Latin letters alone; a Han character or a kana is a word."""

    def tokenize(self, text: str) -> list[str]:
        """The words of a text, in small letters."""
        return _WORD.findall(text.casefold())
