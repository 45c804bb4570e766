"""The REST door as a process, over a real Redis: who may enter, what is accepted, what each refusal says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from processes import Group
from tasks.embedded_redis import EmbeddedRedis

KEY = "a-key-of-more-than-sixteen-letters"
BODY = {
    "job_name": "dialogue_v1",
    "base_model": "standin",
    "dataset_path": "general",
    "task_type": "dialogue",
    "hyperparameters": {"num_train_epochs": 2, "per_device_train_batch_size": 4, "learning_rate": 0.001},
}


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, redis_server: EmbeddedRedis) -> Iterator[httpx.Client]:
    tmp_path = tmp_path_factory.mktemp("api")
    env = {
        "REDIS_URL": redis_server.url.get_secret_value(),
        "STATE_DIR": str(tmp_path / "state"),
        "ARTIFACT_ROOT": str(tmp_path / "artifacts"),
        "API_KEY": KEY,
        "API_PORT": "0",
        "API_GUILD_ID": "guild-a",
    }
    with Group(tmp_path / "logs") as group:
        api = group.start("api", [sys.executable, "-m", "tasks.api"], env)
        api.wait_ready(30)
        with httpx.Client(base_url=api.said["address"], headers={"Authorization": f"Bearer {KEY}"}) as client:
            yield client


def sentence(answer: httpx.Response) -> str:
    return answer.json()["error"]["sentence"]


def listed(door: httpx.Client) -> list[str]:
    return [job["id"] for job in door.get("/finetune/jobs").json()["jobs"]]


def test_a_job_is_accepted_shown_listed_and_cancelled(door: httpx.Client) -> None:
    accepted = door.post("/finetune/start-training", json=BODY)
    assert accepted.status_code == 202
    job = accepted.json()
    assert accepted.headers["Location"] == job["address"] == f"/finetune/jobs/{job['id']}"
    assert job["state"] == "QUEUED"
    assert door.get(job["address"]).json()["job_name"] == "dialogue_v1"
    assert job["id"] in listed(door)
    assert door.post(f"{job['address']}/cancel").json()["state"] == "CANCELLED"
    again = door.post(f"{job['address']}/cancel")
    assert (again.status_code, "already ended" in sentence(again)) == (409, True)


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eA=="}])
def test_nobody_enters_without_the_key(door: httpx.Client, header: dict[str, str]) -> None:
    for method, path in (("POST", "/finetune/start-training"), ("GET", "/finetune/jobs"), ("GET", "/finetune/jobs/x")):
        answer = httpx.request(
            method, f"{door.base_url}{path}", json=BODY if method == "POST" else None, headers=header
        )
        assert answer.status_code == 401
        assert "Authorization: Bearer" in sentence(answer)
    assert KEY not in answer.text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hyperparameters": {"num_train_epochs": 11}}, "epochs"),
        ({"hyperparameters": {"num_train_epochs": "many"}}, "num_train_epochs"),
        ({"hyperparameters": {"warp": 9}}, "warp"),
        ({"job_name": "../../etc"}, "job_name"),
        ({"job_name": ""}, "job_name"),
        ({"task_type": "preference"}, "task_type"),
        ({"task_type": "mixed"}, "persona"),
        ({"dataset_path": None}, "dataset"),
        ({"dataset_path": "x" * 401}, "dataset_path"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_each_refusal_names_what_to_mend(door: httpx.Client, change: dict[str, object], says: str) -> None:
    before = listed(door)
    answer = door.post("/finetune/start-training", json=BODY | change)
    assert answer.status_code == 422
    assert says in sentence(answer)
    assert "Traceback" not in answer.text
    assert listed(door) == before


def test_what_is_not_json_or_too_large_is_refused(door: httpx.Client) -> None:
    assert door.post("/finetune/start-training", content=b"{").status_code == 422
    assert door.post("/finetune/start-training", content=b" " * 70_000).status_code == 413
    assert door.post("/finetune/start-training", content=(chunk for chunk in [b"{}"])).status_code == 413


def test_unknown_jobs_and_pages_are_404(door: httpx.Client) -> None:
    assert door.get("/finetune/jobs/aaaaaaaaaaaa").status_code == 404
    assert door.get("/docs").status_code == 404
    assert door.get("/health").json() == {"ok": True}


def test_a_start_without_key_says_so(tmp_path: Path, redis_url: SecretStr) -> None:
    env = {**os.environ, "REDIS_URL": redis_url.get_secret_value(), "STATE_DIR": str(tmp_path), "API_KEY": ""}
    asked = subprocess.run(
        [sys.executable, "-m", "tasks.api"], env=env, capture_output=True, text=True, timeout=30, check=False
    )
    assert asked.returncode == 2
    assert "API_KEY" in asked.stderr
    assert "Traceback" not in asked.stderr
