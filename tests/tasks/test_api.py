"""The REST door as a process, over a real Redis: who may enter, what is accepted, what each refusal says."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from processes import Group
from tasks.api import Door, StartTraining, make_app
from tasks.client import Client
from tasks.embedded_redis import EmbeddedRedis
from tasks.jobs import Job
from tests.house import settings_in, until
from training.schema import WHOLE_CAST, Hyperparameters, Preset, TaskType, TrainSpec

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


def test_a_job_is_paused_and_resumed(door: httpx.Client) -> None:
    job = door.post("/finetune/start-training", json=BODY | {"job_name": "rests"}).json()
    early = door.post(f"{job['address']}/resume")
    assert (early.status_code, "is not paused (queued)" in sentence(early)) == (409, True)
    paused = door.post(f"{job['address']}/pause")
    assert (paused.status_code, paused.json()["state"], paused.json()["position"]) == (202, "PAUSED", None)
    assert door.get(job["address"]).json()["state"] == "PAUSED"
    resumed = door.post(f"{job['address']}/resume")
    assert (resumed.status_code, resumed.json()["state"]) == (202, "QUEUED")
    assert door.post(f"{job['address']}/pause").json()["state"] == "PAUSED"
    assert door.post(f"{job['address']}/cancel").json()["state"] == "CANCELLED"
    for wish in ("pause", "resume"):
        late = door.post(f"{job['address']}/{wish}")
        assert (late.status_code, f"nothing to {wish}" in sentence(late)) == (409, True)
        assert door.post(f"/finetune/jobs/aaaaaaaaaaaa/{wish}").status_code == 404
        assert httpx.post(f"{door.base_url}{job['address']}/{wish}").status_code == 401


def asked(**changes: object) -> TrainSpec:
    """The job that a request asks for."""
    return StartTraining.model_validate(BODY | changes).spec("guild-a")


def test_a_preset_is_begun_with_and_what_is_given_overrides_it() -> None:
    careful = asked(preset="quality").hyperparameters
    assert (careful.epochs, careful.lora_rank, careful.batch_size, careful.learning_rate) == (2, 32, 4, 0.001)
    assert asked(preset="quality", hyperparameters={}).hyperparameters == Hyperparameters.of(Preset.QUALITY)
    assert asked(hyperparameters={}).hyperparameters == Hyperparameters()


def test_two_stages_preferences_and_the_whole_cast_may_be_asked_for() -> None:
    staged = asked(task_type="two-stage", persona="olga")
    assert (staged.task_type, staged.persona, staged.dataset) == (TaskType.TWO_STAGE, "olga", "general")
    preferred = asked(task_type="preference", persona="olga", dataset_path="/votes.jsonl", start_from="a1b2c3d4e5f6")
    assert (preferred.dataset, preferred.start_from) == ("/votes.jsonl", "a1b2c3d4e5f6")
    for body in ({"persona": "all", "dataset_path": None}, {"dataset_path": "all"}):
        assert asked(task_type="persona", **body).persona == WHOLE_CAST


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eA=="}])
def test_nobody_enters_without_the_key(door: httpx.Client, header: dict[str, str]) -> None:
    for method, path in (("POST", "/finetune/start-training"), ("GET", "/finetune/jobs"), ("GET", "/finetune/jobs/x")):
        answer = httpx.request(
            method, f"{door.base_url}{path}", json=BODY if method == "POST" else None, headers=header
        )
        assert answer.status_code == 401
        assert "Authorization: Bearer" in sentence(answer)
    assert KEY not in answer.text


def test_a_persona_job_may_name_the_dataset_that_was_built_for_it(door: httpx.Client) -> None:
    body = {**BODY, "job_name": "built", "task_type": "persona", "persona": "olga", "dataset_path": "olga-lines"}
    accepted = door.post("/finetune/start-training", json=body)
    assert accepted.status_code == 202
    door.post(f"{accepted.json()['address']}/cancel")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hyperparameters": {"num_train_epochs": 11}}, "hyperparameters.num_train_epochs must be at most 10."),
        ({"hyperparameters": {"num_train_epochs": "many"}}, "hyperparameters.num_train_epochs must be a whole number."),
        ({"hyperparameters": {"num_train_epochs": 1.5}}, "hyperparameters.num_train_epochs must be a whole number."),
        (
            {"hyperparameters": {"num_train_epochs": 0, "per_device_train_batch_size": 0, "learning_rate": 0}},
            "hyperparameters.num_train_epochs must be at least 1; hyperparameters.learning_rate must be more than 0; "
            "hyperparameters.per_device_train_batch_size must be at least 1.",
        ),
        ({"hyperparameters": {"learning_rate": "fast"}}, "hyperparameters.learning_rate must be a number."),
        ({"hyperparameters": {"warp": 9}}, "hyperparameters.warp is not known here."),
        ({"hyperparameters": 3}, "hyperparameters must be an object with named values."),
        ({"job_name": "../../etc"}, "job_name must be 1 to 40 letters, digits, - and _, beginning with a letter"),
        ({"job_name": ""}, "job_name must be 1 to 40 letters"),
        ({"job_name": 5}, "job_name must be text."),
        ({"job_name": 5, "unknown": 1}, "job_name must be text; unknown is not known here."),
        (
            {"task_type": "poetry"},
            "task_type must be 'persona', 'dialogue', 'mixed', 'two-stage' or 'preference'.",
        ),
        ({"task_type": "mixed"}, 'A mixed job needs a persona. Name it with "persona".'),
        ({"task_type": "two-stage", "persona": "olga", "dataset_path": None}, "A two-stage job needs data."),
        ({"task_type": "preference"}, "A preference job needs a persona."),
        ({"task_type": "persona", "persona": "all"}, 'Leave "dataset_path" out, or choose the task_type mixed.'),
        ({"preset": "lavish"}, "preset must be 'draft', 'balanced' or 'quality'."),
        ({"start_from": "the last one"}, "start_from must be a job's id of 12 small letters and digits."),
        ({"task_type": "persona", "dataset_path": None}, "A persona job needs a persona."),
        ({"task_type": "persona", "dataset_path": "/data/lines.jsonl"}, 'Name the persona with "persona"'),
        ({"persona": "olga"}, 'A dialogue job takes no "persona".'),
        ({"persona": "Olga!"}, "persona must be 1 to 40 small letters"),
        ({"dataset_path": None}, 'with "dataset_path".'),
        ({"dataset_path": "x" * 401}, "dataset_path must have at most 400 characters."),
    ],
)
def test_each_refusal_names_what_to_mend(door: httpx.Client, change: dict[str, object], says: str) -> None:
    before = listed(door)
    answer = door.post("/finetune/start-training", json=BODY | change)
    assert answer.status_code == 422
    assert says in sentence(answer)
    for inner in ("Traceback", "^[", "Input should"):
        assert inner not in answer.text
    assert listed(door) == before


def test_what_is_not_json_or_too_large_is_refused(door: httpx.Client) -> None:
    is_json = {"Content-Type": "application/json"}
    for content, says in ((b"{", "the body is not JSON."), (b"", "the body is required."), (b"[]", "the body must be")):
        answer = door.post("/finetune/start-training", content=content, headers=is_json)
        assert (answer.status_code, says in sentence(answer)) == (422, True), answer.text
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


class RedisGoes(Client):
    """A door whose Redis goes away once it has the job."""

    def __init__(self, server: EmbeddedRedis, folder: Path) -> None:
        super().__init__(settings_in(folder, server.url), folder / "accepted.sqlite3")
        self._server = server

    async def submit(self, job: Job) -> None:
        await super().submit(job)

        async def pushed() -> bool:
            return (await self.jobs(job.guild_id))[0].position is not None

        await until(pushed, "the job in Redis")
        await asyncio.to_thread(self._server.stop)


async def test_an_accepted_job_is_answered_whatever_happens_to_redis(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server:
        client = RedisGoes(server, tmp_path)
        await client.start()
        transport = httpx.ASGITransport(make_app(Door(client, KEY, "guild-a")))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://door", headers={"Authorization": f"Bearer {KEY}"}
        ) as caller:
            accepted = await caller.post("/finetune/start-training", json=BODY)
            assert (accepted.status_code, accepted.json()["state"]) == (202, "QUEUED"), accepted.text
            assert (await caller.get(accepted.headers["Location"])).status_code == 503
            await asyncio.to_thread(server.start)
            jobs = await caller.get("/finetune/jobs")
            assert [job["id"] for job in jobs.json()["jobs"]] == [accepted.json()["id"]]
        await client.close()
