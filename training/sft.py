"""Supervised fine-tuning of a LoRA adapter: setup → fit (in `loop`) → validate → save.

A step's examples share forward passes by what they have in common, logits are computed only where a token is learnt,
and the loss of a step is the mean over all its assistant tokens, however it was cut into passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from training.adapters import add_adapter, resume_adapter, save_adapter
from training.batches import micro_batches, pack
from training.chat import Example
from training.course import Course
from training.decoder.forward import Decoder, Pass, compute_dtype
from training.errors import NotAdaptable
from training.loop import Row, Trainee, trained_weights
from training.models import Loaded
from training.optimisers import make_optimiser
from training.ranks import ALONE, Ranks
from training.runs import publish
from training.schema import Hyperparameters


@dataclass(frozen=True)
class Answers:
    """The objective of supervised fine-tuning: what the assistant said, given all before it.

    tokens_at_once: at most so many in one forward pass.
    """

    loaded: Loaded
    decoder: Decoder
    held_out: Sequence[Example]
    tokens_at_once: int
    ranks: Ranks = ALONE

    def shares(self, rows: Sequence[Example], how: Pass) -> Iterator[torch.Tensor]:
        """Nats per assistant token of the whole step, a forward pass at a time."""
        labels = sum(example.labels for example in rows)
        passes = micro_batches(rows, self.tokens_at_once, among=self.ranks.count)
        for counts, (number, group) in self.ranks.mine(list(enumerate(passes))):
            batch = pack(group, self.loaded.format.pad, self.loaded.device)
            yield counts * self.decoder.losses(batch, how.numbered(number)).sum() / labels

    def held_out_loss(self) -> float:
        """Nats per assistant token of the held-out examples."""
        return mean_loss(self.measure())

    def measure(self) -> dict[str, tuple[float, int]]:
        """For each held-out conversation: the summed negative log-likelihood (nats) of its assistant tokens, and their
        number."""
        return measure(self.loaded, self.decoder, self.held_out, self.tokens_at_once)

    def tokens(self, row: Example) -> int:
        """The length of an example."""
        return len(row.ids)


def setup(
    loaded: Loaded, knobs: Hyperparameters, course: Course[Row], *, start_from: Path | None = None, redo: bool = False
) -> Trainee[Row]:
    """Put an adapter on the base model, fresh or as it lies in `start_from`, and an optimiser on the adapter.

    redo: gradient checkpointing. Raises AdapterUnreadable, PackageMissing, and NotAdaptable for a model whose layers
    mix tokens in a way that rows of several texts cannot follow.
    """
    model = resume_adapter(loaded, start_from, knobs.lora_dropout) if start_from else add_adapter(loaded, knobs)
    decoder = Decoder(model.get_base_model(), compute_dtype(loaded.device))
    if redo and not decoder.lean:
        model.activation_checkpointing_enable({"use_reentrant": False})
    model.eval()
    if not decoder.agrees():
        raise NotAdaptable(name=loaded.base.id, reason="its kind of layers is not supported")
    peak = knobs.learning_rate or loaded.base.learning_rate
    optimiser = make_optimiser(knobs.optimiser, trained_weights(model), peak, loaded.device)
    return Trainee(loaded, model, decoder, optimiser, knobs, course, redo)


def measure(
    loaded: Loaded, decoder: Decoder, examples: Sequence[Example], tokens_at_once: int
) -> dict[str, tuple[float, int]]:
    """For each conversation id the summed negative log-likelihood of its assistant tokens (nats), and their number."""
    sums: dict[str, tuple[float, int]] = {}
    model = decoder.model
    was_training = model.training
    model.eval()
    with torch.inference_mode(), decoder.packed():
        for group in micro_batches(examples, tokens_at_once):
            batch = pack(group, loaded.format.pad, loaded.device)
            losses = decoder.losses(batch).double()
            members = [member for family in group for member in family.members]
            summed = torch.zeros(len(members), dtype=torch.double, device=losses.device)
            summed.index_add_(0, batch.owners[: batch.count], losses)
            for example, loss in zip(members, summed.tolist(), strict=True):
                total, count = sums.get(example.conversation_id, (0.0, 0))
                sums[example.conversation_id] = (total + loss, count + example.labels)
    model.train(was_training)
    return sums


def mean_loss(sums: dict[str, tuple[float, int]]) -> float:
    """Nats per assistant token over all conversations."""
    return sum(total for total, _ in sums.values()) / sum(count for _, count in sums.values())


def save(trainee: Trainee[Row], run_dir: Path) -> Path:
    """Write `run_dir/adapter/`, usable with plain peft."""
    made = run_dir / ".adapter.tmp"
    save_adapter(trainee.model, trainee.loaded.format, made)
    publish(made, run_dir / "adapter")
    return run_dir / "adapter"
