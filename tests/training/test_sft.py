"""Training one adapter: what shares a pass, what the loss counts, and that a resumed run is the same run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from training import models, sft
from training.batches import drawn, micro_batches, rate_at
from training.chat import Example
from training.checkpoints import newest_checkpoint
from training.course import Course, Stage
from training.errors import Diverged, RunStopped
from training.lessons import examples, gather
from training.loop import Hooks, fit
from training.schema import Hyperparameters, Progress, TrainSpec, Workspace
from training.sft import Answers

KNOBS = Hyperparameters(epochs=1, batch_size=12, learning_rate=0.01, lora_rank=4, lora_dropout=0.1)


class Training:
    """One fresh trainee with its examples; `run` trains it in a folder."""

    def __init__(self, workspace: Workspace, knobs: Hyperparameters = KNOBS, tokens_at_once: int = 2048) -> None:
        base = models.choose(None, workspace)
        lessons = gather(TrainSpec(job_name="t", guild_id="1", persona="glordon"), workspace)
        self.loaded = models.load(base, base.id, workspace)
        self.train = examples(lessons.train, self.loaded.format, 512)
        self.held_out = examples(lessons.held_out, self.loaded.format, 512)
        assert knobs.batch_size
        assert knobs.learning_rate
        stage = Stage(self.train, knobs.epochs, knobs.batch_size)
        course = Course((stage,), knobs.learning_rate, knobs.warmup_ratio, knobs.seed)
        self.trainee = sft.setup(self.loaded, knobs, course)
        self.answers = Answers(self.loaded, self.trainee.decoder, self.held_out, tokens_at_once)

    def run(self, run_dir: Path, hooks: Hooks = Hooks(), key: str = "k") -> dict[str, torch.Tensor]:
        run_dir.mkdir(exist_ok=True)
        fit(self.trainee, self.answers, run_dir=run_dir, key=key, hooks=hooks)
        return load_file(sft.save(self.trainee, run_dir) / "adapter_model.safetensors")


def stop_after(steps: int) -> Callable[[], bool]:
    asked = iter(range(1, 10_000))
    return lambda: next(asked) >= steps


def metrics(run_dir: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_a_resumed_run_is_the_undisturbed_run_bit_for_bit(tiny_workspace: Workspace, tmp_path: Path) -> None:
    undisturbed = Training(tiny_workspace).run(tmp_path / "a")

    stopped_at: list[int] = []
    with pytest.raises(RunStopped, match="step 3"):
        Training(tiny_workspace).run(tmp_path / "b", Hooks(should_stop=stop_after(3), on_checkpoint=stopped_at.append))
    assert stopped_at[-1] == 3
    # What a killed process leaves behind: metrics beyond the checkpoint, a torn line, a half-written checkpoint.
    with (tmp_path / "b/metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "train_loss": 9.0}\n{"step": 5, "tra')
    (tmp_path / "b/checkpoints/.step-000004.tmp").mkdir()
    steps: list[Progress] = []
    again = Training(tiny_workspace)
    resumed = again.run(tmp_path / "b", Hooks(on_progress=steps.append))

    assert [look.step for look in steps] == [4, 5, 6, 7]
    assert resumed.keys() == undisturbed.keys()
    assert all(torch.equal(resumed[name], undisturbed[name]) for name in undisturbed)
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")
    kept = sorted(path.name for path in (tmp_path / "b/checkpoints").iterdir() if not path.name.startswith("."))
    assert kept[-1] == "step-000007"
    assert len(kept) <= 2
    suffixes = {path.suffix for path in (tmp_path / "b/checkpoints").rglob("*") if path.is_file()}
    assert suffixes == {".safetensors", ".json"}


def test_a_checkpoint_of_another_run_is_not_gone_on_from(tiny_workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(RunStopped):
        Training(tiny_workspace).run(tmp_path / "a", Hooks(should_stop=stop_after(2)), key="old data")
    steps: list[Progress] = []
    Training(tiny_workspace).run(tmp_path / "a", Hooks(on_progress=steps.append), key="new data")
    assert steps[0].step == 1
    assert [line["step"] for line in metrics(tmp_path / "a")] == [1, 2, 3, 4, 5, 6, 7]


def test_what_is_learnt_after_the_data_changed_is_gone_on_from(tiny_workspace: Workspace, tmp_path: Path) -> None:
    for key, steps in (("old data", 4), ("new data", 2)):
        with pytest.raises(RunStopped):
            Training(tiny_workspace).run(tmp_path, Hooks(should_stop=stop_after(steps)), key=key)
    told: list[Progress] = []
    Training(tiny_workspace).run(tmp_path, Hooks(on_progress=told.append), key="new data")
    assert told[0].step == 3


def test_training_lowers_the_loss_and_keeps_the_best_adapter(tiny_workspace: Workspace, tmp_path: Path) -> None:
    training = Training(tiny_workspace, KNOBS.model_copy(update={"epochs": 3, "batch_size": 8, "lora_rank": 16}))
    before = training.answers.held_out_loss()
    training.run(tmp_path / "a")
    after = training.answers.held_out_loss()
    assert after < before - 0.05
    best = training.trainee.best
    assert after == pytest.approx(best.loss, rel=1e-6)
    assert best.loss == min(line["eval_loss"] for line in metrics(tmp_path / "a") if "eval_loss" in line)


@pytest.mark.parametrize(("epochs", "step"), [(1, 1), (4, 2)], ids=["held-out loss", "training loss"])
def test_a_run_that_diverges_ends_at_once_with_one_sentence(
    tiny_workspace: Workspace, tmp_path: Path, epochs: int, step: int
) -> None:
    wild = KNOBS.model_copy(update={"learning_rate": 1e18, "warmup_ratio": 0.0, "epochs": epochs})
    with pytest.raises(Diverged, match=r"at step .*smaller learning_rate") as caught:
        Training(tiny_workspace, wild).run(tmp_path / "a")
    assert caught.value.details["step"] == step
    assert all(math.isfinite(number) for line in metrics(tmp_path / "a") for number in line.values())


class Clock:
    """One that goes on by a second each time it is looked at, and at once by what somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def test_whoever_is_let_in_between_passes_changes_nothing_and_counts_as_waiting(
    tiny_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = Training(tiny_workspace, tokens_at_once=512).run(tmp_path / "a")
    training, clock, let_in = Training(tiny_workspace, tokens_at_once=512), Clock(), 0
    course = training.trainee.course
    passes = [len(micro_batches(course.rows_at(step), 512)) for step in range(course.steps)]

    def turnstile() -> None:
        nonlocal let_in
        let_in += 1
        # A chat that draws words, and takes its time.
        torch.manual_seed(let_in)
        clock.now += 1_000

    monkeypatch.setattr("training.loop.time.perf_counter", clock)
    disturbed = training.run(tmp_path / "b", Hooks(on_micro_batch=turnstile))
    assert let_in == sum(passes) > course.steps
    assert all(torch.equal(disturbed[name], weight) for name, weight in undisturbed.items())
    lines = [json.loads(line) for line in (tmp_path / "b/metrics.jsonl").read_text().splitlines()]
    assert [line["waited"] for line in lines] == [1_001.0 * count for count in passes]
    assert all(line["seconds"] < 1_000 for line in lines)
    assert "waited" not in metrics(tmp_path / "a")[0]


def test_checks_that_get_no_better_end_a_run_and_the_best_adapter_is_kept(
    tiny_workspace: Workspace, tmp_path: Path
) -> None:
    wild = {"learning_rate": 0.1, "warmup_ratio": 0.0, "epochs": 4, "early_stopping": 2, "batch_size": 16}
    training = Training(tiny_workspace, KNOBS.model_copy(update=wild))
    training.run(tmp_path / "a")
    trainee, lines = training.trainee, metrics(tmp_path / "a")
    assert trainee.step == lines[-1]["step"] == len(lines) < trainee.course.steps
    checks = [line for line in lines if "eval_loss" in line]
    best = min(checks, key=lambda line: line["eval_loss"])
    assert checks.index(best) == len(checks) - 3, "two checks without a better one"
    assert trainee.best.step == best["step"]
    assert training.answers.held_out_loss() == pytest.approx(best["eval_loss"], rel=1e-6)


def test_three_checkpoints_are_kept_while_a_run_goes(tiny_workspace: Workspace, tmp_path: Path) -> None:
    training = Training(tiny_workspace)
    told: list[int] = []
    for _ in range(5):
        with pytest.raises(RunStopped):
            training.run(tmp_path, Hooks(should_stop=lambda: True, on_checkpoint=told.append))
    assert told == [1, 2, 3, 4, 5]
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step-000003", "step-000004", "step-000005"]


@pytest.mark.parametrize(
    "variant", [{"rslora": True, "lora_alpha": 16}, {"dora": True}, {"neftune_alpha": 5.0}], ids=str
)
def test_variants_are_trained_and_told(
    tiny_workspace: Workspace, tmp_path: Path, variant: dict[str, bool | float]
) -> None:
    training = Training(tiny_workspace, KNOBS.model_copy(update=variant))
    before = training.answers.held_out_loss()
    first = training.trainee.course.rows_at(0)
    bare = sft.mean_loss(sft.measure(training.loaded, training.trainee.decoder, first, 2048))
    tensors = training.run(tmp_path)
    assert training.answers.held_out_loss() < before - 0.01
    told = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    assert told["use_rslora"] == variant.get("rslora", False)
    assert told["use_dora"] == variant.get("dora", False)
    assert any("magnitude" in name for name in tensors) == variant.get("dora", False)
    # Nothing is learnt yet at the first step, so that only noise on what is read can make its loss another one.
    noisy = abs(metrics(tmp_path)[0]["train_loss"] - bare) > 1e-3
    assert noisy == ("neftune_alpha" in variant)


def test_only_the_adapter_learns(tiny_workspace: Workspace, tmp_path: Path) -> None:
    training = Training(tiny_workspace)
    frozen = {name: p.clone() for name, p in training.trainee.model.named_parameters() if not p.requires_grad}
    training.run(tmp_path / "a")
    now = dict(training.trainee.model.named_parameters())
    assert all(torch.equal(now[name], p) for name, p in frozen.items())
    assert all("lora_" in name for name in training.trainee.weights())


def test_losses_are_those_of_the_model_itself(tiny_workspace: Workspace) -> None:
    training = Training(tiny_workspace)
    example = training.train[0]
    logits = training.loaded.model(input_ids=torch.tensor([example.ids])).logits[0].float()
    likelihood = logits.log_softmax(-1)[:-1].gather(1, torch.tensor(example.ids[1:])[:, None])[:, 0]
    ours = -likelihood[torch.tensor(example.mask[1:])].sum().item()
    total, count = sft.measure(training.loaded, training.trainee.decoder, [example], 512)[example.conversation_id]
    assert count == example.labels
    assert total == pytest.approx(ours, rel=0.01)


def example(length: int, name: str = "e") -> Example:
    return Example(name, tuple(range(length)), (False,) * (length - 1) + (True,))


def test_every_epoch_draws_each_example_once_in_its_own_order() -> None:
    rows = [example(5, str(i)) for i in range(10)]
    epochs = [[e.conversation_id for step in range(4) for e in drawn(rows, 4 * n + step, 3, seed=1)] for n in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(e.conversation_id for e in rows)
    assert epochs[0] != epochs[1]


def test_the_rate_rises_then_falls_to_a_tenth() -> None:
    rates = [rate_at(step, 100, 1.0, 0.1) for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert max(rates) == rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0.1 <= rates[-1] < 0.11


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_taken(
    tiny_workspace: Workspace, tmp_path: Path
) -> None:
    for steps in (2, 1):
        with pytest.raises(RunStopped):
            Training(tiny_workspace).run(tmp_path, Hooks(should_stop=stop_after(steps)))
    kept = sorted((tmp_path / "checkpoints").glob("step-*"))
    assert len(kept) > 1
    torn = kept[-1] / "adapter.safetensors"
    torn.write_bytes(torn.read_bytes()[:-8] + b"\0" * 8)
    # Of several processes only one may move it.
    before = newest_checkpoint(tmp_path / "checkpoints", set_aside=False)
    assert before is not None
    assert kept[-1].is_dir()
    found = newest_checkpoint(tmp_path / "checkpoints")
    assert found is not None
    assert found.step == before.step == int(kept[-2].name.removeprefix("step-"))
    assert not kept[-1].exists()
    assert (tmp_path / f"checkpoints/.{kept[-1].name}.unreadable").is_dir()
