"""The bot's listener: reads HTTP requests, checks the token, counts them, and answers as Discord does."""

from __future__ import annotations

import json
import logging
import mimetypes
import re
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import BodyPartReader, web

from sandbox import errors, limits
from sandbox.clock import Clock
from sandbox.errors import Json, Refusal
from sandbox.forms import Upload
from sandbox.gateway import Gateway
from sandbox.live import attachment_response
from sandbox.rates import Rates
from sandbox.rest import Answer, Call, Route
from sandbox.state import World

logger = logging.getLogger(__name__)

API = "/api/v10"
RECORDED = 20_000
API_HOST, GATEWAY_HOST, CDN_HOST = "discord.com", "gateway.discord.gg", "cdn.discordapp.com"
HOSTS = (API_HOST, GATEWAY_HOST, CDN_HOST)
# These are answered with the interaction's own token, and the global rate limit leaves them out.
INTERACTION_PATHS = ("/interactions/", "/webhooks/{webhook_id}/{webhook_token}")
FILE_FIELD = re.compile(r"^files?(?:\[(\d+)\])?$")


@dataclass(frozen=True)
class Recorded:
    """One request that a bot made. `template` is Discord's path with its variables, "" if the sandbox lacks it."""

    at: float
    method: str
    template: str
    path: str
    query: dict[str, str]
    body: Any
    files: tuple[tuple[str, int], ...]
    status: int
    code: int | None


class Api:
    """The web application of the bot's listener."""

    def __init__(self, world: World, gateway: Gateway, token: str, routes: list[Route]) -> None:
        self._world = world
        self._gateway = gateway
        self._token = token
        self._routes = routes
        self._rates = Rates(world.clock)
        self.requests: deque[Recorded] = deque(maxlen=RECORDED)

    @property
    def _clock(self) -> Clock:
        return self._world.clock

    def application(self) -> web.Application:
        """The routes, then a last one for whatever is not built."""
        app = web.Application(client_max_size=limits.REQUEST_BYTES + 1, middlewares=[self._guard])
        app.router.add_get("/", self._gateway.handle)
        app.router.add_get("/attachments/{channel}/{id}/{name}", self._attachment)
        app.router.add_get("/ephemeral-attachments/{app}/{id}/{name}", self._attachment)
        for route in self._routes:
            app.router.add_route(route.method, API + route.template, self._handler(route))
        app.router.add_route("*", "/{path:.*}", self._unbuilt)
        return app

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """One listener stands for three hosts; each has its own paths."""
        host = request.host.rsplit(":", 1)[0]
        if request.path == "/":
            fits = host == GATEWAY_HOST
        elif request.path.startswith(("/attachments/", "/ephemeral-attachments/")):
            # Workers know nothing of the sandbox: they are told its address instead of Discord's.
            fits = host in {CDN_HOST, "127.0.0.1", "localhost"}
        else:
            fits = host in {API_HOST, "127.0.0.1", "localhost"}
        return await handler(request) if fits else await self._unbuilt(request)

    async def _attachment(self, request: web.Request) -> web.StreamResponse:
        attachment = self._world.find_attachment(request.match_info["id"])
        if attachment is None:
            raise web.HTTPNotFound(text="This content is no longer available.")
        return attachment_response(attachment)

    async def _unbuilt(self, request: web.Request) -> web.StreamResponse:
        logger.warning("%s %s%s is not built in the sandbox.", request.method, request.host, request.path)
        refusal = errors.unbuilt()
        self._record(request, "", refusal.status, refusal.body)
        return _respond(refusal.status, refusal.body, {})

    def _handler(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            body: Any = None
            uploads: tuple[Upload, ...] = ()
            headers: dict[str, str] = {}
            answer: Answer
            try:
                body, uploads = await _read(request)
                if route.needs_token and request.headers.get("Authorization") != f"Bot {self._token}":
                    raise errors.unauthorized()
                headers, limited = self._count(request, route)
                if limited is not None:
                    status, answer = 429, limited
                else:
                    call = Call(
                        route.method, route.template, dict(request.match_info), dict(request.query), body, uploads
                    )
                    answer = route.answer(call)
                    status = 204 if answer is None else route.status
            except Refusal as refusal:
                status, answer = refusal.status, refusal.body
            except Exception:
                logger.exception("%s %s broke the sandbox", request.method, request.path)
                status, answer = 500, {"message": "500: Internal Server Error", "code": 0}
            self._record(request, route.template, status, answer, body=body, uploads=uploads)
            return _respond(status, answer, headers)

        return handle

    def _count(self, request: web.Request, route: Route) -> tuple[dict[str, str], Json | None]:
        globally = not route.template.startswith(INTERACTION_PATHS)
        verdict = self._rates.take(route.method, route.template, request.match_info, globally=globally)
        return verdict.headers, verdict.refusal

    def _record(
        self,
        request: web.Request,
        template: str,
        status: int,
        answer: Answer,
        *,
        body: Any = None,
        uploads: tuple[Upload, ...] = (),
    ) -> None:
        code = answer.get("code") if status >= 400 and isinstance(answer, dict) else None
        files = tuple((upload.filename, len(upload.data)) for upload in uploads)
        path = request.path.removeprefix(API)
        query = dict(request.query)
        self.requests.append(
            Recorded(self._clock.now(), request.method, template, path, query, body, files, status, code)
        )


def _respond(status: int, answer: Answer, headers: dict[str, str]) -> web.Response:
    if status == 204:
        return web.Response(status=204, headers=headers)
    # Exactly this content type: with a charset behind it discord.py does not read the body as JSON.
    content = json.dumps(answer).encode()
    return web.Response(status=status, body=content, headers={**headers, "Content-Type": "application/json"})


async def _read(request: web.Request) -> tuple[Any, tuple[Upload, ...]]:
    """The JSON and the files of a request; raises 40005 over 25 MiB, 50109 for what is no JSON."""
    if (request.content_length or 0) > limits.REQUEST_BYTES:
        raise errors.too_large()
    try:
        if request.content_type.startswith("multipart/"):
            return await _read_form(request)
        raw = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise errors.too_large() from None
    return (_parsed(raw) if raw else None), ()


async def _read_form(request: web.Request) -> tuple[Any, tuple[Upload, ...]]:
    body: Any = None
    uploads: list[Upload] = []
    total = 0
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            continue
        raw = await part.read()
        total += len(raw)
        if total > limits.REQUEST_BYTES:
            raise errors.too_large()
        if part.name == "payload_json":
            body = _parsed(bytes(raw))
        elif match := FILE_FIELD.match(part.name or ""):
            name = part.filename or "file"
            kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
            uploads.append(Upload(match[1] or str(len(uploads)), name, kind, bytes(raw)))
    return body, tuple(uploads)


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        raise errors.bad_json() from None
