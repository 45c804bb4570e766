"""Checkpoints of a run: tensors in safetensors, the rest in JSON; nothing is ever unpickled."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import xxhash
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from training.runs import publish, write_json

log = logging.getLogger(__name__)
UNREADABLE = (OSError, ValueError, KeyError, SafetensorError)
STATE = "state.json"
Groups = Mapping[str, Mapping[str, torch.Tensor]]


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stood after `step` steps. `state` is JSON; `groups` are named sets of tensors."""

    step: int
    state: dict[str, Any]
    groups: dict[str, dict[str, torch.Tensor]]


class CheckpointWriter:
    """Writes checkpoints beside the training, one at a time; a context manager that ends once the last is written."""

    def __init__(self, folder: Path, kept: int, on_saved: Callable[[int], None] = lambda step: None) -> None:
        self._folder, self._kept, self._on_saved = folder, kept, on_saved
        self._thread = ThreadPoolExecutor(1, "checkpoints")
        self._writing: Future[int] | None = None

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being written."""
        return self._writing is not None and not self._writing.done()

    def save(self, step: int, state: Mapping[str, Any], groups: Groups, before: Callable[[], None]) -> None:
        """Copy the tensors and begin to write them; `before` is called first, on the writer's thread.

        Raises what the last one failed with.
        """
        self.settle()
        copied = {name: {key: t.to("cpu", copy=True) for key, t in group.items()} for name, group in groups.items()}

        def write() -> int:
            before()
            save_checkpoint(self._folder, step, state, copied, self._kept)
            return step

        self._writing = self._thread.submit(write)

    def settle(self) -> None:
        """Wait for the checkpoint that is being written and tell of it; raises what it failed with."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            self._on_saved(writing.result())

    def tell(self) -> None:
        """Tell of the checkpoint that has been written, if one has; never waits."""
        if not self.busy:
            self.settle()


def save_checkpoint(folder: Path, step: int, state: Mapping[str, Any], groups: Groups, kept: int) -> None:
    """Write `folder/step-000123/`, complete or not at all, and keep the newest ones."""
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f".step-{step:06d}.tmp"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    for name, tensors in groups.items():
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, made / f"{name}.safetensors")
    told = {**state, "step": step, "groups": {name: _digest(made / f"{name}.safetensors") for name in groups}}
    write_json(made / STATE, told | {"digest": _digest_of(told)})
    publish(made, folder / f"step-{step:06d}")
    for old in _complete(folder)[:-kept]:
        shutil.rmtree(old)


def newest_checkpoint(folder: Path, *, set_aside: bool = True) -> Checkpoint | None:
    """The last checkpoint that can be read, its tensors on CPU; the log tells of those that cannot.

    set_aside: move those out of the way, as one process of those that share a run does.
    """
    for path in reversed(_complete(folder)):
        try:
            state = _read_state(path / STATE)
            groups = {name: _read(path / f"{name}.safetensors", digest) for name, digest in state["groups"].items()}
            return Checkpoint(int(state["step"]), state, groups)
        except UNREADABLE as error:
            log.warning("The checkpoint %s cannot be read, so the one before it is taken: %s", path, error)
            if set_aside:
                aside = path.with_name(f".{path.name}.unreadable")
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)
    return None


def _read_state(file: Path) -> dict[str, Any]:
    """What a checkpoint says of itself and of its other files. Raises ValueError where that is not what was written."""
    told = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(told, dict) or told.pop("digest", None) != _digest_of(told):
        raise ValueError(f"{file.name} is not what was written")
    return told


def _digest_of(state: Mapping[str, Any]) -> str:
    """A digest of what the state says, however its file is laid out."""
    return xxhash.xxh3_64(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _read(file: Path, digest: str) -> dict[str, torch.Tensor]:
    if _digest(file) != digest:
        raise ValueError(f"{file.name} is not what was written")
    return load_file(file)


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        found = xxhash.xxh3_64()
        while part := opened.read(2**20):
            found.update(part)
    return found.hexdigest()


def _complete(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(folder.glob("step-*"))
