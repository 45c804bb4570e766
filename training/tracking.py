"""Weights & Biases, for those who ask for it: a run's metrics step by step, and what it found."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from training.errors import TrackerMissing
from training.schema import Report, TrainSpec, WeightsAndBiases

SECONDS = 30.0
"""As long as a run waits for the network at its beginning, and at its end."""
NAMES = {
    "step": "step",
    "train_loss": "loss",
    "eval_loss": "held_out_loss",
    "learning_rate": "learning_rate",
    "gradient_norm": "gradient_norm",
}
"""What steps are told by, here and there."""
FOUND = {"best_step", "eval_loss_before", "eval_loss_after", "preferred", "seed", "seconds", "peak_gib", "verdict"}
"""What is told of a report."""
log = logging.getLogger(__name__)


class Tracker:
    """Tells of one run, and never ends it: the first thing that fails is logged, and no more is told."""

    def __init__(self) -> None:
        self._run: Any = None

    def begin(self, **how: Any) -> None:
        """Open the run over there, as `wandb.init` takes it."""
        import wandb

        # What the run learns is told, and nothing of the machine, the code and the terminal.
        about = ("disable_git", "disable_code", "x_disable_meta", "x_disable_machine_info", "x_disable_stats", "silent")
        quiet = dict.fromkeys(about, True) | {"x_save_requirements": False, "console": "off", "host": "understudy"}
        quiet |= {"init_timeout": SECONDS, "finish_timeout": SECONDS}

        def start() -> None:
            run = wandb.init(settings=wandb.Settings(**quiet, **how.pop("settings")), **how)
            # Each seed of a run counts its steps from 1, and so does the service by itself.
            run.define_metric("*", step_metric="step")
            self._run = run

        self._attempt(start)

    def metrics(self, line: dict[str, float | int]) -> None:
        """Tell of a step, as a line of `metrics.jsonl` has it."""
        told = {NAMES[name]: value for name, value in line.items() if name in NAMES}
        told["tokens_per_second"] = line["tokens"] / max(line["seconds"], 1e-9)
        self._tell(lambda run: run.log(told))

    def summarise(self, report: Report) -> None:
        """Tell what the run found."""
        found = report.model_dump(mode="json", include=FOUND)
        self._tell(lambda run: run.summary.update(found))

    def end(self, code: int) -> None:
        """Close the run over there, and end the service that this process began for it."""
        import wandb

        self._tell(lambda run: run.finish(exit_code=code))
        self._attempt(wandb.teardown)

    def _tell(self, what: Callable[[Any], object]) -> None:
        if self._run is not None:
            self._attempt(lambda: what(self._run))

    def _attempt(self, do: Callable[[], object]) -> None:
        try:
            do()
        except (Exception, SystemExit):  # the latter where the service crashed
            log.warning("Weights & Biases is told no more of this run, which goes on.", exc_info=True)
            self._run = None


@contextmanager
def tracked(asked: WeightsAndBiases | None, spec: TrainSpec, job_id: str, folder: Path) -> Iterator[Tracker]:
    """The tracker of a run, whose files lie in `folder/wandb`; one that tells nobody where that is not asked for.

    Raises TrackerMissing where the package is not installed.
    """
    tracker = Tracker()
    if asked is None:
        yield tracker
        return
    if find_spec("wandb") is None:
        raise TrackerMissing()
    key = asked.api_key.get_secret_value() if asked.api_key else None
    # A folder's path is this machine's own business.
    base = Path(spec.base_model).name if spec.base_model and Path(spec.base_model).is_absolute() else spec.base_model
    config = spec.model_dump(mode="json", include={"task_type", "persona", "hyperparameters"}) | {"base_model": base}
    where = {"project": asked.project, "mode": asked.mode, "dir": folder, "id": job_id, "resume": "allow"}
    tracker.begin(**where, name=spec.job_name, config=config, settings={"api_key": key} if key else {})
    code = 1
    try:
        yield tracker
        code = 0
    finally:
        tracker.end(code)
