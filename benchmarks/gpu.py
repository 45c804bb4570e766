"""What `benchmarks/gpu.sh` runs: trainers beside one another on a 4-bit model of random weights, on one CUDA card.

    .venv/bin/python -m benchmarks.gpu [--base ROW] [--seconds 60] [--peers DIR] [--only NAME…] [--rehearse]

The model has the dimensions of a row of `catalog/models.toml`. It is drawn and quantised a layer at a time, written
once, and read by each trainer in a process of its own; so neither main memory nor the card ever holds it in full
precision. Lengths and cards are those of `benchmarks.training`. Seconds are by the clock, memory is what torch reserved
of the card. `--rehearse`: a tiny model on the CPU, to see the same code run; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers import workload
from benchmarks.peers.meter import Measured
from benchmarks.training import PEERS, Failed, Figures, Trainer, failed, run, verdict
from training import models
from training.memory import measure

BASE = "deepseek-ai/deepseek-llm-7b-chat"
TINY = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "vocab_size": workload.VOCABULARY}
TINY |= {"num_attention_heads": 4, "num_key_value_heads": 4}
TRAINERS = {
    "guide": Trainer("the guide's script", "guide"),
    "trl": Trainer("TRL tuned, with kernels", "trl_sft", "kernels"),
    "trl-checkpointing": Trainer("the same, checkpointing", "trl_sft", "kernels-checkpointing"),
    "unsloth": Trainer("unsloth", "unsloth_sft"),
    "ours": Trainer("Understudy, 4,096 tokens at once", "ours"),
    "ours-half": Trainer("Understudy, 2,048 tokens", "ours", "half"),
    "ours-redone": Trainer("Understudy, 2,048 tokens, checkpointing", "ours", "half-redone"),
    "guide-card": Trainer("the guide's script", "guide", card=True),
    "trl-card": Trainer("TRL tuned, with kernels", "trl_sft", "kernels", card=True),
    "unsloth-card": Trainer("unsloth", "unsloth_sft", card=True),
    "ours-unshared-card": Trainer("Understudy, the card read for each dialogue", "ours", "unshared", card=True),
    "ours-card": Trainer("Understudy, the card shared", "ours", card=True),
}
RATIOS = ((3, "ours", "guide"), (1, "ours", "trl"), (1, "ours", "trl-checkpointing"), (8, "ours-card", "guide-card"))
"""Goals: so many times the useful tokens a second of the other."""
MEMORY = {"ours-half": 16e9, "ours-redone": 8 * 2**30}
"""Goals: at most so many bytes of the card."""


# --- the model -----------------------------------------------------------------------------------------------------


def make_model(folder: Path, architecture: Mapping[str, Any], device: torch.device) -> None:
    """Write a checkpoint in nf4, double-quantised, one file for each layer; only one matrix is in memory at a time."""
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    words = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None, "dtype": torch.bfloat16}
    config = AutoConfig.for_model(**architecture, **words)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    config.quantization_config = nf4.to_dict()
    config.architectures = [type(model).__name__]
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    quantised = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    quantised.discard("lm_head.weight")
    places: dict[str, str] = {}
    for file, tensors in _by_layer(model):
        drawn = {key: t for name, shape in tensors for key, t in _drawn(name, shape, quantised, device).items()}
        save_file(drawn, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(drawn, file)
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _by_layer(model: torch.nn.Module) -> Iterator[tuple[str, list[tuple[str, torch.Size]]]]:
    """(file, (name, shape) of each parameter) a layer, and all else at the end."""
    groups: dict[str, list[tuple[str, torch.Size]]] = {}
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        layer = f"layer-{parts[2]}" if parts[1] == "layers" else "rest"
        groups.setdefault(layer, []).append((name, parameter.shape))
    yield from ((f"{layer}.safetensors", tensors) for layer, tensors in groups.items())


def _drawn(name: str, shape: torch.Size, quantised: set[str], device: torch.device) -> dict[str, torch.Tensor]:
    """A parameter's tensors as bitsandbytes writes them: its weights, and with 4 bits how they are to be read."""
    from bitsandbytes.functional import quantize_4bit

    if len(shape) == 1:
        return {name: torch.ones(shape, dtype=torch.bfloat16)}
    weights = torch.empty(shape, dtype=torch.bfloat16, device=device).normal_(std=0.02)
    if name not in quantised:
        return {name: weights.cpu()}
    packed, state = quantize_4bit(weights, quant_type="nf4", compress_statistics=True)
    parts = {f"{name}.{key}": value.cpu() for key, value in state.as_dict(packed=True).items()}
    return {name: packed.cpu(), **parts}


def make(folder: Path, base: str, *, rehearse: bool) -> int:
    """Write model, tokenizer and dialogues; how many weights each token is multiplied with, the head's left aside."""
    from transformers import AutoConfig

    language = workload.Language(3)
    make_model(folder / "base", models.catalog()[base].architecture | (TINY if rehearse else {}), models.device())
    workload.make_tokenizer(language).save_pretrained(folder / "base")
    workload.write_dialogues(folder, language, random.Random(3))
    return measure(AutoConfig.from_pretrained(folder / "base")).quantisable


def operations_per_second(device: torch.device) -> float:
    """What the device reaches when it does nothing but multiply large bf16 matrices."""
    size = 8192 if device.type == "cuda" else 1024
    matrix = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    float((matrix @ matrix)[0, 0])
    begun, times = time.perf_counter(), 20
    for _ in range(times):
        product = matrix @ matrix
    float(product[0, 0])  # reading a number waits for the device
    return times * 2 * size**3 / (time.perf_counter() - begun)


# --- telling -------------------------------------------------------------------------------------------------------

HEADER = (
    "| Trainer | Card | Useful tok/s | × guide | Reserved GiB | Padding | Model-flops utilisation |\n"
    "|---|---|---|---|---|---|---|"
)


def line(trainer: Trainer, figures: Figures, guide: Figures | None, utilisation: float) -> str:
    """The figures as a row of a table."""
    cells = (
        trainer.title,
        "400" if trainer.card else "none",
        f"{figures.rate:,.0f}",
        f"{figures.rate / guide.rate:.2f}" if guide else "",
        f"{figures.found.peak_mib / 1024:.1f}",
        f"{figures.padding:.0%}",
        f"{utilisation:.0%}",
    )
    return "| " + " | ".join(cells) + " |"


def compare(names: Sequence[str], folder: Path, weights: int, given: argparse.Namespace) -> dict[str, Figures]:
    """Run these trainers one after the other; one that fails, for want of memory or of a package, gets a row too."""
    found: dict[str, Figures] = {}
    speed = operations_per_second(models.device())
    print(f"{speed / 1e12:,.1f} TFLOP/s with large bf16 matrices\n\n{HEADER}", flush=True)
    for name in names:
        trainer = TRAINERS[name]
        try:
            told = run(trainer, folder, given.seconds, given.peers, *([] if given.rehearse else ["--cuda"]))
        except Failed as error:
            print(failed(trainer, error), flush=True)
            continue
        figures = found[name] = Figures(Measured(**told))
        # Forward, and backward through frozen weights: four operations a weight and token.
        utilisation = 4 * weights * figures.found.tokens / figures.found.seconds / speed
        print(line(trainer, figures, found.get("guide-card" if trainer.card else "guide"), utilisation), flush=True)
    return found


def verdicts(found: Mapping[str, Figures]) -> Iterator[str]:
    """Which of the goals hold, of those whose trainers have run."""
    for wanted, ours, theirs in RATIOS:
        if ours in found and theirs in found:
            ratio = found[ours].rate / found[theirs].rate
            yield verdict(ratio >= wanted, f"{ours} ≥ {wanted}× {theirs} in useful tokens per second: {ratio:.2f}")
    for name, most in MEMORY.items():
        if name in found:
            peak = found[name].found.peak_mib * 2**20
            yield verdict(peak <= most, f"{name} within {most / 2**30:.1f} GiB: {peak / 2**30:.1f}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--base", default=BASE, choices=[n for n, row in models.catalog().items() if row.architecture])
    parser.add_argument("--only", nargs="+", choices=TRAINERS, metavar="NAME", help="Without it: all.")
    parser.add_argument("--seconds", type=float, default=60.0, help="Seconds of training for each.")
    parser.add_argument("--peers", type=Path, default=PEERS, help="Where environments of peers are made and kept.")
    parser.add_argument("--rehearse", action="store_true", help="A tiny model on the CPU; figures mean nothing.")
    given = parser.parse_args()
    if not given.rehearse and not torch.cuda.is_available():
        raise SystemExit("There is no CUDA card here; --rehearse runs the same on the CPU with a tiny model.")
    with tempfile.TemporaryDirectory(prefix="understudy-benchmark-") as temporary:
        weights = make(Path(temporary), given.base, rehearse=given.rehearse)
        # A rehearsal is not worth the gigabytes of unsloth's environment, unless that is asked for.
        here = [name for name in TRAINERS if not (given.rehearse and "unsloth" in name)]
        found = compare(given.only or here, Path(temporary), weights, given)
    print("\n" + "\n".join(verdicts(found)))


if __name__ == "__main__":
    main()
