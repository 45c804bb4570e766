"""Says how much the pages of a Parquet file unpack to, before anything unpacks them.

What the end of the file says of its columns nobody checks against them, but the reader makes room for what the header
of each page says. Headers are Thrift structs in its compact protocol; fields 2 and 3 are the unpacked and packed size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

_UNPACKED, _PACKED = 2, 3
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_NUMBERS = (4, 5, 6)
_DEEPEST = 8
_MOST_ITEMS = 100_000


def page_sizes(file: BinaryIO, start: int, end: int) -> Iterator[int]:
    """The bytes that each page between these places unpacks to. Raises ValueError for what is no page."""
    while start < end:
        file.seek(start)
        sizes = _numbers(file)
        unpacked, packed = sizes.get(_UNPACKED, -1), sizes.get(_PACKED, -1)
        if unpacked < 0 or packed < 0:
            raise ValueError("a page without its size")
        yield unpacked
        start = file.tell() + packed


def _numbers(file: BinaryIO, depth: int = 0) -> dict[int, int]:
    """The whole numbers among the fields of the struct at hand, which is passed over."""
    found: dict[int, int] = {}
    field = 0
    while head := _byte(file):
        step, kind = head >> 4, head & 15
        field = field + step if step else _signed(file)
        if kind in _NUMBERS:
            found[field] = _signed(file)
        elif kind not in (_TRUE, _FALSE):
            _pass_over(file, kind, depth)
    return found


def _pass_over(file: BinaryIO, kind: int, depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    if kind in _NUMBERS:
        _signed(file)
    elif kind in (_TRUE, _FALSE, _BYTE):
        _byte(file)
    elif kind == _DOUBLE:
        file.seek(8, 1)
    elif kind == _BINARY:
        file.seek(_unsigned(file), 1)
    elif kind in (_LIST, _SET):
        head = _byte(file)
        count = head >> 4 if head >> 4 < 15 else _unsigned(file)
        if count > _MOST_ITEMS:
            raise ValueError("too long a list")
        for _ in range(count):
            _pass_over(file, head & 15, depth + 1)
    elif kind == _STRUCT:
        _numbers(file, depth + 1)
    else:
        raise ValueError("a field of no kind that a page has")


def _signed(file: BinaryIO) -> int:
    number = _unsigned(file)
    return (number >> 1) ^ -(number & 1)


def _unsigned(file: BinaryIO) -> int:
    number = 0
    for shift in range(0, 64, 7):
        byte = _byte(file)
        number |= (byte & 127) << shift
        if byte < 128:
            return number
    raise ValueError("too long a number")


def _byte(file: BinaryIO) -> int:
    data = file.read(1)
    if not data:
        raise ValueError("it ends in the middle of a page")
    return data[0]
