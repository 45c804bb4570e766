"""The lines of a scorecard in words: what each is called, and how its figures are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bot.limits import EMBED_FIELD_VALUE, trim
from bot.phrases import harmless, nats, percent
from training.schema import ScoreLine, Verdict

LONGEST_FIGURE = 120
VERDICTS: Mapping[Verdict, tuple[str, str]] = {
    Verdict.PASS: ("✅", "passed"),
    Verdict.WARN: ("⚠️", "passed with a warning"),
    Verdict.FAIL: ("❌", "did not pass"),
    Verdict.NOT_APPLICABLE: ("➖", "not judged"),
}
"""Each verdict's sign and words."""
NAMES: Mapping[str, str] = {
    "facts": "Facts",
    "voice": "Voice",
    "held_out_fit": "Held-out fit",
    "general": "General ability",
    "breaks": "Out of character",
    "degeneracy": "Broken replies",
    "copying": "Copying",
    "version": "Version gate",
    "people": "People's votes",
}
"""What people read for each line."""


def share(value: float) -> str:
    """A part of one, in hundredths."""
    return f"{value:.2f}"


def difference(value: float) -> str:
    """A difference of two such parts, with its sign."""
    return f"{value:+.2f}".replace("-", "−")


def loss(value: float) -> str:
    """A difference of two losses."""
    return f"{difference(value)} nats"


def hundredths(value: float) -> str:
    """A part of one, or a difference of two, in per cent."""
    return percent(value).replace("-", "−")


_FIGURES: Mapping[str, Callable[[float], str]] = {
    "facts": share,
    "voice": share,
    "held_out_fit": loss,
    "general": loss,
    "version": difference,
}


def heading(line: ScoreLine) -> str:
    """A line's verdict and name."""
    return f"{VERDICTS[line.verdict][0]} {NAMES[line.id]}"


def figure(line: ScoreLine) -> str:
    """A line's value with its interval, and what human lines reach; why there is none, where there is none."""
    if line.value is None:
        return harmless(line.explanation, 120) or VERDICTS[line.verdict][1]
    write = _FIGURES.get(line.id, hundredths)
    gold = f", gold {write(line.reference)}" if line.reference is not None else ""
    return trim(f"{write(line.value)}{within(line.low, line.high, write)}{gold}", LONGEST_FIGURE)


def within(low: float | None, high: float | None, write: Callable[[float], str]) -> str:
    """An interval in brackets, its unit said once; nothing where there is none."""
    if low is None or high is None:
        return ""
    if write is share:
        return f" [{write(low)}–{write(high)}]"
    bare = difference if write is loss else write
    return f" [{bare(low)} to {bare(high)}]"


def scorecard(lines: Sequence[ScoreLine]) -> str:
    """The scorecard of a training run, one line each."""
    told = [f"{VERDICTS[line.verdict][0]} **{NAMES[line.id]}** {_told(line)}".rstrip() for line in lines]
    return trim("\n".join(told), EMBED_FIELD_VALUE) or "–"


def _told(line: ScoreLine) -> str:
    said = harmless(line.explanation, 160)
    if line.value is None:
        return said
    shown, unit = (nats, " nats") if line.id in ("held_out_fit", "general") else (percent, "")
    span = f" ({shown(line.low)} to {shown(line.high)})" if line.low is not None and line.high is not None else ""
    reference = f", human lines {shown(line.reference)}" if line.reference is not None else ""
    return f"{shown(line.value)}{unit}{span}{reference} · {said}".removesuffix(" · ")
