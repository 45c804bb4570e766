"""Checkpoints as files: what is damaged is never gone on from, and the newest ones are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from training.checkpoints import newest_checkpoint, save_checkpoint
from training.schema import Hyperparameters

STATE = {"key": "k", "best_loss": 0.1 + 0.2, "stale": 0, "optimiser": {"step": 3}}


def saved(folder: Path, steps: range, kept: int = 20) -> list[Path]:
    """The checkpoints that are there after so many steps, oldest first."""
    for step in steps:
        weights = {"lora_A": torch.full((2, 3), float(step))}
        save_checkpoint(folder, step, STATE, {"adapter": weights, "best": weights}, kept)
    return sorted(folder.glob("step-*"))


def with_its_end_zeroed(content: bytes) -> bytes:
    return content[:-8] + b"\0" * 8


def with_another_step(content: bytes) -> bytes:
    told = json.loads(content)
    return json.dumps(told | {"step": told["step"] + 1}).encode()


def without_its_best(content: bytes) -> bytes:
    told = json.loads(content)
    del told["groups"]["best"]
    return json.dumps(told).encode()


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    saved(tmp_path, range(1, 4))
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 3
    assert found.state.items() >= STATE.items()
    assert found.groups["adapter"]["lora_A"].equal(torch.full((2, 3), 3.0))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("adapter.safetensors", with_its_end_zeroed),
        ("best.safetensors", with_its_end_zeroed),
        ("state.json", lambda content: b"null"),
        ("state.json", lambda content: b"[]"),
        ("state.json", with_another_step),
        ("state.json", without_its_best),
        ("state.json", lambda content: content[: len(content) // 2]),
        ("state.json", lambda content: b"\xff" + content),
    ],
    ids=["adapter", "best", "null", "no object", "another step", "a file less", "cut short", "no text"],
)
def test_what_is_damaged_is_set_aside_and_the_one_before_it_taken(
    tmp_path: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    file = saved(tmp_path, range(1, 3))[-1] / name
    file.write_bytes(damage(file.read_bytes()))
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 1
    assert found.groups["adapter"]["lora_A"].equal(torch.full((2, 3), 1.0))
    assert (tmp_path / ".step-000002.unreadable" / name).is_file()


def test_where_all_are_damaged_there_is_none(tmp_path: Path) -> None:
    for folder in saved(tmp_path, range(1, 3)):
        (folder / "state.json").write_text("null")
    assert newest_checkpoint(tmp_path) is None


def test_three_checkpoints_are_kept_unless_asked_otherwise(tmp_path: Path) -> None:
    kept = saved(tmp_path, range(1, 7), Hyperparameters().checkpoints_kept)
    assert [folder.name for folder in kept] == ["step-000004", "step-000005", "step-000006"]
    assert len(list(tmp_path.iterdir())) == 3
