"""Labelled chat messages, made anew for each seed; every second template is kept from whoever writes the rules."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.training.data.pii_values import GIVEN, Values

Half = Literal["seen", "held_out"]
FIXTURES = Path(__file__).with_name("fixtures")
LABELS = {
    **dict.fromkeys(("given", "lower", "family", "full", "cyrillic", "chinese", "japanese", "korean"), "PERSON"),
    **dict.fromkeys(("email", "hidden_email"), "EMAIL"),
    **dict.fromkeys(("phone", "local_phone"), "PHONE"),
    **dict.fromkeys(("ip", "hidden_ip"), "IP"),
    **dict.fromkeys(("invite", "link"), "URL"),
    **dict.fromkeys(("mention", "handle"), "MENTION"),
    **dict.fromkeys(("secret", "password", "key"), "SECRET"),
    **dict.fromkeys(("card", "iban"), "CARD"),
    **dict.fromkeys(("ssn", "passport", "birth", "plate", "wallet", "place", "snowflake"), "ID"),
    "address": "ADDRESS",
}  # fmt: skip

PRIVATE = (FIXTURES / "pii_private.txt").read_text("utf-8").splitlines()

CLEAN = (FIXTURES / "pii_clean.txt").read_text("utf-8").splitlines()

ROUND = ["{}", "{}", "{}", "{}", "**{}**", "||{}||", "`{}`", '"{}"', "({})", "*{}*", "__{}__"]
CODE_POINTS_LIKE = str.maketrans("aeopcx", "аеорсх")
WIDE = str.maketrans("0123456789", "０１２３４５６７８９")
HIDEABLE = {"email", "phone", "card", "secret", "ip"}


@dataclass(frozen=True)
class Labelled:
    """A message and what is personal in it, as (start, end, label)."""

    text: str
    spans: tuple[tuple[int, int, str], ...]
    template: str


def private_messages(seed: int, half: Half, rounds: int = 6) -> list[Labelled]:
    """Messages with something to mask; the two halves share neither templates nor given names."""
    offset = half == "held_out"
    rng = random.Random(seed)
    values = Values(rng, GIVEN[offset::2])
    return [_fill(line, values, rng) for _ in range(rounds) for line in PRIVATE[offset::2]]


def clean_messages(half: Half) -> list[Labelled]:
    """Messages with nothing to mask, many of which look as if there were."""
    return [Labelled(line.replace("\\n", "\n"), (), line) for line in CLEAN[half == "held_out" :: 2]]


def _fill(template: str, values: Values, rng: random.Random) -> Labelled:
    text, spans = "", []
    for literal, kind in _parts(template.replace("\\n", "\n")):
        text += literal
        if kind:
            value = _hidden(kind, getattr(values, kind)(), rng)
            before, after = (rng.choice(ROUND) if literal.endswith(" ") and len(template) < 60 else "{}").split("{}")
            spans.append((len(text + before), len(text + before + value), LABELS[kind]))
            text += before + value + after
    return Labelled(text, tuple(spans), template)


def _parts(template: str) -> Iterator[tuple[str, str]]:
    pieces = re.split(r"\{(\w+)\}", template)
    yield from zip(pieces[::2], [*pieces[1::2], ""], strict=True)


def _hidden(kind: str, value: str, rng: random.Random) -> str:
    """Now and then, the value as someone writes it who wants to get past a filter."""
    draw = rng.random()
    if kind not in HIDEABLE or draw > 0.3:
        return value
    if draw < 0.1:
        at = rng.randrange(1, len(value))
        return value[:at] + rng.choice("\u200b\u200d\u2060\ufeff") + value[at:]
    if draw < 0.2 and kind != "secret":
        return value.translate(WIDE)
    return value.translate(CODE_POINTS_LIKE) if kind == "email" else value
