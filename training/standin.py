"""A tiny chat model made on the spot, for machines with no GPU and no model hub: a rehearsal, not a performer.

A Llama architecture of about two million parameters with its own byte-level BPE and a chat template with generation
marks, trained once from the dialogues that ship with Understudy and kept in the cache. It reads the training side of
every split only, so that held-out lines are new to it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from training.batches import collate, drawn, micro_batches, rate_at, steps_per_epoch, target_losses
from training.chat import ChatFormat, Example
from training.data.holdout import hold_out
from training.data.mix import digest
from training.data.read import read_conversations
from training.persona.sheet import read_sheet
from training.places import SHIPPED
from training.runs import publish, write_json
from training.schema import Conversation

if TYPE_CHECKING:
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

ID = "standin"
MARKER = "standin.json"
"""A folder that holds this file holds a stand-in, wherever it lies."""
TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'assistant' %}"
    "<|assistant|>{% generation %}{{ message.content }}<|end|>{% endgeneration %}"
    "{% else %}{{ '<|' + message.role + '|>' + message.content + '<|end|>' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")


@dataclass(frozen=True)
class Recipe:
    """How a stand-in is made.

    Lines are shown bare or below a system card, mostly of somebody else: so cards are nothing strange to the model, yet
    it does not know who speaks below which. That is left for adapters to learn.
    """

    hidden: int = 192
    intermediate: int = 512
    layers: int = 4
    heads: int = 4
    vocabulary: int = 1536
    context: int = 1024
    epochs: int = 8
    batch_size: int = 16
    carded_general: float = 0.5
    carded_personas: float = 0.3
    matrix_rate: float = 0.02
    other_rate: float = 3e-3
    seed: int = 7
    version: int = 1


FULL = Recipe()


@dataclass(frozen=True)
class Corpus:
    """The lines a stand-in learns from, all from the training side of their splits, and the cards they stand below."""

    general: tuple[Conversation, ...]
    personas: tuple[Conversation, ...]
    cards: tuple[str, ...]


@cache
def corpus() -> Corpus:
    """The shipped general exchanges and every shipped persona's dialogues."""
    data = SHIPPED / "data"
    general, _ = hold_out(read_conversations(data / "dialogues" / "general.jsonl"), "the general exchanges")
    personas: list[Conversation] = []
    cards: list[str] = []
    for sheet in sorted((data / "personas").glob("*.md")):
        persona = read_sheet(sheet)
        train, _ = hold_out(read_conversations(data / "dialogues" / f"{persona.slug}.jsonl"), persona.name)
        personas += train
        cards.append(persona.system_card())
    return Corpus(tuple(general), tuple(personas), tuple(cards))


def standin_folder(cache_dir: Path, recipe: Recipe = FULL) -> Path:
    """Where this machine keeps the stand-in made from these data by this recipe; it need not be there yet."""
    words = corpus()
    named = json.dumps([asdict(recipe), TEMPLATE, words.cards, digest(words.general), digest(words.personas)])
    return cache_dir / f"standin-{hashlib.sha256(named.encode()).hexdigest()[:12]}"


def ensure_standin(
    cache_dir: Path, on_build: Callable[[float], None] = lambda done: None, recipe: Recipe = FULL
) -> Path:
    """The folder of a stand-in, made now if this machine has none; `on_build` hears how much of it is done (0–1).

    One process at a time makes it; others wait. What `on_build` raises ends the making and leaves nothing behind.
    """
    target = standin_folder(cache_dir, recipe)
    if target.is_dir():
        return target
    cache_dir.mkdir(parents=True, exist_ok=True)
    with _alone(cache_dir / "standin.lock"):
        if not target.is_dir():
            made = Path(tempfile.mkdtemp(prefix=".standin-", dir=cache_dir))
            try:
                _make(made, recipe, on_build)
                publish(made, target)
            finally:
                shutil.rmtree(made, ignore_errors=True)
    return target


def standin_tokenizer(recipe: Recipe = FULL) -> PreTrainedTokenizerFast:
    """Byte-level BPE over the corpus; the same on every machine, and made in about a second."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    words = corpus()
    spoken = [m.content for row in (*words.general, *words.personas) for m in row.messages if m.role != "system"]
    bpe.train_from_iterator([*spoken, *words.cards], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=SPECIAL[0],
        eos_token=SPECIAL[1],
        additional_special_tokens=list(SPECIAL[2:]),
        chat_template=TEMPLATE,
        model_max_length=recipe.context,
    )


def standin_config(recipe: Recipe = FULL) -> LlamaConfig:
    """The model's configuration."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=recipe.vocabulary,
        hidden_size=recipe.hidden,
        intermediate_size=recipe.intermediate,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=recipe.context,
        tie_word_embeddings=True,
        bos_token_id=None,
        pad_token_id=0,
        eos_token_id=1,
    )


def _make(target: Path, recipe: Recipe, on_build: Callable[[float], None]) -> None:
    from transformers import LlamaForCausalLM

    on_build(0.0)
    begun = time.monotonic()
    tokenizer = standin_tokenizer(recipe)
    torch.manual_seed(recipe.seed)
    model = LlamaForCausalLM(standin_config(recipe))
    loss = _train(model, _Lines(ChatFormat(tokenizer), recipe), recipe, on_build)
    model.save_pretrained(target, safe_serialization=True)
    tokenizer.save_pretrained(target)
    told = {"recipe": asdict(recipe), "seconds": round(time.monotonic() - begun, 1), "loss": round(loss, 3)}
    write_json(target / MARKER, told)


def _train(model: LlamaForCausalLM, lines: _Lines, recipe: Recipe, on_build: Callable[[float], None]) -> float:
    """Teach the model the lines; returns the loss of the last epoch (nats per token)."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    # Orthogonalised updates of the matrices need a fraction of AdamW's passes on so little text.
    optimisers: tuple[torch.optim.Optimizer, ...] = (
        torch.optim.Muon(matrices, lr=recipe.matrix_rate, weight_decay=0.0),
        torch.optim.AdamW(others, lr=recipe.other_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    )
    peaks = (recipe.matrix_rate, recipe.other_rate)
    per_epoch = steps_per_epoch(len(lines.examples), recipe.batch_size)
    total = per_epoch * recipe.epochs
    losses: list[float] = []
    for step in range(total):
        rows = lines.carded(drawn(lines.examples, step, recipe.batch_size, recipe.seed))
        labels = sum(e.labels for e in rows)
        losses.append(0.0)
        for part in (part for kin in _kin(rows) for part in micro_batches(kin)):
            loss = target_losses(model, collate(part, 0, torch.device("cpu")), torch.device("cpu")).sum() / labels
            loss.backward()
            losses[-1] += loss.item()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        for optimiser, peak in zip(optimisers, peaks, strict=True):
            optimiser.param_groups[0]["lr"] = rate_at(step, total, peak, 0.05, 0.02)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        on_build((step + 1) / total)
    return sum(losses[-per_epoch:]) / per_epoch


class _Lines:
    """The corpus as examples; every spoken token is learnt, cards are only read."""

    def __init__(self, chat_format: ChatFormat, recipe: Recipe) -> None:
        words = corpus()
        self.examples = [_spoken(e) for row in (*words.general, *words.personas) for e in self._cut(chat_format, row)]
        self.chances = {row.id: recipe.carded_general for row in words.general}
        self.chances |= {row.id: recipe.carded_personas for row in words.personas}
        self.cards = [tuple(chat_format.head(card)) for card in words.cards]
        self.random = torch.Generator().manual_seed(recipe.seed)

    def carded(self, rows: Sequence[Example]) -> list[Example]:
        """The rows of one step, some of them below a card, one for the whole step so that it is read once."""
        card = self.cards[int(torch.randint(len(self.cards), (), generator=self.random))]
        drawn_chances = torch.rand(len(rows), generator=self.random).tolist()
        return [
            Example(e.conversation_id, card + e.ids, (False,) * len(card) + e.mask)
            if chance < self.chances[e.conversation_id]
            else e
            for e, chance in zip(rows, drawn_chances, strict=True)
        ]

    @staticmethod
    def _cut(chat_format: ChatFormat, row: Conversation) -> list[Example]:
        return chat_format.examples(row, chat_format.tokenizer.model_max_length // 2)


def _spoken(example: Example) -> Example:
    return Example(example.conversation_id, example.ids, (False, *[True] * (len(example.ids) - 1)))


def _kin(rows: Sequence[Example]) -> list[list[Example]]:
    """Bare rows and carded rows apart, so that the card is a prefix of all that share a pass."""
    groups: dict[int, list[Example]] = {}
    for row in rows:
        groups.setdefault(row.mask.index(True), []).append(row)
    return list(groups.values())


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold the lock; the operating system lets go of it should this process die."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
