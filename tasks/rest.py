"""What the routes of the REST door share: its key and its guild, and how it refuses."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated

from fastapi import Depends, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic_core import ErrorDetails

from tasks.client import Client
from tasks.complaints import in_words
from tasks.errors import RedisAway, WorkersAway
from tasks.jobs import Origin, Queue
from training.errors import DoesNotFit, UnderstudyError
from training.schema import Plan, TrainSpec

MAX_BODY_BYTES = 64 * 1024
PLAN_SECONDS = 60.0
NO_NAMES: Mapping[str, str] = {}


class WrongKey(UnderstudyError):
    """This door needs your key: send the header "Authorization: Bearer KEY" with the server's API_KEY."""


class BodyTooLarge(UnderstudyError):
    """The request is larger than {limit} bytes. Send the dataset's name or path, not its content."""


class BadRequest(UnderstudyError):
    """The request cannot be understood: {reasons}."""


STATUS = {
    "WrongKey": 401,
    "NoSuchJob": 404,
    "BeingCancelled": 409,
    "JobEnded": 409,
    "NotPaused": 409,
    "NotTraining": 409,
    "BodyTooLarge": 413,
    "RedisAway": 503,
    "WorkersAway": 503,
}


def refusal(error: UnderstudyError) -> JSONResponse:
    """An expected error as `{"error": {"code", "sentence"}}`; what is not listed in STATUS is the request's fault."""
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, WrongKey) else None
    content = {"error": error.problem.model_dump()}
    return JSONResponse(content, status_code=STATUS.get(type(error).__name__, 422), headers=headers)


def in_plain_words(errors: Sequence[ErrorDetails], names: Mapping[str, str] = NO_NAMES) -> BadRequest:
    """pydantic's complaints as one sentence; `names`: what the request calls a job's own values otherwise."""
    told = [f"{_named(detail['loc'], names)} {in_words(detail)}" for detail in errors]
    return BadRequest(reasons="; ".join(told))


def _named(loc: tuple[int | str, ...], names: Mapping[str, str]) -> str:
    """What the request calls the value at a place in it, or in the job made of it."""
    # A number is a place in text that is not JSON.
    name = ".".join(part for part in loc if isinstance(part, str) and part != "body")
    return names.get(name, name) or "the body"


class Door:
    """What the routes share: the client, the key and the guild it opens."""

    def __init__(self, client: Client, key: str, guild_id: str) -> None:
        self.client = client
        self.guild_id = guild_id
        self._key = key.encode()

    def admit(self, credentials: HTTPAuthorizationCredentials | None) -> None:
        """Raise WrongKey unless the bearer key is the server's; compared in constant time."""
        if credentials is None or not hmac.compare_digest(credentials.credentials.encode(), self._key):
            raise WrongKey

    async def plan(self, spec: TrainSpec, origin: Origin) -> Plan | None:
        """The job's plan, or None while no worker can make one; raises PlanRefused or DoesNotFit."""
        try:
            await self.client.require_worker(Queue.PREPARE)
            plan = await self.client.plan(spec, origin, timeout=PLAN_SECONDS)
        except (RedisAway, WorkersAway):
            return None
        if not plan.fits:
            raise DoesNotFit(needed_gib=plan.peak_gib, free_gib=plan.free_gib, alternatives=plan.alternatives)
        return plan


bearer = HTTPBearer(auto_error=False)


def admitted(request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> Door:
    """The door, for a caller who holds the key."""
    door: Door = request.app.state.door
    door.admit(credentials)
    return door


Admitted = Annotated[Door, Depends(admitted)]


async def bounded(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuse a body that is too large, or that does not say how large it is, before it is read."""
    length = request.headers.get("content-length")
    chunked = "transfer-encoding" in request.headers
    if chunked or (length is not None and (not length.isdigit() or int(length) > MAX_BODY_BYTES)):
        return refusal(BodyTooLarge(limit=MAX_BODY_BYTES))
    return await call_next(request)
