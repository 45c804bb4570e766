"""Several attempts at one run that differ by their seed, of which the best is kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from safetensors.torch import load_file, save_file

from training.loop import Best, Hooks, Row, Trainee, adopt
from training.ranks import ALONE, Ranks
from training.runs import publish, write_json
from training.schema import Hyperparameters, Progress

Begin = Callable[[Hyperparameters], Trainee[Row]]
Learn = Callable[[Trainee[Row], Path, Hooks], None]


@dataclass(frozen=True)
class Kept:
    """The best adapter of one finished attempt, in its folder."""

    seed: int
    loss: float
    step: int
    steps: int
    folder: Path


def keep_best(
    trainee: Trainee[Row],
    begin: Begin[Row],
    learn: Learn[Row],
    *,
    run_dir: Path,
    key: str,
    hooks: Hooks,
    ranks: Ranks = ALONE,
) -> Trainee[Row]:
    """Train with each seed in turn and return the trainee with the adapter of the lowest held-out loss.

    trainee: as `begin` made it for the first seed. learn: trains to the end in a folder, where it goes on from its own
    checkpoints. Attempts that were finished before, for the same `key`, are not made again. Of several processes
    the first alone writes, and it alone ends with the best adapter.
    """
    knobs = trainee.knobs
    if knobs.seeds == 1:
        learn(trainee, run_dir, hooks)
        return trainee
    kept: list[Kept] = []
    for number in range(knobs.seeds):
        folder = run_dir / "seeds" / str(knobs.seed + number)
        if (found := _finished(folder, key)) is None:
            # The adapter of the attempt before leaves the base model as it was.
            trainee = trainee if not kept else _next(trainee, begin, knobs.seed + number)
            folder.mkdir(parents=True, exist_ok=True)
            learn(trainee, folder, _within(hooks, number, knobs.seeds, trainee.course.steps))
            found = Kept(trainee.knobs.seed, trainee.best.loss, trainee.best.step, trainee.step, folder)
            if ranks.first:
                _finish(trainee, found, key)
        kept.append(found)
    if not ranks.first:
        return trainee
    best = min(kept, key=lambda one: one.loss)
    shutil.copyfile(best.folder / "metrics.jsonl", run_dir / "metrics.jsonl")
    adopt(trainee, load_file(best.folder / "best" / "adapter.safetensors"))
    trainee.step, trainee.best = best.steps, Best(best.step, best.loss)
    trainee.knobs = knobs.model_copy(update={"seed": best.seed})
    return trainee


def _next(trainee: Trainee[Row], begin: Begin[Row], seed: int) -> Trainee[Row]:
    trainee.model.unload()
    return begin(trainee.knobs.model_copy(update={"seed": seed}))


def _finished(folder: Path, key: str) -> Kept | None:
    path = folder / "best" / "best.json"
    if not path.is_file():
        return None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return Kept(folder=folder, **told) if told.pop("key") == key else None
    except (ValueError, TypeError, KeyError, AttributeError):
        # It is made again.
        return None


def _finish(trainee: Trainee[Row], kept: Kept, key: str) -> None:
    """Leave the best adapter of an attempt in its folder; its checkpoints are done with."""
    made = kept.folder / ".best.tmp"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    save_file(
        {name: weight.detach().cpu().contiguous() for name, weight in trainee.weights().items()},
        made / "adapter.safetensors",
    )
    told = {name: value for name, value in asdict(kept).items() if name != "folder"}
    write_json(made / "best.json", {"key": key} | told)
    publish(made, kept.folder / "best")
    shutil.rmtree(kept.folder / "checkpoints", ignore_errors=True)


def _within(hooks: Hooks, number: int, attempts: int, steps: int) -> Hooks:
    """Hooks that hear of one attempt as a part of all."""

    def told(look: Progress) -> None:
        rest = (attempts - number - 1) * (look.seconds_left or 0.0) * steps / max(1, steps - look.step)
        left = None if look.seconds_left is None else look.seconds_left + rest
        places = {"step": number * steps + look.step, "total_steps": attempts * steps, "seconds_left": left}
        hooks.on_progress(look.model_copy(update=places))

    return replace(hooks, on_progress=told, on_checkpoint=lambda step: hooks.on_checkpoint(number * steps + step))
