"""What a chat template writes around the turns, found out once, so that a row need not be rendered to be counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from training.chat import ChatFormat, UnusableTemplate
from training.data.canonical import Role
from training.schema import Message

Trim = Callable[[str], str]
TRIMS: tuple[Trim, ...] = (str, str.strip, str.lstrip, str.rstrip)
ROLES: tuple[Role, ...] = ("system", "user", "assistant")
ROUNDS_PROBED = 4
START = "start"

Place = tuple[str, str, int]
"""The role before, the role after, and how many turns follow, two standing for any more: some templates write the last
answer another way."""


@dataclass(frozen=True)
class Layout:
    """The fixed text between turns, and what becomes of white space at the edges of what is said."""

    gaps: Mapping[Place, str]
    trims: Mapping[str, Trim]

    def text(self, turns: Sequence[Message]) -> str:
        """The conversation as the template would write it."""
        parts = [self.gaps[place_of(turns, 0)]]
        for i, turn in enumerate(turns, start=1):
            parts += [self.trims[turn.role](turn.content), self.gaps[place_of(turns, i)]]
        return "".join(parts)


def place_of(turns: Sequence[Message], i: int) -> Place:
    """Where the gap in front of turn `i` stands; that behind the last turn has the number of turns for `i`."""
    before = turns[i - 1].role if i else START
    return (before, turns[i].role if i < len(turns) else "", min(len(turns) - i, 2))


def find_layout(chat: ChatFormat) -> Layout | None:
    """The template's layout; None where it does more with the turns than to write them down one after another."""
    gaps: dict[Place, str] = {}
    for turns in _shapes(chat, ""):
        found = _gaps(chat, turns)
        if found is None or any(gaps.setdefault(place, text) != text for place, text in found.items()):
            return None
    padded = [(turns, _written(chat, turns)) for turns in _shapes(chat, " \n\t ")]
    for trims in product(TRIMS, repeat=len(ROLES)):
        layout = Layout(gaps, dict(zip(ROLES, trims, strict=True)))
        if all(layout.text(turns) == written for turns, written in padded):
            return layout
    return None


def words_of_template(chat: ChatFormat) -> set[str]:
    """What the template looks for in a turn, such as `</think>`: a turn that holds one may be written another way."""
    template = chat.tokenizer.get_chat_template()
    words: set[str] = set()
    tree = jinja2.Environment(extensions=["jinja2.ext.loopcontrols", _Generation], autoescape=False).parse(template)  # noqa: S701
    for node in tree.find_all((nodes.Compare, nodes.Call, nodes.Filter)):
        words |= {c.value for c in node.find_all(nodes.Const) if isinstance(c.value, str) and c.value.strip()}
    return words - {*ROLES, "role", "content", "tool"}


class _Generation(Extension):
    """Reads past the marks that templates set around an answer."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _shapes(chat: ChatFormat, edge: str) -> list[list[Message]]:
    """Conversations of one to four rounds, with and without a system turn, of words that stand nowhere else."""
    shapes = []
    for system, rounds in product((False, True), range(1, ROUNDS_PROBED + 1)):
        roles: list[Role] = ["system"] if system and chat.takes_system else []
        roles += ["user", "assistant"] * rounds
        shapes.append([Message(role=role, content=f"{edge}qz{i}xv{edge}") for i, role in enumerate(roles)])
    return shapes


def _written(chat: ChatFormat, turns: Sequence[Message]) -> str:
    try:
        return chat.text(turns)
    except UnusableTemplate:
        return ""


def _gaps(chat: ChatFormat, turns: Sequence[Message]) -> dict[Place, str] | None:
    rest = _written(chat, turns)
    found: dict[Place, str] = {}
    for i, turn in enumerate(turns):
        if rest.count(turn.content) != 1:
            return None
        found[place_of(turns, i)], rest = rest.split(turn.content)
    found[place_of(turns, len(turns))] = rest
    return found
