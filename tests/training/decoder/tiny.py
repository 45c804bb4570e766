"""Tiny models of every architecture in the catalog, and rows for them."""

from __future__ import annotations

import random
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)

from training.chat import Example

WORDS = 300
SIZES: dict[str, Any] = {
    "vocab_size": WORDS,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    # Far from uniform, so that a token wrongly seen or unseen changes every loss.
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
ALTERNATING = ["sliding_attention", "full_attention", "sliding_attention"]
CONFIGS: dict[str, PretrainedConfig] = {
    "llama": LlamaConfig(**SIZES),
    "llama with rope scaling": LlamaConfig(
        **SIZES,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 10_000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    ),
    "mistral": MistralConfig(**SIZES, sliding_window=None),
    "mistral with a window": MistralConfig(**SIZES, sliding_window=8),
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES),
    "smollm3": SmolLM3Config(**SIZES, no_rope_layer_interval=2),
    "gemma2": Gemma2Config(**SIZES, sliding_window=8, query_pre_attn_scalar=16, layer_types=ALTERNATING),
    "gemma3": Gemma3TextConfig(**SIZES, sliding_window=8, query_pre_attn_scalar=16, layer_types=ALTERNATING),
}


def adapted(config: PretrainedConfig, rate: float = 0.0, **more: Any) -> Any:
    """A peft model on random weights, its adapter far from nothing."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).requires_grad_(False)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_()
    lora = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, lora_dropout=rate, target_modules="all-linear", **more)
    made = get_peft_model(model, lora)
    for name, parameter in made.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1)
    return made


def rows(count: int = 7, seed: int = 0, head: int = 30, least: int = 10, most: int = 200) -> list[Example]:
    """Examples of which every other one begins with the same `head` tokens; the second half of each is learnt."""
    rng = random.Random(seed)
    begin = [rng.randrange(WORDS) for _ in range(head)]
    made = []
    for number in range(count):
        tail = [rng.randrange(WORDS) for _ in range(rng.randrange(least, most))]
        ids = [*(begin if number % 2 == 0 else []), *tail]
        learnt = len(tail) // 2
        made.append(Example(str(number), tuple(ids), (False,) * (len(ids) - learnt) + (True,) * learnt))
    return made


def gradients(model: Any) -> torch.Tensor:
    """All gradients of the adapter as one vector, which are then forgotten."""
    learnt = [p for p in model.parameters() if p.requires_grad]
    found = torch.cat([p.grad.flatten() for p in learnt])
    for p in learnt:
        p.grad = None
    return found
