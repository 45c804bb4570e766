"""LoRA adapters on a base model: made anew, or taken up from an earlier run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError

from training.errors import AdapterUnreadable
from training.models import Loaded
from training.schema import Hyperparameters

if TYPE_CHECKING:
    from peft import PeftModel


def add_adapter(loaded: Loaded, knobs: Hyperparameters) -> PeftModel:
    """The base model with a fresh adapter on its catalog row's layers, its weights in fp32, drawn by the seed."""
    from peft import LoraConfig, get_peft_model

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


def resume_adapter(loaded: Loaded, folder: Path) -> PeftModel:
    """The base model with the adapter in `folder`, ready to learn on. Raises AdapterUnreadable."""
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(loaded.model, folder, is_trainable=True)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise AdapterUnreadable(path=folder.parent.name) from error
