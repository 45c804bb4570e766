"""Reads Arrow and Parquet files a few rows at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from training.errors import UnreadableData

BATCH_ROWS = 128
MAX_TIMES_PACKED = 1000
"""How much larger than the file a Parquet file may say that its columns are."""
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


def table_rows(file: BinaryIO, kind: str, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a table, numbered from 1; kind is "parquet", "arrow file" or "arrow stream".

    Raises UnreadableData.
    """
    number = 0
    try:
        for batch in _batches(file, kind, name):
            # Offsets and texts are what the file says; unchecked, wrong ones could read beyond its memory.
            batch.validate(full=True)
            for part in range(0, batch.num_rows, BATCH_ROWS):
                for row in batch.slice(part, BATCH_ROWS).to_pylist():
                    number += 1
                    yield number, row
    except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError) as error:  # a wrong length asks for any memory
        where = f"after row {number} " if number else ""
        raise UnreadableData(name=name, reason=f"{where}it is damaged or cut off as a table ({kind})") from error


def _batches(file: BinaryIO, kind: str, name: str) -> Iterator[pa.RecordBatch]:
    if kind == "parquet":
        table = pq.ParquetFile(file, pre_buffer=False)
        _check_columns(table.schema_arrow, name)
        _check_size(table.metadata, _size(file), name)
        yield from table.iter_batches(BATCH_ROWS)
    elif kind == "arrow file":
        reader = pa.ipc.open_file(file)
        _check_columns(reader.schema, name)
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)
    else:
        _check_end(file, name)
        stream = pa.ipc.open_stream(file)
        _check_columns(stream.schema, name)
        yield from stream


def _check_columns(schema: pa.Schema, name: str) -> None:
    repeated = {column for column in schema.names if schema.names.count(column) > 1}
    if repeated:
        raise UnreadableData(name=name, reason=f"it has the column {min(repeated)[:60]} twice")


def _check_size(metadata: pq.FileMetaData, size: int, name: str) -> None:
    told = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    if told > max(64 * 2**20, MAX_TIMES_PACKED * size):
        raise UnreadableData(name=name, reason=f"it unpacks to {told >> 20} MiB, more than a text of its size would")


def _check_end(file: BinaryIO, name: str) -> None:
    """A stream that is cut off between two batches is read without complaint; only its end mark tells."""
    size = _size(file)
    file.seek(max(0, size - len(_END_OF_STREAM)))
    if file.read() != _END_OF_STREAM:
        raise UnreadableData(name=name, reason="it is cut off: its end mark is missing")
    file.seek(0)


def _size(file: BinaryIO) -> int:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size
