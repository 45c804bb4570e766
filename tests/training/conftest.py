"""One tiny stand-in for all tests of training, made once."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from training.chat import ChatFormat
from training.pipeline import finetune
from training.schema import Hyperparameters, Progress, Report, TrainSpec, Workspace
from training.standin import Recipe, ensure_standin, standin_tokenizer

TINY = Recipe(hidden=64, intermediate=128, layers=2, heads=2, vocabulary=768, epochs=2)


def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of this run of the suite, which its processes share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def tiny_standin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a stand-in that babbles, but in all else is a real one."""
    torch.set_num_threads(1)
    return ensure_standin(shared(tmp_path_factory), recipe=TINY)


@pytest.fixture(scope="session")
def chat_format() -> ChatFormat:
    return ChatFormat(standin_tokenizer(TINY))


@pytest.fixture
def tiny_workspace(tiny_standin: Path, tmp_path: Path) -> Workspace:
    """A workspace of the test's own, whose base model is the tiny stand-in."""
    return Workspace(
        artifact_root=tmp_path / "artifacts",
        dataset_warehouse=tmp_path / "warehouse",
        cache_dir=tmp_path / "cache",
        base_model=str(tiny_standin),
    )


@dataclass(frozen=True)
class Finished:
    """Finished runs of two personas on the tiny stand-in, and what was told of each on the way."""

    workspace: Workspace
    folders: dict[str, Path]
    reports: dict[str, Report]
    told: dict[str, list[Progress]]


@pytest.fixture(scope="session")
def finished(tiny_standin: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    home = shared(tmp_path_factory) / "finished"
    home.mkdir(exist_ok=True)
    workspace = Workspace(
        artifact_root=home / "artifacts",
        dataset_warehouse=home / "warehouse",
        cache_dir=home / "cache",
        base_model=str(tiny_standin),
    )
    runs = Finished(workspace, {}, {}, {})
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for persona in ("glordon", "olga"):
            runs.folders[persona] = workspace.artifact_root / "runs" / persona
            runs.told[persona] = trained(persona, workspace, home / f"{persona}.jsonl")
            report = (runs.folders[persona] / "report.json").read_bytes()
            runs.reports[persona] = Report.model_validate_json(report)
    return runs


def trained(persona: str, workspace: Workspace, told: Path) -> list[Progress]:
    """Train one persona, unless another process of the suite has done so; what was told on the way."""
    if not told.exists():
        knobs = Hyperparameters(epochs=2, batch_size=8, learning_rate=0.01)
        heard: list[Progress] = []
        finetune(
            TrainSpec(job_name=f"{persona}-test", guild_id="1", persona=persona, hyperparameters=knobs),
            job_id=persona,
            workspace=workspace,
            run_dir=workspace.artifact_root / "runs" / persona,
            on_progress=heard.append,
            should_stop=lambda: False,
        )
        told.write_text("".join(f"{look.model_dump_json()}\n" for look in heard))
    return [Progress.model_validate_json(line) for line in told.read_text().splitlines()]
