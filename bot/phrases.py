"""Numbers and other people's text, as cards show them."""

from __future__ import annotations

import math

from discord.utils import escape_markdown, escape_mentions

from bot.limits import trim

BAR_CELLS = 20
# Said wherever a model that only rehearses shows: plan, card, result and every answer.
REHEARSAL = "🎭 **Rehearsal model**: a tiny stand-in made on this machine."


def bar(share: float) -> str:
    """Twenty cells and a percentage."""
    share = min(1.0, max(0.0, share))
    full = int(share * BAR_CELLS)
    return f"{'▰' * full}{'▱' * (BAR_CELLS - full)} {percent(share)}"


def duration(seconds: float) -> str:
    """A time span in its two largest units."""
    if not math.isfinite(seconds):
        return "an unknown time"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if minutes else f"{hours:,} h"


def span(low: float, high: float) -> str:
    """A span of time that is only roughly known."""
    return f"about {duration(high)}" if duration(low) == duration(high) else f"{duration(low)} to {duration(high)}"


def count(number: int, noun: str) -> str:
    """A number of things."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def big(number: float) -> str:
    """A number that may be very large, such as a perplexity."""
    return f"{number:.2g}" if number >= 100_000 else f"{number:,.1f}"


def nats(value: float | None) -> str:
    """A difference in loss, with its sign."""
    return f"{value or 0:+.2f}"


def percent(value: float | None) -> str:
    """A share in per cent."""
    return f"{value or 0:.0%}".replace("%", " %")


def trend(before: float, after: float) -> str:
    """Whether a number fell, rose or stayed."""
    return "▼" if after < before else "▲" if after > before else "▬"


def harmless(text: str, limit: int) -> str:
    """Text that someone wrote, made harmless: no markdown, no mention, no more than `limit`."""
    return trim(escape_mentions(escape_markdown(text.strip(), ignore_links=False)), limit)
