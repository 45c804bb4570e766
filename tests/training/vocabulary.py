"""Small tokenizers for any chat template: byte-level BPE with the control tokens that the template writes."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from training.places import SHIPPED

CONTROL = re.compile(
    r"<\|[^|<>\s]+\|>|<｜[^｜<>]+｜>|<\|(?:turn|channel)>|<(?:turn|channel)\|>"
    r"|</?(?:s|think|start_of_turn|end_of_turn|end_of_utterance|tool_response)>|\[gMASK\]|<sop>"
)
SOFT = frozenset({"<think>", "</think>", "<tool_response>", "</tool_response>"})
"""What tokenizers keep whole without calling it special."""


@cache
def _trained() -> str:
    """Byte-level BPE over the shipped exchanges, as JSON."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=1200, initial_alphabet=alphabet, show_progress=False)
    text = (SHIPPED / "data/dialogues/general.jsonl").read_text(encoding="utf-8")
    bpe.train_from_iterator(text.splitlines(), trainer)
    return bpe.to_str()


def tokenizer_for(template: str | None, **named: Any) -> PreTrainedTokenizerFast:
    """A tokenizer with this chat template; `named`: eos_token and the like, where they are not the usual ones."""
    bpe = Tokenizer.from_str(_trained())
    names = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>", **named}
    written = [token for token in dict.fromkeys(CONTROL.findall(template or "")) if token not in names.values()]
    bpe.add_special_tokens([*filter(None, names.values()), *(token for token in written if token not in SOFT)])
    bpe.add_tokens([AddedToken(token, special=False) for token in written if token in SOFT])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, chat_template=template, **names)
