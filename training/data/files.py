"""Reads the rows of any data file or folder; the contents decide what it is, never its name."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.data.jsonrows import json_rows
from training.data.packed import most_unpacked, open_plain, seekable
from training.data.shards import Wanted, shards
from training.errors import UnreadableData

_TABLES = {b"PAR1": "parquet", b"ARROW1": "arrow file", b"\xff\xff\xff\xff": "arrow stream"}
_PNG = b"\x89PNG\r\n\x1a\n"
_REFUSED = {
    b"PK\x03\x04": "a zip archive, as models and office files are; unpack it first",
    b"\x1f\x8b": "packed twice; unpack it once",
    b"\x28\xb5\x2f\xfd": "packed twice; unpack it once",
    b"BZh": "packed with bzip2; pack it with gzip or zstd instead",
    b"\xfd7zXZ": "packed with xz; pack it with gzip or zstd instead",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"\x93NUMPY": "a NumPy file, which may hold code",
    b"\x89HDF": "an HDF5 file",
    b"SQLite": "a database",
    b"\xff\xfe": "UTF-16 text; write it as UTF-8",
    b"\xfe\xff": "UTF-16 text; write it as UTF-8",
}
_PICKLES = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
_KNOWN = "JSON, JSON Lines, Parquet, Arrow or a character card, as they are or packed with gzip or zstd"


@dataclass(frozen=True, slots=True)
class Row:
    """One row as the file has it; `number` counts from 1: lines of JSON Lines, records of anything else."""

    number: int
    value: dict[str, Any]


def read_rows(
    path: Path,
    name: str = "",
    wanted: Wanted = Wanted(),
    on_splits: Callable[[dict[str, bool]], None] = lambda splits: None,
) -> Iterator[Row]:
    """The rows of a file, or of a folder's wanted splits (by default the one to train on), with bounded memory.

    A folder's rows are numbered through all its files; `on_splits` hears which splits it holds, and whether each is
    read. Raises UnreadableData, which calls the data by `name`.
    """
    name = name or path.name
    if not path.is_dir():
        if wanted.asked:
            raise UnreadableData(name=name, reason="it is a file, and only folders have splits")
        yield from _file_rows(path, name)
        return
    before = 0
    found = shards(path, name, wanted)
    on_splits(found.splits)
    for shard in found.files:
        number = 0
        for row in _file_rows(shard, f"{name}/{shard.name}"):
            number = row.number
            yield Row(before + number, row.value)
        before += number


def _file_rows(path: Path, name: str) -> Iterator[Row]:
    try:
        with open_plain(path, name) as file:
            for number, value in _values(file, name, most_unpacked(path)):
                yield Row(number, value)
    except OSError as error:
        raise UnreadableData(name=name, reason=error.strerror or "the file system refused") from error


def _values(file: io.BufferedReader, name: str, most: int) -> Iterator[tuple[int, dict[str, Any]]]:
    head = file.peek(1)
    if not head:
        raise UnreadableData(name=name, reason="it is empty (0 bytes)")
    for magic, kind in _TABLES.items():
        if head.startswith(magic):
            return _table_rows(file, kind, name, most)
    if head.startswith(_PNG):
        return _card_rows(file, name)
    _check_json(head, name)
    return json_rows(file, name)


def _check_json(head: bytes, name: str) -> None:
    """Refuse what is not JSON by what it is: nothing that may hold code is read."""
    if head.startswith(_PICKLES):
        raise UnreadableData(name=name, reason="it is a pickle, which may hold code and is never opened")
    for magic, what in _REFUSED.items():
        if head.startswith(magic):
            raise UnreadableData(name=name, reason=f"it is {what}")
    first = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if first and not first.startswith((b"{", b"[")):
        raise UnreadableData(name=name, reason=f"line 1 is not valid JSON; the file must be {_KNOWN}")


def _table_rows(file: io.BufferedReader, kind: str, name: str, most: int) -> Iterator[tuple[int, dict[str, Any]]]:
    from training.data.tables import table_rows

    with seekable(file) as table:
        yield from table_rows(table, kind, name, most)


def _card_rows(file: io.BufferedReader, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    from training.persona.card import MAX_FILE_BYTES, card_bytes

    data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise UnreadableData(name=name, reason=f"it is a picture of more than {MAX_FILE_BYTES >> 20} MiB")
    yield 1, card_bytes(data, name)
