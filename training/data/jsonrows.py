"""Reads JSON Lines and JSON documents row by row, strictly: what JSON leaves open is refused with its place."""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any, NoReturn

import orjson

from training.errors import UnreadableData

MAX_LINE_BYTES = 16 * 2**20
MAX_VALUE_CHARS = 64 * 2**20
"""Of one object in a JSON file that is not written line by line, such as a whole chat export."""
MAX_DEPTH = 128
MOST_BLANK_LINES = 100_000
"""One after the other: a small packed file may hold hundreds of millions, which would be read for hours."""
_CHUNK = 2**20
_BOM = b"\xef\xbb\xbf"
_BLANK = re.compile(r"[ \t\r\n]*")
_BLANKS = b" \t\r\n"
_LAST_FIELD = re.compile(r'"([^"\\\n]{1,60})"\s*:\s*"?[^"]*$')
_NOT_NUMBERS = ("NaN", "Infinity", "-Infinity")
_KINDS = {list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number", type(None): "null"}
# Finds where a value ends and makes nothing of its numbers, of which Python refuses long ones.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)

Numbered = tuple[int, dict[str, Any]]


def json_rows(file: io.BufferedReader, name: str) -> Iterator[Numbered]:
    """The objects of JSON Lines (numbered by line), of a JSON array, or of a JSON document (numbered by record).

    Raises UnreadableData.
    """
    if file.peek(1).removeprefix(_BOM).lstrip().startswith(b"["):
        yield from _array_rows(_Text(file, name, b""), name)
        return
    lines = _lines(file, name)
    first = next(lines, (0, b""))
    if _goes_on(first[1]):
        yield from _document_rows(_Text(file, name, first[1]), name)
    elif first[1]:
        for number, line in chain([first], lines):
            yield number, parse_object(line, f"line {number}", name)


def parse_object(data: bytes, where: str, name: str) -> dict[str, Any]:
    """One JSON object; `where` names its place in the file. Raises UnreadableData."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        _refuse(name, f"{where}{_fault(data, error)}")
    if not isinstance(value, dict):
        _refuse(name, f"{where} is {_KINDS.get(type(value), 'a value')}, not an object")
    if _may_repeat_keys(data, _count_keys(value, where, name)):
        _refuse_repeated_keys(data, where, name)
    return value


# --- line by line --------------------------------------------------------------------------------------------------


def _lines(file: io.BufferedReader, name: str) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, numbered from 1 with those that are."""
    number = blank = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            _refuse(name, f"line {number} is longer than {MAX_LINE_BYTES >> 20} MiB")
        if number == 1:
            line = line.removeprefix(_BOM)
        if line and not line.isspace():
            blank = 0
            yield number, line
        elif (blank := blank + 1) > MOST_BLANK_LINES:
            _refuse(name, f"more than {MOST_BLANK_LINES:,} lines before line {number} are blank")


def _goes_on(first: bytes) -> bool:
    """Whether an object's first line is only its beginning, as in a file that was written for people to read."""
    return first.rstrip().endswith((b"{", b"[", b",", b":"))


# --- piece by piece ------------------------------------------------------------------------------------------------


def _array_rows(text: _Text, name: str) -> Iterator[Numbered]:
    number = 0
    text.take("[")
    if text.next_char() == "]":
        text.take("]")
    else:
        while True:
            number += 1
            yield number, parse_object(text.value(number), f"row {number}", name)
            if text.next_char() not in (",", "]"):
                text.fail(number, "is not followed by a comma or the closing bracket")
            if text.take(text.next_char()) == "]":
                break
    if text.next_char():
        _refuse(name, "there is more after its closing bracket")


def _document_rows(text: _Text, name: str) -> Iterator[Numbered]:
    number = 0
    while text.next_char():
        number += 1
        yield number, parse_object(text.value(number), f"row {number}", name)


class _Text:
    """A file's text, of which no more is held than the value at hand."""

    def __init__(self, file: io.BufferedReader, name: str, first: bytes) -> None:
        self._file = file
        self._name = name
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._ended = False
        self._text = ""
        self._at = 0
        self._row = 1
        self._text = self._decoded(first) if first else self._decoded(file.read(_CHUNK).removeprefix(_BOM))

    def next_char(self) -> str:
        """The next character that is not blank, or nothing at the end."""
        while True:
            blank = _BLANK.match(self._text, self._at)
            assert blank is not None
            self._at = blank.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, char: str) -> str:
        self.next_char()
        self._at += 1
        return char

    def value(self, row: int) -> bytes:
        """The bytes of the next value, whole."""
        self._row = row
        self.next_char()
        while True:
            try:
                _, end = _DECODER.raw_decode(self._text, self._at)
            except RecursionError:
                _refuse(self._name, f"row {row} is nested too deeply")
            except json.JSONDecodeError as error:
                begun = self._at
                if not self._more():
                    self._fail_at(error.msg, self._at + error.pos - begun)
                continue
            taken = self._text[self._at : end]
            self._at = end
            return taken.encode("utf-8", "surrogatepass")

    def fail(self, row: int, why: str) -> NoReturn:
        if not self.next_char():
            _refuse(self._name, f"it is cut off after row {row}")
        _refuse(self._name, f"row {row} {why}")

    def _more(self) -> bool:
        """Take in more of the file, as much again as is held, so that a long value is not begun too often."""
        held = len(self._text) - self._at
        if self._ended or held > MAX_VALUE_CHARS:
            return False
        data = self._file.read(max(_CHUNK, held))
        self._ended = not data
        self._text = self._text[self._at :] + self._decoded(data)
        self._at = 0
        return not self._ended

    def _decoded(self, data: bytes) -> str:
        try:
            return self._decode(data, not data)
        except UnicodeDecodeError:
            _refuse(self._name, f"it is not UTF-8, in row {self._row} or soon after it")

    def _fail_at(self, why: str, at: int) -> NoReturn:
        if not self._ended:
            long = f"longer than {MAX_VALUE_CHARS >> 20} MiB: write one object a line, or export a chat in parts"
            long += " (DiscordChatExporter's --partition 20mb) into a folder"
            _refuse(self._name, f"row {self._row} is not valid JSON, or {long}")
        if why.startswith("Unterminated") or at >= len(self._text.rstrip()):
            _refuse(self._name, f"it is cut off in the middle of row {self._row}")
        line = self._text.count("\n", self._at, at) + 1
        column = at - max(self._text.rfind("\n", self._at, at), self._at - 1)
        _refuse(self._name, f"row {self._row} is not valid JSON: see its line {line}, column {column}")


# --- what is wrong -------------------------------------------------------------------------------------------------


def _fault(data: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError as undecodable:
        return f" is not valid JSON in UTF-8: byte {undecodable.start + 1} is no text"
    for start in (error.pos - 1, error.pos):
        for word in _NOT_NUMBERS:
            if start >= 0 and text.startswith(word, start):
                return f"{_field(text, start)}, column {start + 1}: {word} is not JSON, write null or a number"
    if "surrogate" in error.msg:
        return f"{_field(text, error.pos)}, column {error.pos + 1}: half of a surrogate pair is no character"
    if "infinity" in error.msg:
        return f"{_field(text, error.pos)}, column {error.pos + 1}: the number is too large"
    if "depth" in error.msg:
        return " is not valid JSON: it is nested too deeply"
    if text[error.pos : error.pos + 1] == "\0":
        return f" is not valid JSON: there is a NUL byte in column {error.pos + 1}"
    return f" is not valid JSON: see column {error.pos + 1}"


def _field(text: str, at: int) -> str:
    found = _LAST_FIELD.search(text, max(0, at - 200), at)
    return f", field {found[1]}" if found else ""


def _count_keys(value: dict[str, Any], where: str, name: str) -> int:
    """How many keys an object and everything in it has."""
    keys, depth = 0, 0
    level: list[Any] = [value]
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            _refuse(name, f"{where} is nested more than {MAX_DEPTH} deep")
        below: list[Any] = []
        for item in level:
            keys += len(item) if type(item) is dict else 0
            parts = item.values() if type(item) is dict else item
            below += [part for part in parts if type(part) is dict or type(part) is list]
        level = below
    return keys


def _may_repeat_keys(data: bytes, keys: int) -> bool:
    """Whether an object that kept so many keys may have had more.

    orjson keeps the last of two equal keys and says nothing. A text has at least one colon for each key, and without
    blanks at least one `":`; where there are no more of them than keys were kept, none was lost. Counting is cheap.
    """
    return data.count(b":") != keys and data.translate(None, _BLANKS).count(b'":') != keys


def _refuse_repeated_keys(data: bytes, where: str, name: str) -> None:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            repeated = next(key for key in keys if keys.count(key) > 1)
            _refuse(name, f"{where} has the field {repeated[:60]} twice")
        return found

    try:
        json.loads(data, object_pairs_hook=once, parse_int=str, parse_float=str)
    except RecursionError:
        _refuse(name, f"{where} is nested too deeply")


def _refuse(name: str, reason: str) -> NoReturn:
    raise UnreadableData(name=name, reason=reason)
