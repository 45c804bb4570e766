"""Finds the files of a data folder, in whichever of the usual layouts it is."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from training.errors import UnreadableData

SUFFIXES = (".jsonl", ".json", ".ndjson", ".parquet", ".arrow", ".png")
PACKED = ("", ".gz", ".zst")
CONVERSATIONS = "conversations.jsonl"
MAX_NOTE_BYTES = 16 * 2**20
_NOTES = {"dataset.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json"}
_SPLIT = re.compile(r"(?:^|[-_.])((?:train|test|validation|valid|dev|eval)(?:_(?:sft|gen|prefs))?)(?=[-_.]|$)")
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})")


def is_data_file(filename: str) -> bool:
    """Whether a file's name is that of data; what it really holds, its contents tell when it is read."""
    return filename.endswith(tuple(suffix + packed for suffix in SUFFIXES for packed in PACKED))


@dataclass(frozen=True)
class Wanted:
    """The splits `asked` for, which must all be there; where none is, those of the `usual` ones that are there."""

    asked: Sequence[str] = ()
    usual: Sequence[str] = ()


@dataclass(frozen=True)
class Shards:
    """The files to read, and of each split that lies in the folder whether it is read.

    A file whose name tells of no split, beside others that do, is a split of its own.
    """

    files: list[Path]
    splits: dict[str, bool] = field(default_factory=dict)


def shards(folder: Path, name: str, wanted: Wanted) -> Shards:
    """The files to read of a dataset folder, `save_to_disk` folder, `datasets` cache, hub snapshot or plain folder.

    Where no split is wanted, the one to train on is taken. Raises UnreadableData where there is none, or a file is
    missing.
    """
    try:
        found = _found(folder, name, wanted)
    except OSError as error:
        raise UnreadableData(name=name, reason=error.strerror or "the file system refused") from error
    if not found.files:
        raise UnreadableData(name=name, reason="the folder holds no data files")
    if wanted.asked and not found.splits:
        raise UnreadableData(name=name, reason=f"it holds no splits, and so none called {', '.join(wanted.asked)}")
    _check_complete(found.files, name)
    home = os.path.realpath(folder)
    for file in found.files:
        if not Path(os.path.realpath(file)).is_relative_to(home):
            raise UnreadableData(name=name, reason=f"{file.name} is a link that leads out of the folder")
    return found


def _found(folder: Path, name: str, wanted: Wanted) -> Shards:
    if (folder / CONVERSATIONS).is_file():
        return Shards([folder / CONVERSATIONS])
    if (folder / "state.json").is_file():
        return Shards(_saved(folder, name))
    if (folder / "dataset_dict.json").is_file():
        held = [path.name for path in sorted(folder.iterdir()) if (path / "state.json").is_file()]
        chosen = _chosen(held, wanted, name)
        files = [file for split in chosen for file in _saved(folder / split, name)]
        return Shards(files, {split: split in chosen for split in held})
    if built := _newest(path.parent for path in _at_depths(folder, "dataset_info.json", 3) if _arrows(path.parent)):
        return _built(built, name, wanted)
    if snapshot := _newest(path for path in folder.glob("snapshots/*") if path.is_dir()):
        return _plain(snapshot, name, wanted)
    return _plain(folder, name, wanted)


def _saved(folder: Path, name: str) -> list[Path]:
    """The files that `save_to_disk` wrote."""
    files = _note(folder / "state.json", name).get("_data_files")
    listed = [file.get("filename") for file in files if isinstance(file, dict)] if isinstance(files, list) else []
    names = [os.path.basename(file) for file in listed if isinstance(file, str)]
    if missing := [file for file in names if not (folder / file).is_file()]:
        raise UnreadableData(name=name, reason=f"the file {missing[0]} is missing")
    return [folder / file for file in names]


def _built(folder: Path, name: str, wanted: Wanted) -> Shards:
    """The files of one `<config>/<version>/<hash>` folder of the `datasets` cache."""
    told = _note(folder / "dataset_info.json", name).get("splits")
    held = sorted(told) if isinstance(told, dict) else []
    # The longest split first: `-train_sft.arrow` must not be taken for another's.
    ending = re.compile(rf"-({'|'.join(map(re.escape, sorted(held, key=len, reverse=True)))})(-\d+-of-\d+)?\.arrow$")

    def split_of(filename: str) -> str | None:
        found = ending.search(filename) if held else None
        return found[1] if found else None

    return _of_splits(_arrows(folder), split_of, wanted, name)


def _plain(folder: Path, name: str, wanted: Wanted) -> Shards:
    """A folder's data files, or where it has none, those of its folder `data`."""
    for home in (folder, folder / "data"):
        files = [path for path in sorted(home.iterdir()) if _is_shard(path)] if home.is_dir() else []
        if files:
            return _of_splits(files, _split_in_name, wanted, name)
    return Shards([])


def _is_shard(path: Path) -> bool:
    return is_data_file(path.name) and path.name not in _NOTES and not path.name.startswith(".") and path.is_file()


def _split_in_name(filename: str) -> str | None:
    found = _SPLIT.search(filename)
    return found[1] if found else None


def _of_splits(files: list[Path], split_of: Callable[[str], str | None], wanted: Wanted, name: str) -> Shards:
    """Those of the wanted splits; all of them where no name tells of splits."""
    held = {split for file in files if (split := split_of(file.name))}
    if not held:
        return Shards(files)
    chosen = _chosen(sorted(held), wanted, name)
    read = [file for split in chosen for file in files if split_of(file.name) == split]
    return Shards(read, {split_of(file.name) or file.name: file in read for file in files})


def _chosen(held: Sequence[str], wanted: Wanted, name: str) -> list[str]:
    if missing := [split for split in wanted.asked if split not in held]:
        reason = f"it holds no split {missing[0]}, only {', '.join(held) or 'none'}"
        raise UnreadableData(name=name, reason=reason)
    if present := list(dict.fromkeys(wanted.asked)) or [split for split in wanted.usual if split in held]:
        return present
    trained = [split for split in held if split.startswith("train")]
    for choice in (["train"] if "train" in held else [], trained, list(held)):
        if len(choice) == 1 and not wanted.usual:
            return choice
    reason = f"it holds the splits {', '.join(held) or '(none)'}; name the folder or file of one of them"
    raise UnreadableData(name=name, reason=reason)


def _check_complete(files: Iterable[Path], name: str) -> None:
    numbered = [(path.name[: found.start()], found) for path in files if (found := _SHARD.search(path.name))]
    for first, group in groupby(numbered, key=lambda item: item[0]):
        shown = [found for _, found in group]
        if (there := len({found[1] for found in shown})) != (said := int(shown[0][2])):
            raise UnreadableData(name=name, reason=f"{there} of the {said} files of {first} are there")


def _arrows(folder: Path) -> list[Path]:
    """Arrow files as `datasets` built them; those that begin with cache- or tmp are what it worked out later."""
    return [path for path in sorted(folder.glob("*.arrow")) if not path.name.startswith(("cache-", "tmp"))]


def _at_depths(folder: Path, filename: str, deepest: int) -> Iterable[Path]:
    for depth in range(deepest + 1):
        yield from folder.glob("/".join(["*"] * depth + [filename]))


def _newest(paths: Iterable[Path]) -> Path | None:
    return max(paths, key=lambda path: (path.stat().st_mtime, path.name), default=None)


def _note(path: Path, name: str) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_NOTE_BYTES:
            raise UnreadableData(name=name, reason=f"{path.name} is larger than {MAX_NOTE_BYTES >> 20} MiB")
        note = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UnreadableData(name=name, reason=f"{path.name} is not valid JSON") from error
    if not isinstance(note, dict):
        raise UnreadableData(name=name, reason=f"{path.name} is not an object")
    return note
