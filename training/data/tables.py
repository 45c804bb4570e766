"""Reads Arrow and Parquet files a few rows at a time, and no more of them than their size allows for.

A table may say a text once and mean it a million times. So its texts stay as they are stored until their length is
known, and what they come to is counted, as it is for packed files.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from training.data.ipc import unpacked_sizes
from training.data.jsonrows import MAX_LINE_BYTES
from training.data.pages import page_sizes
from training.errors import UnreadableData

BATCH_ROWS = 128
MOST_BATCH_ROWS = 16_384
BATCH_BYTES = 16 * 2**20
GROUP_BYTES = 64 * 2**20
MAX_GROUP_BYTES = 256 * 2**20
MAX_PIECE_BYTES = 512 * 2**20
"""What one page of a Parquet file, or one message of an Arrow file, may unpack to; usual ones are a hundredth of it."""
VALUE_BYTES = 16
"""What a value takes in memory at least, however little of the file it takes."""
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
_ARROW_FILE_HEAD = 8
_MADE_OF_OTHERS = {"DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"}
"""Ways to store texts that know no dictionary: the first writes a text as what it adds to the one before."""


def table_rows(file: BinaryIO, kind: str, name: str, most: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a table, numbered from 1; kind is "parquet", "arrow file" or "arrow stream".

    All of them may come to `most` bytes. Raises UnreadableData.
    """
    number = 0
    try:
        for batch in _batches(file, kind, name, most):
            # Offsets and texts are what the file says; unchecked, wrong ones could read beyond its memory.
            batch.validate(full=True)
            for part, size in _parts(batch, number, name):
                most -= size
                if most < 0:
                    _refuse(name, "its rows come to more than a table of its size would hold")
                for row in _plain(part).to_pylist():
                    number += 1
                    yield number, row
    except (pa.ArrowException, OSError, UnicodeDecodeError, struct.error, ValueError, MemoryError) as error:
        where = f"after row {number} " if number else ""
        raise UnreadableData(name=name, reason=f"{where}it is damaged or cut off as a table ({kind})") from error


# --- batches -------------------------------------------------------------------------------------------------------


def _batches(file: BinaryIO, kind: str, name: str, most: int) -> Iterator[pa.RecordBatch]:
    if kind == "parquet":
        yield from _parquet_batches(file, name, most)
        return
    start = 0
    if kind == "arrow file":
        # The rows are read as the stream that such a file holds: its table of contents could lead astray.
        pa.ipc.open_file(file)
        start = _ARROW_FILE_HEAD
    else:
        _check_end(file, name)
    file.seek(start)
    _check_sizes(unpacked_sizes(file), name, most)
    file.seek(start)
    stream = pa.ipc.open_stream(file)
    _check_columns(stream.schema, name)
    yield from stream


def _parquet_batches(file: BinaryIO, name: str, most: int) -> Iterator[pa.RecordBatch]:
    metadata = pq.ParquetFile(file, pre_buffer=False).metadata
    _check_columns(metadata.schema.to_arrow_schema(), name)
    _check_values(metadata, name, most)
    sizes = _group_sizes(file, metadata, name, most)
    chunks = [chunk for group in range(metadata.num_row_groups) for chunk in _chunks(metadata.row_group(group))]
    made_of_others = {chunk.path_in_schema for chunk in chunks if not _MADE_OF_OTHERS.isdisjoint(chunk.encodings)}
    texts = {chunk.path_in_schema for chunk in chunks if chunk.physical_type == "BYTE_ARRAY"}
    as_stored = pq.ParquetFile(file, pre_buffer=False, read_dictionary=sorted(texts - made_of_others))
    in_full = pq.ParquetFile(file, pre_buffer=False)
    # Texts as they are stored are held until their group ends. A file that is itself large needs no such care.
    most_stored = GROUP_BYTES if _size(file) > GROUP_BYTES else MAX_GROUP_BYTES
    for group, size in enumerate(sizes):
        table, batch_rows = (as_stored, MOST_BATCH_ROWS) if size <= most_stored else (in_full, BATCH_ROWS)
        if table is in_full and most_stored == MAX_GROUP_BYTES:
            _refuse(name, f"{size >> 20} MiB of it unpack at once: write it with smaller row groups")
        rows = BATCH_BYTES // max(1, size // max(1, metadata.row_group(group).num_rows))
        yield from table.iter_batches(1 if made_of_others else max(1, min(batch_rows, rows)), row_groups=[group])


def _chunks(group: pq.RowGroupMetaData) -> list[pq.ColumnChunkMetaData]:
    return [group.column(column) for column in range(group.num_columns)]


def _group_sizes(file: BinaryIO, metadata: pq.FileMetaData, name: str, most: int) -> list[int]:
    """The bytes that each row group unpacks to, by the headers of its pages."""
    sizes = []
    for group in range(metadata.num_row_groups):
        pages = [size for chunk in _chunks(metadata.row_group(group)) for size in _page_sizes(file, chunk)]
        _check_sizes(pages, name, most)
        sizes.append(sum(pages))
        most -= sizes[-1]
    return sizes


def _page_sizes(file: BinaryIO, chunk: pq.ColumnChunkMetaData) -> Iterator[int]:
    first, start = chunk.dictionary_page_offset or 0, chunk.data_page_offset
    start = first if 0 < first < start else start
    return page_sizes(file, start, start + chunk.total_compressed_size)


def _check_columns(schema: pa.Schema, name: str) -> None:
    repeated = {column for column in schema.names if schema.names.count(column) > 1}
    if repeated:
        _refuse(name, f"it has the column {min(repeated)[:60]} twice")
    for column in schema:
        if not _is_known(column.type):
            _refuse(name, f"its column {column.name[:60]} is of a kind that is not read: {str(column.type)[:60]}")


def _is_known(kind: pa.DataType) -> bool:
    """Whether values of this type can be weighed; some could mean one piece of memory any number of times."""
    if types.is_dictionary(kind):
        return _is_text(kind.value_type) or types.is_primitive(kind.value_type)
    if _is_list(kind):
        return _is_known(kind.value_type)
    if types.is_map(kind):
        return _is_known(kind.key_type) and _is_known(kind.item_type)
    if types.is_struct(kind):
        return all(_is_known(field.type) for field in kind)
    return _is_text(kind) or types.is_primitive(kind) or types.is_null(kind) or types.is_decimal(kind)


def _is_text(kind: pa.DataType) -> bool:
    return types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_large_binary(kind)


def _is_list(kind: pa.DataType) -> bool:
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


# --- sizes ---------------------------------------------------------------------------------------------------------


def _parts(batch: pa.RecordBatch, before: int, name: str) -> Iterator[tuple[pa.RecordBatch, int]]:
    """The batch in pieces that are small once unpacked, with the bytes of each."""
    for start in range(0, batch.num_rows, BATCH_ROWS):
        waiting = [(start, min(BATCH_ROWS, batch.num_rows - start))]
        while waiting:
            at, rows = waiting.pop()
            part = batch.slice(at, rows)
            size = sum(_weight(column) for column in part.columns)
            if size <= MAX_LINE_BYTES:
                yield part, size
            elif rows == 1:
                _refuse(name, f"row {before + at + 1} is longer than {MAX_LINE_BYTES >> 20} MiB")
            else:
                waiting += [(at + rows // 2, rows - rows // 2), (at, rows // 2)]


def _weight(array: pa.Array) -> int:
    """The bytes that an array's values take, each counted as often as it is meant."""
    own = VALUE_BYTES * len(array)
    kind = array.type
    if types.is_dictionary(kind):
        if _is_text(kind.value_type):
            own += pc.sum(pc.binary_length(array.dictionary).take(array.indices)).as_py() or 0
    elif _is_text(kind):
        own += pc.sum(pc.binary_length(array)).as_py() or 0
    elif _is_list(kind):
        own += _weight(array.flatten())
    elif types.is_map(kind):
        own += sum(map(_weight, array.flatten().flatten()))
    elif types.is_struct(kind):
        own += sum(map(_weight, array.flatten()))
    return own


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows with every text in its place."""
    return batch.cast(pa.schema([field.with_type(_plain_type(field.type)) for field in batch.schema]))


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if types.is_dictionary(kind):
        return kind.value_type
    if types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain_type(kind.value_type)))
    if types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_plain_type(kind.value_type)))
    if types.is_struct(kind):
        return pa.struct([field.with_type(_plain_type(field.type)) for field in kind])
    return kind


def _check_values(metadata: pq.FileMetaData, name: str, most: int) -> None:
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    values = sum(chunk.num_values for group in groups for chunk in _chunks(group))
    if values * VALUE_BYTES > most:
        _refuse(name, f"it says that it holds {values:,} values, more than a table of its size would")


def _check_sizes(sizes: Iterable[int], name: str, most: int) -> None:
    for size in sizes:
        most -= size
        if size < 0 or size > MAX_PIECE_BYTES or most < 0:
            _refuse(name, "it unpacks to more than a table of its size would")


def _check_end(file: BinaryIO, name: str) -> None:
    """A stream that is cut off between two batches is read without complaint; only its end mark tells."""
    file.seek(max(0, _size(file) - len(_END_OF_STREAM)))
    if file.read() != _END_OF_STREAM:
        _refuse(name, "it is cut off: its end mark is missing")


def _size(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)


def _refuse(name: str, reason: str) -> NoReturn:
    raise UnreadableData(name=name, reason=reason)
