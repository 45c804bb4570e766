"""Checkpoints of a run: tensors in safetensors, the rest in JSON; nothing is ever unpickled."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from training.runs import publish, write_json

KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stood after `step` steps. `state` is JSON; `groups` are named sets of tensors."""

    step: int
    state: dict[str, Any]
    groups: dict[str, dict[str, torch.Tensor]]


def save_checkpoint(
    folder: Path, step: int, state: Mapping[str, Any], groups: Mapping[str, Mapping[str, torch.Tensor]]
) -> None:
    """Write `folder/step-000123/`, complete or not at all, and keep the newest two."""
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f".step-{step:06d}.tmp"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    for name, tensors in groups.items():
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, made / f"{name}.safetensors")
    write_json(made / "state.json", {**state, "step": step})
    publish(made, folder / f"step-{step:06d}")
    for old in _complete(folder)[:-KEPT]:
        shutil.rmtree(old)


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The last complete checkpoint, its tensors on CPU."""
    complete = _complete(folder)
    if not complete:
        return None
    state = json.loads((complete[-1] / "state.json").read_text(encoding="utf-8"))
    groups = {file.stem: load_file(file) for file in complete[-1].glob("*.safetensors")}
    return Checkpoint(int(state["step"]), state, groups)


def _complete(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(folder.glob("step-*"))
