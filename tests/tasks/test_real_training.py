"""The production train worker with real torch: a small persona is trained through a kill -9 of the worker."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.embedded_redis import EmbeddedRedis
from tasks.jobs import JobState
from tasks.settings import TaskSettings
from tests.house import GUILD, ROOT, WorkerProcess, at_step, door, history, settings_in, train_job

MAKE_BASE = """
import sys
from pathlib import Path
from training.standin import Recipe, ensure_standin
print(ensure_standin(Path(sys.argv[1]), recipe=Recipe(hidden=64, intermediate=128, layers=2, heads=2, epochs=1)))
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TaskSettings]:
    # Threads only get in each other's way on so small a model.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = subprocess.run(
        [sys.executable, "-c", MAKE_BASE, str(tmp_path / "cache")], cwd=ROOT, capture_output=True, text=True, check=True
    )
    with EmbeddedRedis(tmp_path / "redis") as server:
        yield settings_in(tmp_path, server.url).model_copy(update={"base_model": made.stdout.strip()})


async def test_a_real_job_survives_its_worker(settings: TaskSettings) -> None:
    workers = [WorkerProcess(settings, "train", "gpu0", app="tasks.app").ready()]
    try:
        async with door(settings) as client:
            job = train_job("real", epochs=1)
            await client.submit(job)
            await at_step(client, job, 1, timeout=90)
            workers[0].kill()
            workers.append(WorkerProcess(settings, "train", "gpu0", app="tasks.app"))
            view = await client.wait(job.id, GUILD, 90)
            assert (view.state, view.version, view.attempts) == (JobState.SUCCEEDED, 1, 2), view.problem
            await history(client, job)
        assert (settings.run_dir(job.id) / "adapter" / "adapter_model.safetensors").is_file()
    finally:
        for worker in workers:
            worker.stop()
            print(worker.log())
