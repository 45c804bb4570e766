"""The workload that all trainers get: a small language, a base model that speaks it, and dialogues to learn.

    python -m benchmarks.peers.workload FOLDER

It is a Llama of 10 million parameters (320 × 6, vocabulary 8,192) trained for a while on texts without turns, and
dialogues in a dialect of their own: 43 % asked, 57 % answered, of 40 to 1,024 tokens with a median of 112 and
a 95th percentile of 656. Everything follows from one seed.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

VOCABULARY = 8192
SPECIAL = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
TRIED = ("qzxv", "vxzq")
"""What `training.chat` tries a template on; a vocabulary of whole words has to hold it."""
CLASSES, PER_CLASS = 64, 24
FOLLOWERS = 6
STOP = 0
"""The class whose words end a sentence; a turn ends only behind one."""
QUANTILES = ((0.0, 40), (0.5, 112), (0.95, 620), (1.0, 1024))
ASKED = 0.43
CONTEXT = 2048
CARD_TOKENS = 400
DIALOGUES, HELD_OUT = 2400, 24
PRETRAINING_TOKENS, ROWS_A_STEP = 300_000, 4
TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'assistant' %}"
    "<|assistant|>{% generation %}{{ message.content }}<|end|>{% endgeneration %}"
    "{% else %}{{ '<|' + message.role + '|>' + message.content + '<|end|>' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
Dialogue = list[dict[str, str]]
LAST = "held_out-card.jsonl"
"""The file that is written last."""


class Language:
    """Words in classes; which class follows which depends on the dialect, so that a dialect can be learnt."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        spoken = [f"w{number}" for number in range(VOCABULARY - len(SPECIAL) - len(TRIED))]
        self.words = [*TRIED, *spoken]
        used = rng.sample(spoken, CLASSES * PER_CLASS)
        self.classes = [used[number::CLASSES] for number in range(CLASSES)]
        self.weights = [1 / (rank + 2) for rank in range(PER_CLASS)]
        self.dialects = [[[rng.randrange(CLASSES) for _ in range(FOLLOWERS)] for _ in range(CLASSES)] for _ in range(2)]

    def text(self, rng: random.Random, dialect: int, count: int) -> list[str]:
        """So many words at least, up to the end of a sentence, which comes within a dozen more."""
        said: list[str] = []
        current = rng.randrange(CLASSES)
        while len(said) < count or current != STOP:
            followers = self.dialects[dialect][current]
            ends = rng.random() < 0.08 or len(said) >= count + 12
            current = STOP if ends else followers[min(int(rng.expovariate(0.7)), FOLLOWERS - 1)]
            said.append(rng.choices(self.classes[current], self.weights)[0])
        return said


def make(folder: Path, *, seed: int = 3) -> None:
    """Write the base model and the dialogues."""
    language = Language(seed)
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    _train_base(folder / "base", language, rng)
    write_dialogues(folder, language, rng)


def write_dialogues(folder: Path, language: Language, rng: random.Random) -> None:
    """Write `dialogues.jsonl` and `held_out.jsonl`, and both once more below a card."""
    card = " ".join(language.text(rng, 1, CARD_TOKENS - 14)[: CARD_TOKENS - 2])
    for name, count in (("dialogues", DIALOGUES), ("held_out", HELD_OUT)):
        rows = [dialogue(language, rng) for _ in range(count)]
        _write(folder / f"{name}.jsonl", rows)
        _write(folder / f"{name}-card.jsonl", [[{"role": "system", "content": card}, *row] for row in rows])


def dialogue(language: Language, rng: random.Random) -> Dialogue:
    """Rounds of a question and its answer, as long in all as a length drawn from the quantiles."""
    length = _length(rng)
    turns: Dialogue = []
    while length > 0:
        round_length = min(length, rng.choice((40, 80, 160)))
        asked = language.text(rng, 0, max(1, round(round_length * ASKED) - 8))
        answered = language.text(rng, 1, max(1, round_length - len(asked) - 8))
        turns += [{"role": "user", "content": " ".join(asked)}, {"role": "assistant", "content": " ".join(answered)}]
        length -= len(asked) + len(answered) + 4
        if length < 24:
            break
    return turns


def _length(rng: random.Random) -> int:
    at = rng.random()
    for (low, shortest), (high, longest) in pairwise(QUANTILES):
        if at <= high:
            share = (at - low) / (high - low)
            return round(math.exp(math.log(shortest) + share * (math.log(longest) - math.log(shortest))))
    raise AssertionError("a random number above 1")


def _write(path: Path, rows: list[Dialogue]) -> None:
    path.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows), encoding="utf-8")


def read(path: Path) -> list[Dialogue]:
    """The dialogues of a file."""
    return [json.loads(line)["messages"] for line in path.read_text(encoding="utf-8").splitlines()]


def _train_base(target: Path, language: Language, rng: random.Random) -> None:
    """One pass over running text in both dialects, mostly the first, whose only marks are ends of documents."""
    import torch
    from torch.nn import functional
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    tokenizer = make_tokenizer(language)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=320,
        intermediate_size=864,
        num_hidden_layers=6,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        pad_token_id=0,
        eos_token_id=1,
    )
    model = LlamaForCausalLM(config)
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    # Orthogonalised updates need a fraction of AdamW's steps.
    optimisers = {
        0.02: torch.optim.Muon(matrices, lr=0.02, weight_decay=0.0),
        3e-3: torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.98), weight_decay=0.0),
    }
    ids = tokenizer(" ".join(_running_text(language, rng)), verbose=False)["input_ids"]
    rows = [ids[at : at + 256] for at in range(0, PRETRAINING_TOKENS, 256)]
    steps = len(rows) // ROWS_A_STEP
    for step in range(steps):
        batch = torch.tensor(rows[step * ROWS_A_STEP : (step + 1) * ROWS_A_STEP])
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=batch, use_cache=False).logits
        loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), batch[:, 1:].flatten())
        loss.backward()
        for peak, optimiser in optimisers.items():
            optimiser.param_groups[0]["lr"] = peak * min(1, (step + 1) / 10, (steps - step) / (steps / 2))
            optimiser.step()
            optimiser.zero_grad()
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _running_text(language: Language, rng: random.Random) -> Iterator[str]:
    count = 0
    while count < PRETRAINING_TOKENS + 256:
        text = language.text(rng, int(rng.random() < 0.15), rng.choice((60, 120, 240)))
        yield from (*text, SPECIAL[1])
        count += len(text) + 1


def make_tokenizer(language: Language) -> Any:
    """A vocabulary of whole words, with a template whose answers are marked."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    known = {word: number for number, word in enumerate((*SPECIAL, *language.words))}
    words = Tokenizer(models.WordLevel(known, unk_token=SPECIAL[0]))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token=SPECIAL[0],
        eos_token=SPECIAL[1],
        additional_special_tokens=list(SPECIAL[2:]),
        chat_template=TEMPLATE,
        model_max_length=CONTEXT,
    )


if __name__ == "__main__":
    make(Path(sys.argv[1]))
