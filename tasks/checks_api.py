"""The REST door's routes for checks: one asks for a check of a version, and for its report."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import Field

from tasks.errors import NoSuchJob
from tasks.jobs import JobState, JobView, Origin, new_job
from tasks.rest import Admitted, Door
from training.evaluation.schema import CheckReport, CheckSpec, Suite
from training.schema import Noun, Problem, Progress, Slug

router = APIRouter(prefix="/checks")


class StartCheck(Noun):
    """The body of `POST /checks`. General questions are asked of one version, without against, drift and judge."""

    persona: Slug
    version: int | None = Field(None, ge=1, description="Which version; left out: the newest.")
    against: int | None = Field(
        None, ge=0, description="The version to compare it with, 0: the base model; left out: the live one."
    )
    suite: Suite = Suite.PERSONA
    drift: bool = Field(False, description=CheckSpec.model_fields["drift"].description)
    judge: bool = Field(False, description="Also have the operator's language model judge the replies; advisory.")
    samples: int = Field(3, ge=1, le=8, description=CheckSpec.model_fields["samples"].description)


class CheckAnswer(Noun):
    """A check as the REST door shows it; `address` is where to ask again."""

    id: str
    persona: str
    version: int | None
    against: int | None = Field(None, description="The version that it is compared with, 0: the base model.")
    suite: Suite
    state: JobState
    address: str
    created_at: float
    position: int | None = None
    progress: Progress | None = None
    report: CheckReport | None = Field(
        None, description="With every prompt, reply, seed and score; of held-out conversations the ids alone."
    )
    problem: Problem | None = None


def answer(view: JobView) -> CheckAnswer:
    """A check's view as the door's answer; raises NoSuchJob for any other job."""
    spec = view.job.spec
    if not isinstance(spec, CheckSpec):
        raise NoSuchJob(name=view.job.id)
    return CheckAnswer(
        id=view.job.id,
        persona=spec.persona,
        version=spec.version,
        against=spec.against_version,
        suite=spec.suite,
        state=view.state,
        address=f"/checks/{view.job.id}",
        created_at=view.job.created_at,
        position=view.position,
        progress=view.progress,
        report=view.check,
        problem=view.problem,
    )


@router.post("", status_code=202)
async def start_check(body: StartCheck, door: Admitted, response: Response) -> CheckAnswer:
    """Accept the check of a version durably, and answer with its address."""
    spec = await door.client.check_spec(
        door.guild_id,
        body.persona,
        body.version,
        body.against,
        suite=body.suite,
        drift=body.drift,
        judge=body.judge,
        samples=body.samples,
    )
    job = new_job("check", spec, Origin(door="api", guild_id=door.guild_id))
    await door.client.submit(job)
    shown = answer(JobView(job=job, state=JobState.QUEUED))
    response.headers["Location"] = shown.address
    return shown


@router.get("/{job_id}")
async def show_check(job_id: str, door: Admitted) -> CheckAnswer:
    """One check, with its report once it is done; it is kept for thirty days."""
    return await _check(job_id, door)


@router.post("/{job_id}/cancel", status_code=202)
async def cancel_check(job_id: str, door: Admitted) -> CheckAnswer:
    """Ask for a check's end; 409 if it has ended already."""
    await _check(job_id, door)
    return answer(await door.client.cancel(job_id, door.guild_id))


async def _check(job_id: str, door: Door) -> CheckAnswer:
    return answer(await door.client.show(job_id, door.guild_id))
