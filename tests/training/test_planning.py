"""Plans of awkward data, and what a run that goes on keeps to."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch

from tests.training.conftest import Finished
from training.chat import ChatFormat, Example
from training.course import Stage
from training.errors import MemoryRanOut
from training.evaluation.probes import ANSWER_TOKENS
from training.lessons import Lessons, gather, warnings
from training.material import Material
from training.memory import GIB, Means, load_of, measure
from training.models import Base, catalog, has_weights, this_machine
from training.pace import conditions, training_speed
from training.planning import MEANS_FILE, _loads, card_of, note_outgrown, plan, plan_assumed, settled, settled_means
from training.preference import Pair, both, passes
from training.ranks import ALONE
from training.schema import Hyperparameters, Machine, TaskType, TrainSpec, Workspace
from training.standin import standin_config, standin_tokenizer
from training.warned import Warned

KNOBS = Hyperparameters()


def material(rows: int, length: int, learnt_from: int) -> Material:
    mask = (False,) * learnt_from + (True,) * (length - learnt_from)
    stage = Stage([Example(str(i), tuple(range(length)), mask) for i in range(rows)], 1, 16)
    return Material((stage,), (), (), 1e-3)


def test_a_row_that_is_cut_before_its_answer_is_left_out_of_what_is_reckoned_with() -> None:
    late, early = material(3, 900, 700), material(2, 900, 100)
    assert late.shortened(512).stages == ()
    both = Material((*late.stages, *early.stages), (), (), 1e-3)
    [stage] = both.shortened(512).stages
    assert [row.labels for row in stage.rows] == [412, 412]


def test_means_are_kept_for_the_same_device_and_number_of_processes(tmp_path: Path) -> None:
    kept = {"quantised": False, "redo": True, "tokens_at_once": 777, "among": 1}
    shape, rows = measure(standin_config()), material(20, 100, 50)
    here = {"device": this_machine().name, "processes": 1}
    for told, goes_on in ((here, True), (here | {"processes": 2}, False), (here | {"device": "a card"}, False)):
        (tmp_path / MEANS_FILE).write_text(json.dumps(kept | told))
        found = settled_means(tmp_path, shape, KNOBS, rows, ALONE)
        assert (found == Means(**kept)) == goes_on
        assert json.loads((tmp_path / MEANS_FILE).read_text()).items() >= here.items()


def test_a_plan_of_a_base_model_alone_warns_of_what_is_known_of_it(tiny_workspace: Workspace) -> None:
    spec = TrainSpec(
        job_name="t",
        guild_id="1",
        task_type=TaskType.DIALOGUE,
        dataset="any",
        base_model="mistralai/Mistral-7B-Instruct-v0.2",
        hyperparameters=Hyperparameters(epochs=9),
    )
    warned = plan_assumed(spec, workspace=tiny_workspace, machine=card_of(16)).warnings
    assert Warned.MANY_EPOCHS in warned
    assert Warned.TEMPLATE_UNVERIFIED in warned


def test_means_that_memory_ran_out_with_are_followed_by_slower_ones_until_none_is_left(tmp_path: Path) -> None:
    shape, rows = measure(standin_config()), material(20, 100, 50)
    found = [settled_means(tmp_path, shape, KNOBS, rows, ALONE)]
    with suppress(MemoryRanOut):
        for _ in range(20):
            note_outgrown(tmp_path)
            found.append(settled_means(tmp_path, shape, KNOBS, rows, ALONE))
    assert settled_means(tmp_path, shape, KNOBS, rows, ALONE) == found[0], "whoever tries again begins with the first"
    assert (found[0].redo, found[-1].redo) == (False, True)
    assert found[-1].tokens_at_once < found[0].tokens_at_once
    assert len(set(found)) == len(found) > 4


def test_what_pairs_of_answers_take_is_reckoned_as_they_are_learnt() -> None:
    def window(number: int, own: int) -> Example:
        return Example(
            str(number), (*range(40), *range(1000 * number, 1000 * number + own)), (False,) * 40 + (True,) * own
        )

    pairs = [Pair(window(2 * n, 150 + n), window(2 * n + 1, 90)) for n in range(16)]
    reckoned = _loads(Material((Stage(pairs, 1, 16),), (), tuple(pairs), 1e-3), KNOBS)(1024)
    passed = [load_of(both(group)) for group in passes(pairs, 1024)]
    assert reckoned.tokens == max(load.tokens for load in passed)
    assert reckoned.pairs == max(load.pairs for load in passed)
    assert reckoned.answer == 40 + ANSWER_TOKENS


def test_a_plan_goes_on_from_the_base_model_and_the_rank_of_the_run_that_it_starts_from(
    tiny_workspace: Workspace, finished: Finished
) -> None:
    runs = tiny_workspace.artifact_root / "runs"
    runs.mkdir(parents=True)
    (runs / "firstrun0000").symlink_to(finished.folders["glordon"])
    other = {"base_model": "deepseek-ai/DeepSeek-V3-Base", "allowed_base_models": (tiny_workspace.base_model,)}
    elsewhere = tiny_workspace.model_copy(update=other)
    spec = TrainSpec(job_name="t", guild_id="1", persona="glordon", start_from="firstrun0000")
    found = plan(spec, workspace=elsewhere)
    assert found.fits
    assert found.base_model == finished.reports["glordon"].base_model


def test_a_plan_for_a_model_of_the_catalog_asks_no_hub(
    tiny_workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    spec = TrainSpec(job_name="t", guild_id="1", persona="glordon", base_model="deepseek-ai/DeepSeek-V3-Base")
    found = plan(spec, workspace=tiny_workspace, machine=card_of(24))
    assert (found.estimated, found.fits) == (True, False)
    assert found.disk_gib > 1000
    assert not caplog.records


@pytest.mark.parametrize(("free_gib", "warned"), [(10, True), (1000, False)])
def test_a_disk_without_room_for_a_download_is_warned_of(
    tiny_workspace: Workspace, monkeypatch: pytest.MonkeyPatch, free_gib: int, warned: bool
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=free_gib * GIB))
    spec = TrainSpec(job_name="t", guild_id="1", persona="usual", base_model="deepseek-ai/deepseek-llm-7b-chat")
    found = plan_assumed(spec, workspace=tiny_workspace, machine=card_of(24))
    assert 10 < found.disk_gib < 20
    assert (Warned.LITTLE_DISK in found.warnings) == warned


def test_weights_are_here_once_every_file_of_them_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    base = Base(id="some/model")
    repo = tmp_path / "models--some--model"
    files = repo / "snapshots" / ("0" * 40)
    files.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text("0" * 40)
    for name, here in (
        ("config.json", False),
        ("model.safetensors.index.json", False),
        ("a.safetensors", False),
        ("b.safetensors", True),
    ):
        text = json.dumps({"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}) if "index" in name else ""
        (files / name).write_text(text)
        assert has_weights(base) == here, name


@pytest.mark.parametrize("damaged", ["{", "[]", '{"quantised": false, "unheard": 1}'])
def test_means_that_cannot_be_read_are_settled_anew(tmp_path: Path, damaged: str) -> None:
    (tmp_path / MEANS_FILE).write_text(damaged)
    shape, rows = measure(standin_config()), material(20, 100, 50)
    assert settled_means(tmp_path, shape, KNOBS, rows, ALONE) == settled_means(tmp_path, shape, KNOBS, rows, ALONE)


def test_processes_on_a_cpu_share_its_memory() -> None:
    shape, rows = measure(catalog()["Qwen/Qwen3-1.7B"].config()), material(20, 100, 50)
    machine = Machine(device="cpu", name="cpu", free_gib=14, total_gib=16, bf16=True)
    assert settled(shape, KNOBS, rows, machine, 1)
    assert settled(shape, KNOBS, rows, machine, 8) is None


def test_a_job_that_had_better_be_another_is_warned_of(tiny_workspace: Workspace) -> None:
    lessons = gather(TrainSpec(job_name="t", guild_id="1", persona="glordon"), tiny_workspace)
    few = replace(lessons, train=lessons.train[:20])
    chat_format = ChatFormat(standin_tokenizer())

    def warned(task_type: TaskType, base: str, learnt: Lessons = lessons) -> set[Warned]:
        spec = TrainSpec(job_name="t", guild_id="1", task_type=task_type, persona="glordon", dataset="any")
        return set(warnings(spec, learnt, catalog()[base], chat_format))

    chat, plain = "Qwen/Qwen3-0.6B", "deepseek-ai/deepseek-llm-7b-base"
    assert Warned.STRATEGY_MIXED in warned(TaskType.MIXED, chat)
    assert Warned.STRATEGY_TWO_STAGE in warned(TaskType.TWO_STAGE, chat)
    assert Warned.BASE_NOT_CHAT in warned(TaskType.PERSONA, plain)
    assert Warned.FEW_LINES in warned(TaskType.PERSONA, chat, few)
    assert not warned(TaskType.PERSONA, chat) & {
        Warned.STRATEGY_MIXED, Warned.STRATEGY_TWO_STAGE, Warned.BASE_NOT_CHAT, Warned.FEW_LINES,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["standin", "Qwen/Qwen3-0.6B", "google/gemma-3-1b-it"])
def test_one_layer_of_a_model_tells_how_fast_it_trains(name: str) -> None:
    assert (
        training_speed(standin_config() if name == "standin" else catalog()[name].config(), torch.device("cpu")) > 1e8
    )


def test_a_pace_is_remembered_for_runs_of_its_own_kind() -> None:
    base, plain = catalog()["standin"], Means(False, False, 4096)
    told = {
        conditions(base, "cpu", knobs, means, processes=processes, pairs=pairs)
        for knobs, means, processes, pairs in (
            (KNOBS, plain, 1, False),
            (KNOBS.model_copy(update={"lora_rank": 64}), plain, 1, False),
            (KNOBS.model_copy(update={"dora": True}), plain, 1, False),
            (KNOBS, Means(True, False, 4096), 1, False),
            (KNOBS, Means(False, True, 4096), 1, False),
            (KNOBS, plain, 2, False),
            (KNOBS, plain, 1, True),
        )
    }
    assert len(told) == 7
    assert conditions(base, "cpu", KNOBS, Means(False, False, 512), processes=1, pairs=False) in told
