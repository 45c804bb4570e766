"""TRL's SFTTrainer, as it comes and tuned.

    python -m benchmarks.peers.trl_sft WORKLOAD OUT --mode default|no-checkpointing|packing|padding-free|grouped

All but the first learn from answers only and keep their activations, and from `packing` on the base model is in bf16.
Two more modes, `kernels` and `kernels-checkpointing`, take what a card's environment has: Liger's kernels, and
FlashAttention for packing, without which rows are grouped by length.
"""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import is_flash_attn_2_available, is_liger_kernel_available
from trl import SFTConfig, SFTTrainer

from benchmarks.peers import settings
from benchmarks.peers.meter import metered

TUNED: dict[str, Any] = {"assistant_only_loss": True, "gradient_checkpointing": False}
MODES: dict[str, dict[str, Any]] = {
    "default": {},
    "no-checkpointing": TUNED,
    "packing": {**TUNED, "packing": True, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 3},
    "padding-free": {**TUNED, "padding_free": True, "max_length": None},
    "grouped": {**TUNED, "train_sampling_strategy": "group_by_length"},
}
FLASH = {"attn_implementation": "flash_attention_2"} if is_flash_attn_2_available() else {}
MODES["kernels"] = {**MODES["packing" if FLASH else "grouped"], "use_liger_kernel": is_liger_kernel_available()}
MODES["kernels-checkpointing"] = {**MODES["kernels"], "gradient_checkpointing": True}


def main() -> None:
    """Run for the time given."""
    run = settings.parse()
    batch = {
        "per_device_train_batch_size": settings.PER_PASS,
        "gradient_accumulation_steps": settings.PER_STEP // settings.PER_PASS,
    }
    dtype = torch.float32 if run.mode in ("default", "no-checkpointing") else torch.bfloat16
    loading = {"dtype": dtype, **run.model(), **(FLASH if run.mode.startswith("kernels") else {})}
    trainer = metered(SFTTrainer)(
        model=AutoModelForCausalLM.from_pretrained(run.base, **loading),
        args=SFTConfig(
            **{"max_length": run.longest, **run.trainer(), **batch, **MODES[run.mode]},
        ),
        train_dataset=Dataset.from_dict({"messages": run.dialogues}),
        processing_class=AutoTokenizer.from_pretrained(run.base),
        peft_config=LoraConfig(task_type="CAUSAL_LM", **settings.LORA),
    )
    trainer.meter, trainer.tokens_of = run.meter, run.tokens(all_learnt=run.mode == "default")
    trainer.train()
    run.finish()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
