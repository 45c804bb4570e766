"""A small Discord on loopback: one listener for the bot, one for the page, and everything in memory."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path
from types import TracebackType
from typing import Self

import trustme
from aiohttp import web

from sandbox.api import HOSTS, Api, Recorded
from sandbox.clock import Clock
from sandbox.commands import Registry
from sandbox.dispatches import Dispatcher
from sandbox.gateway import NO_INTENTS, Gateway, Intent
from sandbox.hooks import Hooks
from sandbox.interactions import Interactions
from sandbox.limits import HEARTBEAT_INTERVAL_S
from sandbox.live import Live
from sandbox.rest import Rest
from sandbox.state import World
from sandbox.threads import Threads

HOST = "127.0.0.1"
DEFAULT_TOKEN = "sandbox-token"


class Sandbox:
    """Discord's HTTP API and gateway for one app in one guild, and the page on which people meet it.

    Use it as an async context manager. What was said and synced is kept in memory: it outlives a restart of the bot,
    but not one of the sandbox. The certificate authority is made anew at each start; only its certificate is written,
    to `data_dir/ca.pem`. `privileged` are the intents that the app's developer page would have switched on.
    """

    def __init__(
        self,
        *,
        data_dir: Path,
        token: str = DEFAULT_TOKEN,
        page_port: int = 0,
        discord_port: int = 0,
        privileged: Intent = NO_INTENTS,
        heartbeat_s: float = HEARTBEAT_INTERVAL_S,
    ) -> None:
        self.token = token
        self.ca_path = data_dir / "ca.pem"
        self.clock = Clock()
        self.world = World(self.clock)
        self.registry = Registry(self.clock)
        self.gateway = Gateway(self.world, token, privileged, heartbeat_s)
        self.interactions = Interactions(
            self.world, self.registry, lambda payload: self.gateway.dispatch("INTERACTION_CREATE", payload)
        )
        self._live = Live(self.world, self.interactions, self.gateway)
        self.world.watchers += [Dispatcher(self.world, self.gateway), self._live]
        parts = (
            Rest(self.world, self.registry, self.gateway),
            Threads(self.world),
            Hooks(self.world, self.interactions),
        )
        routes = [route for part in parts for route in part.routes()]
        self._api = Api(self.world, self.gateway, token, routes)
        self._ports = (page_port, discord_port)
        self._runners: list[web.AppRunner] = []
        self.page_url = ""
        self.discord_url = ""

    @property
    def requests(self) -> list[Recorded]:
        """The requests that the bot made, in order; the newest 20,000 of them."""
        return list(self._api.requests)

    async def __aenter__(self) -> Self:
        page_port, discord_port = self._ports
        context = await asyncio.to_thread(self._certify)
        try:
            port = await self._listen(self._live.application(), page_port, None)
            self.page_url = f"http://{HOST}:{port}/"
            port = await self._listen(self._api.application(), discord_port, context)
        except OSError:
            await self._stop_listening()
            raise
        self.discord_url = f"https://{HOST}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.interactions.close()
        await self.gateway.close()
        await self._live.close()
        await self._stop_listening()

    def _certify(self) -> ssl.SSLContext:
        """Make a certificate authority and a server certificate, and write the authority's certificate."""
        authority = trustme.CA()
        self.ca_path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.ca_path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(authority.cert_pem.bytes())
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.ca_path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*HOSTS, HOST, "localhost").configure_cert(context)
        return context

    async def _listen(self, app: web.Application, port: int, context: ssl.SSLContext | None) -> int:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        self._runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, HOST, port, ssl_context=context).start()
        return int(runner.addresses[0][1])

    async def _stop_listening(self) -> None:
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()
