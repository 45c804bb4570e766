"""LoRA adapters on a base model: made anew, or taken up from an earlier run, and kept with the template they go by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError

from training.chat import ChatFormat
from training.errors import AdapterUnreadable, NotAdaptable
from training.models import Loaded
from training.schema import Hyperparameters

if TYPE_CHECKING:
    from peft import PeftModel

TEMPLATE_FILE = "chat_template.jinja"
"""Beside an adapter, as transformers names it beside a tokenizer."""


def add_adapter(loaded: Loaded, knobs: Hyperparameters) -> PeftModel:
    """The base model with a fresh adapter on its catalog row's layers, its weights in fp32, drawn by the seed.

    Raises NotAdaptable for a mixture of experts.
    """
    from peft import LoraConfig, get_peft_model

    # The experts of a layer are one tensor of three dimensions, which peft adapts in its own way, and not with dropout.
    if any(weight.ndim > 2 for weight in loaded.model.parameters()):
        raise NotAdaptable(
            name=loaded.base.id, reason="its layers hold experts, and only plain linear layers are known"
        )
    torch.manual_seed(knobs.seed)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=knobs.lora_rank,
        lora_alpha=knobs.lora_alpha,
        lora_dropout=knobs.lora_dropout,
        target_modules=loaded.base.targets,
        use_rslora=knobs.rslora,
        use_dora=knobs.dora,
    )
    return get_peft_model(loaded.model, config)


def resume_adapter(loaded: Loaded, folder: Path, dropout: float | None = None) -> PeftModel:
    """The base model with the adapter in `folder`, ready to learn on. Raises AdapterUnreadable.

    dropout: in front of the LoRA matrices from now on; None: as the adapter was trained.
    """
    from peft import PeftConfig, PeftModel

    try:
        config = PeftConfig.from_pretrained(folder)
        if dropout is not None:
            config.lora_dropout = dropout
        return PeftModel.from_pretrained(loaded.model, folder, is_trainable=True, config=config)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise AdapterUnreadable(path=folder.parent.name) from error


def save_adapter(model: PeftModel, chat_format: ChatFormat, folder: Path) -> None:
    """Write the adapter as plain peft reads it, and with it the chat template that it was trained under."""
    for config in model.peft_config.values():
        # A set has an order of its own in each process, and the same adapter is to be the same files.
        if isinstance(config.target_modules, set):
            config.target_modules = sorted(config.target_modules)
    model.save_pretrained(folder, safe_serialization=True)
    # peft writes a card of its own, without a word of what was trained; ours lies in the run folder.
    (folder / "README.md").unlink(missing_ok=True)
    (folder / TEMPLATE_FILE).write_bytes(chat_format.template.encode())


def format_of(folder: Path, base_format: ChatFormat) -> ChatFormat:
    """How conversations are written for the adapter in `folder`: as it was trained, whatever its base does today.

    An adapter that came without a template goes by its base's.
    """
    path = folder / TEMPLATE_FILE
    return base_format.with_template(path.read_bytes().decode()) if path.is_file() else base_format
