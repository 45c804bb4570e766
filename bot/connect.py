"""How discord.py reaches the sandbox Discord: by its own `connector=` option, with nothing patched."""

from __future__ import annotations

import socket
import ssl
from ipaddress import ip_address
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from bot.settings import BotSettings

HOSTS = frozenset({"discord.com", "gateway.discord.gg", "cdn.discordapp.com"})


class SandboxResolver(AbstractResolver):
    """Sends Discord's hosts to the sandbox and knows no other host."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The sandbox's address for one of Discord's hosts; OSError for any other, so that nothing leaves here."""
        if host not in HOSTS:
            raise OSError(f"{host} is not part of the sandbox Discord")
        return [
            ResolveResult(
                hostname=host,
                host=self._host,
                port=self._port,
                family=self._family,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
        ]

    async def close(self) -> None:
        """Nothing is held open."""


def connector(settings: BotSettings) -> aiohttp.BaseConnector | None:
    """A connector to the sandbox of the settings, trusting its certificate only; needs a running event loop.

    None without a sandbox: discord.py then makes its own.
    """
    if settings.discord_sandbox is None:
        return None
    url = urlsplit(settings.discord_sandbox)
    trust = ssl.create_default_context(cafile=settings.discord_sandbox_ca)
    return aiohttp.TCPConnector(limit=0, ssl=trust, resolver=SandboxResolver(url.hostname or "", url.port or 0))
