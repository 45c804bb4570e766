"""Predicted against measured peak memory of training: `python -m benchmarks.memory` on a CPU, `--cuda` on a card.

Each configuration trains a few steps on random weights in a process of its own. On a CPU the peak is that of resident
memory over what the loaded interpreter held before; on a card it is what torch allocated.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.training import verdict

MIB = 2**20
SEED = 7
PER_STEP = 16
GOAL_CPU, GOAL_CUDA = 0.15, 0.07
"""By what share a prediction may be off."""


@dataclass(frozen=True)
class Configuration:
    """A random model and how it is trained; `sizes` are hidden, intermediate, layers, heads, key heads, vocabulary."""

    name: str
    family: str
    sizes: tuple[int, int, int, int, int, int]
    tokens: int
    rank: int = 16
    redo: bool = False
    quantised: bool = False
    card: int = 0
    longest: int = 1024
    examples: int = 192


ON_CPU = (
    Configuration("10M Llama", "llama", (320, 864, 6, 5, 5, 8192), 4096),
    Configuration("10M Llama, 1,024 tokens", "llama", (320, 864, 6, 5, 5, 8192), 1024),
    Configuration("10M Llama, card of 400 tokens", "llama", (320, 864, 6, 5, 5, 8192), 4096, card=400, longest=600),
    Configuration("10M Llama, checkpointing", "llama", (320, 864, 6, 5, 5, 8192), 4096, redo=True),
    Configuration("38M Llama, 2,048 tokens", "llama", (512, 1408, 8, 8, 4, 16384), 2048),
    Configuration("38M Llama, rank 64, nf4", "llama", (512, 1408, 8, 8, 4, 16384), 2048, rank=64, quantised=True),
    Configuration("120M Llama, 1,024 tokens", "llama", (768, 2048, 12, 12, 4, 32000), 1024),
    Configuration("120M Llama, nf4, checkpointing", "llama", (768, 2048, 12, 12, 4, 32000), 2048, 16, True, True),
    Configuration("45M Qwen 3, 2,048 tokens", "qwen3", (512, 1536, 8, 8, 2, 32000), 2048),
    Configuration("22M Gemma 3, 1,024 tokens", "gemma3_text", (384, 1152, 6, 6, 2, 16384), 1024),
)
ON_CUDA = (
    Configuration("7B Llama, nf4, 2,048 tokens", "llama", (4096, 11008, 30, 32, 32, 102400), 2048, quantised=True),
    Configuration("7B Llama, nf4, 4,096, redo", "llama", (4096, 11008, 30, 32, 32, 102400), 4096, 16, True, True),
    Configuration("1B Llama, 4,096 tokens", "llama", (2048, 8192, 16, 32, 8, 128256), 4096),
    Configuration("1B Llama, card of 400", "llama", (2048, 8192, 16, 32, 8, 128256), 4096, card=400, longest=600),
)


def main() -> None:
    """Measure each configuration in a fresh process, and print what was predicted beside it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuda", action="store_true", help="configurations for a card")
    parser.add_argument("--only", help="part of a configuration's name")
    parser.add_argument("--parts", action="store_true", help="what the prediction is made of, too")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        told, folder = given.one
        print(json.dumps(measured(Configuration(**json.loads(told)), Path(folder), cuda=given.cuda)))
        return
    chosen = [c for c in (ON_CUDA if given.cuda else ON_CPU) if not given.only or given.only in c.name]
    worst = 0.0
    print("| Configuration | Predicted MiB | Measured MiB | Off |\n|---|---|---|---|")
    for configuration in chosen:
        told = in_a_process(configuration, cuda=given.cuda)
        if given.parts:
            print({name: round(value) for name, value in told.items()}, file=sys.stderr)
        off = told["predicted"] / told["measured"] - 1
        print(f"| {configuration.name} | {told['predicted']:.0f} | {told['measured']:.0f} | {off:+.1%} |", flush=True)
        worst = max(worst, abs(off))
    most = GOAL_CUDA if given.cuda else GOAL_CPU
    print("\n" + verdict(worst <= most, f"predicted peak memory within {most:.0%} of the measured one: {worst:.1%}"))


def in_a_process(configuration: Configuration, *, cuda: bool = False) -> dict[str, float]:
    """What `measured` tells, from an interpreter that has done nothing before."""
    with tempfile.TemporaryDirectory() as folder:
        save_model(configuration, Path(folder))
        argv = [sys.executable, "-m", "benchmarks.memory", "--one", json.dumps(asdict(configuration)), folder]
        done = subprocess.run([*argv, *(["--cuda"] if cuda else [])], check=True, stdout=subprocess.PIPE, text=True)
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def measured(configuration: Configuration, folder: Path, *, cuda: bool) -> dict[str, float]:
    """{"predicted", "measured"} and the predicted parts, in MiB, of a few steps of the real loop."""
    import bitsandbytes  # noqa: F401 - all that a run imports is there before the first look
    import peft  # noqa: F401
    import torch
    from transformers import AutoConfig

    from training import pipeline  # noqa: F401
    from training.batches import micro_batches
    from training.course import Course, Stage
    from training.memory import Means, footprint, heaviest, load_of, measure
    from training.models import this_machine
    from training.schema import Hyperparameters

    torch.set_num_threads(1)
    means = Means(configuration.quantised, configuration.redo, configuration.tokens)
    knobs = Hyperparameters(lora_rank=configuration.rank)
    course = Course((Stage(texts(configuration), 1, PER_STEP),), 1e-3, knobs.warmup_ratio, SEED)
    steps = (micro_batches(course.rows_at(step), configuration.tokens) for step in range(course.steps))
    load = heaviest(load_of(group) for groups in steps for group in groups)
    predicted = footprint(measure(AutoConfig.from_pretrained(folder)), knobs, means, load, this_machine())
    with Peak(cuda=cuda) as peak:
        train(folder, configuration, knobs, course)
    parts = {name: value / MIB for name, value in asdict(predicted).items()}
    return {"predicted": predicted.added / MIB, "measured": peak.bytes / MIB, **parts}


def texts(configuration: Configuration) -> list[Any]:
    """Persona-shaped examples: lengths spread from 40 to `longest`, half of each learnt."""
    from training.chat import Example

    rng = random.Random(SEED)
    words = configuration.sizes[5]
    begin = [rng.randrange(10, words) for _ in range(configuration.card)]
    made: list[Example] = []
    while len(made) < configuration.examples:
        length = min(configuration.longest, max(40, int(rng.lognormvariate(4.9, 0.9))))
        ids = [*begin, *(rng.randrange(10, words) for _ in range(max(20, length - configuration.card)))]
        learnt = (len(ids) - configuration.card) // 2
        made.append(Example(str(len(made)), tuple(ids), (False,) * (len(ids) - learnt) + (True,) * learnt))
    return made


def save_model(configuration: Configuration, folder: Path) -> None:
    """Random weights and a tokenizer, as a folder that runs can load."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from training.standin import standin_tokenizer

    hidden, intermediate, layers, heads, key_heads, words = configuration.sizes
    config = AutoConfig.for_model(
        configuration.family,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        head_dim=hidden // heads,
        vocab_size=words,
        max_position_embeddings=2048,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    big = configuration.sizes[0] >= 2048
    AutoModelForCausalLM.from_config(config, dtype="bfloat16" if big else "float32").save_pretrained(folder)
    standin_tokenizer().save_pretrained(folder)


def train(folder: Path, configuration: Configuration, knobs: Any, course: Any) -> None:
    """The real loop over the whole course, checkpoints included."""
    from training import models, sft
    from training.loop import Hooks, fit
    from training.schema import Workspace

    workspace = Workspace(artifact_root=folder, dataset_warehouse=folder, cache_dir=folder)
    loaded = models.load(models.Base(id="random"), str(folder), workspace, quantised=configuration.quantised)
    trainee = sft.setup(loaded, knobs, course, redo=configuration.redo)
    answers = sft.Answers(loaded, trainee.decoder, course.rows_at(0)[:2], configuration.tokens)
    (folder / "run").mkdir()
    fit(trainee, answers, run_dir=folder / "run", key="benchmark", hooks=Hooks())


class Peak:
    """The highest memory of what runs inside, over what there was before, in bytes."""

    def __init__(self, *, cuda: bool) -> None:
        self.bytes = 0
        self._cuda = cuda
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Peak:
        self._before = resident_memory()
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()
        if self._cuda:
            import torch

            self.bytes = torch.cuda.max_memory_allocated()

    def _look(self) -> None:
        while not self._over.is_set():
            self.bytes = max(self.bytes, resident_memory() - self._before)
            time.sleep(0.001)


def resident_memory() -> int:
    """Bytes of this process that lie in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main()
