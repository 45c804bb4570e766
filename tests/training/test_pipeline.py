"""A run from its spec to its folder, its plan before, and what bad input answers."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.training.conftest import Finished
from training.errors import (
    BaseModelNotAllowed,
    EmptyDataset,
    PathNotAllowed,
    RunStopped,
    UnderstudyError,
    UnknownDataset,
    UnknownPersona,
)
from training.evaluation.probes import questions
from training.lessons import gather
from training.memory import Means
from training.models import Base
from training.pace import Pace, conditions, remember
from training.persona.sheet import find_persona
from training.pipeline import finetune, plan, thinned
from training.schema import (
    ChatSpec,
    Hyperparameters,
    LossPoint,
    Phase,
    Progress,
    Report,
    TaskType,
    TrainSpec,
    Workspace,
)
from training.warned import Warned

GLORDON = TrainSpec(job_name="t", guild_id="1", persona="glordon")


def run(spec: TrainSpec, workspace: Workspace, run_dir: Path, stop_in: Phase | None = None) -> Report:
    phases: list[Phase] = []
    return finetune(
        spec,
        job_id="job",
        workspace=workspace,
        run_dir=run_dir,
        on_progress=lambda look: phases.append(look.phase),
        should_stop=lambda: stop_in in phases,
    )


def test_the_run_folder_is_complete(finished: Finished) -> None:
    folder, report = finished.folders["glordon"], finished.reports["glordon"]
    assert TrainSpec.model_validate_json((folder / "spec.json").read_text()) == report.spec
    assert Report.model_validate_json((folder / "report.json").read_text()) == report
    assert [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()] == list(
        range(1, report.steps + 1)
    )
    assert (folder / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert not [path for path in folder.rglob("*") if path.suffix in (".bin", ".pt", ".pkl", ".pth")]
    assert not (folder / "checkpoints").exists()


def test_the_report_says_what_was_found(finished: Finished) -> None:
    report = finished.reports["glordon"]
    assert report.rehearsal
    assert Warned.REHEARSAL_MODEL in report.warnings
    assert report.held_out >= 20
    assert report.eval_loss_after < report.eval_loss_before
    assert report.perplexity_after == pytest.approx(math.exp(report.eval_loss_after))
    best = min((p for p in report.curve if p.eval_loss is not None), key=lambda p: p.eval_loss or 0)
    assert (best.step, best.eval_loss) == (report.best_step, pytest.approx(report.eval_loss_after, rel=1e-6))
    judged = ["facts", "voice", "held_out_fit", "breaks", "degeneracy", "copying"]
    assert [line.id for line in report.lines] == judged
    asked = {probe.question: probe.kind for probe in questions(find_persona(finished.workspace, "1", "glordon"))}
    assert [asked[sample.question] for sample in report.samples] == ["fact", "neutral", "boundary", "fact"]
    assert report.temperature == ChatSpec.model_fields["temperature"].default > 0


def test_progress_tells_every_phase_in_order(finished: Finished) -> None:
    told = finished.told["glordon"]
    phases = list(dict.fromkeys(look.phase for look in told))
    assert phases == [
        Phase.DATA,
        Phase.LOADING,
        Phase.BASELINE,
        Phase.TRAINING,
        Phase.EVALUATING,
        Phase.SAVING,
    ]
    last = [look for look in told if look.phase is Phase.TRAINING][-1]
    assert last.step == last.total_steps
    assert last.epoch == last.epochs
    assert last.tokens_per_second
    assert last.seconds_left == 0


def test_the_model_card_tells_lineage_limits_and_use(finished: Finished) -> None:
    card = (finished.folders["glordon"] / "README.md").read_text()
    for said in ("library_name: peft", "Rehearsal only", "MIT", "Held-out perplexity", "## Limits", "PeftModel"):
        assert said in card
    assert "Drawn at temperature 0.7 with seed 42" in card
    assert finished.workspace.base_model not in card, "a folder of this machine is of no use elsewhere"


def test_the_model_cards_code_runs_in_a_copied_folder(finished: Finished, tmp_path: Path) -> None:
    folder, base = finished.folders["glordon"], Path(finished.workspace.base_model)
    shutil.copytree(folder / "adapter", tmp_path / "adapter")
    card = (folder / "README.md").read_text()
    assert f"Copy that folder, `{base.name}`, to here" in card
    shutil.copytree(base, tmp_path / base.name)
    code = card.split("```python\n")[1].split("```")[0]
    argv = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(argv, cwd=tmp_path, check=True, timeout=120, capture_output=True, text=True)
    assert done.stdout.strip()


def test_the_adapter_works_with_plain_peft(finished: Finished) -> None:
    adapter = finished.folders["glordon"] / "adapter"
    source = json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    tokenizer = AutoTokenizer.from_pretrained(source)
    base = AutoModelForCausalLM.from_pretrained(source)
    turns = [{"role": "user", "content": "Hello!"}]
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    before = base(**prompt).logits.clone()
    model = PeftModel.from_pretrained(base, adapter)
    assert (model(**prompt).logits - before).abs().max() > 0.01
    assert all(tensor.dtype.is_floating_point for tensor in load_file(adapter / "adapter_model.safetensors").values())


def test_a_finished_folder_gives_its_report_again(finished: Finished) -> None:
    folder = finished.folders["glordon"]
    written = (folder / "report.json").stat().st_mtime_ns
    # As a crash between the report and the removal leaves it.
    (folder / "checkpoints/step-000003").mkdir(parents=True)
    again = run(finished.reports["glordon"].spec, finished.workspace, folder, stop_in=Phase.DATA)
    assert again == finished.reports["glordon"]
    assert (folder / "report.json").stat().st_mtime_ns == written
    assert not (folder / "checkpoints").exists()


@pytest.mark.parametrize("lost", ["all", "the end"])
def test_a_run_that_had_learnt_all_ends_well_without_its_metrics(
    tiny_workspace: Workspace, tmp_path: Path, lost: str
) -> None:
    knobs = Hyperparameters(epochs=1, batch_size=24, learning_rate=0.01, lora_rank=4, max_length=256)
    spec, folder = GLORDON.model_copy(update={"hyperparameters": knobs}), tmp_path / "run"
    with pytest.raises(RunStopped):
        run(spec, tiny_workspace, folder, stop_in=Phase.EVALUATING)
    metrics = folder / "metrics.jsonl"
    first, *rest = metrics.read_text().splitlines(keepends=True)
    assert rest
    metrics.unlink() if lost == "all" else metrics.write_text(first)
    report = run(spec, tiny_workspace, folder)
    assert report.steps == 1 + len(rest)
    assert report.eval_loss_after < report.eval_loss_before
    assert (tiny_workspace.cache_dir / "pace.json").exists() == (lost == "the end")


def test_a_stop_before_training_leaves_no_adapter(tiny_workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(RunStopped):
        run(GLORDON, tiny_workspace, tmp_path / "run", stop_in=Phase.LOADING)
    assert [path.name for path in (tmp_path / "run").iterdir() if path.name != "means.json"] == ["spec.json"]


def test_a_plan_counts_what_the_run_then_takes(finished: Finished) -> None:
    report = finished.reports["glordon"]
    found = plan(report.spec, workspace=finished.workspace)
    assert (found.examples, found.held_out) == (report.examples, report.held_out)
    assert (found.tokens, found.steps) == (report.tokens, report.steps)
    assert found.rehearsal
    assert found.fits
    assert 0 < found.peak_gib < found.free_gib
    assert 0 < found.seconds[0] < found.seconds[1]


def seen(workspace: Workspace) -> None:
    """Leave the pace of an earlier run: ten tokens a second, and five seconds around."""
    base, means = Base(id=workspace.base_model), Means(False, False, 4096)
    held_for = conditions(base, "cpu", Hyperparameters(), means, processes=1, pairs=False)
    remember(held_for, Pace(tokens_per_second=10.0, seconds_around=5.0), workspace)


def test_a_plan_without_an_earlier_run_measures_the_machine(tiny_workspace: Workspace) -> None:
    first = plan(GLORDON, workspace=tiny_workspace)
    assert 0 < first.seconds[0] < first.seconds[1]
    seen(tiny_workspace)
    likely = first.tokens * 3 / 10.0 + 5.0
    after = plan(GLORDON, workspace=tiny_workspace)
    assert after.seconds[0] < likely < after.seconds[1]


@pytest.mark.parametrize("broken", ["{", "[]", '{"standin on cpu": {"tokens_per_second": 0, "seconds_around": 1}}'])
def test_a_broken_pace_file_counts_as_none_and_is_written_anew(tiny_workspace: Workspace, broken: str) -> None:
    tiny_workspace.cache_dir.mkdir()
    (tiny_workspace.cache_dir / "pace.json").write_text(broken)
    assert plan(GLORDON, workspace=tiny_workspace).seconds[0] > 0
    seen(tiny_workspace)
    (pace,) = json.loads((tiny_workspace.cache_dir / "pace.json").read_text()).values()
    assert pace == {"tokens_per_second": 10.0, "seconds_around": 5.0}


def test_a_cache_that_cannot_be_written_costs_no_finished_run(
    tiny_workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_workspace.cache_dir.write_text("no folder")  # root, as in containers, writes into folders of mode 0500
    seen(tiny_workspace)
    assert "not kept for later plans" in caplog.text
    assert plan(GLORDON, workspace=tiny_workspace).seconds[0] > 0


def test_a_plan_warns(tiny_workspace: Workspace) -> None:
    many = GLORDON.model_copy(update={"hyperparameters": Hyperparameters(epochs=9)})
    assert set(plan(many, workspace=tiny_workspace).warnings) == {Warned.REHEARSAL_MODEL, Warned.MANY_EPOCHS}


def test_a_mixed_run_learns_general_rows_too_but_is_checked_on_the_persona(tiny_workspace: Workspace) -> None:
    alone = gather(GLORDON, tiny_workspace)
    spec = GLORDON.model_copy(update={"task_type": TaskType.MIXED, "dataset": "general"})
    mixed = gather(spec, tiny_workspace)
    assert mixed.held_out == alone.held_out
    assert mixed.sources["understudy-general"] / len(mixed.train) == pytest.approx(0.2, abs=0.02)
    assert {row.id for row in alone.train} < {row.id for row in mixed.train}


def test_held_out_rows_do_not_depend_on_the_seed(tiny_workspace: Workspace) -> None:
    other = GLORDON.model_copy(update={"hyperparameters": Hyperparameters(seed=7)})
    assert gather(other, tiny_workspace).held_out == gather(GLORDON, tiny_workspace).held_out


def dialogue(dataset: str, **changes: object) -> TrainSpec:
    return TrainSpec(job_name="t", guild_id="1", task_type=TaskType.DIALOGUE, dataset=dataset).model_copy(
        update=changes
    )


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        (GLORDON.model_copy(update={"persona": "nobody"}), UnknownPersona),
        (dialogue("nothing"), UnknownDataset),
        (dialogue("/etc/passwd.jsonl"), PathNotAllowed),
        (dialogue("general", base_model="someone/else"), BaseModelNotAllowed),
        (dialogue("general", base_model="/etc"), PathNotAllowed),
    ],
)
def test_bad_input_is_one_sentence_in_plan_and_run(
    spec: TrainSpec, error: type[UnderstudyError], tiny_workspace: Workspace, tmp_path: Path
) -> None:
    for attempt in (lambda: plan(spec, workspace=tiny_workspace), lambda: run(spec, tiny_workspace, tmp_path / "r")):
        with pytest.raises(error) as caught:
            attempt()
        assert "\n" not in str(caught.value)


def test_too_few_rows_are_refused(tiny_workspace: Workspace) -> None:
    tiny_workspace.dataset_warehouse.mkdir()
    row = {"source": "s", "messages": [{"role": r, "content": "hi"} for r in ("user", "assistant")]}
    path = tiny_workspace.dataset_warehouse / "few.jsonl"
    path.write_text("".join(json.dumps({"id": str(i), **row}) + "\n" for i in range(11)))
    with pytest.raises(EmptyDataset, match="holds 11 usable conversations, and 12 is the least"):
        plan(dialogue(str(path)), workspace=tiny_workspace)


def test_long_curves_are_thinned_but_keep_what_was_checked() -> None:
    curve = [LossPoint(step=i, train_loss=1.0, eval_loss=2.0 if i % 100 == 0 else None) for i in range(1, 5_001)]
    kept = thinned(curve, 200)
    assert 100 < len(kept) <= 200
    assert [p.step for p in kept] == sorted(p.step for p in kept)
    assert {p.step for p in kept if p.eval_loss} == set(range(100, 5_001, 100))
    assert kept[0].step == 1
    assert thinned(curve[:50], 200) == tuple(curve[:50])


def test_progress_of_a_stand_in_in_the_making_can_be_stopped(tmp_path: Path) -> None:
    workspace = Workspace(
        artifact_root=tmp_path / "a", dataset_warehouse=tmp_path / "w", cache_dir=tmp_path / "c", base_model="standin"
    )
    told: list[Progress] = []
    with pytest.raises(RunStopped):
        finetune(
            GLORDON,
            job_id="job",
            workspace=workspace,
            run_dir=tmp_path / "run",
            on_progress=told.append,
            should_stop=lambda: any(look.phase is Phase.STANDIN and look.step for look in told),
        )
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["standin.lock"]
