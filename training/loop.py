"""The loop that every kind of training goes through: step, check, checkpoint, until the course is done.

What is learnt, and how it is measured on rows that are not learnt, is an `Objective`'s (`sft`, `preference`).
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import torch

from training.checkpoints import Checkpoint, CheckpointWriter, newest_checkpoint
from training.course import Course
from training.decoder.forward import Decoder, Pass
from training.decoder.kernels import Dropout
from training.errors import Diverged, RunStopped
from training.models import Loaded
from training.optimisers import restore_state, state_of
from training.ranks import ALONE, Ranks
from training.runs import append_line, keep_lines, read_lines, sync
from training.schema import Hyperparameters, LossPoint, Phase, Progress

if TYPE_CHECKING:
    from peft import PeftModel

log = logging.getLogger(__name__)
VALIDATIONS = 8
CHECKPOINT_SECONDS = 2.0
CHECKPOINT_SHARE = 0.05
"""A run checkpoints every two seconds, or as rarely as keeps the copying for it below this share."""
MAX_GRADIENT_NORM = 1.0

Tensors = dict[str, torch.Tensor]
Metrics = dict[str, float | int]
Row = TypeVar("Row")
Row_contra = TypeVar("Row_contra", contravariant=True)


@dataclass
class Best:
    """The adapter with the lowest held-out loss so far."""

    step: int = 0
    loss: float = math.inf
    tensors: Tensors = field(default_factory=dict)


class Objective(Protocol[Row_contra]):
    """What rows teach, and what rows that are held out show."""

    def shares(self, rows: Sequence[Row_contra], how: Pass) -> Iterable[torch.Tensor]:
        """This process's part of the loss of one step, a forward pass at a time; the sum over all passes and
        processes is the step's loss, however it is cut."""
        ...

    def held_out_loss(self) -> float:
        """The loss on the rows that are not learnt, as the model is now."""
        ...

    def tokens(self, row: Row_contra) -> int:
        """How many tokens a row is long."""
        ...


@dataclass
class Trainee(Generic[Row]):
    """A base model with the adapter that is being trained on it."""

    loaded: Loaded
    model: PeftModel
    decoder: Decoder
    optimiser: torch.optim.Optimizer
    knobs: Hyperparameters
    course: Course[Row]
    redo: bool = False
    step: int = 0
    resumed_at: int = 0
    first_loss: float | None = None
    eval_loss: float | None = None
    stale: int = 0
    best: Best = field(default_factory=Best)

    @property
    def rate(self) -> float:
        """The learning rate of the last step."""
        return float(self.optimiser.param_groups[0]["lr"])

    def weights(self) -> dict[str, torch.nn.Parameter]:
        """The adapter's own parameters by name."""
        return trained_weights(self.model)


@dataclass(frozen=True)
class Hooks:
    """Who hears of a run, and who may stop it or make it wait."""

    on_progress: Callable[[Progress], None] = lambda progress: None
    should_stop: Callable[[], bool] = lambda: False
    on_checkpoint: Callable[[int], None] = lambda step: None
    on_micro_batch: Callable[[], None] = lambda: None
    on_metrics: Callable[[Metrics], None] = lambda line: None


def trained_weights(model: PeftModel) -> dict[str, torch.nn.Parameter]:
    """The parameters of a model that learn, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def fit(
    trainee: Trainee[Row], objective: Objective[Row], *, run_dir: Path, key: str, hooks: Hooks, ranks: Ranks = ALONE
) -> None:
    """Train to the last step, or until checks stay stale, and leave the best adapter in place.

    Goes on from `run_dir/checkpoints` where the newest one was written for the same `key` (what is trained on what);
    then every number comes out as if nothing had happened. Raises RunStopped once a stop is asked for, and Diverged at
    the first loss or gradient that is not finite.
    """
    kept = newest_checkpoint(run_dir / "checkpoints", set_aside=ranks.first)
    if kept and kept.state["key"] == key:
        restore(trainee, kept)
    elif kept and ranks.first:
        # Of other data or another model; the steps of this run would count as older than theirs.
        log.warning("The checkpoints in %s are of another run and are removed.", run_dir)
        shutil.rmtree(run_dir / "checkpoints")
    with trainee.decoder.packed():
        if ranks.first:
            _lead(trainee, objective, run_dir=run_dir, key=key, hooks=hooks, ranks=ranks)
        else:
            _follow(trainee, objective, hooks, ranks)
    adopt(trainee, trainee.best.tensors)


def loss_curve(run_dir: Path) -> list[LossPoint]:
    """The losses of every step that a run took."""
    return [
        LossPoint(step=line["step"], train_loss=line["train_loss"], eval_loss=line.get("eval_loss"))
        for line in read_lines(run_dir / "metrics.jsonl")
    ]


def _lead(
    trainee: Trainee[Row], objective: Objective[Row], *, run_dir: Path, key: str, hooks: Hooks, ranks: Ranks
) -> None:
    """Step by step, with all that is written and told on the way."""
    metrics, pace, waiting = run_dir / "metrics.jsonl", _Pace(), _Waiting(hooks.on_micro_batch)
    hooks = replace(hooks, on_micro_batch=waiting)
    keep_lines(metrics, trainee.step)
    with CheckpointWriter(run_dir / "checkpoints", trainee.knobs.checkpoints_kept, hooks.on_checkpoint) as writer:
        while not _done(trainee):
            begun = time.perf_counter()
            rows = trainee.course.rows_at(trainee.step)
            loss, norm = _learn(trainee, objective, rows, hooks, ranks)
            waited = waiting.since_last()
            seconds, tokens = time.perf_counter() - begun - waited, sum(map(objective.tokens, rows))
            trainee.first_loss = loss if trainee.first_loss is None else trainee.first_loss
            validated = _validate_if_due(trainee, objective, ranks)
            line: Metrics = {"step": trainee.step, "train_loss": loss, "gradient_norm": norm}
            line["learning_rate"] = trainee.rate
            line |= {"tokens": tokens, "seconds": round(seconds, 4)}
            if round(waited, 4):
                line["waited"] = round(waited, 4)
            if validated is not None:
                line["eval_loss"] = validated
            append_line(metrics, line)
            hooks.on_metrics(line)
            pace.took(seconds, tokens)
            hooks.on_progress(_progress(trainee, loss, pace))
            writer.tell()
            done, stop = _done(trainee), ranks.any(hooks.should_stop())
            if done or stop or (pace.checkpoint_due() and not writer.busy):
                with pace.saving():
                    writer.save(trainee.step, *_kept(trainee, key), before=lambda: sync(metrics))
            if stop and not done:
                writer.settle()
                raise RunStopped(step=trainee.step)
        writer.settle()


def _follow(trainee: Trainee[Row], objective: Objective[Row], hooks: Hooks, ranks: Ranks) -> None:
    """The same steps in a process that neither writes nor tells."""
    while not _done(trainee):
        _learn(trainee, objective, trainee.course.rows_at(trainee.step), hooks, ranks)
        _validate_if_due(trainee, objective, ranks)
        if ranks.any(hooks.should_stop()) and not _done(trainee):
            raise RunStopped(step=trainee.step)


def _learn(
    trainee: Trainee[Row], objective: Objective[Row], rows: Sequence[Row], hooks: Hooks, ranks: Ranks
) -> tuple[float, float]:
    """One optimiser step: its loss, and the gradient's norm before clipping."""
    # What is dropped depends on the step, so that a resumed run drops what it would have dropped.
    seed = trainee.knobs.seed * 1_000_003 + trainee.step
    trainee.model.train()
    how = Pass(Dropout(trainee.knobs.lora_dropout, seed), trainee.knobs.neftune_alpha, trainee.redo)
    total = 0.0
    for share in objective.shares(rows, how):
        torch.autograd.backward(share)
        total += share.item()
        hooks.on_micro_batch()
    weights = trainee.weights().values()
    total = ranks.add_up(weights, total)
    norm = torch.nn.utils.clip_grad_norm_(weights, MAX_GRADIENT_NORM)
    if not math.isfinite(total) or not math.isfinite(norm):
        raise Diverged(step=trainee.step + 1)
    for group in trainee.optimiser.param_groups:
        group["lr"] = trainee.course.rate_at(trainee.step)
    trainee.optimiser.step()
    trainee.optimiser.zero_grad(set_to_none=True)
    trainee.step += 1
    return total, float(norm)


def _done(trainee: Trainee[Row]) -> bool:
    patience = trainee.knobs.early_stopping
    return trainee.step == trainee.course.steps or (patience > 0 and trainee.stale >= patience)


def _validate_if_due(trainee: Trainee[Row], objective: Objective[Row], ranks: Ranks) -> float | None:
    if not trainee.course.check_due(trainee.step, VALIDATIONS):
        return None
    trainee.eval_loss = loss = ranks.of_first(objective.held_out_loss)
    if not math.isfinite(loss):
        raise Diverged(step=trainee.step)
    if not trainee.course.in_last_stage(trainee.step):
        return loss
    trainee.stale += 1
    if loss < trainee.best.loss:
        trainee.stale = 0
        trainee.best = Best(trainee.step, loss, {n: p.detach().cpu().clone() for n, p in trainee.weights().items()})
    return loss


def _kept(trainee: Trainee[Row], key: str) -> tuple[dict[str, Any], dict[str, Tensors]]:
    """What a checkpoint holds: (state, tensors)."""
    weights = trainee.weights()
    moments, numbers = state_of(trainee.optimiser, weights)
    state = {
        "key": key,
        "first_loss": trainee.first_loss,
        "best_step": trainee.best.step,
        "best_loss": trainee.best.loss if trainee.best.tensors else None,
        "eval_loss": trainee.eval_loss,
        "stale": trainee.stale,
        "optimiser": numbers,
    }
    groups: dict[str, Tensors] = {"adapter": {n: p.detach() for n, p in weights.items()}, "moments": moments}
    if trainee.best.tensors:
        groups["best"] = trainee.best.tensors
    return state, groups


def restore(trainee: Trainee[Row], kept: Checkpoint) -> None:
    """Put the trainee where the checkpoint was written."""
    adopt(trainee, kept.groups["adapter"])
    restore_state(trainee.optimiser, trainee.weights(), kept.groups["moments"], kept.state["optimiser"])
    trainee.step = trainee.resumed_at = kept.step
    trainee.first_loss, trainee.eval_loss = kept.state["first_loss"], kept.state["eval_loss"]
    trainee.stale = kept.state["stale"]
    if "best" in kept.groups:
        trainee.best = Best(kept.state["best_step"], kept.state["best_loss"], kept.groups["best"])


def adopt(trainee: Trainee[Row], tensors: Tensors) -> None:
    """Give the adapter these weights, by name."""
    with torch.no_grad():
        for name, p in trainee.weights().items():
            p.copy_(tensors[name])


def _progress(trainee: Trainee[Row], loss: float, pace: _Pace) -> Progress:
    epoch, epochs = trainee.course.epoch_at(trainee.step)
    return Progress(
        phase=Phase.TRAINING,
        step=trainee.step,
        total_steps=trainee.course.steps,
        epoch=epoch,
        epochs=epochs,
        train_loss=loss,
        first_train_loss=trainee.first_loss,
        eval_loss=trainee.eval_loss,
        best_step=trainee.best.step or None,
        tokens_per_second=pace.tokens / pace.seconds,
        seconds_left=pace.seconds_for(trainee.course.steps - trainee.step),
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
        """Whether the last checkpoint is old enough, given what copying for one costs."""
        return time.monotonic() - self.saved >= max(CHECKPOINT_SECONDS, self.cost / CHECKPOINT_SHARE)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Measures what one checkpoint keeps the training from."""
        begun = time.monotonic()
        yield
        self.saved = time.monotonic()
        self.cost = self.saved - begun


class _Waiting:
    """A hook that keeps the training waiting, and how long it has."""

    def __init__(self, hook: Callable[[], None]) -> None:
        self._hook, self._seconds = hook, 0.0

    def __call__(self) -> None:
        begun = time.perf_counter()
        self._hook()
        self._seconds += time.perf_counter() - begun

    def since_last(self) -> float:
        """Seconds since this was asked last."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds
