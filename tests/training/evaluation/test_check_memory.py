"""A check whose memory runs out."""

from __future__ import annotations

import pytest
import torch

from training.errors import CheckDoesNotFit
from training.evaluation.check import check
from training.evaluation.schema import CheckSpec
from training.schema import Phase, Progress, Workspace


def test_memory_that_runs_out_is_told_in_one_sentence(tiny_workspace: Workspace) -> None:
    # As a card says it, in the middle of the questions; a limit of the system's ends some libraries without a word.
    def hear(look: Progress) -> None:
        if look.phase is Phase.EVALUATING and look.step:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    folder = tiny_workspace.artifact_root / "checks/limited00000"
    spec = CheckSpec(guild_id="1", persona="glordon", samples=1)
    with pytest.raises(CheckDoesNotFit, match=r"^This check ran out of memory on cpu\. End what else uses"):
        check(
            spec,
            job_id="limited00000",
            workspace=tiny_workspace,
            run_dir=folder,
            on_progress=hear,
            should_stop=lambda: False,
        )
    assert not (folder / "report.json").exists()
