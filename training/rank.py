"""One of the processes of a run: `accelerate launch -m training.rank`, started by `training.together`.

The first one writes and tells; the others learn from their parts of each step and end when the course is done.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import BinaryIO

import torch
from torch import distributed

from training import pipeline
from training.errors import RunStopped, UnderstudyError
from training.ranks import Ranks
from training.terminal import hush
from training.together import RankAssignment, RankNote

PATIENCE = timedelta(hours=6)
"""How long the others wait while the first one asks its questions, makes a stand-in or measures."""


def main(address: str) -> int:
    """Do this process's part of the run; the exit status is 0 unless something went wrong."""
    line = socket.socket(socket.AF_UNIX)
    line.connect(address)
    heard = line.makefile("rb")
    assignment = RankAssignment.model_validate_json(heard.readline())
    stop = threading.Event()
    threading.Thread(target=_listen, args=(heard, stop), name="line", daemon=True).start()

    def tell(note: RankNote) -> None:
        line.sendall(note.model_dump_json(exclude_defaults=True).encode() + b"\n")

    hush()
    try:
        _take_part(assignment, _join(), stop, tell)
    except RunStopped as stopped:
        # No failure, at which the launcher would end the others, be it in the middle of a checkpoint.
        tell(RankNote(stopped=int(str(stopped.details["step"]))))
    except UnderstudyError as error:
        tell(RankNote(problem=error.problem))
        return 1
    distributed.destroy_process_group()
    return 0


def _take_part(
    assignment: RankAssignment, ranks: Ranks, stop: threading.Event, tell: Callable[[RankNote], None]
) -> None:
    spec, workspace, run_dir = assignment.spec, assignment.workspace, assignment.run_dir
    if not ranks.first:
        pipeline.follow(spec, workspace=workspace, run_dir=run_dir, should_stop=stop.is_set, ranks=ranks)
        return
    pipeline.finetune(
        spec,
        job_id=assignment.job_id,
        workspace=workspace,
        run_dir=run_dir,
        on_progress=lambda look: tell(RankNote(progress=look)),
        should_stop=stop.is_set,
        on_checkpoint=lambda step: tell(RankNote(checkpoint=step)),
        ranks=ranks,
    )


def _join() -> Ranks:
    """Meet the other processes, each on a card of its own where there are cards."""
    cards = torch.cuda.is_available()
    distributed.init_process_group("nccl" if cards else "gloo", timeout=PATIENCE)
    if cards:
        torch.cuda.set_device(distributed.get_node_local_rank())
    return Ranks(distributed.get_rank(), distributed.get_world_size())


def _listen(heard: BinaryIO, stop: threading.Event) -> None:
    """All that is said after the assignment is to stop; when the line breaks, whoever started this is gone."""
    while heard.readline():
        stop.set()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
