"""The shared samples, laid out as the `datasets` library's cache, are a warehouse."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.data.catalog import load_dataset, offers
from training.planning import plan
from training.schema import TaskType, TrainSpec, Workspace

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
WAREHOUSE = SHARED / "hf_cache"
# oasst2: its 22 ready trees, one thread each. Of the others, rows that lack a question or an answer are dropped.
LOADED = {"oasst2": 22, "ultrachat": 7, "ultrachat_200k": 5, "alpaca": 5, "belle-0.5m": 11, "firefly": 11}

pytestmark = pytest.mark.skipif(not WAREHOUSE.is_dir(), reason="the shared samples are not here")


@pytest.fixture
def workspace(tiny_workspace: Workspace) -> Workspace:
    return tiny_workspace.model_copy(update={"dataset_warehouse": WAREHOUSE})


def test_each_is_loaded_by_its_name(workspace: Workspace) -> None:
    assert {name for name, offer in offers(workspace, "1").items() if offer.where == "warehouse"} == set(LOADED)
    rows = {name: load_dataset(name, workspace, "1") for name in LOADED}
    assert {name: len(found) for name, found in rows.items()} == LOADED
    assert {row.license for row in rows["oasst2"]} == {"Apache-2.0"}


def test_a_run_on_oasst2_is_planned(workspace: Workspace) -> None:
    spec = TrainSpec(job_name="dialogue_v1", guild_id="1", task_type=TaskType.DIALOGUE, dataset="oasst2")
    found = plan(spec, workspace=workspace)
    assert found.examples >= 15
    assert found.held_out == 7
