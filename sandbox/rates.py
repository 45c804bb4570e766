"""Rate limits as the bot sees them: buckets by route and major parameter, and the global one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from sandbox.clock import Clock
from sandbox.errors import Json
from sandbox.limits import DEFAULT_RATE, GLOBAL_RATE, ROUTE_RATES, Rate

WINDOWS_KEPT = 1_000
MAJOR = ("channel_id", "guild_id", "webhook_id", "webhook_token", "interaction_id", "interaction_token")


@dataclass
class Window:
    """A fixed window: it opens with its first request and refills all at once."""

    rate: Rate
    opened: float
    used: int = 0


@dataclass(frozen=True)
class Verdict:
    """Whether a request may pass, and the headers that tell the bot where it stands."""

    headers: dict[str, str]
    refusal: Json | None = None


@dataclass
class Rates:
    """Counts requests by the sandbox's clock."""

    clock: Clock
    _windows: dict[tuple[str, ...], Window] = field(default_factory=dict)

    def take(self, method: str, template: str, params: Mapping[str, str], *, globally: bool) -> Verdict:
        """Count one request; `globally` is False for interaction endpoints, which the global limit leaves out."""
        if globally and (wait := self._global_wait()):
            return _refused({"X-RateLimit-Global": "true", "X-RateLimit-Scope": "global"}, wait, everywhere=True)
        major = tuple(params[name] for name in MAJOR if name in params)
        rate = ROUTE_RATES.get((method, template), DEFAULT_RATE)
        window = self._window((method, template, *major), rate)
        left = window.opened + rate.seconds - self.clock.now()
        full = window.used >= rate.requests
        window.used += not full
        headers = {
            "X-RateLimit-Limit": str(rate.requests),
            "X-RateLimit-Remaining": str(rate.requests - window.used),
            "X-RateLimit-Reset": f"{self.clock.now() + left:.3f}",
            "X-RateLimit-Reset-After": f"{left:.3f}",
            "X-RateLimit-Bucket": hashlib.blake2s(f"{method} {template}".encode(), digest_size=16).hexdigest(),
        }
        if full:
            return _refused({**headers, "X-RateLimit-Scope": "user"}, left, everywhere=False)
        return Verdict(headers)

    def _window(self, key: tuple[str, ...], rate: Rate) -> Window:
        now = self.clock.now()
        window = self._windows.get(key)
        if window is None or now >= window.opened + rate.seconds:
            if len(self._windows) >= WINDOWS_KEPT:
                self._windows = {k: w for k, w in self._windows.items() if now < w.opened + w.rate.seconds}
            window = self._windows[key] = Window(rate, now)
        return window

    def _global_wait(self) -> float:
        window = self._window(("global",), GLOBAL_RATE)
        if window.used >= GLOBAL_RATE.requests:
            return window.opened + GLOBAL_RATE.seconds - self.clock.now()
        window.used += 1
        return 0.0


def _refused(headers: dict[str, str], wait: float, *, everywhere: bool) -> Verdict:
    wait = round(max(wait, 0.001), 3)
    body: Json = {"message": "You are being rate limited.", "retry_after": wait, "global": everywhere}
    # discord.py takes a 429 without Via for a ban by Discord's front door.
    return Verdict({**headers, "Retry-After": str(int(wait) + 1), "Via": "1.1 sandbox"}, body)
