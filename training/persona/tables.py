"""Markdown tables of a persona sheet, written as the bullets that the rest of the reader knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

_RULE = re.compile(r"\|?(?:\s*:?-{2,}:?\s*\|)+(?:\s*:?-{2,}:?\s*)?")
_CELL_END = re.compile(r"(?<!\\)\|")
_QUESTION = re.compile(r"q(?:uestion)?s?|ask|frage|问题?", re.I)
_ID = re.compile(r"id|key", re.I)


_HEADING = re.compile(r"values?|relation(?:ship)?s?|roles?|description|what|notes?|details?|facts?|who|text", re.I)


def with_bullets(lines: Sequence[str], is_label: Callable[[str], bool]) -> list[str]:
    """The lines, each row of a table as a bullet: `Question? — answer`, or `first: the others`.

    The head is a row too where its cells are a label, such as `Name`, and its value.
    """
    made: list[str] = []
    head: list[str] | None = None
    for line in lines:
        if _RULE.fullmatch(line.strip()) and made and "|" in made[-1]:
            head = _cells(made.pop())
            value = head[1] if len(head) > 1 else ""
            made += _row(head, []) if is_label(head[0]) and not _HEADING.fullmatch(value) else []
        elif head and "|" in line:
            made += _row(_cells(line), head)
        else:
            head = None
            made.append(line)
    return made


def _cells(line: str) -> list[str]:
    bare = line.strip().removeprefix("|")
    bare = bare if bare.endswith("\\|") else bare.removesuffix("|")
    return [cell.replace("\\|", "|").strip() for cell in _CELL_END.split(bare)]


def _row(cells: Sequence[str], head: Sequence[str]) -> Iterator[str]:
    first, *others = cells
    rest = ", ".join(cell for cell in others if cell)
    if not first or not rest:
        yield from [f"- {first or rest}"] if first or rest else []
    elif first.endswith(("?", "？")):
        yield f"- {first} — {rest}"
    elif head and _QUESTION.fullmatch(head[0]) and len(first.split()) > 2:
        yield f"- {first}? — {rest}"
    else:
        label = first if head and _ID.fullmatch(head[0]) else first[:1].upper() + first[1:]
        yield f"- {label}: {rest}"
