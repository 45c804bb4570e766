"""A finished run on a tiny random model, as the pipeline leaves it, without the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from tests.fakes import report
from tests.training.decoder.tiny import SIZES
from tests.training.vocabulary import tokenizer_for
from training.adapters import save_adapter
from training.chat import ChatFormat
from training.data.schema import Source
from training.provenance import Provenance, Voice, write_provenance
from training.runs import write_bytes, write_json
from training.schema import Report, Sample, TrainSpec, Workspace

JOB = "abcdefghijkl"
SPEC = TrainSpec(job_name="olga-v1", guild_id="1", persona="olga")
OLGA = Voice(slug="olga", name="Olga", card="You are Olga.\nHow you speak: dryly.")
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Its turns end with another token than the tokenizer's end of sequence."""


def workspace_at(home: Path) -> Workspace:
    return Workspace(artifact_root=home / "artifacts", dataset_warehouse=home / "warehouse", cache_dir=home / "cache")


def base_at(folder: Path, dtype: torch.dtype = torch.float32) -> ChatFormat:
    """Make a base model with a tokenizer of its own."""
    tokenizer = tokenizer_for(CHATML)
    named = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SIZES | {"vocab_size": len(tokenizer)} | named))
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return ChatFormat(tokenizer)


def run_at(folder: Path, base: Path, **lora: Any) -> Path:
    """Make a finished run, whose adapter is far from nothing, on the base model in a folder."""
    model = AutoModelForCausalLM.from_pretrained(base)
    wanted = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules="all-linear", **lora)
    adapted = get_peft_model(model, wanted)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1)
    folder.mkdir(parents=True)
    save_adapter(adapted, ChatFormat(AutoTokenizer.from_pretrained(base)), folder / "adapter")
    write_provenance(folder, provenance(source=str(base)))
    write_json(folder / "report.json", done().model_dump(mode="json"))
    write_bytes(folder / "loss.png", b"\x89PNG")
    return folder


def done(**told: Any) -> Report:
    """The report of a run on a real model."""
    sample = Sample(question="How are you?", base="Fine.", adapter="Warm | and\nwell.")
    usual = {"rehearsal": False, "base_model": "Qwen/Qwen3-0.6B", "temperature": 0.7, "samples": (sample,)}
    return report(SPEC, JOB).model_copy(update=usual | told)


def provenance(**told: Any) -> Provenance:
    """Where an adapter comes from that anybody may have."""
    usual: dict[str, Any] = {
        "base_license": "Apache-2.0",
        "source": "Qwen/Qwen3-0.6B",
        "weights": "bfloat16",
        "learning_rate": 2e-4,
        "batch_size": 16,
        "data": (Source(name="cast", license="MIT", conversations=84),),
        "languages": ("en",),
        "cast": (OLGA,),
    }
    return Provenance(**usual | told)
