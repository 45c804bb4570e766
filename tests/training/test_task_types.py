"""Runs of every task type from spec to report, and several attempts of which the best is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.training.test_preference import votes, written
from training.errors import AdapterDiffers, AdapterMissing, RunStopped
from training.lessons import gather
from training.persona.sheet import load_cast
from training.pipeline import finetune, plan
from training.schema import (
    WHOLE_CAST,
    Conversation,
    Hyperparameters,
    Phase,
    Preset,
    Progress,
    Report,
    TaskType,
    TrainSpec,
    Workspace,
)

KNOBS = Hyperparameters(epochs=1, batch_size=8, learning_rate=0.01, lora_rank=4, max_length=256)


def asked(**given: Any) -> TrainSpec:
    return TrainSpec(job_name="t", guild_id="1", **{"persona": "glordon", "hyperparameters": KNOBS, **given})


def run(
    spec: TrainSpec,
    workspace: Workspace,
    job_id: str,
    hear: Callable[[Progress], None] = lambda look: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Report:
    return finetune(
        spec,
        job_id=job_id,
        workspace=workspace,
        run_dir=workspace.artifact_root / "runs" / job_id,
        on_progress=hear,
        should_stop=should_stop,
    )


def steps_told(told: list[Progress]) -> list[int]:
    return [look.step for look in told if look.phase is Phase.TRAINING and look.step]


def test_two_stages_learn_general_talk_first_and_the_persona_last(tiny_workspace: Workspace) -> None:
    spec = asked(task_type=TaskType.TWO_STAGE, dataset="general")
    told: list[Progress] = []
    report = run(spec, tiny_workspace, "two0stages00", told.append)
    lessons = gather(spec, tiny_workspace)
    assert report.examples == len(lessons.opening) + len(lessons.train)
    assert {row.source for row in lessons.opening} == {"understudy-general"}
    opening_steps = -(-len(lessons.opening) // 8)
    assert report.best_step > opening_steps, "the adapter that is kept has learnt the persona"
    lines = [
        json.loads(line)
        for line in (tiny_workspace.artifact_root / "runs/two0stages00/metrics.jsonl").read_text().splitlines()
    ]
    rates = [line["learning_rate"] for line in lines]
    assert rates[opening_steps] > 2 * rates[opening_steps - 1], "each stage has its own rise and fall"
    assert plan(spec, workspace=tiny_workspace).steps == report.steps == len(lines)


@pytest.mark.parametrize("task_type", [TaskType.MIXED, TaskType.TWO_STAGE])
def test_what_is_held_out_of_a_persona_is_not_learnt_from_the_general_data(
    tiny_workspace: Workspace, task_type: TaskType
) -> None:
    alone = gather(asked(), tiny_workspace)
    rows = [row.model_copy(update={"id": f"again-{row.id}"}) for row in (*alone.held_out, *alone.train)]
    path = tiny_workspace.dataset_warehouse / "again.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(row.model_dump_json() for row in rows), encoding="utf-8")
    lessons = gather(asked(task_type=task_type, dataset=str(path)), tiny_workspace)

    def answers(rows: tuple[Conversation, ...]) -> set[tuple[str, ...]]:
        return {tuple(m.content for m in row.messages if m.role == "assistant") for row in rows}

    assert answers(lessons.held_out) == answers(alone.held_out)
    assert not answers(lessons.learnt) & answers(lessons.held_out)
    assert len(lessons.learnt) > len(alone.train), "the others are learnt"


def test_one_adapter_for_the_whole_cast(tiny_workspace: Workspace) -> None:
    report = run(asked(persona=WHOLE_CAST), tiny_workspace, "wholecast000")
    cast = load_cast(tiny_workspace, "1")
    assert set(report.personas) == set(cast)
    lessons = gather(asked(persona=WHOLE_CAST), tiny_workspace)
    alone = [gather(asked(persona=slug), tiny_workspace) for slug in report.personas]
    assert {row.id for row in lessons.held_out} == {row.id for one in alone for row in one.held_out}
    assert report.eval_loss_after < report.eval_loss_before
    voice = next(line for line in report.lines if line.id == "voice")
    assert voice.value is not None
    assert "whom they were asked of" in voice.explanation


def test_preferences_are_learnt_on_top_of_an_earlier_run(tiny_workspace: Workspace) -> None:
    first = run(asked(), tiny_workspace, "firstrun0000")
    path = written(tiny_workspace.dataset_warehouse, votes(24))
    knobs = KNOBS.model_copy(update={"epochs": 3})
    spec = asked(task_type=TaskType.PREFERENCE, dataset=path, start_from="firstrun0000", hyperparameters=knobs)
    report = run(spec, tiny_workspace, "preferred000")
    assert report.base_model == first.base_model
    assert report.preferred is not None
    assert report.preferred > 0.5
    assert report.curve[0].eval_loss != report.eval_loss_before, "the curve is of pairs, the figures are of answers"
    ours, theirs = (
        load_file(tiny_workspace.artifact_root / "runs" / name / "adapter/adapter_model.safetensors")
        for name in ("firstrun0000", "preferred000")
    )
    moved = max((ours[name] - theirs[name]).abs().max().item() for name in ours)
    assert 0 < moved < 0.2, "it went on from there"


def test_a_job_takes_up_the_shape_of_the_adapter_that_it_learns_on(tiny_workspace: Workspace, finished: Any) -> None:
    runs = tiny_workspace.artifact_root / "runs"
    runs.mkdir(parents=True)
    (runs / "firstrun0000").symlink_to(finished.folders["glordon"])
    draft = Hyperparameters.of(Preset.DRAFT, batch_size=8, learning_rate=0.01, lora_dropout=0.3)
    spec = asked(start_from="firstrun0000", hyperparameters=draft)
    report = run(spec, tiny_workspace, "takenup00000")
    shape = (report.spec.hyperparameters.lora_rank, report.spec.hyperparameters.lora_alpha)
    assert shape == (16, 32), "as the adapter is, not as the preset has it"
    config = json.loads((runs / "takenup00000/adapter/adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (16, 32, 0.3)
    asked_for = TrainSpec.model_validate_json((runs / "takenup00000/spec.json").read_bytes())
    assert asked_for == spec


@pytest.mark.parametrize(
    ("given", "said"),
    [({"lora_rank": 24}, "lora_rank 16"), ({"dora": True, "rslora": True}, "rslora False, dora False")],
)
def test_another_shape_than_the_adapters_is_refused(
    tiny_workspace: Workspace, finished: Any, given: dict[str, Any], said: str
) -> None:
    runs = tiny_workspace.artifact_root / "runs"
    runs.mkdir(parents=True)
    (runs / "firstrun0000").symlink_to(finished.folders["glordon"])
    spec = asked(start_from="firstrun0000", hyperparameters=Hyperparameters(**given))
    with pytest.raises(AdapterDiffers, match=f"of run firstrun0000 was made with {said}, which stays so"):
        run(spec, tiny_workspace, "refused00000")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"start_from": "nosuchrun000"}, "there is no such finished run here"),
        ({"start_from": "firstrun0000", "guild_id": "2"}, "there is no such finished run here"),
        ({"start_from": "firstrun0000", "base_model": "Qwen/Qwen3-0.6B"}, "its base model is"),
    ],
)
def test_a_run_that_cannot_be_learnt_on_is_refused(
    tiny_workspace: Workspace, finished: Any, given: dict[str, str], said: str
) -> None:
    runs = tiny_workspace.artifact_root / "runs"
    runs.mkdir(parents=True)
    (runs / "firstrun0000").symlink_to(finished.folders["glordon"])
    with pytest.raises(AdapterMissing) as caught:
        run(asked().model_copy(update=given), tiny_workspace, "refused00000")
    assert said in str(caught.value)


def test_a_report_tells_the_steps_that_were_taken(tiny_workspace: Workspace) -> None:
    wild = {"learning_rate": 0.1, "warmup_ratio": 0.0, "epochs": 4, "batch_size": 16, "early_stopping": 1}
    spec = asked(hyperparameters=KNOBS.model_copy(update=wild))
    told: list[Progress] = []
    report = run(spec, tiny_workspace, "stoppedearly", told.append)
    assert report.steps == steps_told(told)[-1] < plan(spec, workspace=tiny_workspace).steps
    assert report.best_step < report.steps


def test_of_several_seeds_the_best_is_kept_and_a_stop_repeats_no_attempt(tiny_workspace: Workspace) -> None:
    spec = asked(hyperparameters=KNOBS.model_copy(update={"seeds": 3}))
    told: list[Progress] = []
    report = run(spec, tiny_workspace, "threeseeds00", told.append)
    steps = report.steps
    assert steps_told(told) == list(range(1, 3 * steps + 1))
    assert {look.total_steps for look in told if look.step} == {3 * steps}
    singles = {}
    for seed in (42, 43, 44):
        one = asked(hyperparameters=KNOBS.model_copy(update={"seed": seed}))
        singles[seed] = run(one, tiny_workspace, f"seed{seed}000000")
    losses = {seed: single.eval_loss_after for seed, single in singles.items()}
    assert report.seed == min(losses, key=lambda seed: losses[seed])
    assert report.eval_loss_after == min(losses.values())

    again: list[Progress] = []
    stop_at = steps + 2

    def stop() -> bool:
        return bool(again) and again[-1].step == stop_at

    with pytest.raises(RunStopped):
        run(spec, tiny_workspace, "stopped00000", again.append, stop)
    resumed: list[Progress] = []
    after = run(spec, tiny_workspace, "stopped00000", resumed.append)
    assert steps_told(resumed)[0] == stop_at + 1
    kept = ("seed", "best_step", "eval_loss_after", "curve", "lines", "samples")
    assert [getattr(after, name) for name in kept] == [getattr(report, name) for name in kept]
    folder = tiny_workspace.artifact_root / "runs/stopped00000"
    assert not (folder / "seeds").exists()
    same = [
        load_file(tiny_workspace.artifact_root / "runs" / name / "adapter/adapter_model.safetensors")
        for name in ("threeseeds00", "stopped00000")
    ]
    assert all(same[0][name].equal(same[1][name]) for name in same[0])
