"""What all trainers are given alike: rank, dropout, dialogues a step, learning rate, and a place for their result."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.meter import Meter, Tokens, masked
from benchmarks.peers.workload import Dialogue, read

LORA: dict[str, Any] = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.05, "target_modules": "all-linear"}
PER_STEP = 16
PER_PASS = 4
"""Dialogues in a step, and in one forward pass of those that pad."""
RATE = 4e-3
SEED = 42
TRAINER: dict[str, Any] = {
    "lr_scheduler_type": "constant",
    "optim": "adamw_torch",
    "weight_decay": 0.0,
    "num_train_epochs": 50,
    "logging_steps": 100_000,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "seed": SEED,
}


@dataclass
class Run:
    """One trainer's run. `longest`: tokens that a dialogue may have, its card included."""

    base: str
    dialogues: list[Dialogue]
    held_out: list[Dialogue]
    longest: int
    cuda: bool
    mode: str
    rate: float
    out: Path
    scratch: Path
    meter: Meter
    masks: list[tuple[list[int], list[int]]]

    def model(self) -> dict[str, Any]:
        """How a model is loaded: on a card in bf16, but for what its folder keeps in four bits; else as it comes."""
        import torch

        return {"device_map": {"": 0}, "dtype": torch.bfloat16} if self.cuda else {}

    def trainer(self) -> dict[str, Any]:
        """What a Trainer of transformers' is told, whoever derives from it."""
        where = {"bf16": True} if self.cuda else {"use_cpu": True, "dataloader_pin_memory": False}
        return {"learning_rate": self.rate, "output_dir": str(self.scratch), **TRAINER, **where}

    def tokens(self, *, all_learnt: bool) -> Tokens:
        """What counts the useful tokens of a batch."""
        return Tokens(self.masks, all_learnt=all_learnt)

    def finish(self) -> None:
        """Keep what was measured."""
        self.meter.found.write(self.out)


def parse() -> Run:
    """The run that the command line asks for; the meter watches memory from now on."""
    from transformers import AutoTokenizer

    parser = argparse.ArgumentParser()
    parser.add_argument("workload", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--mode", default="default")
    parser.add_argument("--card", action="store_true")
    parser.add_argument("--cuda", action="store_true", help="On a card, where nothing is held out.")
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--seconds", type=float, default=40.0)
    given = parser.parse_args()
    ending = "-card.jsonl" if given.card else ".jsonl"
    dialogues, held_out = (read(given.workload / f"{name}{ending}") for name in ("dialogues", "held_out"))
    base = str(given.workload / "base")
    tokenizer = AutoTokenizer.from_pretrained(base)
    masks = [masked(tokenizer, row) for row in dialogues]
    looked_at = [] if given.cuda else [masked(tokenizer, row) for row in held_out]
    return Run(
        base=base,
        dialogues=dialogues,
        held_out=held_out,
        longest=max(len(ids) for ids, _ in masks),
        cuda=given.cuda,
        mode=given.mode,
        rate=given.rate,
        out=given.out,
        scratch=Path(tempfile.mkdtemp()),
        meter=Meter(looked_at, given.seconds, tokenizer.eos_token_id, cuda=given.cuda),
        masks=masks,
    )
