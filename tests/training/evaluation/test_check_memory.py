"""A check whose memory runs out, in a process that may use only so much of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from training.evaluation.schema import CheckSpec
from training.schema import Workspace

LIMITED = """
import pathlib, resource, sys
from training.errors import UnderstudyError
from training.evaluation.check import check
from training.evaluation.schema import CheckSpec
from training.schema import Phase, Workspace

def hear(look):
    if look.phase is Phase.EVALUATING and look.step == 0:
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 8 * 2**20, resource.RLIM_INFINITY))

spec, workspace = CheckSpec.model_validate_json(sys.argv[1]), Workspace.model_validate_json(sys.argv[2])
folder = workspace.artifact_root / "checks/limited00000"
try:
    check(spec, job_id="limited00000", workspace=workspace, run_dir=folder, on_progress=hear, should_stop=lambda: False)
except UnderstudyError as error:
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(error.problem.model_dump_json())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of this kind are Linux's")
def test_memory_that_runs_out_is_told_in_one_sentence(tiny_workspace: Workspace) -> None:
    spec = CheckSpec(guild_id="1", persona="glordon", samples=8)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LIMITED, spec.model_dump_json(), tiny_workspace.model_dump_json()],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["code"] == "CheckDoesNotFit"
    assert told["sentence"].startswith("This check ran out of memory on cpu. End what else uses")
    assert not (tiny_workspace.artifact_root / "checks/limited00000/report.json").exists()
