"""Supervised fine-tuning of a LoRA adapter: setup → fit → validate → save.

A lean loop instead of a trainer class: examples of like length share a pass, logits are computed only where a token is
learnt, and the loss of a step is the mean over all its assistant tokens, however it was cut into passes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from training.batches import Batch, collate, drawn, micro_batches, rate_at, steps_per_epoch, target_losses
from training.chat import Example
from training.checkpoints import Checkpoint, newest_checkpoint, save_checkpoint
from training.errors import BaseModelUnavailable, Diverged, RunStopped
from training.models import BIG_MODEL, Loaded
from training.runs import append_line, keep_lines, publish, read_lines, sync
from training.schema import Hyperparameters, LossPoint, Phase, Progress

if TYPE_CHECKING:
    from peft import PeftModel

VALIDATIONS = 8
CHECKPOINT_SECONDS = 2.0
CHECKPOINT_SHARE = 0.05
"""A run checkpoints every two seconds, or as rarely as keeps it from spending more than this share on it."""
MAX_GRADIENT_NORM = 1.0

Tensors = dict[str, torch.Tensor]


@dataclass
class Best:
    """The adapter with the lowest held-out loss so far."""

    step: int = 0
    loss: float = math.inf
    tensors: Tensors = field(default_factory=dict)


@dataclass
class Trainee:
    """A base model with the adapter that is being trained on it."""

    loaded: Loaded
    model: PeftModel
    optimiser: torch.optim.AdamW
    knobs: Hyperparameters
    peak_rate: float
    batch_size: int
    total_steps: int
    step: int = 0
    resumed_at: int = 0
    first_loss: float | None = None
    eval_loss: float | None = None
    best: Best = field(default_factory=Best)

    @property
    def rate(self) -> float:
        """The learning rate of the last step."""
        return float(self.optimiser.param_groups[0]["lr"])

    def weights(self) -> dict[str, torch.nn.Parameter]:
        """The adapter's own parameters by name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}


@dataclass(frozen=True)
class Hooks:
    """Who hears of a run, and who may stop it."""

    on_progress: Callable[[Progress], None] = lambda progress: None
    should_stop: Callable[[], bool] = lambda: False
    on_checkpoint: Callable[[int], None] = lambda step: None


def setup(loaded: Loaded, knobs: Hyperparameters, examples: int) -> Trainee:
    """Put a fresh adapter on every linear layer of the base model; `knobs` None values come from its catalog row."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(knobs.seed)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=knobs.lora_rank,
        lora_alpha=knobs.lora_alpha,
        lora_dropout=knobs.lora_dropout,
        target_modules=loaded.base.targets,
    )
    if loaded.device.type == "cuda" and loaded.model.num_parameters() >= BIG_MODEL:
        loaded.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model = get_peft_model(loaded.model, config)
    _check_logits(model, loaded)
    peak = knobs.learning_rate or loaded.base.learning_rate
    batch_size = knobs.batch_size or loaded.base.batch_size
    optimiser = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=peak, weight_decay=0.0, fused=True
    )
    total = steps_per_epoch(examples, batch_size) * knobs.epochs
    return Trainee(loaded, model, optimiser, knobs, peak, batch_size, total)


def fit(
    trainee: Trainee,
    examples: Sequence[Example],
    held_out: Sequence[Example],
    *,
    run_dir: Path,
    key: str,
    hooks: Hooks,
) -> list[LossPoint]:
    """Train to the last step, leave the best adapter in place and return the loss curve.

    Goes on from `run_dir/checkpoints` where the newest one was written for the same `key` (what is trained on what);
    then every number comes out as if nothing had happened. Raises RunStopped once a stop is asked for, and Diverged at
    the first loss or gradient that is not finite.
    """
    metrics = run_dir / "metrics.jsonl"
    kept = newest_checkpoint(run_dir / "checkpoints")
    if kept and kept.state["key"] == key:
        restore(trainee, kept)
    keep_lines(metrics, trainee.step)
    pace = _Pace()
    while trainee.step < trainee.total_steps:
        begun = time.perf_counter()
        rows = drawn(examples, trainee.step, trainee.batch_size, trainee.knobs.seed)
        loss, norm = _learn(trainee, rows)
        seconds = time.perf_counter() - begun
        trainee.first_loss = loss if trainee.first_loss is None else trainee.first_loss
        validated = _validate_if_due(trainee, held_out)
        tokens = sum(len(e.ids) for e in rows)
        line = {"step": trainee.step, "train_loss": loss, "gradient_norm": norm, "learning_rate": trainee.rate}
        line |= {"tokens": tokens, "seconds": round(seconds, 4)}
        append_line(metrics, line if validated is None else {**line, "eval_loss": validated})
        pace.took(seconds, tokens)
        hooks.on_progress(_progress(trainee, len(examples), loss, pace))
        last, stop = trainee.step == trainee.total_steps, hooks.should_stop()
        if last or stop or pace.checkpoint_due():
            with pace.saving():
                sync(metrics)
                _checkpoint(trainee, run_dir, key)
            hooks.on_checkpoint(trainee.step)
        if stop and not last:
            raise RunStopped(step=trainee.step)
    _adopt(trainee, trainee.best.tensors)
    return [
        LossPoint(step=line["step"], train_loss=line["train_loss"], eval_loss=line.get("eval_loss"))
        for line in read_lines(metrics)
    ]


def validate(loaded: Loaded, model: Any, examples: Sequence[Example]) -> dict[str, tuple[float, int]]:
    """For each conversation id: the summed negative log-likelihood of its assistant tokens (nats), and their number."""
    sums: dict[str, tuple[float, int]] = {}
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for part in micro_batches(examples):
            batch = collate(part, loaded.format.pad, loaded.device)
            losses = _losses(loaded, model, batch).double()
            by_row = torch.zeros(len(part), dtype=torch.double, device=losses.device).index_add_(0, batch.rows, losses)
            for example, loss in zip(part, by_row.tolist(), strict=True):
                total, count = sums.get(example.conversation_id, (0.0, 0))
                sums[example.conversation_id] = (total + loss, count + example.labels)
    model.train(was_training)
    return sums


def mean_loss(sums: dict[str, tuple[float, int]]) -> float:
    """Nats per assistant token over all conversations."""
    return sum(total for total, _ in sums.values()) / sum(count for _, count in sums.values())


def save(trainee: Trainee, run_dir: Path) -> Path:
    """Write `run_dir/adapter/`, usable with plain peft."""
    made = run_dir / ".adapter.tmp"
    trainee.model.save_pretrained(made, safe_serialization=True)
    # peft writes a card of its own, without a word of what was trained; ours lies in the run folder.
    (made / "README.md").unlink(missing_ok=True)
    publish(made, run_dir / "adapter")
    return run_dir / "adapter"


def _learn(trainee: Trainee, rows: Sequence[Example]) -> tuple[float, float]:
    """One optimiser step: its loss in nats per assistant token, and the gradient's norm before clipping."""
    # Dropout is seeded by the step, so that a resumed run draws what it would have drawn.
    torch.manual_seed(trainee.knobs.seed * 1_000_003 + trainee.step)
    trainee.model.train()
    labels = sum(e.labels for e in rows)
    total = 0.0
    for part in micro_batches(rows):
        batch = collate(part, trainee.loaded.format.pad, trainee.loaded.device)
        loss = _losses(trainee.loaded, trainee.model, batch).sum() / labels
        torch.autograd.backward(loss)
        total += loss.item()
    norm = torch.nn.utils.clip_grad_norm_(trainee.weights().values(), MAX_GRADIENT_NORM)
    if not math.isfinite(total) or not math.isfinite(norm):
        raise Diverged(step=trainee.step + 1)
    for group in trainee.optimiser.param_groups:
        group["lr"] = rate_at(trainee.step, trainee.total_steps, trainee.peak_rate, trainee.knobs.warmup_ratio)
    trainee.optimiser.step()
    trainee.optimiser.zero_grad(set_to_none=True)
    trainee.step += 1
    return total, float(norm)


def _losses(loaded: Loaded, model: Any, batch: Batch) -> torch.Tensor:
    """Negative log-likelihood of every target (nats, fp32)."""
    return target_losses(model.get_base_model(), batch, loaded.device)


def _check_logits(model: PeftModel, loaded: Loaded) -> None:
    """Refuse models that transform their logits after the output layer, since the loss would miss that."""
    causal = model.get_base_model()
    ids = torch.tensor([[loaded.format.end_of_turn, 0]], device=loaded.device)
    with torch.inference_mode():
        ours = causal.get_output_embeddings()(causal.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state)
        theirs = causal(input_ids=ids, use_cache=False).logits
    if not torch.allclose(ours.float(), theirs.float(), atol=1e-3, rtol=1e-2):
        raise BaseModelUnavailable(name=loaded.base.id, reason="its way of scaling logits is not supported")


def _validate_if_due(trainee: Trainee, held_out: Sequence[Example]) -> float | None:
    every = max(1, trainee.total_steps // VALIDATIONS)
    if trainee.step % every and trainee.step != trainee.total_steps:
        return None
    trainee.eval_loss = loss = mean_loss(validate(trainee.loaded, trainee.model, held_out))
    if not math.isfinite(loss):
        raise Diverged(step=trainee.step)
    if loss < trainee.best.loss:
        trainee.best = Best(trainee.step, loss, {n: p.detach().cpu().clone() for n, p in trainee.weights().items()})
    return loss


def _checkpoint(trainee: Trainee, run_dir: Path, key: str) -> None:
    weights = trainee.weights()
    moments = {
        f"{name}/{moment}": trainee.optimiser.state[p][moment]
        for name, p in weights.items()
        for moment in ("exp_avg", "exp_avg_sq", "step")
    }
    state = {
        "key": key,
        "first_loss": trainee.first_loss,
        "best_step": trainee.best.step,
        "best_loss": trainee.best.loss if trainee.best.tensors else None,
        "eval_loss": trainee.eval_loss,
    }
    groups: dict[str, Tensors] = {"adapter": {n: p.detach() for n, p in weights.items()}, "moments": moments}
    if trainee.best.tensors:
        groups["best"] = trainee.best.tensors
    save_checkpoint(run_dir / "checkpoints", trainee.step, state, groups)


def restore(trainee: Trainee, kept: Checkpoint) -> None:
    """Put the trainee where the checkpoint was written."""
    _adopt(trainee, kept.groups["adapter"])
    for name, p in trainee.weights().items():
        trainee.optimiser.state[p] = {
            moment: kept.groups["moments"][f"{name}/{moment}"].to(p.device)
            for moment in ("exp_avg", "exp_avg_sq", "step")
        }
    trainee.step = trainee.resumed_at = kept.step
    trainee.first_loss, trainee.eval_loss = kept.state["first_loss"], kept.state["eval_loss"]
    if "best" in kept.groups:
        trainee.best = Best(kept.state["best_step"], kept.state["best_loss"], kept.groups["best"])


def _adopt(trainee: Trainee, tensors: Tensors) -> None:
    with torch.no_grad():
        for name, p in trainee.weights().items():
            p.copy_(tensors[name])


def _progress(trainee: Trainee, examples: int, loss: float, pace: _Pace) -> Progress:
    return Progress(
        phase=Phase.TRAINING,
        step=trainee.step,
        total_steps=trainee.total_steps,
        epoch=trainee.step / steps_per_epoch(examples, trainee.batch_size),
        epochs=trainee.knobs.epochs,
        train_loss=loss,
        first_train_loss=trainee.first_loss,
        eval_loss=trainee.eval_loss,
        best_step=trainee.best.step or None,
        tokens_per_second=pace.tokens / pace.seconds,
        seconds_left=pace.seconds_for(trainee.total_steps - trainee.step),
    )


class _Pace:
    """How fast a run goes since it was started or resumed, and when its next checkpoint is due."""

    def __init__(self) -> None:
        self.begun = self.saved = time.monotonic()
        self.steps = self.tokens = 0
        self.seconds = self.cost = 0.0

    def took(self, seconds: float, tokens: int) -> None:
        """One more step was taken."""
        self.steps, self.tokens, self.seconds = self.steps + 1, self.tokens + tokens, self.seconds + seconds

    def seconds_for(self, steps: int) -> float:
        """How long so many steps take, validation and checkpoints included."""
        return steps * (time.monotonic() - self.begun) / self.steps

    def checkpoint_due(self) -> bool:
        """Whether the last checkpoint is old enough, given what one costs."""
        return time.monotonic() - self.saved >= max(CHECKPOINT_SECONDS, self.cost / CHECKPOINT_SHARE)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Measures one checkpoint."""
        begun = time.monotonic()
        yield
        self.saved = time.monotonic()
        self.cost = self.saved - begun
