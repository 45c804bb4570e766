"""One tiny stand-in for all tests of training, made once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from training.chat import ChatFormat
from training.pipeline import finetune
from training.schema import Hyperparameters, Progress, Report, TrainSpec, Workspace
from training.standin import Recipe, ensure_standin, standin_tokenizer

TINY = Recipe(hidden=64, intermediate=128, layers=2, heads=2, vocabulary=768, epochs=2)


@pytest.fixture(scope="session")
def tiny_standin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a stand-in that babbles, but in all else is a real one."""
    torch.set_num_threads(1)
    return ensure_standin(tmp_path_factory.mktemp("standin"), recipe=TINY)


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
    home = tmp_path_factory.mktemp("finished")
    workspace = Workspace(
        artifact_root=home / "artifacts",
        dataset_warehouse=home / "warehouse",
        cache_dir=home / "cache",
        base_model=str(tiny_standin),
    )
    runs = Finished(workspace, {}, {}, {})
    for persona in ("glordon", "olga"):
        knobs = Hyperparameters(epochs=2, batch_size=8, learning_rate=0.01)
        spec = TrainSpec(job_name=f"{persona}-test", guild_id="1", persona=persona, hyperparameters=knobs)
        runs.folders[persona] = workspace.artifact_root / "runs" / persona
        runs.told[persona] = []
        runs.reports[persona] = finetune(
            spec,
            job_id=persona,
            workspace=workspace,
            run_dir=runs.folders[persona],
            on_progress=runs.told[persona].append,
            should_stop=lambda: False,
        )
    return runs
