"""An adapter on the real stand-in ends its answers by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from peft import PeftModel

from tasks.settings import TaskSettings
from training import models
from training.data.read import read_conversations
from training.inference import generate
from training.lessons import gather
from training.pipeline import finetune
from training.places import SHIPPED
from training.schema import Hyperparameters, Message, TrainSpec

SPEC = TrainSpec(job_name="t", guild_id="1", persona="glordon", hyperparameters=Hyperparameters(epochs=2))
QUESTIONS = 200


@pytest.mark.timeout(600)
def test_answers_end_by_themselves(tmp_path: Path) -> None:
    workspace = TaskSettings(base_model="standin", artifact_root=tmp_path).workspace()
    run_dir = tmp_path / "run"
    finetune(
        SPEC,
        job_id="job",
        workspace=workspace,
        run_dir=run_dir,
        on_progress=lambda look: None,
        should_stop=lambda: False,
    )
    base = models.choose(None, workspace)
    loaded = models.load(base, models.find_source(base, workspace), workspace)
    adapted = PeftModel.from_pretrained(loaded.model, run_dir / "adapter")
    persona = gather(SPEC, workspace).persona
    assert persona
    card = Message(role="system", content=persona.system_card())
    files = sorted((SHIPPED / "data/dialogues").glob("*.jsonl"))
    asked = dict.fromkeys(row.messages[-2].content for file in files for row in read_conversations(file))
    prompts = [
        loaded.format.prompt([card, Message(role="user", content=text)]) for text in list(asked)[::3][:QUESTIONS]
    ]
    assert len(prompts) == QUESTIONS
    answers = generate(adapted, loaded.format, prompts, max_new_tokens=160, temperature=0.7, seed=1)
    assert sum(answer.ended for answer in answers) >= 0.99 * QUESTIONS
