"""What a model card says, of every kind of run, and that the hub can read it."""

from __future__ import annotations

import ast
import json
from typing import Any

import pytest
from huggingface_hub import ModelCard

from tests.training.conftest import Finished
from tests.training.runs_made import OLGA, SPEC, done, provenance
from training.data.schema import Source
from training.lessons import gather
from training.modelcard import Form, model_card
from training.provenance import Voice, read_provenance
from training.schema import Hyperparameters, Report, TaskType, TrainSpec

CALEB = Voice(slug="caleb", name="Caleb", card="You are Caleb.")


def asked(task: TaskType, **told: Any) -> Report:
    spec = TrainSpec(job_name="v1", guild_id="1", persona="olga", dataset="lore", task_type=task, **told)
    return done(spec=spec)


def card(report: Report, form: Form = Form.RUN, gguf: str = "", **told: Any) -> str:
    return model_card(report, provenance(**told), (7, 9), form, gguf)


def row(text: str, name: str) -> str:
    """What a card's tables say of something."""
    (found,) = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
    return found.split(" | ", 1)[1].removesuffix(" |")


def code(text: str) -> str:
    return text.split("```python\n")[1].split("```", maxsplit=1)[0]


def test_the_hub_reads_what_kind_of_model_it_is() -> None:
    read = ModelCard(card(done(), languages=("en", "pt-BR", "und-x-long"))).data
    assert (read.library_name, read.pipeline_tag, read.license) == ("peft", "text-generation", "apache-2.0")
    assert read.base_model == "Qwen/Qwen3-0.6B"
    assert read.to_dict()["base_model_relation"] == "adapter"
    assert read.language == ["en", "pt", "und"]
    assert read.tags == ["understudy", "text-generation", "persona", "lora"]
    merged = ModelCard(card(done(), Form.MERGED)).data
    assert merged.library_name == "transformers"
    assert merged.to_dict()["base_model_relation"] == "finetune"


@pytest.mark.parametrize(
    ("base", "data", "named"),
    [
        ("Apache-2.0", "MIT", "apache-2.0"),
        ("Llama 3.1 Community Licence", "MIT", "llama3.1"),
        ("DeepSeek Model License", "MIT", "other"),
        ("Apache-2.0", "CC-BY-NC-4.0", "other"),
        ("Apache-2.0", "CC-BY-SA-4.0", "other"),
        ("Apache-2.0", "", "other"),
    ],
)
def test_the_licence_is_the_bases_unless_the_data_asks_for_more(base: str, data: str, named: str) -> None:
    found = card(done(), base_license=base, data=(Source(name="x", license=data, conversations=3),))
    read = ModelCard(found).data.to_dict()
    assert read["license"] == named
    assert ("license_name" in read) == (named == "other")
    assert base in row(found, "Base model")


def test_an_earlier_runs_data_counts() -> None:
    earlier = provenance(data=(Source(name="alpaca", license="CC-BY-NC-4.0", conversations=9),), permissions=("T-1",))
    report = asked(TaskType.PREFERENCE, start_from="0123456789ab").model_copy(update={"preferred": 0.75})
    found = card(report, pairs=40, begun_from=earlier)
    assert ModelCard(found).data.license == "other"
    assert "It began with the adapter of run `0123456789ab`." in found
    assert "an earlier run's adapter, which had learnt from: 9 rows of alpaca (CC-BY-NC-4.0)." in found
    assert row(found, "Licences of the data") == "CC-BY-NC-4.0, MIT"
    assert row(found, "Discord's permission") == "T-1"
    assert row(found, "Task") == "preference: 40 pairs of answers, of which one was liked better (DPO)"
    assert row(found, "Held-out pairs whose chosen answer gained more") == "75%"
    assert "Direct preference optimisation with beta 0.1" in found
    assert "research or non-commercial use only" in found


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (TaskType.PERSONA, "persona: the dialogues of its persona"),
        (TaskType.DIALOGUE, "dialogue: conversations"),
        (TaskType.MIXED, "mixed: the dialogues of its persona, with general conversations as 20% of all"),
        (TaskType.TWO_STAGE, "two-stage: 500 general conversations once, then the dialogues of its persona"),
    ],
)
def test_every_task_says_what_was_learnt_in_which_order(task: TaskType, said: str) -> None:
    assert row(card(asked(task), opening=500), "Task") == said


@pytest.mark.parametrize(
    ("weights", "said"), [("nf4", "kept in 4 bits (nf4, double-quantised)"), ("bfloat16", "kept in bfloat16")]
)
def test_how_the_base_model_was_kept(weights: str, said: str) -> None:
    assert row(card(done(), weights=weights), "Base model") == f"Qwen/Qwen3-0.6B (Apache-2.0), {said}"
    merged = card(done(), Form.MERGED, weights=weights)
    assert ("learnt on weights in 4 bits and is merged into the whole ones" in merged) == (weights == "nf4")


def test_the_seeds_that_were_tried_and_the_one_that_was_kept() -> None:
    knobs = Hyperparameters(seed=5, seeds=3)
    found = card(done(spec=SPEC.model_copy(update={"hyperparameters": knobs}), seed=6))
    assert "The seeds 5, 6, 7 were tried, and 6, with the lowest held-out loss, was kept." in found
    assert "were tried" not in card(done())


def test_the_knobs_are_those_that_the_run_took() -> None:
    said = json.loads(card(done()).split("```json\n")[1].split("```")[0])
    assert (said["learning_rate"], said["batch_size"], said["lora_rank"]) == (2e-4, 16, 16)


def test_the_whole_cast_is_told_apart_by_its_cards() -> None:
    found = card(done(), cast=(OLGA, CALEB))
    assert "# Olga, Caleb (olga-v1)" in found
    assert "- Olga:\n\n  > You are Olga.\n  > How you speak: dryly.\n\n- Caleb:\n\n  > You are Caleb." in found
    assert "each below its own system card" not in card(done())


def test_a_run_without_a_persona_promises_no_voice() -> None:
    found = card(asked(TaskType.DIALOGUE), cast=())
    assert "# Dialogue (v1)" in found
    assert "made-up character" not in found
    assert '"role": "system"' not in code(found)


def test_a_run_of_which_nothing_is_recorded_says_so() -> None:
    found = card(done(), recorded=False, data=(), weights="unknown", learning_rate=0.0)
    assert row(found, "Learnt from") == "not recorded"
    assert row(found, "Licences of the data") == "not recorded"
    assert ModelCard(found).data.license == "other"


@pytest.mark.parametrize("form", Form)
def test_the_code_is_code_and_names_no_folder_of_this_machine(form: Form) -> None:
    found = card(done(), form, source="/srv/private/tiny-base")
    ast.parse(code(found))
    assert "eos_token_id=[7, 9]" in code(found)
    assert "/srv" not in found
    assert "base_model" not in ModelCard(found).data.to_dict()
    assert ("Copy that folder, `tiny-base`, to here" in found) == (form is not Form.MERGED)
    assert ("PeftModel" in code(found)) == (form is not Form.MERGED)


def test_a_gguf_file_is_named_with_the_program_that_reads_it() -> None:
    assert "llama-cli -m olga-q8_0.gguf" in card(done(), Form.MERGED, "olga-q8_0.gguf")


def test_what_people_wrote_does_not_break_a_table() -> None:
    found = card(done(), data=(Source(name="a | b\nc", license="MIT", conversations=1),))
    assert row(found, "Learnt from") == "1 rows of a / b c (MIT)"


def test_a_real_run_records_what_it_learnt_from(finished: Finished) -> None:
    folder, report = finished.folders["olga"], finished.reports["olga"]
    found = read_provenance(folder, "nowhere")
    lessons = gather(report.spec, finished.workspace)
    assert found.recorded
    assert {source.name: source.conversations for source in found.data} == lessons.sources
    assert found.licenses == lessons.licenses == ("MIT",)
    assert found.source == finished.workspace.base_model
    assert (found.weights, found.learning_rate, found.batch_size) == ("float32", 0.01, 8)
    assert [voice.card for voice in found.cast] == [lessons.cast[0].system_card()]
    assert (found.permissions, found.chats, found.begun_from) == ((), 0, None)
    written = (folder / "README.md").read_text()
    assert row(written, "Learnt from") == f"{report.examples} rows of understudy-cast (MIT)"
    assert ModelCard(written).data.license == "mit"
