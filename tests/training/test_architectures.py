"""Every architecture in the catalog, as a tiny model with random weights: LoRA, packed rows, one step, four bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from bitsandbytes.nn import Linear4bit
from transformers import AutoModelForCausalLM, PreTrainedModel

from tests.training.vocabulary import tokenizer_for
from training import models, sft
from training.adapters import add_adapter
from training.course import Course, Stage
from training.decoder.forward import Decoder
from training.errors import NotAdaptable
from training.loop import Hooks, fit
from training.memory import measure
from training.models import Base, Loaded, catalog
from training.schema import Conversation, Hyperparameters, Message, Workspace
from training.sft import Answers

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
PUBLISHED = {
    "deepseek-ai/deepseek-llm-7b-chat": 6.91e9,
    "deepseek-ai/deepseek-llm-7b-base": 6.91e9,
    "mistralai/Mistral-7B-Instruct-v0.2": 7.24e9,
    "meta-llama/Meta-Llama-3-8B-Instruct": 8.03e9,
    "meta-llama/Llama-3.1-8B-Instruct": 8.03e9,
    "meta-llama/Llama-3.2-1B-Instruct": 1.24e9,
    "meta-llama/Llama-3.2-3B-Instruct": 3.21e9,
    "Qwen/Qwen3-0.6B": 0.6e9,
    "Qwen/Qwen3-1.7B": 1.72e9,
    "Qwen/Qwen3-4B": 4.02e9,
    "Qwen/Qwen3-8B": 8.19e9,
    "HuggingFaceTB/SmolLM2-135M-Instruct": 134.5e6,
    "HuggingFaceTB/SmolLM2-360M-Instruct": 361.8e6,
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": 1.71e9,
    "HuggingFaceTB/SmolLM3-3B": 3.08e9,
    "google/gemma-2-2b-it": 2.61e9,
    "google/gemma-2-9b-it": 9.24e9,
    "google/gemma-3-1b-it": 1.0e9,
    "deepseek-ai/DeepSeek-V3-Base": 671e9,
}
SMALL: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "moe_intermediate_size": 64,
    "num_hidden_layers": 6,
    "first_k_dense_replace": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "q_lora_rank": 64,
    "kv_lora_rank": 64,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 16,
    "v_head_dim": 16,
    "n_routed_experts": 8,
    "n_group": 2,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "sliding_window": 8,
    "max_position_embeddings": 512,
}
"""What the numbers of a row are shrunk to, where it has them."""
ROWS = {str(row.architecture["model_type"]): row for row in reversed(catalog().values()) if row.architecture}
"""For each architecture the first row of the catalog that has it."""
TRAINED = sorted(ROWS.keys() - {"deepseek_v3"})
TALK = Conversation(
    id="c",
    source="test",
    messages=(Message(role="user", content="Are you warm?"), Message(role="assistant", content="Very warm.")),
)


def tiny(kind: str, folder: Path) -> Base:
    """The row's model, shrunk, on disk with a tokenizer that has the family's template."""
    row = ROWS[kind]
    template = (TEMPLATES / f"{row.template}.jinja").read_text(encoding="utf-8") if row.template else None
    tokenizer = tokenizer_for(template)
    numbers = {name: SMALL.get(name, value) for name, value in row.architecture.items()}
    if row.architecture["num_attention_heads"] == row.architecture["num_key_value_heads"]:
        numbers["num_key_value_heads"] = SMALL["num_attention_heads"]
    config = row.model_copy(update={"architecture": numbers | {"vocab_size": len(tokenizer)}}).config()
    config.initializer_range = 0.1  # far from uniform: a token wrongly seen or unseen changes every loss
    config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
    config.pad_token_id = tokenizer.pad_token_id
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return row.model_copy(update={"id": str(folder)})


def loaded(kind: str, folder: Path, *, quantised: bool) -> Loaded:
    workspace = Workspace(artifact_root=folder / "a", dataset_warehouse=folder / "w", cache_dir=folder / "c")
    base = tiny(kind, folder)
    return models.load(base, base.id, workspace, quantised=quantised)


def linears(model: PreTrainedModel) -> set[str]:
    """The names of all linear layers but the head."""
    head = model.get_output_embeddings()
    found = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    return {name for name, module in found.items() if module is not head}


def test_the_default_and_all_rows_have_their_dimensions() -> None:
    rows = catalog()
    assert {name for name, row in rows.items() if not row.architecture} == {"standin"}
    assert {name for name, row in rows.items() if not row.chat} == {
        "deepseek-ai/deepseek-llm-7b-base",
        "deepseek-ai/DeepSeek-V3-Base",
    }


@pytest.mark.parametrize("name", PUBLISHED)
def test_counted_parameters_are_those_published(name: str, tmp_path: Path) -> None:
    workspace = Workspace(artifact_root=tmp_path, dataset_warehouse=tmp_path, cache_dir=tmp_path)
    row = models.choose(name, workspace)
    config = models.load_config(row, workspace)
    assert measure(config).parameters == pytest.approx(PUBLISHED[name], rel=0.02)
    assert 1024 <= row.context <= config.max_position_embeddings


def test_published_figures_are_known_for_every_row() -> None:
    assert set(PUBLISHED) == catalog().keys() - {"standin"}


@pytest.mark.parametrize("quantised", [False, True], ids=["whole", "nf4"])
@pytest.mark.parametrize("kind", TRAINED)
def test_an_architecture_is_adapted_and_trained_throughout(kind: str, quantised: bool, tmp_path: Path) -> None:
    base = loaded(kind, tmp_path, quantised=quantised)
    expected = linears(base.model)
    assert len(expected) == 6 * 7
    fours = {name for name, module in base.model.named_modules() if isinstance(module, Linear4bit)}
    assert fours == (expected if quantised else set())

    [row] = base.format.examples(TALK, 400)
    trainee = sft.setup(base, Hyperparameters(lora_rank=4), Course((Stage([row], 1, 1),), 1e-3, 0.0, 0))
    adapted = {name.partition(".lora_A.")[0] for name in trainee.weights() if ".lora_A." in name}
    assert {name.removeprefix("base_model.model.") for name in adapted} == expected
    assert {weight.dtype for weight in trainee.weights().values()} == {torch.float32}

    before = {name: weight.detach().clone() for name, weight in trainee.weights().items()}
    fit(trainee, Answers(base, trainee.decoder, [row], 400), run_dir=tmp_path, key="k", hooks=Hooks())
    moved = {name for name, weight in trainee.weights().items() if not torch.equal(weight, before[name])}
    assert {name for name in before if "lora_B" in name} <= moved
    trainee.model.eval()
    assert trainee.decoder.agrees()
    if not quantised:
        assert Decoder(trainee.model.get_base_model(), torch.float32).agrees()


@pytest.mark.parametrize("kind", TRAINED)
def test_the_familys_template_is_learnt_from(kind: str, tmp_path: Path) -> None:
    base = tiny(kind, tmp_path)
    workspace = Workspace(artifact_root=tmp_path, dataset_warehouse=tmp_path, cache_dir=tmp_path)
    chat_format = models.load_format(base, workspace)
    assert chat_format.is_default == (base.template is None)
    [window] = chat_format.examples(TALK, 400)
    learnt = chat_format.tokenizer.decode([i for i, on in zip(window.ids, window.mask, strict=True) if on])
    assert learnt.strip() == "Very warm." + chat_format.tokenizer.decode([chat_format.end_of_turn])


def test_experts_are_refused(tmp_path: Path) -> None:
    base = loaded("deepseek_v3", tmp_path, quantised=False)
    with pytest.raises(NotAdaptable, match="its layers hold experts"):
        add_adapter(base, Hyperparameters())
