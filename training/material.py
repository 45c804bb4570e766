"""What a run trains on, in tokens of its base model: the stages of its course, and the rows that it is checked on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from training.chat import ChatFormat, Example
from training.course import Course, Stage
from training.errors import EmptyDataset
from training.lessons import Lessons, examples
from training.loop import Trainee
from training.models import Base
from training.preference import RATE_SHARE, Pair, Preferences, pairs_of
from training.ranks import ALONE, Ranks
from training.schema import Hyperparameters, TrainSpec
from training.sft import Answers


@dataclass(frozen=True)
class Material:
    """The rows of a run. `held_out`: whose answers are measured; `held_out_pairs`: of a preference run, besides.

    peak: the highest learning rate.
    """

    stages: tuple[Stage[Any], ...]
    held_out: tuple[Example, ...]
    held_out_pairs: tuple[Pair, ...]
    peak: float

    @property
    def rows(self) -> list[Example | Pair]:
        """The rows of all stages, each once."""
        return [row for stage in self.stages for row in stage.rows]

    @property
    def tokens(self) -> int:
        """Tokens of all rows, each once."""
        return sum(row.tokens for row in self.rows)

    @property
    def tokens_learnt(self) -> int:
        """Tokens that the run goes over, all its epochs counted."""
        return sum(stage.epochs * sum(row.tokens for row in stage.rows) for stage in self.stages)

    @property
    def steps(self) -> int:
        """Optimiser steps of one attempt."""
        return sum(stage.steps for stage in self.stages)

    def shortened(self, tokens: int) -> Material:
        """The rows cut to so many tokens, for reckoning with; those of which no answer is left are left out."""

        def cut(rows: Sequence[Example | Pair]) -> list[Example]:
            return [short for window in windows(rows) if (short := window.cut(tokens)).labels]

        stages = tuple(replace(stage, rows=rows) for stage in self.stages if (rows := cut(stage.rows)))
        return replace(self, stages=stages)

    def course(self, knobs: Hyperparameters) -> Course[Any]:
        """The stages in the order of this seed."""
        return Course(self.stages, self.peak, knobs.warmup_ratio, knobs.seed)

    def objective(self, trainee: Trainee[Any], tokens_at_once: int, ranks: Ranks = ALONE) -> Answers | Preferences:
        """What the run learns; preferences are compared with the model as it is now."""
        if not self.held_out_pairs:
            return Answers(trainee.loaded, trainee.decoder, self.held_out, tokens_at_once, ranks)
        beta = trainee.knobs.dpo_beta
        made = Preferences(trainee.loaded, trainee.decoder, self.held_out_pairs, tokens_at_once, beta, ranks=ranks)
        made.refer(self.stages[-1].rows)
        return made


def laid_out(spec: TrainSpec, lessons: Lessons, base: Base, chat_format: ChatFormat, context: int) -> Material:
    """The lessons as windows of at most `max_length` tokens, and of no more than the model's context.

    Raises EmptyDataset where no window, or none to check on, holds an answer.
    """
    knobs = spec.hyperparameters
    longest = min(knobs.max_length, context)
    batch, peak = knobs.batch_size or base.batch_size, knobs.learning_rate or base.learning_rate
    held_out = _filled(examples(lessons.held_out, chat_format, longest), "What is held out to check on")
    if lessons.pairs:
        assert spec.dataset is not None
        learnt, checked = (
            pairs_of(pairs, chat_format, longest, spec.dataset) for pairs in (lessons.pairs, lessons.held_out_pairs)
        )
        peak = peak if knobs.learning_rate else peak * RATE_SHARE
        return Material((Stage(learnt, knobs.epochs, batch),), held_out, tuple(checked), peak)
    train = _filled(examples(lessons.train, chat_format, longest), "What there is to learn")
    stages = [Stage(train, knobs.epochs, batch)]
    if lessons.opening:
        opening = _filled(examples(lessons.opening, chat_format, longest), "The general data")
        # Once: it is there to teach talking, and there is far more of it than of any persona.
        stages.insert(0, Stage(opening, 1, batch))
    return Material(tuple(stages), held_out, (), peak)


def windows(rows: Sequence[Example | Pair]) -> list[Example]:
    """The windows that rows are made of: of a pair, both."""
    return [window for row in rows for window in ((row,) if isinstance(row, Example) else (row.chosen, row.rejected))]


def _filled(rows: Sequence[Example], name: str) -> tuple[Example, ...]:
    if not rows:
        raise EmptyDataset(name=f"{name}, cut to max_length,", count=0, needed=1)
    return tuple(rows)
