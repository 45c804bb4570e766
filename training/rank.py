"""One of the processes of a run: `accelerate launch -m training.rank`, started by `training.together`.

The first one writes and tells; the others learn from their parts of each step and end when the course is done.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from datetime import timedelta

import torch
from torch import distributed

from training import pipeline
from training.errors import RunStopped, UnderstudyError
from training.ranks import Ranks
from training.together import ASSIGNMENT, RankAssignment, RankNote

PATIENCE = timedelta(hours=6)
"""How long the others wait while the first one asks its questions, makes a stand-in or measures."""


def main() -> int:
    """Do this process's part of the run; the exit status is 0 unless something went wrong."""
    told = os.dup(1)
    os.dup2(2, 1)
    threading.Thread(target=_end_with_standard_input, name="lifeline", daemon=True).start()
    assignment = RankAssignment.model_validate_json(os.environ.pop(ASSIGNMENT))

    def tell(note: RankNote) -> None:
        os.write(told, note.model_dump_json(exclude_defaults=True).encode() + b"\n")

    try:
        _take_part(assignment, _join(), tell)
    except RunStopped as stopped:
        tell(RankNote(stopped=int(str(stopped.details["step"]))))
        return 1
    except UnderstudyError as error:
        tell(RankNote(problem=error.problem))
        return 1
    except Exception:
        logging.exception("Process %s of job %s failed.", os.environ.get("RANK"), assignment.job_id)
        return 1
    distributed.destroy_process_group()
    return 0


def _take_part(assignment: RankAssignment, ranks: Ranks, tell: Callable[[RankNote], None]) -> None:
    run_dir, stop = assignment.run_dir, assignment.stop.exists
    if not ranks.first:
        pipeline.follow(assignment.spec, workspace=assignment.workspace, run_dir=run_dir, should_stop=stop, ranks=ranks)
        return
    pipeline.finetune(
        assignment.spec,
        job_id=assignment.job_id,
        workspace=assignment.workspace,
        run_dir=run_dir,
        on_progress=lambda look: tell(RankNote(progress=look)),
        should_stop=stop,
        on_checkpoint=lambda step: tell(RankNote(checkpoint=step)),
        ranks=ranks,
    )


def _join() -> Ranks:
    """Meet the other processes, each on a card of its own where there are cards."""
    cards = torch.cuda.is_available()
    if cards:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if cards else "gloo", timeout=PATIENCE)
    return Ranks(distributed.get_rank(), distributed.get_world_size())


def _end_with_standard_input() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
