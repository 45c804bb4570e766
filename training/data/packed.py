"""Opens files as plain bytes, unpacked where they are packed, and never by more than is stated here."""

from __future__ import annotations

import gzip
import io
import stat
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from training.errors import UnreadableData

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

ALWAYS_UNPACKED = 64 * 2**20
MOST_TIMES_PACKED = 100
"""A packed file may unpack to 64 MiB, or to a hundred times its own size where that is more."""
BUFFER = 2**20
_PIECE = 2**16
# One kibibyte of a zstd file can hold no more than 32 MiB, so no single piece fills the memory.
_ZSTD_PIECE = 2**10
_ZSTD_WINDOW = 2**27
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"


def open_plain(path: Path, name: str) -> io.BufferedReader:
    """A file's bytes, unpacked if it is packed with gzip or zstd. Raises UnreadableData while it is read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreadableData(name=name, reason="it is not a plain file")
        file = path.open("rb", buffering=0)
        magic = file.read(4)
        file.seek(0)
    except OSError as error:
        raise UnreadableData(name=name, reason=error.strerror or "the file system refused") from error
    if not magic.startswith((_GZIP, _ZSTD)):
        return io.BufferedReader(file, BUFFER)
    pieces = _gunzip(file, name) if magic.startswith(_GZIP) else _unzstd(file, name)
    return io.BufferedReader(_Unpacked(file, pieces, most_unpacked(path), name), BUFFER)


def most_unpacked(path: Path) -> int:
    """The bytes that a file may come to once it is unpacked, be it packed or a table."""
    return max(ALWAYS_UNPACKED, MOST_TIMES_PACKED * path.stat().st_size)


def seekable(file: io.BufferedReader) -> BinaryIO:
    """The same bytes with random access: of an unpacked file, in a nameless file that goes when it is closed."""
    if file.seekable():
        return file
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it, as it would the file itself
    while piece := file.read(BUFFER):
        copy.write(piece)
    copy.seek(0)
    return copy


class _Unpacked(io.RawIOBase):
    def __init__(self, packed: io.FileIO, pieces: Iterator[bytes], most: int, name: str) -> None:
        self._packed = packed
        self._pieces = pieces
        self._piece = memoryview(b"")
        self._left = most
        self._most = most
        self._name = name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        while not self._piece:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._count(len(piece))
            self._piece = memoryview(piece)
        target = memoryview(buffer).cast("B")
        size = min(len(target), len(self._piece))
        target[:size] = self._piece[:size]
        self._piece = self._piece[size:]
        return size

    def close(self) -> None:
        self._packed.close()
        super().close()

    def _count(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            reason = f"it unpacks to more than {self._most >> 20} MiB, which is more than a text of its size would"
            raise UnreadableData(name=self._name, reason=reason)


def _gunzip(file: io.FileIO, name: str) -> Iterator[bytes]:
    try:
        with gzip.GzipFile(fileobj=file) as unpacked:
            while piece := unpacked.read(_PIECE):
                yield piece
    except EOFError as error:
        raise _cut_off(name, "gzip") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(name, "gzip") from error


def _unzstd(file: io.FileIO, name: str) -> Iterator[bytes]:
    import zstandard

    unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    frame = unpacker.decompressobj()
    packed = io.BufferedReader(file, _PIECE)
    try:
        while data := packed.read(_ZSTD_PIECE):
            while data:
                if frame.eof:
                    frame = unpacker.decompressobj()
                yield frame.decompress(data)
                data = frame.unused_data if frame.eof else b""
    except zstandard.ZstdError as error:
        raise _damaged(name, "zstd") from error
    if not frame.eof:
        raise _cut_off(name, "zstd")


def _cut_off(name: str, kind: str) -> UnreadableData:
    return UnreadableData(name=name, reason=f"it is cut off: its {kind} data ends before its end mark")


def _damaged(name: str, kind: str) -> UnreadableData:
    return UnreadableData(name=name, reason=f"its {kind} data is damaged")
