"""Understudy's own loop, checkpoints and all.

    python -m benchmarks.peers.ours WORKLOAD OUT --mode default|lean|half|half-redone|unshared|profile

`lean` and `half` go through fewer tokens at once, `lean` and `half-redone` with gradient checkpointing; `unshared`
reads a card again for each dialogue below it; `profile` takes a number of steps and tells which share of the time they
waited for data and for checkpoints.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers import settings
from benchmarks.peers.meter import Meter
from training import models, sft
from training.batches import MICRO_TOKENS, Batch
from training.checkpoints import CheckpointWriter
from training.course import Course, Stage
from training.decoder.forward import Decoder, Pass
from training.errors import RunStopped
from training.loop import Hooks, Trainee, fit
from training.schema import Conversation, Hyperparameters, Message, Workspace

TOKENS = {"lean": 1024, "half": 2048, "half-redone": 2048}
"""Of one pass, in modes that depart from the loop's own number."""
REDONE = ("lean", "half-redone")
"""The modes with gradient checkpointing: a pass holds one whole dialogue at least, however long it is."""
EPOCHS = 50
"""So many that the learning rate hardly falls within the time."""
PROFILED_STEPS = 80


class Heard:
    """A decoder, and the meter that hears what goes through it."""

    def __init__(self, decoder: Decoder, meter: Meter) -> None:
        self.decoder, self.meter = decoder, meter

    def losses(self, batch: Batch, how: Pass) -> torch.Tensor:
        """The decoder's own."""
        self.meter.saw(batch.count, batch.layout.segments[-1].end, len(batch.ids))
        return self.decoder.losses(batch, how)


class Stopwatch:
    """Seconds that the training's own thread spends in functions, by what they are for."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def over(self, holder: Any, name: str, what: str) -> None:
        """Watch the function `name` of a module or class from now on."""
        watched: Callable[..., Any] = getattr(holder, name)

        @functools.wraps(watched)
        def timed(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            try:
                return watched(*args, **kwargs)
            finally:
                self.spent[what] = self.spent.get(what, 0.0) + time.perf_counter() - begun

        setattr(holder, name, timed)


def main() -> None:
    """Run for the time given, or for the steps of a profile."""
    run = settings.parse()
    if run.mode == "unshared":
        sft.micro_batches = functools.partial(sft.micro_batches, share=False)
    trainee, objective = _set_up(run)
    if run.mode == "profile":
        run.out.write_text(json.dumps(_profile(run, trainee, objective)))
        return
    over: list[bool] = []
    run.meter.began(trainee.model)
    hooks = Hooks(on_progress=lambda _: over.append(run.meter.step_done(trainee.model)), should_stop=lambda: over[-1])
    with suppress(RunStopped):
        fit(trainee, objective, run_dir=run.scratch, key="benchmark", hooks=hooks)
    run.finish()


def _set_up(run: settings.Run) -> tuple[Trainee[Any], sft.Answers]:
    nowhere = Path("nowhere")
    workspace = Workspace(artifact_root=nowhere, dataset_warehouse=nowhere, cache_dir=nowhere, base_model=run.base)
    loaded = models.load(models.choose(None, workspace), run.base, workspace)
    rows = [_conversation(i, row) for i, row in enumerate(run.dialogues)]
    examples = [example for row in rows for example in loaded.format.examples(row, run.longest)]
    knobs = Hyperparameters(learning_rate=run.rate, batch_size=settings.PER_STEP, seed=settings.SEED)
    course = Course((Stage(examples, EPOCHS, settings.PER_STEP),), run.rate, 0.0, settings.SEED)
    trainee = sft.setup(loaded, knobs, course, redo=run.mode in REDONE)
    tokens = TOKENS.get(run.mode, MICRO_TOKENS)
    heard: Any = Heard(trainee.decoder, run.meter)
    return trainee, sft.Answers(loaded, heard, examples[:8], tokens)


def _profile(run: settings.Run, trainee: Trainee[Any], objective: sft.Answers) -> dict[str, float]:
    """Seconds of so many steps, and those of them that went into laying out rows and into checkpoints."""
    watch = Stopwatch()
    watch.over(Course, "rows_at", "data")
    watch.over(sft, "micro_batches", "data")
    watch.over(sft, "pack", "data")
    for name in ("save", "tell", "settle", "__exit__"):
        watch.over(CheckpointWriter, name, "checkpoints")
    saved: list[int] = []
    hooks = Hooks(on_checkpoint=saved.append, should_stop=lambda: trainee.step >= PROFILED_STEPS)
    begun = time.perf_counter()
    with suppress(RunStopped):
        fit(trainee, objective, run_dir=run.scratch, key="benchmark", hooks=hooks)
    whole = time.perf_counter() - begun
    return {"steps": trainee.step, "checkpoints_written": len(saved), "seconds": whole, **watch.spent}


def _conversation(number: int, row: list[dict[str, str]]) -> Conversation:
    messages = tuple(Message.model_validate(message) for message in row)
    return Conversation(id=str(number), source="benchmark", messages=messages)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
