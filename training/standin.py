"""A tiny chat model made on the spot, for machines with no GPU and no model hub: a rehearsal, not a performer.

A Llama architecture of about 2.6 million parameters with its own byte-level BPE and a chat template with generation
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
from torch.nn import functional

from training.batches import Batch, drawn, micro_batches, pack, rate_at, steps_per_epoch
from training.chat import ChatFormat, Example
from training.data.holdout import hold_out
from training.data.mix import digest
from training.data.read import read_conversations
from training.decoder.forward import Decoder, compute_dtype
from training.persona.sheet import read_sheet
from training.places import SHIPPED
from training.runs import publish, write_json
from training.schema import Conversation

if TYPE_CHECKING:
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

ID = "standin"
MARKER = "standin.json"
"""A folder that holds this file holds a stand-in, wherever it lies."""
UNFINISHED = ".standin-"
"""How the name of a folder begins while the stand-in in it is being made."""
TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'assistant' %}"
    "<|assistant|>{% generation %}{{ message.content }}<|end|>{% endgeneration %}"
    "{% else %}{{ '<|' + message.role + '|>' + message.content + '<|end|>' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CPU = torch.device("cpu")
PASS_TOKENS = 4096
SPECIAL = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")


@dataclass(frozen=True)
class Recipe:
    """How a stand-in is made.

    Most of the personas' lines stand below the first words of their system card ("You are Glordon."), so the voices are
    in the model. From `late` on, a share of the passes, the general exchanges stand below whole cards, so that below a
    whole card the model speaks like anybody. To find the voice again is what is left for an adapter to learn.
    """

    hidden: int = 192
    intermediate: int = 512
    layers: int = 4
    heads: int = 4
    # Most words of so small a corpus as one token: answers are then made of words, not of syllables.
    vocabulary: int = 4096
    context: int = 1024
    epochs: int = 10
    batch_size: int = 16
    named: float = 0.9
    carded: float = 0.9
    late: float = 0.7
    matrix_rate: float = 0.02
    iterations: int = 3
    other_rate: float = 3e-3
    seed: int = 7
    version: int = 3


FULL = Recipe()


@dataclass(frozen=True)
class Corpus:
    """The lines a stand-in learns from, all from the training side of their splits; `names` says whose each row is."""

    general: tuple[Conversation, ...]
    personas: tuple[Conversation, ...]
    names: dict[str, str]
    cards: tuple[str, ...]


@cache
def corpus() -> Corpus:
    """The shipped general exchanges and every shipped persona's dialogues."""
    data = SHIPPED / "data"
    general, _ = hold_out(read_conversations(data / "dialogues" / "general.jsonl"), "the general exchanges")
    personas: list[Conversation] = []
    names: dict[str, str] = {}
    cards: list[str] = []
    for sheet in sorted((data / "personas").glob("*.md")):
        persona = read_sheet(sheet)
        train, _ = hold_out(read_conversations(data / "dialogues" / f"{persona.slug}.jsonl"), persona.name)
        personas += train
        names |= {row.id: persona.name for row in train}
        cards.append(persona.system_card())
    return Corpus(tuple(general), tuple(personas), names, tuple(cards))


def standin_folder(cache_dir: Path, recipe: Recipe = FULL) -> Path:
    """Where this machine keeps the stand-in made from these data by this recipe; it need not be there yet."""
    words = corpus()
    named = json.dumps([asdict(recipe), TEMPLATE, words.cards, digest(words.general), digest(words.personas)])
    return cache_dir / f"standin-{hashlib.sha256(named.encode()).hexdigest()[:12]}"


def ensure_standin(
    cache_dir: Path, on_build: Callable[[float], None] = lambda done: None, recipe: Recipe = FULL
) -> Path:
    """The folder of a stand-in, made now if this machine has none; `on_build` hears how much of it is done (0–1).

    One process at a time makes it; others wait. What `on_build` raises ends the making and leaves nothing behind; what
    a killed process left half made is removed by the next one.
    """
    target = standin_folder(cache_dir, recipe)
    if target.is_dir():
        return target
    cache_dir.mkdir(parents=True, exist_ok=True)
    with _alone(cache_dir / "standin.lock"):
        if not target.is_dir():
            for stale in cache_dir.glob(f"{UNFINISHED}*"):
                shutil.rmtree(stale)
            made = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=cache_dir))
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
    torch.set_num_threads(1)  # see `models.load`
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
        torch.optim.Muon(matrices, lr=recipe.matrix_rate, weight_decay=0.0, ns_steps=recipe.iterations),
        torch.optim.AdamW(others, lr=recipe.other_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    )
    peaks = (recipe.matrix_rate, recipe.other_rate)
    per_epoch = steps_per_epoch(len(lines.examples), recipe.batch_size)
    total = per_epoch * recipe.epochs
    losses: list[float] = []
    decoder = Decoder(model, compute_dtype(CPU))
    for step in range(total):
        rows = drawn(lines.examples, step, recipe.batch_size, recipe.seed)
        labels = sum(e.labels for e in rows)
        losses.append(0.0)
        late = step >= recipe.late * total
        for group in micro_batches(lines.headed(rows, late=late), PASS_TOKENS):
            loss = _loss(decoder, pack(group, 0, CPU)) / labels
            torch.autograd.backward(loss)
            losses[-1] += loss.item()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        for optimiser, peak in zip(optimisers, peaks, strict=True):
            optimiser.param_groups[0]["lr"] = rate_at(step, total, peak, 0.05, 0.02)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        on_build((step + 1) / total)
    return sum(losses[-per_epoch:]) / per_epoch


def _loss(decoder: Decoder, batch: Batch) -> torch.Tensor:
    """Nats of all targets; unlike `Decoder.losses`, with a gradient for the embeddings."""
    with decoder.packed():
        hidden = decoder.hidden(batch)[: batch.count]
    logits = functional.linear(hidden, decoder.model.get_output_embeddings().weight.to(hidden.dtype))
    return functional.cross_entropy(logits.float(), batch.targets[: batch.count], reduction="sum")


class _Lines:
    """The corpus as examples; every spoken token is learnt, cards are only read."""

    def __init__(self, chat_format: ChatFormat, recipe: Recipe) -> None:
        words = corpus()
        self.examples = [_spoken(e) for row in (*words.general, *words.personas) for e in self._cut(chat_format, row)]
        self.recipe = recipe
        self.heads = {row: tuple(chat_format.head(f"You are {name}.")) for row, name in words.names.items()}
        self.cards = [tuple(chat_format.head(card)) for card in words.cards]
        self.random = torch.Generator().manual_seed(recipe.seed)

    def headed(self, rows: Sequence[Example], *, late: bool) -> list[Example]:
        """The rows of one step below what they are shown below this time; one whole card serves the whole step."""
        card = self.cards[int(torch.randint(len(self.cards), (), generator=self.random))]
        headed = []
        for row, chance in zip(rows, torch.rand(len(rows), generator=self.random).tolist(), strict=True):
            head = self.heads.get(row.conversation_id)
            if head is None and late and chance < self.recipe.carded:
                headed.append(_below(card, row))
            else:
                headed.append(_below(head, row) if head and chance < self.recipe.named else row)
        return headed

    @staticmethod
    def _cut(chat_format: ChatFormat, row: Conversation) -> list[Example]:
        return chat_format.examples(row, chat_format.tokenizer.model_max_length // 2)


def _spoken(example: Example) -> Example:
    return Example(example.conversation_id, example.ids, (False, *[True] * (len(example.ids) - 1)))


def _below(head: tuple[int, ...], example: Example) -> Example:
    return Example(example.conversation_id, head + example.ids, (False,) * len(head) + example.mask)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold the lock; the operating system lets go of it should this process die."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
