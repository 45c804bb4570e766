"""Says how much the messages of an Arrow stream unpack to, before anything unpacks them.

A compressed buffer begins with its unpacked length, which the reader trusts and makes room for. The layout is that of
Arrow's columnar format, "Encapsulated message format", with its metadata in FlatBuffers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

_CONTINUES = 0xFFFFFFFF
_DICTIONARY, _ROWS = 2, 3
_LEAST_METADATA = 16
MOST_METADATA = 16 * 2**20


def unpacked_sizes(file: BinaryIO) -> Iterator[int]:
    """The bytes that each compressed message unpacks to, from where the file stands on.

    Raises ValueError or struct.error for what is no stream.
    """
    while (head := file.read(4)) and (size := _metadata_size(file, head)):
        if not _LEAST_METADATA <= size <= MOST_METADATA:
            raise ValueError("no metadata is of that size")
        metadata = file.read(size)
        body = file.tell()
        message = _Table(metadata, _number("<I", metadata, 0))
        length = message.number(3, "<q")
        if length < 0:
            raise ValueError("no body is of that size")
        if compressed := _compressed(message):
            yield sum(_unpacked(file, body, length, buffer) for buffer in compressed)
        file.seek(body + length)


def _metadata_size(file: BinaryIO, head: bytes) -> int:
    (size,) = struct.unpack("<I", head)
    return struct.unpack("<I", file.read(4))[0] if size == _CONTINUES else int(size)


def _compressed(message: _Table) -> list[tuple[int, int]]:
    """Offset and length of the buffers of a message, if they are compressed."""
    kind = message.number(1, "<B")
    if kind not in (_DICTIONARY, _ROWS):
        return []
    rows = message.table(2)
    if kind == _DICTIONARY:
        rows = rows.table(1)
    return rows.pairs(2) if rows.has(3) else []


def _unpacked(file: BinaryIO, body: int, length: int, buffer: tuple[int, int]) -> int:
    offset, size = buffer
    if not (0 <= offset <= offset + size <= length):
        raise ValueError("a buffer lies outside its body")
    if not size:
        return 0
    file.seek(body + offset)
    (told,) = struct.unpack("<q", file.read(8))
    return size if told == -1 else int(told)


class _Table:
    """A table of a FlatBuffer; fields are counted from 0."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        self._fields = at - _number("<i", data, at)

    def has(self, field: int) -> bool:
        return self._place(field) != 0

    def number(self, field: int, kind: str) -> int:
        place = self._place(field)
        return _number(kind, self._data, place) if place else 0

    def table(self, field: int) -> _Table:
        place = self._place(field)
        return _Table(self._data, place + _number("<I", self._data, place))

    def pairs(self, field: int) -> list[tuple[int, int]]:
        """A list of structs of two long integers."""
        place = self._place(field)
        if not place:
            return []
        start = place + _number("<I", self._data, place)
        count = _number("<I", self._data, start)
        if start + 4 + 16 * count > len(self._data):
            raise ValueError("a list ends outside its metadata")
        return [struct.unpack_from("<qq", self._data, start + 4 + 16 * item) for item in range(count)]

    def _place(self, field: int) -> int:
        entry = 4 + 2 * field
        if entry >= _number("<H", self._data, self._fields):
            return 0
        offset = _number("<H", self._data, self._fields + entry)
        return self._at + offset if offset else 0


def _number(kind: str, data: bytes, at: int) -> int:
    if at < 0:
        raise ValueError("it points before its beginning")
    return int(struct.unpack_from(kind, data, at)[0])
