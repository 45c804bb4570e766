"""LLaMA-Factory's SFT, as it comes and with neat packing; runs in an environment of its own.

python -m benchmarks.peers.llamafactory_sft WORKLOAD OUT --mode default|packed
"""

from __future__ import annotations

import json
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from typing import Any

import torch

from benchmarks.peers import settings
from benchmarks.peers.meter import metered


def main() -> None:
    """Run for the time given."""
    if find_spec("torchaudio") is None:
        # It is imported for sound, which nobody has here; what registries offer wants a card's libraries.
        sys.modules["torchaudio"] = module_from_spec(ModuleSpec("torchaudio", None))
    from llamafactory.train import tuner
    from llamafactory.train.sft import workflow

    run = settings.parse()
    rows = [{"messages": row} for row in run.dialogues]
    (run.scratch / "dialogues.json").write_text(json.dumps(rows))
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    described = {
        "file_name": "dialogues.json",
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": tags | {"system_tag": "system"},
    }
    (run.scratch / "dataset_info.json").write_text(json.dumps({"dialogues": described}))
    packed = run.mode == "packed"
    batch: dict[str, Any] = {
        "per_device_train_batch_size": 1 if packed else settings.PER_PASS,
        "gradient_accumulation_steps": 3 if packed else settings.PER_STEP // settings.PER_PASS,
    }
    trainer = metered(workflow.CustomSeq2SeqTrainer)
    trainer.meter, trainer.tokens_of = run.meter, run.tokens(all_learnt=False)
    workflow.CustomSeq2SeqTrainer = trainer
    tuner.run_exp(
        {
            "model_name_or_path": run.base,
            "stage": "sft",
            "do_train": True,
            "finetuning_type": "lora",
            "lora_rank": settings.LORA["r"],
            "lora_alpha": settings.LORA["lora_alpha"],
            "lora_dropout": settings.LORA["lora_dropout"],
            "lora_target": "all",
            "dataset_dir": str(run.scratch),
            "dataset": "dialogues",
            "template": None,
            "cutoff_len": run.longest,
            "packing": packed,
            "neat_packing": packed,
            "preprocessing_num_workers": 1,
            **run.trainer(),
            **batch,
        }
    )
    run.finish()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
