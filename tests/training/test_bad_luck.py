"""What can go wrong on the way ends in one plain sentence with a code, and costs nothing that was learnt."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.test_task_types import KNOBS, asked, run
from training.errors import DiskRefused, EmptyDataset, UnderstudyError
from training.pipeline import plan
from training.schema import Hyperparameters, Phase, Progress, Report, TaskType, TrainSpec, Workspace

LIMITED = """
import json, resource, signal, sys
from itertools import count
from tests.training.test_task_types import run
from training.errors import UnderstudyError
from training.pipeline import follow
from training.ranks import ALONE
from training.schema import Phase, TrainSpec, Workspace

kind, most = getattr(resource, sys.argv[1]), int(sys.argv[2])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

def limit():
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(kind, (most + (used if kind == resource.RLIMIT_AS else 0), resource.RLIM_INFINITY))

def hear(look):
    if look.phase is Phase.TRAINING and str(look.step) == sys.argv[5]:
        limit()

asked = count(1)

def stop():
    # Asked on entering data, loading and training; nothing else is heard of a process that only goes along.
    if next(asked) == 3:
        limit()
    return False

spec, workspace = TrainSpec.model_validate_json(sys.argv[3]), Workspace.model_validate_json(sys.argv[4])
try:
    if sys.argv[5] != "None":
        run(spec, workspace, "limited00000", hear)
    else:
        folder = workspace.artifact_root / "runs/limited00000"
        folder.mkdir(parents=True)
        follow(spec, workspace=workspace, run_dir=folder, should_stop=stop, ranks=ALONE)
except UnderstudyError as error:
    resource.setrlimit(kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(error.problem.model_dump_json())
"""


def limited(kind: str, most: int, spec: TrainSpec, workspace: Workspace, step: int | None) -> dict[str, str]:
    """What a run tells whose process may use only so much of something after so many steps.

    step: None for a further process of a run, which is limited once training begins.
    """
    argv = [sys.executable, "-W", "ignore", "-c", LIMITED, kind, str(most), spec.model_dump_json()]
    done = subprocess.run(
        [*argv, workspace.model_dump_json(), str(step)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, str] = json.loads(done.stdout)
    return told


@pytest.mark.skipif(sys.platform != "linux", reason="limits of this kind are Linux's")
def test_a_full_disk_is_told_and_the_run_goes_on_once_there_is_room(tiny_workspace: Workspace) -> None:
    spec = asked(hyperparameters=KNOBS.model_copy(update={"epochs": 3}))
    # Room for a line of metrics, none for a checkpoint.
    told = limited("RLIMIT_FSIZE", 20_000, spec, tiny_workspace, 3)
    assert told["code"] == DiskRefused.__name__
    assert "Make room" in told["sentence"]
    assert str(tiny_workspace.artifact_root) not in told["sentence"]
    folder = tiny_workspace.artifact_root / "runs/limited00000"
    assert not (folder / "report.json").exists()
    report = run(spec, tiny_workspace, "limited00000")
    assert Report.model_validate_json((folder / "report.json").read_bytes()) == report
    assert not list(folder.rglob("*.tmp"))


@pytest.mark.skipif(sys.platform != "linux", reason="limits of this kind are Linux's")
def test_memory_that_runs_out_is_told_with_figures(tiny_workspace: Workspace) -> None:
    spec = asked(hyperparameters=KNOBS.model_copy(update={"batch_size": 64}))
    told = limited("RLIMIT_AS", 24 * 2**20, spec, tiny_workspace, 0)
    assert told["code"] == "MemoryRanOut"
    assert "GiB are free again" in told["sentence"]


def test_where_memory_runs_out_once_the_run_goes_on_with_smaller_passes(tiny_workspace: Workspace) -> None:
    met: list[int] = []

    def hear(look: Progress) -> None:
        if look.phase is Phase.TRAINING and look.step == 3 and not met:
            met.append(look.step)
            raise torch.OutOfMemoryError("CUDA out of memory.")

    report = run(asked(), tiny_workspace, "narrowed0000", hear)
    folder = tiny_workspace.artifact_root / "runs/narrowed0000"
    means = json.loads((folder / "means.json").read_text())
    assert met
    assert means["tokens_at_once"] < plan(asked(), workspace=tiny_workspace).micro_batch_tokens
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, report.steps + 1))


@pytest.mark.skipif(sys.platform != "linux", reason="limits of this kind are Linux's")
@pytest.mark.parametrize(
    ("kind", "most", "code"), [("RLIMIT_AS", 8 * 2**20, "MemoryRanOut"), ("RLIMIT_FSIZE", 20_000, "DiskRefused")]
)
def test_a_process_that_goes_along_tells_the_same(tiny_workspace: Workspace, kind: str, most: int, code: str) -> None:
    # All rows in one pass, which is far more than what the process has let go and could use again.
    spec = asked(hyperparameters=KNOBS.model_copy(update={"batch_size": 512, "micro_batch_tokens": 131_072}))
    assert limited(kind, most, spec, tiny_workspace, None)["code"] == code


def test_data_whose_answers_are_all_cut_away_is_refused(tiny_workspace: Workspace) -> None:
    warehouse = tiny_workspace.dataset_warehouse
    warehouse.mkdir()
    turns = [{"role": "user", "content": "word " * 300}, {"role": "assistant", "content": "Yes."}]
    rows = [{"id": str(i), "source": "s", "messages": turns} for i in range(14)]
    (warehouse / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = TrainSpec(
        job_name="t",
        guild_id="1",
        task_type=TaskType.DIALOGUE,
        dataset="long.jsonl",
        hyperparameters=Hyperparameters(max_length=64),
    )
    with pytest.raises(EmptyDataset, match="cut to max_length, holds 0 usable"):
        run(spec, tiny_workspace, "cutaway00000")


def test_every_expected_error_is_one_sentence_or_two_in_one_line() -> None:
    def below(kind: type[UnderstudyError]) -> list[type[UnderstudyError]]:
        return [kind, *(found for child in kind.__subclasses__() for found in below(child))]

    for kind in below(UnderstudyError)[1:]:
        line = (kind.__doc__ or "").split("\n\n")[0].replace("\n    ", " ")
        assert "\n" not in line, kind
        assert line.endswith((".", "}")), kind
