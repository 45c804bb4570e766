"""What a run learns from, step by step: one stage after the other, each with its own epochs and its own rise and fall
of the learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from training.batches import drawn, rate_at, steps_per_epoch

Row = TypeVar("Row")


@dataclass(frozen=True)
class Stage(Generic[Row]):
    """Rows that are passed over `epochs` times, `batch_size` of them in a step."""

    rows: Sequence[Row]
    epochs: int
    batch_size: int

    @property
    def steps(self) -> int:
        """Optimiser steps of the stage."""
        return steps_per_epoch(len(self.rows), self.batch_size) * self.epochs


@dataclass(frozen=True)
class Course(Generic[Row]):
    """The stages of a run, in order. `peak` is the highest learning rate of each."""

    stages: tuple[Stage[Row], ...]
    peak: float
    warmup_ratio: float
    seed: int

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return sum(stage.steps for stage in self.stages)

    def rows_at(self, step: int) -> list[Row]:
        """The rows of one step, counted from 0."""
        stage, within = self._stage(step)
        return drawn(stage.rows, within, stage.batch_size, self.seed)

    def rate_at(self, step: int) -> float:
        """The learning rate of one step, counted from 0."""
        stage, within = self._stage(step)
        return rate_at(within, stage.steps, self.peak, self.warmup_ratio)

    def epoch_at(self, step: int) -> tuple[float, int]:
        """(epochs done in its stage, epochs of it) after so many steps."""
        stage, within = self._stage(max(0, step - 1))
        return (within + 1) * stage.epochs / stage.steps if step else 0.0, stage.epochs

    def check_due(self, step: int, times: int) -> bool:
        """Whether the held-out rows are looked at after so many steps: `times` times in a stage, and at its end."""
        stage, within = self._stage(step - 1)
        return (within + 1) % max(1, stage.steps // times) == 0 or within + 1 == stage.steps

    def in_last_stage(self, step: int) -> bool:
        """Whether the last of so many steps is of the last stage, from which the best adapter is taken."""
        return step > self.steps - self.stages[-1].steps

    def _stage(self, step: int) -> tuple[Stage[Row], int]:
        for stage in self.stages:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        raise IndexError("the course has fewer steps")
