"""The files of a run folder, written so that a crash leaves either the old or the new one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from training.errors import RunUnreadable
from training.schema import Report, TrainSpec

Made = TypeVar("Made", bound=BaseModel)
OWNER_ONLY = 0o600
RUN_LOCK = "lock"
"""The file of a run folder that whoever writes there holds a kernel lock on."""


def sync(path: Path) -> None:
    """Make a file's contents, or a folder's names, safe against a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Replace a file at once; `mode` as far as the process's mask allows."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    beside.unlink(missing_ok=True)
    beside.touch(mode)
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync(path.parent)


def write_json(path: Path, value: Mapping[str, Any], mode: int = 0o666) -> None:
    """Replace a JSON file at once; `mode` as far as the process's mask allows."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode(), mode)


def publish(made: Path, target: Path) -> None:
    """Give a finished folder its name, in place of an older one."""
    for file in made.rglob("*"):
        sync(file)
    sync(made)
    aside = made.with_name(f"{made.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    if target.exists():
        target.rename(aside)
    made.rename(target)
    sync(target.parent)
    shutil.rmtree(aside, ignore_errors=True)


def append_line(path: Path, value: Mapping[str, Any]) -> None:
    """Add one JSON line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(value) + "\n")


def read_spec(run_dir: Path) -> TrainSpec:
    """What the run of a folder was asked for. Raises RunUnreadable."""
    return _read(run_dir / "spec.json", TrainSpec)


def read_report(run_dir: Path) -> Report:
    """What the run of a folder found. Raises RunUnreadable."""
    return _read(run_dir / "report.json", Report)


def _read(path: Path, kind: type[Made]) -> Made:
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise RunUnreadable(name=path.name) from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The complete JSON lines of a file, none where there is no file; a line that a crash cut off is left out."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def keep_lines(path: Path, last_step: int) -> None:
    """Drop the metrics of steps after `last_step`, which a resumed run will take again."""
    kept = [line for line in read_lines(path) if line["step"] <= last_step]
    write_bytes(path, "".join(json.dumps(line) + "\n" for line in kept).encode())


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter itself, as peft saves it."""
    return all((folder / name).is_file() for name in ("adapter_config.json", "adapter_model.safetensors"))
