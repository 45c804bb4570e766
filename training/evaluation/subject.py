"""A model on the bench: a base model with or without an adapter, which can be asked and measured."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from training import models
from training.adapters import format_of, resume_adapter
from training.batches import MICRO_TOKENS
from training.chat import Example
from training.decoder.forward import Decoder, compute_dtype
from training.errors import BaseModelUnavailable, NotAdaptable, RunStopped, UncheckableRun
from training.evaluation.unseen import Run
from training.inference import Answer, adapter_source, at_once, generate
from training.lessons import examples
from training.models import Base, Loaded
from training.schema import Conversation, Message, Phase, Progress, Workspace
from training.sft import measure

MOST_TOGETHER = 64
"""Replies in one batch, at most."""
WINDOW_TOKENS = 1024
"""At most so long a piece of a conversation is measured at once."""


@dataclass
class Steps:
    """How far a check is, in replies drawn and conversations measured; between them it may be stopped."""

    on_progress: Callable[[Progress], None]
    should_stop: Callable[[], bool]
    total: int = 0
    done: int = 0
    _telling: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def enter(self, phase: Phase, total: int = 0) -> None:
        """Begin a phase. Raises RunStopped."""
        self.done, self.total = 0, total
        self._tell(phase)

    def building(self, share: float) -> None:
        """A stand-in is being made, so much of it (0–1) by now. Raises RunStopped."""
        self.done, self.total = round(share * 100), 100
        self._tell(Phase.STANDIN)

    def add(self, count: int) -> None:
        """So many more are done. Raises RunStopped."""
        # A judge's answers come in by several threads.
        with self._telling:
            self.done += count
            self._tell(Phase.EVALUATING)

    def _tell(self, phase: Phase) -> None:
        if self.should_stop():
            raise RunStopped(step=self.done)
        self.on_progress(Progress(phase=phase, step=self.done, total_steps=self.total))


@dataclass(frozen=True)
class Drawn:
    """How replies are drawn: longer ones and cooler ones are told apart more easily, so both are fixed."""

    max_new_tokens: int
    temperature: float


class Subject:
    """A base model in memory, with one adapter on it or none."""

    def __init__(self, loaded: Loaded, run: Run | None, steps: Steps) -> None:
        """Put the run's adapter on the base model. Raises AdapterUnreadable, UncheckableRun or NotAdaptable."""
        self._run, self._steps = run, steps
        chat_format = format_of(run.adapter, loaded.format) if run else loaded.format
        self.loaded = replace(loaded, format=chat_format)
        self._model: Any = _with_adapter(loaded, run) if run else loaded.model
        self._decoder = Decoder(self._model.get_base_model() if run else self._model, compute_dtype(loaded.device))
        self._model.eval()
        with self.without_adapter():
            known = self._decoder.agrees()
        if not known:
            raise NotAdaptable(name=loaded.base.id, reason="its kind of layers is not supported")

    @contextmanager
    def without_adapter(self) -> Iterator[None]:
        """Within, it is the base model alone."""
        with self._model.disable_adapter() if self._run else nullcontext():
            yield

    def bare(self) -> Loaded:
        """The base model as it was before, for another adapter; the subject is of no more use."""
        return replace(self.loaded, model=self._model.unload()) if self._run else self.loaded

    def ask(self, conversations: Sequence[Sequence[Message]], how: Drawn, seed: int) -> list[Answer]:
        """The next turn of each conversation, in order; the oldest rounds are dropped where all would not fit.

        Conversations of about the same length are answered together, each batch with random numbers drawn from `seed`
        anew: so the same conversations with the same seed get the same answers.
        """
        room = max(1, self.loaded.context - how.max_new_tokens)
        prompts = [self.loaded.format.fit_prompt(turns, room) for turns in conversations]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]), reverse=True)
        answers: dict[int, Answer] = {}
        while len(answers) < len(prompts):
            left = order[len(answers) :]
            batch = left[: at_once(self._model, len(prompts[left[0]]) + how.max_new_tokens, MOST_TOGETHER)]
            told = generate(
                self._model,
                self.loaded.format,
                [prompts[i] for i in batch],
                max_new_tokens=how.max_new_tokens,
                temperature=how.temperature,
                seed=seed,
                together=len(batch),
            )
            answers |= dict(zip(batch, told, strict=True))
            self._steps.add(len(batch))
        return [answers[i] for i in range(len(prompts))]

    def losses(self, rows: Sequence[Conversation]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(with the adapter, without it): nats per assistant token of each conversation, in order.

        A conversation in which nothing would be learnt is left out. Raises UncheckableRun, or BaseModelUnavailable
        where the base model's own losses are no numbers.
        """
        windows = examples(rows, self.loaded.format, min(WINDOW_TOKENS, self.loaded.context))
        with self.without_adapter():
            base = self._measured(rows, windows)
        if not all(map(math.isfinite, base)):
            raise BaseModelUnavailable(name=self.loaded.base.id, reason="its loss on what is held out is not finite")
        own = self._measured(rows, windows) if self._run else base
        if self._run and not all(map(math.isfinite, own)):
            raise UncheckableRun(run=self._run.id, reason="its adapter is broken, its losses are no numbers")
        return own, base

    def _measured(self, rows: Sequence[Conversation], windows: Sequence[Example]) -> tuple[float, ...]:
        sums = measure(self.loaded, self._decoder, windows, MICRO_TOKENS) if windows else {}
        self._steps.add(len(rows))
        return tuple(total / count for total, count in (sums[row.id] for row in rows if row.id in sums))


def base_of(run: Run | None, workspace: Workspace, steps: Steps) -> tuple[Base, str]:
    """The base model that the run's adapter was trained on, else the operator's own, and where it is loaded from.

    A stand-in is made where there is none yet.
    """
    if run is None:
        base = models.choose(None, workspace)
        return base, models.find_source(base, workspace, steps.building)
    source = adapter_source(run.adapter)
    return models.base_at(source), source


def load_base(run: Run | None, workspace: Workspace, steps: Steps) -> Loaded:
    """That base model in memory."""
    return models.load(*base_of(run, workspace, steps), workspace)


def _with_adapter(loaded: Loaded, run: Run) -> Any:
    """The base model with the run's adapter; peft only warns where the two do not belong together."""
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    model = resume_adapter(loaded, run.adapter)
    with safe_open(run.adapter / "adapter_model.safetensors", framework="pt") as file:
        kept = set(file.keys())
    if kept != set(get_peft_model_state_dict(model)):
        raise UncheckableRun(run=run.id, reason="its adapter is of another base model than it says")
    return model
