"""What every trainer is measured by: seconds of training, useful tokens, memory, and loss on held-out answers.

Needs torch and transformers only, so that it also runs in a peer's own environment.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

MARKS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Seconds of training at which the held-out loss is looked at; looking is not counted."""
MIB = 2**20


@dataclass
class Measured:
    """Of one run.

    seconds: of CPU time, on a card by the clock. peak_mib: anonymous memory added since the start, or what torch
    reserved of a card's. curve: (seconds, nats per assistant token held out). ends: nats per end of turn alone.
    """

    useful_tokens: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    steps: int = 0
    seconds: float = 0.0
    peak_mib: float = 0.0
    curve: list[tuple[float, float]] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Keep it as JSON."""
        path.write_text(json.dumps(asdict(self)))


def masked(tokenizer: Any, messages: list[dict[str, str]]) -> tuple[list[int], list[int]]:
    """(ids, 1 for each token of an answer and its end)."""
    made = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    return made["input_ids"], made["assistant_masks"]


class Meter:
    """Runs beside one training; `began` and `step_done` are called by it."""

    def __init__(
        self, held_out: Sequence[tuple[list[int], list[int]]], seconds: float, end_id: int, *, cuda: bool = False
    ) -> None:
        self.found = Measured()
        self._held_out, self._seconds, self._end, self._cuda = held_out, seconds, end_id, cuda
        self._marks = list(MARKS)
        self._lowest = anonymous_memory()
        if not cuda:
            threading.Thread(target=self._watch, daemon=True).start()

    def began(self, model: Any) -> None:
        """Training starts now."""
        self._look(model)
        self._since = self._now()

    def step_done(self, model: Any) -> bool:
        """One optimiser step is done; returns whether the time is up."""
        self.found.seconds += self._now() - self._since
        self.found.steps += 1
        if self._cuda:
            self.found.peak_mib = torch.cuda.max_memory_reserved() / MIB
        over = self.found.seconds >= self._seconds
        if over or (self._marks and self.found.seconds >= self._marks[0]):
            self._marks = [mark for mark in self._marks if mark > self.found.seconds]
            self._look(model)
        self._since = self._now()
        return over

    def saw(self, useful: int, real: int, padded: int) -> None:
        """So many tokens went through: those that are learnt from in truth, all real ones, and all with padding."""
        self.found.useful_tokens += useful
        self.found.tokens += real
        self.found.padded_tokens += padded

    def _now(self) -> float:
        if not self._cuda:
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    @torch.no_grad()
    def _look(self, model: Any) -> None:
        if not self._held_out:
            return
        was_training, peak = model.training, self.found.peak_mib
        model.eval()
        # What an earlier trainer's autocast leaves behind must not reach the yardstick.
        with torch.autocast("cpu", enabled=False):
            losses, ends = zip(*(self._losses(model, ids, mask) for ids, mask in self._held_out), strict=True)
        model.train(was_training)
        self.found.peak_mib = peak
        self.found.curve.append((self.found.seconds, float(torch.cat(losses).mean())))
        self.found.ends.append(float(torch.cat(ends).mean()))

    def _losses(self, model: Any, ids: list[int], mask: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        row, learnt = torch.tensor([ids]), torch.tensor(mask[1:]).nonzero()[:, 0]
        targets = row[0, 1:][learnt]
        told = model(input_ids=row, attention_mask=torch.ones_like(row), use_cache=False, logits_to_keep=learnt)
        losses = functional.cross_entropy(told.logits[0].float(), targets, reduction="none")
        return losses, losses[targets == self._end]

    def _watch(self) -> None:
        while True:
            self.found.peak_mib = max(self.found.peak_mib, (anonymous_memory() - self._lowest) / MIB)
            time.sleep(0.005)


def anonymous_memory() -> int:
    """Bytes of this process that are no file's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError("this system does not tell a process's anonymous memory")


class Tokens:
    """How many tokens of a batch are useful, real, and there at all."""

    def __init__(self, rows: Sequence[tuple[list[int], list[int]]], *, all_learnt: bool) -> None:
        """`all_learnt`: the trainer learns from every token, so that its labels do not tell which are useful."""
        self._useful = {tuple(ids): sum(mask) for ids, mask in rows} if all_learnt else None

    def of(self, batch: dict[str, torch.Tensor]) -> tuple[int, int, int]:
        """(useful, real, padded) of a batch that a Trainer is about to learn from, padded or packed."""
        ids, seen = batch["input_ids"], batch.get("attention_mask")
        real = int(seen.bool().sum()) if seen is not None and seen.dim() == 2 else ids.numel()
        if self._useful is None:
            return int((batch["labels"] != -100).sum()), real, ids.numel()
        assert seen is not None
        rows = (tuple(row[on.bool()].tolist()) for row, on in zip(ids, seen, strict=True))
        return sum(self._useful[row] for row in rows), real, ids.numel()


def metered(base: type) -> Any:
    """A Trainer class of transformers' that tells a meter of every step; give it `meter` and `tokens_of` afterwards."""
    from transformers import TrainerCallback

    class Told(TrainerCallback):
        def __init__(self, trainer: Any) -> None:
            self.trainer = trainer

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.trainer.meter.began(self.trainer.model)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if self.trainer.meter.step_done(self.trainer.model):
                control.should_training_stop = True

    class Metered(base):  # type: ignore[misc]
        meter: Meter
        tokens_of: Tokens

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.add_callback(Told(self))

        def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            self.meter.saw(*self.tokens_of.of(inputs))
            return super().training_step(model, inputs, *args, **kwargs)

    return Metered
