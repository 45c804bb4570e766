"""Rows of every kind of file, and a plain sentence for every kind of damage."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from training.data import jsonrows, packed, tables
from training.data.files import read_rows
from training.data.shards import Wanted
from training.errors import UnreadableData

ROWS: list[dict[str, Any]] = [
    {"instruction": "Say hello.", "input": "", "output": "Hello!"},
    {"instruction": "说你好。", "input": "", "output": "你好 🍵"},
    {"instruction": 'Write {"a": "b"} as JSON :', "input": "", "output": "x" * 100_000},
]
TABLE = pa.Table.from_pylist(ROWS)


def lines(rows: list[dict[str, Any]] = ROWS) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def write_stream(path: Path) -> None:
    with pa.ipc.new_stream(path, TABLE.schema) as writer:
        for start in range(len(ROWS)):
            writer.write_table(TABLE.slice(start, 1))


def write_arrow_file(path: Path) -> None:
    with pa.ipc.new_file(path, TABLE.schema) as writer:
        writer.write_table(TABLE)


WRITERS: dict[str, Callable[[Path], object]] = {
    "lines": lambda path: path.write_bytes(lines()),
    "lines with BOM and CRLF": lambda path: path.write_bytes(b"\xef\xbb\xbf" + lines().replace(b"\n", b"\r\n")),
    "lines with blank ones, and no end": lambda path: path.write_bytes(b"\n \n" + lines().strip()),
    "array": lambda path: path.write_bytes(json.dumps(ROWS).encode()),
    "array for people": lambda path: path.write_bytes(b"\xef\xbb\xbf\n" + json.dumps(ROWS, indent=2).encode() + b"\n"),
    "objects for people": lambda path: path.write_text("\n".join(json.dumps(row, indent=1) for row in ROWS)),
    "parquet": lambda path: pq.write_table(TABLE, path),
    "arrow stream": write_stream,
    "arrow file": write_arrow_file,
}


def values(path: Path) -> list[dict[str, Any]]:
    return [row.value for row in read_rows(path)]


def refusal(path: Path) -> str:
    with pytest.raises(UnreadableData) as caught:
        list(read_rows(path, "given.name"))
    said = str(caught.value)
    assert said.startswith("given.name")
    assert str(path.parent) not in said
    return said


# --- what can be read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("packing", ["", "gzip", "zstd", "zstd in frames"])
def test_contents_decide_and_not_names(tmp_path: Path, kind: str, packing: str) -> None:
    path = tmp_path / "file.txt"
    WRITERS[kind](path)
    data = path.read_bytes()
    if packing == "gzip":
        path.write_bytes(gzip.compress(data))
    elif packing == "zstd":
        path.write_bytes(zstandard.compress(data))
    elif packing:
        path.write_bytes(zstandard.compress(data[:50]) + zstandard.compress(data[50:]))
    assert values(path) == ROWS


def test_lines_are_numbered_by_line_and_records_by_record(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"\n" + lines(ROWS[:1]) + b"\n" + lines(ROWS[1:2]))
    assert [row.number for row in read_rows(path)] == [2, 4]
    path.write_text(json.dumps(ROWS))
    assert [row.number for row in read_rows(path)] == [1, 2, 3]


def test_one_object_is_one_row(tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_text(json.dumps({"channel": {"id": "1"}, "messages": [{"id": "1"}] * 3}, indent=2))
    assert [len(row.value["messages"]) for row in read_rows(path)] == [3]


def test_a_long_array_is_read_piece_by_piece(tmp_path: Path) -> None:
    path = tmp_path / "long.json"
    path.write_text(json.dumps([{"n": n, "text": "ü" * 500} for n in range(5000)], ensure_ascii=False))
    assert [value["n"] for value in values(path)] == list(range(5000))


def test_an_empty_array_and_blank_lines_have_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for nothing in (b" [ ]\n", b"\n\r\n", b"\xef\xbb\xbf"):
        path.write_bytes(nothing)
        assert values(path) == []


# --- what is wrong -------------------------------------------------------------------------------------------------

GOOD = '{"a":1}\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty (0 bytes)"),
        (GOOD + '{"rank": NaN}', "line 2, field rank, column 10: NaN is not JSON"),
        (GOOD + '{"rank": [1, -Infinity]}', "line 2, field rank, column 14: -Infinity is not JSON"),
        (GOOD + '{"a":1,"a":2}', "line 2 has the field a twice"),
        (GOOD + '{"a" : 1, "b": "\\":", "a":2}', "line 2 has the field a twice"),
        (GOOD + '{"m":[{"role":"user","role":"user"}]}', "line 2 has the field role twice"),
        (GOOD + '{"a":"\\ud83d"}', "line 2, field a, column"),
        (GOOD + '{"a":"\0"}', "line 2 is not valid JSON: there is a NUL byte in column 7"),
        (GOOD + "\0" * 50, "line 2 is not valid JSON: there is a NUL byte in column 1"),
        (GOOD + '{"a":"cut o', "line 2 is not valid JSON"),
        (GOOD + "[]", "line 2 is a list, not an object"),
        (GOOD + "null", "line 2 is null, not an object"),
        (GOOD + '{"a":' + "[" * 5000, "line 2 is not valid JSON: it is nested too deeply"),
        (GOOD + '{"a":' + "[" * 200 + "]" * 200 + "}", "line 2 is nested more than 128 deep"),
        ('[{"a":1},{"a":1,"a":2}]', "row 2 has the field a twice"),
        ('[{"a":1},{"rank":NaN}]', "row 2, field rank"),
        ('[{"a":1},{"rank":' + "9" * 5000 + "}]", "row 2, field rank, column 9: the number is too large"),
        ('{"a":1,\n"b":' + "9" * 5000 + "}", "row 1, field b, column 13: the number is too large"),
        (GOOD + '{"rank":1,"rank":' + "9" * 5000 + "}", "line 2, field rank, column 18: the number is too large"),
        ('[{"a":1},3]', "row 2 is a number, not an object"),
        ('[{"a":1},{"b"', "it is cut off in the middle of row 2"),
        ('[{"a":1}', "it is cut off after row 1"),
        ('[{"a":1} {"b":2}]', "row 1 is not followed by a comma"),
        ('[{"a":1}]{}', "there is more after its closing bracket"),
        ('[{"a":1},\n{"b" 2}]', "row 2 is not valid JSON: see its line 1, column 6"),
        ('[{"a":' + "[" * 100_000, "row 1 is nested too deeply"),
        ('{\n "a": [\n  1,', "it is cut off in the middle of row 1"),
        ("name,text\nme,hello\n", "line 1 is not valid JSON; the file must be JSON, JSON Lines, Parquet"),
    ],
)
def test_damaged_json_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(text.encode())
    assert said in refusal(path)


def test_what_is_not_utf8_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(GOOD.encode() + b'{"a":"\xff"}')
    assert "line 2 is not valid JSON in UTF-8: byte 7 is no text" in refusal(path)
    path.write_bytes(b'[{"a":"\xff"}]')
    assert "it is not UTF-8, in row 1" in refusal(path)
    path.write_text(GOOD, encoding="utf-16")
    assert "it is UTF-16 text; write it as UTF-8" in refusal(path)


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    monkeypatch.setattr(jsonrows, "MAX_LINE_BYTES", 2**20)
    path.write_bytes(GOOD.encode() + b'{"a":"' + b"x" * 2**20 + b'"}')
    assert "line 2 is longer than 1 MiB" in refusal(path)
    monkeypatch.setattr(jsonrows, "MOST_BLANK_LINES", 100)
    path.write_bytes((b"\n" * 100 + GOOD.encode()) * 2)
    assert [row.number for row in read_rows(path)] == [101, 202]
    path.write_bytes(GOOD.encode() + b" \n" * 101)
    assert "more than 100 lines before line 102 are blank" in refusal(path)
    monkeypatch.setattr(jsonrows, "MAX_VALUE_CHARS", 2**21)
    path.write_bytes(b'[{"a":"' + b"x" * 2**23)
    assert "longer than 2 MiB" in refusal(path)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_small_file_may_not_unpack_to_a_large_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(packed, "ALWAYS_UNPACKED", 2**20)
    path = tmp_path / "bomb.jsonl.gz"
    path.write_bytes(pack(GOOD.encode() * 2**18))
    assert "it unpacks to more than 1 MiB" in refusal(path)


def said_often(text: str, times: int) -> pa.Table:
    """A table that holds a text once and says it any number of times."""
    column = pa.DictionaryArray.from_arrays(pa.array([0] * times, pa.int32()), pa.array([text]))
    rows = pa.ListArray.from_arrays(list(range(times + 1)), pa.StructArray.from_arrays([column], ["text"]))
    return pa.table({"messages": rows, "column": column})


def packed_arrow(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_stream(path, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)


def feather(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize(
    ("write", "table", "said"),
    [
        (pq.write_table, said_often("x" * 2**20, 200), "its rows come to more than a table of its size would hold"),
        (feather, said_often("x" * 2**20, 200), "its rows come to more than a table of its size would hold"),
        (pq.write_table, said_often("x" * 9 * 2**20, 3), "row 1 is longer than 16 MiB"),
        (packed_arrow, pa.table({"a": ["x" * 2**26]}), "it unpacks to more than a table of its size would"),
        (feather, pa.table({"a": pa.RunEndEncodedArray.from_arrays([9], ["x"])}), "its column a is of a kind"),
    ],
    ids=["parquet", "arrow", "long row", "packed arrow", "other kind"],
)
def test_a_small_table_may_not_unpack_to_a_large_one(
    tmp_path: Path, write: Callable[[pa.Table, Path], None], table: pa.Table, said: str
) -> None:
    path = tmp_path / "bomb"
    write(table, path)
    before = pa.total_allocated_bytes()
    assert said in refusal(path)
    assert pa.total_allocated_bytes() - before < 2**26


def claims_less(data: bytes) -> bytes:
    """A Parquet file whose end says of the one long column that it unpacks to nothing much."""
    claimed = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).total_byte_size * 2
    written = bytearray()
    while claimed > 127:
        written.append(claimed & 127 | 128)
        claimed >>= 7
    written.append(claimed)
    small = bytes([0x80] * (len(written) - 1) + [0])
    assert bytes(written) in data
    return data.replace(bytes(written), small)


def test_what_the_end_of_a_table_says_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    table = pa.table({"a": ["x" * 2**27]})
    pq.write_table(table, path, compression="zstd", use_dictionary=False, write_statistics=False)
    path.write_bytes(claims_less(path.read_bytes()))
    assert pq.ParquetFile(path).metadata.row_group(0).total_byte_size == 0
    assert "it unpacks to more than a table of its size would" in refusal(path)


def test_row_groups_are_read_in_full_where_the_file_is_large_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows"
    pq.write_table(TABLE, path, compression="none")
    monkeypatch.setattr(tables, "GROUP_BYTES", 1000)
    assert values(path) == ROWS
    monkeypatch.setattr(tables, "GROUP_BYTES", 2**20)
    monkeypatch.setattr(tables, "MAX_GROUP_BYTES", 1000)
    assert "unpack at once: write it with smaller row groups" in refusal(path)


def test_texts_that_are_stored_once_are_read_in_their_places(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    table = said_often("你好", 300)
    for write in (pq.write_table, feather, packed_arrow):
        write(table, path)
        assert values(path) == table.to_pylist()
    pq.write_table(TABLE, path, use_dictionary=False, column_encoding={"output": "DELTA_BYTE_ARRAY"})
    assert values(path) == ROWS


def test_what_is_no_plain_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "it is not a plain file" in refusal(tmp_path / "pipe")


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_packed_file_that_is_cut_off_or_damaged_is_told(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a.jsonl"
    whole = pack(lines())
    path.write_bytes(whole[:-6])
    assert "it is cut off" in refusal(path)
    path.write_bytes(whole[:40] + bytes(40) + whole[80:])
    assert "damaged" in refusal(path) or "not valid JSON" in refusal(path)
    path.write_bytes(pack(whole))
    assert "packed twice" in refusal(path)


@pytest.mark.parametrize("kind", ["parquet", "arrow stream", "arrow file"])
def test_a_table_that_is_cut_off_is_told(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    WRITERS[kind](path)
    data = path.read_bytes()
    for size in (len(data) - 8, len(data) // 2, 12):
        path.write_bytes(data[:size])
        assert "cut off" in refusal(path)


def test_a_column_that_stands_twice_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table([pa.array(["x"]), pa.array(["y"])], names=["text", "text"]), path)
    assert "it has the column text twice" in refusal(path)


def test_nothing_that_may_hold_code_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(pickle.dumps(ROWS))
    assert "it is a pickle" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", b"")
    assert "it is a zip archive" in refusal(path)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "missing.jsonl")


# --- folders -------------------------------------------------------------------------------------------------------


def test_what_save_to_disk_wrote_is_read(tmp_path: Path) -> None:
    plain = datasets.Dataset.from_list(ROWS)
    plain.save_to_disk(tmp_path / "one", num_shards=2)
    assert values(tmp_path / "one") == ROWS
    both = datasets.DatasetDict({"train": plain, "test": plain.select([0])})
    both.save_to_disk(tmp_path / "both")
    assert values(tmp_path / "both") == ROWS
    assert [row.value for row in read_rows(tmp_path / "both", wanted=Wanted(("test",)))] == ROWS[:1]
    datasets.DatasetDict({"train_a": plain, "train_b": plain}).save_to_disk(tmp_path / "unclear")
    assert "it holds the splits train_a, train_b" in refusal(tmp_path / "unclear")
    next((tmp_path / "one").glob("*00001*")).unlink()
    assert "is missing" in refusal(tmp_path / "one")


@pytest.mark.parametrize("layout", ["dict", "files"])
def test_splits_that_are_not_read_are_told_and_can_be_asked_for(tmp_path: Path, layout: str) -> None:
    plain = datasets.Dataset.from_list(ROWS)
    if layout == "dict":
        datasets.DatasetDict({"train": plain, "validation": plain.select([0])}).save_to_disk(tmp_path / "it")
    else:
        (tmp_path / "it").mkdir()
        plain.to_parquet(tmp_path / "it/train-x.parquet")
        plain.select([0]).to_parquet(tmp_path / "it/validation-x.parquet")
    told: dict[str, bool] = {}
    assert len(list(read_rows(tmp_path / "it", on_splits=told.update))) == 3
    assert told == {"train": True, "validation": False}
    assert len(list(read_rows(tmp_path / "it", wanted=Wanted(("validation", "train"))))) == 4
    with pytest.raises(UnreadableData, match="no split tset, only train, validation"):
        list(read_rows(tmp_path / "it", wanted=Wanted(("train", "tset"))))


def test_only_folders_with_splits_have_any(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines())
    for path, said in ((tmp_path / "a.jsonl", "only folders have splits"), (tmp_path, "holds no splits")):
        with pytest.raises(UnreadableData, match=said):
            list(read_rows(path, wanted=Wanted(("train",))))


def test_the_newest_build_of_a_cache_is_read(tmp_path: Path) -> None:
    for age, rows in ((2000, ROWS[:1]), (1000, ROWS)):
        source = tmp_path / f"{age}.jsonl"
        source.write_bytes(lines(rows))
        datasets.load_dataset("json", data_files=str(source), cache_dir=str(tmp_path / "cache"))
    cache = next(path for path in (tmp_path / "cache").iterdir() if path.is_dir())
    built = sorted(cache.glob("*/*/*/dataset_info.json"), key=lambda path: path.stat().st_mtime)
    assert len(built) == 2
    (built[-1].parent / "cache-0123456789abcdef.arrow").write_bytes(b"what a map left behind")
    assert values(cache) == ROWS
    assert values(built[0].parent) == ROWS[:1]


def test_shards_of_a_folder_are_read_in_order_and_none_may_lack(tmp_path: Path) -> None:
    folder = tmp_path / "repo" / "data"
    folder.mkdir(parents=True)
    for number, row in enumerate(ROWS):
        pq.write_table(pa.Table.from_pylist([row]), folder / f"train-{number:05}-of-00003.parquet")
    (folder / "test-00000-of-00001.parquet").write_bytes(b"not looked at")
    (tmp_path / "repo" / "README.md").write_text("# Hello")
    assert [(row.number, row.value) for row in read_rows(tmp_path / "repo")] == list(enumerate(ROWS, start=1))
    (folder / "train-00001-of-00003.parquet").unlink()
    assert "2 of the 3 files of train are there" in refusal(tmp_path / "repo")


def test_a_folder_keeps_to_itself(tmp_path: Path) -> None:
    (tmp_path / "secret.jsonl").write_bytes(lines())
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards/a.jsonl").symlink_to(tmp_path / "secret.jsonl")
    assert "a.jsonl is a link that leads out of the folder" in refusal(tmp_path / "shards")


def test_a_folder_without_data_or_with_odd_notes_is_told(tmp_path: Path) -> None:
    assert "the folder holds no data files" in refusal(tmp_path)
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "../../secret.arrow"}]}')
    assert "the file secret.arrow is missing" in refusal(tmp_path)
    for odd in ("{", "[]", '{"_data_files": 3}'):
        (tmp_path / "state.json").write_text(odd)
        refusal(tmp_path)
