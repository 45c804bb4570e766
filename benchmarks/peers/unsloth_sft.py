"""unsloth's model under TRL's SFTTrainer, answers only, dropout 0 as its fast path asks; in an environment of its own.

python -m benchmarks.peers.unsloth_sft WORKLOAD OUT --cuda
"""

from __future__ import annotations

# isort: off
from unsloth import FastLanguageModel  # before all that it changes
from datasets import Dataset
from trl import SFTConfig, SFTTrainer
# isort: on

from benchmarks.peers import settings
from benchmarks.peers.meter import metered


def main() -> None:
    """Run for the time given."""
    run = settings.parse()
    model, tokenizer = FastLanguageModel.from_pretrained(run.base, max_seq_length=run.longest, load_in_4bit=True)
    model = FastLanguageModel.get_peft_model(
        model,
        r=settings.LORA["r"],
        lora_alpha=settings.LORA["lora_alpha"],
        lora_dropout=0,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        use_gradient_checkpointing="unsloth",
    )
    trainer = metered(SFTTrainer)(
        model=model,
        args=SFTConfig(
            max_length=run.longest,
            assistant_only_loss=True,
            per_device_train_batch_size=settings.PER_PASS,
            gradient_accumulation_steps=settings.PER_STEP // settings.PER_PASS,
            **run.trainer(),
        ),
        train_dataset=Dataset.from_dict({"messages": run.dialogues}),
        processing_class=tokenizer,
    )
    trainer.meter, trainer.tokens_of = run.meter, run.tokens(all_learnt=False)
    trainer.train()
    run.finish()


if __name__ == "__main__":
    main()
