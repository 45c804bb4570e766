"""How much memory a run takes, worked out from a model's configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from training.schema import Machine

if TYPE_CHECKING:
    from transformers import PretrainedConfig

GIB = 2**30
LIBRARIES = 400 * 2**20
"""What Python, torch and transformers take by themselves."""
BIG_MODEL = 1_000_000_000
"""Parameters from which a model is kept in half precision on CPU and its activations are computed twice on CUDA."""


@dataclass(frozen=True)
class Shape:
    """What a model's configuration says of its size. `linears` are (inputs, outputs) of every layer LoRA adapts."""

    parameters: int
    hidden: int
    intermediate: int
    layers: int
    vocabulary: int
    linears: tuple[tuple[int, int], ...]

    def adapter_parameters(self, rank: int) -> int:
        """How many numbers an adapter of this rank holds."""
        return sum(rank * (inputs + outputs) for inputs, outputs in self.linears)


def measure(config: PretrainedConfig) -> Shape:
    """The sizes of a model, from its configuration alone."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    head = model.get_output_embeddings()
    linears = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    return Shape(
        parameters=model.num_parameters(),
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        layers=config.num_hidden_layers,
        vocabulary=config.vocab_size,
        linears=tuple((m.in_features, m.out_features) for m in linears),
    )


def in_four_bits(shape: Shape, machine: Machine) -> bool:
    """Whether the model is loaded as nf4: bf16 weights would take more than 60 % of the card's free memory."""
    return machine.device == "cuda" and 2 * shape.parameters > 0.6 * machine.free_gib * GIB


def needed_bytes(shape: Shape, rank: int, tokens: int, labels: int, machine: Machine) -> int:
    """Peak memory of a run whose largest pass holds so many tokens and labels: an estimate, not a promise.

    Weights as loaded; the adapter in fp32 with gradient, two AdamW moments and the best copy; activations of every
    layer, or of one where they are computed twice; logits in fp32 with their gradient; the libraries themselves.
    """
    big = shape.parameters >= BIG_MODEL
    quantised = sum(inputs * outputs for inputs, outputs in shape.linears) if in_four_bits(shape, machine) else 0
    half = machine.bf16 if machine.device == "cuda" else big
    weights = quantised * 0.56 + (shape.parameters - quantised) * (2 if half else 4)
    adapter = shape.adapter_parameters(rank) * 4 * 5
    width = 2 if half else 4
    layer = tokens * width * (12 * shape.hidden + 4 * shape.intermediate)
    twice = machine.device == "cuda" and big
    activations = layer + shape.layers * tokens * width * shape.hidden if twice else shape.layers * layer
    logits = labels * shape.vocabulary * 4 * 2
    return int(weights + adapter + activations + logits + LIBRARIES)
