"""Learning from preferences: the loss is DPO's, and what was preferred becomes likelier."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from training import models, sft
from training.chat import Example
from training.course import Course, Stage
from training.data.preferences import Preference, load_preferences
from training.decoder.forward import Pass
from training.errors import EmptyDataset, UnreadableData
from training.loop import Hooks, fit
from training.preference import Pair, Preferences, pairs_of
from training.schema import Hyperparameters, Workspace

KNOBS = Hyperparameters(epochs=4, batch_size=6, learning_rate=0.01, lora_rank=4, lora_dropout=0.0)


def written(folder: Path, rows: list[object]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "votes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def votes(count: int = 12) -> list[object]:
    """Members who like it short."""
    return [
        {
            "prompt": [{"role": "system", "content": "You are Olga."}, {"role": "user", "content": f"Question {i}?"}],
            "chosen": [{"role": "assistant", "content": f"No. {i}."}],
            "rejected": [{"role": "assistant", "content": f"Well, let me think about that one, number {i}, for you."}],
        }
        for i in range(count)
    ]


class Training:
    """A fresh trainee on the tiny stand-in, with pairs, the last four held out."""

    def __init__(self, workspace: Workspace, knobs: Hyperparameters = KNOBS) -> None:
        base = models.choose(None, workspace)
        self.loaded = models.load(base, base.id, workspace)
        rows = load_preferences(written(workspace.dataset_warehouse, votes()), workspace, "1")
        self.pairs = pairs_of(rows, self.loaded.format, 256, "votes")
        learnt, held_out = self.pairs[:-4], self.pairs[-4:]
        assert knobs.learning_rate
        course = Course((Stage(learnt, knobs.epochs, knobs.batch_size or 6),), knobs.learning_rate, 0.1, knobs.seed)
        self.trainee = sft.setup(self.loaded, knobs, course)
        self.objective = Preferences(self.loaded, self.trainee.decoder, held_out, 512, knobs.dpo_beta)
        self.objective.refer(learnt)

    def run(self, folder: Path) -> None:
        folder.mkdir()
        fit(self.trainee, self.objective, run_dir=folder, key="k", hooks=Hooks())


def likelihood(training: Training, example: Example) -> float:
    """Log-likelihood (nats) of what is learnt, by the model's own forward pass."""
    logits = training.trainee.model(input_ids=torch.tensor([example.ids])).logits[0].float().log_softmax(-1)
    picked = logits[:-1].gather(1, torch.tensor(example.ids[1:])[:, None])[:, 0]
    return float(picked[torch.tensor(example.mask[1:])].sum())


def test_the_loss_is_that_of_the_paper(tiny_workspace: Workspace) -> None:
    training = Training(tiny_workspace)
    some = training.pairs[:5]
    with torch.inference_mode():
        reference = [likelihood(training, p.chosen) - likelihood(training, p.rejected) for p in some]
        for weight in training.trainee.weights().values():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) * 0.05)
        margins = [likelihood(training, p.chosen) - likelihood(training, p.rejected) for p in some]
    advantages = [0.1 * (now - then) for now, then in zip(margins, reference, strict=True)]
    expected = sum(math.log1p(math.exp(-a)) for a in advantages) / len(some)
    assert max(map(abs, advantages)) > 0.05, "the model must have moved for this to say anything"
    with training.trainee.decoder.packed():
        got = sum(share.item() for share in training.objective.shares(some, Pass()))
    assert got == pytest.approx(expected, rel=0.02)


def test_it_does_not_matter_how_a_step_is_cut_into_passes(tiny_workspace: Workspace) -> None:
    training = Training(tiny_workspace)
    reference, decoder = training.objective.reference, training.trainee.decoder
    losses = []
    for tokens in (60, 10_000):
        objective = Preferences(training.loaded, decoder, training.pairs[-4:], tokens, 0.1, reference)
        shares = list(objective.shares(training.pairs[:6], Pass()))
        losses.append((len(shares), sum(share.item() for share in shares)))
    assert losses[0][0] > losses[1][0] == 1
    assert losses[0][1] == pytest.approx(losses[1][1], rel=1e-2)


def test_what_was_preferred_becomes_likelier(tiny_workspace: Workspace, tmp_path: Path) -> None:
    training = Training(tiny_workspace)
    assert training.objective.held_out_loss() == pytest.approx(math.log(2), abs=1e-6)
    assert training.objective.preferred() == 0
    training.run(tmp_path / "run")
    assert training.objective.held_out_loss() < 0.6
    assert training.objective.preferred() == 1


def test_only_the_last_answer_counts_and_the_prompt_is_read_once(tiny_workspace: Workspace) -> None:
    training = Training(tiny_workspace)
    prompt = [{"role": r, "content": c} for r, c in (("user", "Hi"), ("assistant", "Ho"), ("user", "Well?"))]
    path = written(
        tiny_workspace.dataset_warehouse / "talks", [{"prompt": prompt, "chosen": "Yes.", "rejected": "Not at all."}]
    )
    (pair,) = pairs_of(load_preferences(path, tiny_workspace, "1"), training.loaded.format, 256, "talks")
    shown = training.loaded.format.show(pair.chosen)
    assert shown.count("⟦") == 1
    assert "⟦Yes." in shown
    assert pair.tokens == len(pair.chosen.ids) + len(pair.rejected.ids) - pair.chosen.mask.index(True)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "Hi", "chosen": "a"}, "row 1, field rejected: Field required"),
        ({"prompt": [], "chosen": "a", "rejected": "b"}, "row 1, field prompt"),
        ({"prompt": "Hi", "chosen": "a", "rejected": " a"}, "both answers are the same"),
        ({"prompt": "Hi", "chosen": "a", "rejected": "  "}, "an answer is empty"),
        (
            {"prompt": [{"role": "assistant", "content": "x"}], "chosen": "a", "rejected": "b"},
            "does not end with a user turn",
        ),
        ({"prompt": "Hi", "chosen": [{"role": "user", "content": "a"}], "rejected": "b"}, "field chosen.0.role"),
    ],
)
def test_a_bad_row_is_named(tiny_workspace: Workspace, row: object, said: str) -> None:
    path = written(tiny_workspace.dataset_warehouse, [row])
    with pytest.raises(UnreadableData) as caught:
        load_preferences(path, tiny_workspace, "1")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_row_claims_no_permission_for_itself(tiny_workspace: Workspace) -> None:
    meta = {"permission": "Discord said so", "session": "s1"}
    path = written(tiny_workspace.dataset_warehouse, [{"prompt": "Hi", "chosen": "a", "rejected": "b", "meta": meta}])
    (row,) = load_preferences(path, tiny_workspace, "1")
    assert row.meta == {"session": "s1"}


def test_prompts_that_leave_no_room_for_an_answer_are_left_out(tiny_workspace: Workspace) -> None:
    training = Training(tiny_workspace)
    made: list[Preference] = load_preferences(
        written(tiny_workspace.dataset_warehouse, [{"prompt": "word " * 400, "chosen": "a", "rejected": "b"}]),
        tiny_workspace,
        "1",
    )
    with pytest.raises(EmptyDataset, match="votes holds 0 usable"):
        pairs_of(made, training.loaded.format, 64, "votes")
    kept: list[Pair] = pairs_of(made, training.loaded.format, 2000, "votes")
    assert len(kept) == 1
