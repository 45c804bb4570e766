"""One run by two processes: the same learning, stopped and gone on with, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from tests.training.test_task_types import KNOBS, asked, run, steps_told
from training.errors import RunStopped, TooFewCards, UnderstudyError
from training.memory import Load, Means, arrange, measure
from training.models import catalog
from training.planning import card_of
from training.runs import write_json
from training.schema import Hyperparameters, Progress, Report, Workspace

SPEC = asked(hyperparameters=KNOBS.model_copy(update={"lora_dropout": 0.0, "learning_rate": 0.003}))


@pytest.fixture
def pair(tiny_workspace: Workspace) -> Workspace:
    """The workspace whose runs two processes share."""
    return tiny_workspace.model_copy(update={"processes": 2})


def adapter(workspace: Workspace, job_id: str) -> dict[str, torch.Tensor]:
    return load_file(workspace.artifact_root / "runs" / job_id / "adapter/adapter_model.safetensors")


def test_two_processes_learn_what_one_learns(tiny_workspace: Workspace, pair: Workspace) -> None:
    told: list[Progress] = []
    alone, shared = run(SPEC, tiny_workspace, "alone0000000"), run(SPEC, pair, "shared000000", told.append)
    assert steps_told(told) == list(range(1, shared.steps + 1))
    assert shared.steps == alone.steps
    assert shared.eval_loss_before == alone.eval_loss_before
    # Sums of gradients are rounded otherwise; apart from that it is the same course over the same rows.
    assert shared.eval_loss_after == pytest.approx(alone.eval_loss_after, abs=2e-3)
    gained = alone.eval_loss_before - alone.eval_loss_after
    assert gained > 0.02
    ours, theirs = (
        torch.cat([t.flatten() for t in adapter(tiny_workspace, name).values()])
        for name in ("alone0000000", "shared000000")
    )
    assert torch.nn.functional.cosine_similarity(ours, theirs, dim=0) > 0.99


def test_a_shared_run_is_stopped_and_goes_on(pair: Workspace, capfd: pytest.CaptureFixture[str]) -> None:
    told: list[Progress] = []

    def enough() -> bool:
        return len(steps_told(told)) >= 2

    with pytest.raises(RunStopped) as stopped:
        run(SPEC, pair, "stopped00000", told.append, enough)
    # The launcher kills all as soon as one has failed; a stop that counted as failure could cost the checkpoint.
    assert "ChildFailedError" not in capfd.readouterr().err
    at = int(str(stopped.value.details["step"]))
    again: list[Progress] = []
    report = run(SPEC, pair, "stopped00000", again.append)
    assert 2 <= at < report.steps
    assert steps_told(again)[0] == at + 1


def test_a_shared_run_in_a_relative_folder_ends_there(
    pair: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    near = pair.model_copy(update={"artifact_root": Path("near")})
    report = run(asked(hyperparameters=KNOBS.model_copy(update={"epochs": 1})), near, "relative0000")
    assert Report.model_validate_json((tmp_path / "near/runs/relative0000/report.json").read_bytes()) == report


def test_what_one_of_them_meets_is_told(pair: Workspace) -> None:
    wild = SPEC.model_copy(
        update={"hyperparameters": KNOBS.model_copy(update={"learning_rate": 0.1, "warmup_ratio": 0})}
    )
    wild = wild.model_copy(update={"persona": "nobody"})
    with pytest.raises(UnderstudyError) as met:
        run(wild, pair, "refused00000")
    assert met.value.problem.code == "UnknownPersona"
    assert "Choose one of" in str(met.value)


HEARD_BY_ONE = """
import sys
from pathlib import Path
from torch import distributed
from tests.training.test_together import SPEC
from training.errors import RunStopped
from training.pipeline import follow
from training.ranks import Ranks
from training.schema import Workspace

rank, folder = int(sys.argv[1]), Path(sys.argv[2])
distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
workspace = Workspace.model_validate_json(sys.argv[3])
try:
    follow(SPEC, workspace=workspace, run_dir=folder, should_stop=lambda: rank == 1, ranks=Ranks(rank, 2))
except RunStopped as stopped:
    print(stopped.details["step"])
"""


def test_a_stop_that_one_of_them_hears_first_stops_all(pair: Workspace, tmp_path: Path) -> None:
    argv = [sys.executable, "-W", "ignore", "-c", HEARD_BY_ONE]
    both = [
        subprocess.Popen(
            [*argv, str(rank), str(tmp_path), pair.model_dump_json()],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            text=True,
        )
        for rank in range(2)
    ]
    try:
        assert [process.communicate(timeout=120)[0].strip() for process in both] == ["0", "0"]
    finally:
        for process in both:
            process.kill()


def test_more_processes_than_cards_are_refused_before_they_start(
    pair: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(TooFewCards, match=r"asks for 2 processes .* this machine has 1\. Set it to 1 or less"):
        run(SPEC, pair, "toomany00000")


def test_they_end_with_whoever_started_them(pair: Workspace, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from tests.training.test_together import SPEC\n"
        "from tests.training.test_task_types import run\n"
        "from training.schema import Workspace\n"
        "run(SPEC, Workspace.model_validate_json(sys.argv[1]), 'killed000000')\n"
    )
    argv = [sys.executable, "-W", "ignore", "-c", program, pair.model_dump_json()]
    process = subprocess.Popen(argv, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[2])
    metrics = pair.artifact_root / "runs/killed000000/metrics.jsonl"
    family: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 120
        while not (metrics.exists() and metrics.stat().st_size):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 3
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    _, alive = psutil.wait_procs(family, timeout=60)
    for left in alive:
        os.kill(left.pid, signal.SIGKILL)
    assert not alive


@pytest.mark.parametrize("quantised", [False, True])
def test_weights_that_are_spread_learn_the_same(tiny_workspace: Workspace, pair: Workspace, quantised: bool) -> None:
    """Each process keeps half of every layer; what is whole comes from both, so neither could have learnt alone."""
    for name, workspace, among in (("alone0000000", tiny_workspace, 1), ("spread000000", pair, 2)):
        folder = workspace.artifact_root / "runs" / name
        folder.mkdir(parents=True)
        write_json(folder / "means.json", asdict(Means(quantised, False, 512, among)))
    told: list[Progress] = []
    alone, spread = run(SPEC, tiny_workspace, "alone0000000"), run(SPEC, pair, "spread000000", told.append)
    assert steps_told(told) == list(range(1, alone.steps + 1))
    assert spread.eval_loss_before == alone.eval_loss_before
    assert spread.samples[0].base == alone.samples[0].base
    assert spread.eval_loss_after == pytest.approx(alone.eval_loss_after, abs=2e-3)
    assert alone.eval_loss_before - alone.eval_loss_after > 0.02


def test_weights_are_spread_where_they_fit_no_other_way() -> None:
    shape = measure(catalog()["meta-llama/Meta-Llama-3-8B-Instruct"].config())
    load = Load(tokens=2048, learnt=1024, pairs=2048 * 128, heard=2048)

    def means(gib: float, processes: int) -> Means | None:
        found = arrange(shape, Hyperparameters(), lambda _: load, 1024, card_of(gib), processes=processes)
        return found[0] if found else None

    assert means(6, 1) is None
    small, large = means(6, 4), means(24, 4)
    assert small is not None
    assert small.among == 4
    assert large is not None
    assert large.among == 1
