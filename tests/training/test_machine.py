"""Plans for the machine that trains, made on one that need not have its card."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training import memory, models
from training.planning import plan
from training.schema import Machine, TrainSpec, Workspace

ROOT = Path(__file__).resolve().parents[2]
CARD = Machine(device="cuda", name="A card", free_gib=22, total_gib=24, bf16=True, operations_per_second=1e14)
CPU = Machine(device="cpu", name="cpu", free_gib=22, total_gib=24, bf16=True, operations_per_second=1e11)
SPEC = TrainSpec(job_name="a", guild_id="1", persona="olga")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(artifact_root=tmp_path, dataset_warehouse=tmp_path, cache_dir=tmp_path)


@pytest.fixture
def no_card_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that holds the card must not be asked for it: any question ends the test."""

    def touched(*_: object) -> None:
        raise AssertionError("the card was touched")

    for name in ("is_available", "mem_get_info", "get_device_name", "is_bf16_supported", "init"):
        monkeypatch.setattr(torch.cuda, name, touched)


def test_auto_chooses_by_the_machine_that_trains(workspace: Workspace, no_card_touched: None) -> None:
    assert models.choose(None, workspace, CARD).id == "deepseek-ai/deepseek-llm-7b-chat"
    assert models.choose(None, workspace, CPU).rehearsal
    assert models.without_card().device == "cpu"


def test_a_plan_is_for_the_machine_that_trains(workspace: Workspace, no_card_touched: None) -> None:
    spec = SPEC.model_copy(update={"base_model": "standin"})
    on_card, on_cpu = (plan(spec, workspace=workspace, machine=machine) for machine in (CARD, CPU))
    assert (on_card.device, on_card.free_gib, on_card.fits) == ("A card", 22, True)
    assert on_card.seconds[1] < on_cpu.seconds[1]
    assert on_card.peak_gib < on_cpu.peak_gib  # in half precision
    full = CARD.model_copy(update={"free_gib": 0.1})
    assert not plan(spec, workspace=workspace, machine=full).fits


def test_a_small_card_takes_a_large_model_in_four_bits() -> None:
    shape = memory.measure(models.catalog()["deepseek-ai/deepseek-llm-7b-chat"].config())
    assert memory.in_four_bits(shape, CARD.model_copy(update={"free_gib": 10}))
    assert not memory.in_four_bits(shape, CARD.model_copy(update={"free_gib": 70}))
    assert not memory.in_four_bits(shape, CPU)


def test_a_worker_finds_out_what_it_trains_on() -> None:
    asked = subprocess.run(
        [sys.executable, "-m", "training.machine"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    machine = Machine.model_validate_json(asked.stdout)
    assert machine.name == models.device_name()
    assert 0 < machine.free_gib <= machine.total_gib
    assert machine.operations_per_second
    assert machine.operations_per_second > 1e8
