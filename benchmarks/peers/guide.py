"""The script that guides hand out: transformers' Trainer, every token learnt, rows padded, the pad token the end token.

python -m benchmarks.peers.guide WORKLOAD OUT --mode default|no-checkpointing
"""

from __future__ import annotations

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
)

from benchmarks.peers import settings
from benchmarks.peers.meter import metered


def main() -> None:
    """Run for the time given."""
    run = settings.parse()
    model = AutoModelForCausalLM.from_pretrained(run.base, **run.model())
    model = prepare_model_for_kbit_training(model)
    model.enable_input_require_grads()
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings.LORA))
    tokenizer = AutoTokenizer.from_pretrained(run.base)
    tokenizer.pad_token = tokenizer.eos_token
    texts = [tokenizer.apply_chat_template(row, tokenize=False) for row in run.dialogues]
    rows = Dataset.from_dict(tokenizer(texts, truncation=True, max_length=run.longest))
    trainer = metered(Trainer)(
        model=model,
        args=TrainingArguments(
            gradient_checkpointing=run.mode != "no-checkpointing",
            per_device_train_batch_size=settings.PER_PASS,
            gradient_accumulation_steps=settings.PER_STEP // settings.PER_PASS,
            **run.trainer(),
        ),
        train_dataset=rows,
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
    )
    trainer.meter, trainer.tokens_of = run.meter, run.tokens(all_learnt=True)
    trainer.train()
    run.finish()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
