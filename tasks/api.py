"""The REST door: the same client and the same durable acceptance as the bot, behind a bearer key."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
from typing import Annotated

import uvicorn
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import Field, ValidationError

from tasks import checks_api
from tasks.client import Client
from tasks.errors import NoSuchJob
from tasks.jobs import JobState, JobView, Origin, new_job
from tasks.rest import Admitted, Door, bounded, in_plain_words, refusal
from tasks.settings import TaskSettings, load_settings
from training.errors import UnderstudyError
from training.schema import (
    SLUG_PATTERN,
    WHOLE_CAST,
    Hyperparameters,
    JobName,
    Noun,
    Plan,
    Preset,
    Problem,
    Progress,
    Report,
    RunId,
    Slug,
    TaskType,
    TrainSpec,
)


class NoApiKey(UnderstudyError):
    """The REST door needs a key: set API_KEY to a long random text, then start it again."""


class PortInUse(UnderstudyError):
    """The REST door cannot listen on {host}:{port} ({reason}). Stop what uses it, or change API_HOST and API_PORT."""


class PersonaNeeded(UnderstudyError):
    """A {task_type} job needs a persona. Name it with "persona"."""


class DatasetNeeded(UnderstudyError):
    """A {task_type} job needs data. Name a dataset, or a path that the worker may read, with "dataset_path"."""


class NotAPersona(UnderstudyError):
    """{given} in "dataset_path" is no persona, and a persona job trains one. Name the persona with "persona";
    "dataset_path" may then name a dataset that was built for it."""


class NotForThisTask(UnderstudyError):
    """A {task_type} job takes no "{field}". Leave it out, or choose the task_type mixed, which uses both."""


class NotForEverybody(UnderstudyError):
    """A persona job for everybody learns each persona's own dialogues. Leave "dataset_path" out,
    or choose the task_type mixed."""


class JobKnobs(Noun):
    """`hyperparameters` of a request, by the names that transformers gives them; what is left out is the preset's."""

    num_train_epochs: int | None = None
    per_device_train_batch_size: int | None = None
    learning_rate: float | None = None

    def given(self) -> dict[str, int | float]:
        """Those that the request names, by a job's own names."""
        own = {
            "epochs": self.num_train_epochs,
            "batch_size": self.per_device_train_batch_size,
            "learning_rate": self.learning_rate,
        }
        return {name: value for name, value in own.items() if value is not None}


class StartTraining(Noun):
    """The body of `POST /finetune/start-training`.

    A persona job names its persona with `persona`, or in `dataset_path` when it needs nothing else; with both, the
    dataset is one that was built for the persona. The persona "all" is the whole cast. A preference job that names
    neither `start_from` nor another base model learns on from the persona's live version.
    """

    job_name: JobName
    base_model: str | None = Field(None, max_length=400, description="Left out: the operator's own choice.")
    dataset_path: str | None = Field(None, max_length=400, description="A dataset's name, or a path on the worker.")
    persona: Slug | None = Field(None, description='Whom it gives a voice; "all" is the whole cast.')
    task_type: TaskType = TaskType.PERSONA
    preset: Preset = Field(Preset.BALANCED, description="The knobs to begin with; hyperparameters override it.")
    hyperparameters: JobKnobs = JobKnobs()
    start_from: RunId | None = Field(None, description="The job whose adapter is learnt on.")

    def spec(self, guild_id: str) -> TrainSpec:
        """The job this body asks for; raises pydantic's ValidationError, or what its task lacks or has no use for."""
        persona, dataset = self.persona, self.dataset_path
        if self.task_type is TaskType.PERSONA and persona is None and dataset is not None:
            if not re.fullmatch(SLUG_PATTERN, dataset):
                raise NotAPersona(given=dataset)
            persona, dataset = dataset, None
        self._check(persona, dataset)
        return TrainSpec(
            job_name=self.job_name,
            guild_id=guild_id,
            task_type=self.task_type,
            persona=persona,
            dataset=dataset,
            base_model=self.base_model,
            start_from=self.start_from,
            hyperparameters=Hyperparameters.of(self.preset, **self.hyperparameters.given()),
        )

    def _check(self, persona: str | None, dataset: str | None) -> None:
        if self.task_type is not TaskType.DIALOGUE and persona is None:
            raise PersonaNeeded(task_type=self.task_type)
        if self.task_type is not TaskType.PERSONA and not dataset:
            raise DatasetNeeded(task_type=self.task_type)
        if self.task_type is TaskType.DIALOGUE and persona is not None:
            raise NotForThisTask(task_type=self.task_type, field="persona")
        if self.task_type is TaskType.PERSONA and persona == WHOLE_CAST and dataset:
            raise NotForEverybody


# A job's own names for what the body names otherwise.
_NAMES_IN_BODY = {
    "epochs": "hyperparameters.num_train_epochs",
    "batch_size": "hyperparameters.per_device_train_batch_size",
    "learning_rate": "hyperparameters.learning_rate",
    "dataset": "dataset_path",
}


class JobAnswer(Noun):
    """A job as the REST door shows it; `address` is where to ask again."""

    id: str
    job_name: str
    task_type: TaskType
    state: JobState
    address: str
    created_at: float
    position: int | None = None
    checkpoint: int | None = Field(None, description="The step that it would go on from.")
    version: int | None = Field(None, description="The version that it registered, where it is one persona's.")
    plan: Plan | None = None
    progress: Progress | None = None
    report: Report | None = None
    problem: Problem | None = None


class JobList(Noun):
    """The jobs of the key's guild, newest first."""

    jobs: tuple[JobAnswer, ...]


def answer(view: JobView, plan: Plan | None = None) -> JobAnswer:
    """A training job's view as the door's answer."""
    spec = view.job.spec
    if not isinstance(spec, TrainSpec):
        raise NoSuchJob(name=view.job.id)
    return JobAnswer(
        id=view.job.id,
        job_name=spec.job_name,
        task_type=spec.task_type,
        state=view.state,
        address=f"/finetune/jobs/{view.job.id}",
        created_at=view.job.created_at,
        position=view.position,
        checkpoint=view.checkpoint,
        version=view.version,
        plan=plan or view.plan,
        progress=view.progress,
        report=view.report,
        problem=view.problem,
    )


router = APIRouter(prefix="/finetune")


@router.post("/start-training", status_code=202)
async def start_training(body: StartTraining, door: Admitted, response: Response) -> JobAnswer:
    """Check the request against its real data, accept it durably, and answer with the job's address.

    With the workers away it is accepted all the same, unplanned; what is wrong with it then shows as a failed job.
    """
    try:
        spec = body.spec(door.guild_id)
    except ValidationError as error:
        raise in_plain_words(error.errors(), _NAMES_IN_BODY) from error
    spec = await door.client.learning_on(spec)
    job = new_job("train", spec, Origin(door="api", guild_id=door.guild_id))
    plan = await door.plan(spec, job.origin)
    await door.client.submit(job)
    # Nothing may fail from here on: who hears of a failure asks again, and the job is accepted.
    shown = answer(JobView(job=job, state=JobState.QUEUED), plan)
    response.headers["Location"] = shown.address
    return shown


@router.get("/jobs")
async def list_jobs(door: Admitted, limit: Annotated[int, Field(ge=1, le=100)] = 25) -> JobList:
    """The newest jobs."""
    views = await door.client.jobs(door.guild_id, limit)
    return JobList(jobs=tuple(answer(view) for view in views if view.job.kind == "train"))


@router.get("/jobs/{job_id}")
async def show_job(job_id: str, door: Admitted) -> JobAnswer:
    """One job."""
    return answer(await door.client.show(job_id, door.guild_id))


@router.post("/jobs/{job_id}/cancel", status_code=202)
async def cancel_job(job_id: str, door: Admitted) -> JobAnswer:
    """Ask for a job's end; 409 if it has ended already."""
    return answer(await door.client.cancel(job_id, door.guild_id))


@router.post("/jobs/{job_id}/pause", status_code=202)
async def pause_job(job_id: str, door: Admitted) -> JobAnswer:
    """Let a job rest: it keeps a checkpoint and its place, and frees the card; 409 if it has ended already."""
    return answer(await door.client.pause(job_id, door.guild_id))


@router.post("/jobs/{job_id}/resume", status_code=202)
async def resume_job(job_id: str, door: Admitted) -> JobAnswer:
    """Let a paused job go on from its checkpoint once its turn comes; 409 if it is not paused."""
    return answer(await door.client.resume(job_id, door.guild_id))


def make_app(door: Door) -> FastAPI:
    """The REST application over a started client."""
    # The interactive pages would fetch their scripts from elsewhere; /openapi.json says the same.
    app = FastAPI(title="Understudy", docs_url=None, redoc_url=None)
    app.state.door = door
    app.middleware("http")(bounded)
    app.include_router(router)
    app.include_router(checks_api.router)

    @app.get("/health")
    async def health() -> dict[str, bool]:
        """Whether this process answers; needs no key and tells nothing else."""
        return {"ok": True}

    @app.exception_handler(UnderstudyError)
    async def expected(_: Request, error: UnderstudyError) -> JSONResponse:
        return refusal(error)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        return refusal(in_plain_words(error.errors()))

    return app


def main() -> int:
    """Serve until SIGTERM or Ctrl-C; 2 where it cannot start, after one plain sentence on stderr."""
    try:
        asyncio.run(_run(load_settings(TaskSettings)))
    except UnderstudyError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


async def _run(settings: TaskSettings) -> None:
    """Raises NoApiKey, since the door must never stand open, PortInUse, or what the client cannot start without."""
    if settings.api_key is None:
        raise NoApiKey
    client = Client(settings, settings.state_dir / "api-accepted.sqlite3")
    with listen(settings.api_host, settings.api_port) as listener:
        await client.start()
        try:
            door = Door(client, settings.api_key.get_secret_value(), settings.api_guild_id)
            await _serve(make_app(door), settings.api_host, listener)
        finally:
            await client.close()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; raises PortInUse."""
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise PortInUse(host=host, port=port, reason=error.strerror or error) from None


async def _serve(app: FastAPI, host: str, listener: socket.socket) -> None:
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not (server.started or serving.done()):
        await asyncio.sleep(0.05)
    if server.started:
        address = f"http://{host}:{listener.getsockname()[1]}"
        print("READY " + json.dumps({"process": "api", "address": address}), flush=True)
    await serving


if __name__ == "__main__":
    sys.exit(main())
