"""The lines `key: value` between two rules that many programs put in front of a Markdown file."""

from __future__ import annotations

import re

_RULE = re.compile(r"(?:---|\.\.\.)\s*")
_KEY = re.compile(r"(?P<key>[^\s:#\-\[{\"'][^:]{0,39}?)\s*:(?:\s+(?P<value>.*))?")
_LIST = re.compile(r"\[(?P<items>[^\[\]{}]*)\]")
_BLOCK = re.compile(r"[|>][+-]?")


class BadFrontMatter(Exception):
    """A line of the front matter is none that is read here; the message names it."""


def front_matter(text: str) -> tuple[dict[str, list[str]], str]:
    """The values by key, a list's as bullets, and the text behind them. Raises BadFrontMatter."""
    lines = text.lstrip().splitlines()
    ends = [n for n, line in enumerate(lines) if n and _RULE.fullmatch(line)]
    if not lines or lines[0].strip() != "---" or not ends or not any(map(_KEY.fullmatch, lines[1 : ends[0]])):
        return {}, text
    found: dict[str, list[str]] = {}
    key = ""
    for number, line in enumerate(lines[1 : ends[0]], 2):
        told = _KEY.fullmatch(line)
        if told:
            key = told["key"]
            found[key] = _value((told["value"] or "").strip(), number)
        elif key and (line.startswith((" ", "\t")) or re.match(r"-\s", line)):
            found[key].append(_item(line))
        elif line.strip() and not line.startswith("#"):
            raise BadFrontMatter(f"line {number} of its front matter is no 'key: value': {line.strip()[:60]}")
    return found, "\n".join(lines[ends[0] + 1 :])


def _value(value: str, number: int) -> list[str]:
    if listed := _LIST.fullmatch(value):
        return [f"- {_bare(item)}" for item in listed["items"].split(",") if item.strip()]
    if value.startswith(("[", "{", "&", "*", "!")):
        raise BadFrontMatter(f"line {number} of its front matter has a value that is not plain: {value[:60]}")
    return [] if not value or _BLOCK.fullmatch(value) else [_bare(value)]


def _item(line: str) -> str:
    """An item of a list as a bullet, or a line of an indented text; an indented `key: value` is an item too."""
    plain = line.strip()
    if re.match(r"-\s", plain):
        return f"- {_bare(plain[1:])}"
    return f"- {plain}" if _KEY.fullmatch(plain) else plain


def _bare(value: str) -> str:
    value = value.strip()
    quoted = re.fullmatch(r"\"([^\"]*)\"|'([^']*)'", value)
    return (quoted[1] or quoted[2] or "") if quoted else value
