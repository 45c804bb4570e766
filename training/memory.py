"""How much memory a run takes, worked out from a model's configuration, and by what means it fits.

What is kept for the backward pass is counted tensor by tensor, as `decoder.forward` and `decoder.kernels` keep it. What
libraries and allocators take besides cannot be counted; those constants were measured, and `benchmarks/memory.py`
measures the whole again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import TYPE_CHECKING

import torch

from training.batches import MICRO_TOKENS, Family
from training.decoder.attention import BLOCK
from training.decoder.forward import FAMILY
from training.decoder.kernels import LOGITS_AT_ONCE
from training.optimisers import resolved
from training.schema import Choice, Hyperparameters, Machine, Optimiser, Quantisation

if TYPE_CHECKING:
    from transformers import PretrainedConfig

GIB = 2**30
BIG_MODEL = 1_000_000_000
"""Parameters from which a model is kept in half precision on a CPU."""
LIBRARIES = 400 * 2**20
"""What Python, torch and transformers take by themselves."""
KERNELS = {"cpu": 150 * 2**20, "cuda": 24 * 2**20}
"""Measured on a CPU: what libraries load and oneDNN makes for the shapes of a run. On a card: cuBLAS' own, assumed."""
SLACK = {"cpu": 2.0, "cuda": 1.06}
"""Measured on a CPU: what the C library keeps over what is in use, once passes of many sizes have come and gone. On a
card: torch's own allocator, assumed."""
NF4_BYTES = 0.516
"""A weight in nf4: half a byte, and its share of a scale of 8 bits for 64 weights and one of 32 bits for 256 scales."""
SPARE = 0.03
"""Of free memory, left to others."""
SMALLEST = 256


@dataclass(frozen=True)
class Shape:
    """What a model's configuration says of its size.

    queries, keys: features of all its query and key heads. embedded: numbers in embeddings and head, which stay as they
    are when the rest is quantised. lean: whether it goes through layers of our own. `linears` are (inputs, outputs) of
    every layer that LoRA adapts.
    """

    parameters: int
    hidden: int
    intermediate: int
    layers: int
    vocabulary: int
    heads: int
    queries: int
    keys: int
    embedded: int
    normed_heads: bool
    lean: bool
    linears: tuple[tuple[int, int], ...]

    @property
    def quantisable(self) -> int:
        """Numbers that nf4 keeps in four bits."""
        return sum(inputs * outputs for inputs, outputs in self.linears)

    def adapter_parameters(self, rank: int) -> int:
        """How many numbers an adapter of this rank holds."""
        return sum(rank * (inputs + outputs) for inputs, outputs in self.linears)


@dataclass(frozen=True)
class Load:
    """The largest pass of a run: its tokens, those of them that are learnt, and the pairs of tokens that attention
    weighs, in blocks as it works."""

    tokens: int
    learnt: int
    pairs: int


@dataclass(frozen=True)
class Means:
    """By what a run fits into memory: 4-bit weights, layers computed again in the backward pass, small passes."""

    quantised: bool
    redo: bool
    tokens_at_once: int


@dataclass(frozen=True)
class Footprint:
    """Peak memory of a run by its parts, in bytes, on the device that computes."""

    weights: int
    adapter: int
    gradients: int
    optimiser: int
    copies: int
    activations: int
    workspace: int
    libraries: int

    @property
    def added(self) -> int:
        """All but what the libraries take before anything is loaded."""
        return self.total - self.libraries

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return sum(getattr(self, field.name) for field in fields(self))


def measure(config: PretrainedConfig) -> Shape:
    """The sizes of a model, from its configuration alone."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    linears = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    tied = head.weight is embeddings.weight
    return Shape(
        parameters=model.num_parameters(),
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        layers=config.num_hidden_layers,
        vocabulary=config.vocab_size,
        heads=config.num_attention_heads,
        queries=config.num_attention_heads * size,
        keys=(getattr(config, "num_key_value_heads", None) or config.num_attention_heads) * size,
        embedded=embeddings.weight.numel() + (0 if tied else head.weight.numel()),
        normed_heads=any(name.endswith("q_norm") for name, _ in model.named_modules()),
        lean=config.model_type in FAMILY,
        linears=tuple((m.in_features, m.out_features) for m in linears),
    )


def in_four_bits(shape: Shape, machine: Machine) -> bool:
    """Whether `auto` keeps the model as nf4: bf16 weights would take more than 60 % of the card's free memory."""
    return machine.device == "cuda" and 2 * shape.parameters > 0.6 * machine.free_gib * GIB


def load_of(group: Sequence[Family]) -> Load:
    """The load of one pass."""
    tokens = learnt = pairs = 0
    for family in group:
        own = family.tokens - family.shared
        pairs += _blocks(own) * (own // len(family.members) // 2 + BLOCK + _rounded(family.shared))
        pairs += _blocks(family.shared) * (family.shared // 2 + BLOCK)
        learnt += sum(member.labels for member in family.members)
        tokens += family.tokens
    return Load(_rounded(tokens), _rounded(learnt), pairs * BLOCK)


def footprint(shape: Shape, knobs: Hyperparameters, means: Means, load: Load, machine: Machine) -> Footprint:
    """What a run takes at its peak, whose largest pass is `load`."""
    adapter = shape.adapter_parameters(knobs.lora_rank)
    width = 2 if machine.bf16 else 4
    kept, workspace = _activations(shape, knobs, means, load, width)
    if shape.quantisable and (means.quantised or _weight_bytes(shape, means, machine) != width):
        # The largest layer is spread out, or cast, for the moment of its use.
        workspace += max(*(i * o for i, o in shape.linears), shape.embedded // 2) * width
    small = resolved(knobs.optimiser, torch.device(machine.device)) is not Optimiser.ADAMW
    # On a CPU the best adapter, and what a checkpoint copies while it is written, lie in the same memory.
    copies = adapter * 4 * (5 if machine.device == "cpu" else 0)
    return Footprint(
        weights=_weights(shape, means, machine),
        adapter=adapter * 4,
        gradients=adapter * 4,
        optimiser=adapter * (2 if small else 8),
        copies=copies,
        activations=int(kept * SLACK[machine.device]),
        workspace=int(workspace * SLACK[machine.device]) + KERNELS[machine.device],
        libraries=LIBRARIES,
    )


def arrange(
    shape: Shape, knobs: Hyperparameters, load_at: Callable[[int], Load], longest: int, machine: Machine
) -> tuple[Means, Footprint] | None:
    """The fastest means by which a run fits, and what it then takes; None where none does.

    load_at: the largest pass that there is when so many tokens are allowed in one. longest: the longest row, which no
    pass can be smaller than. What the knobs state is kept to.
    """
    room = machine.free_gib * GIB * (1 - SPARE)
    for means in _ways(shape, knobs, longest, machine):
        found = footprint(shape, knobs, means, load_at(means.tokens_at_once), machine)
        if found.total <= room:
            return means, found
    return None


def least(
    shape: Shape, knobs: Hyperparameters, load_at: Callable[[int], Load], longest: int, machine: Machine
) -> tuple[Means, Footprint]:
    """The means that take least of what the knobs allow, whether it fits or not."""
    tried = (
        (means, footprint(shape, knobs, means, load_at(means.tokens_at_once), machine))
        for means in _ways(shape, knobs, longest, machine)
    )
    return min(tried, key=lambda one: one[1].total)


def _ways(shape: Shape, knobs: Hyperparameters, longest: int, machine: Machine) -> Iterator[Means]:
    """The means that the knobs allow, faster ones first."""
    quantised = {Quantisation.NONE: [False], Quantisation.NF4: [True]}.get(
        knobs.quantisation, [in_four_bits(shape, machine)]
    )
    if knobs.quantisation is Quantisation.AUTO and machine.device == "cuda":
        quantised = [True] if quantised[0] else [False, True]
    redo = {Choice.ON: [True], Choice.OFF: [False]}.get(knobs.gradient_checkpointing, [False, True])
    most = max(longest, knobs.micro_batch_tokens or MICRO_TOKENS)
    sizes = [most]
    while knobs.micro_batch_tokens is None and sizes[-1] // 2 >= max(longest, SMALLEST):
        sizes.append(sizes[-1] // 2)
    for four_bits, again, tokens in product(quantised, redo, sizes):
        yield Means(four_bits, again, tokens)


def _activations(shape: Shape, knobs: Hyperparameters, means: Means, load: Load, width: int) -> tuple[float, float]:
    """(bytes kept for the backward pass, bytes that come and go while the most is kept)."""
    tokens, learnt = load.tokens, load.learnt
    inner = knobs.lora_rank
    # The positions that dropout drops are kept as 64-bit numbers.
    dropped = knobs.lora_dropout * 8
    read, heard = shape.hidden, shape.queries + 2 * shape.keys + (shape.queries + shape.keys) * shape.normed_heads
    weighed = load.pairs * shape.heads * width
    front = tokens * (width * (2 * read + heard + 3 * inner) + dropped * read + 4) + weighed
    narrow = shape.queries + 2 * shape.hidden + 3 * shape.intermediate + 4 * inner
    behind = width * narrow + dropped * (shape.queries + shape.hidden + shape.intermediate) + 4
    if not shape.lean:
        front, behind = THEIRS * front, THEIRS * behind
    last = front + learnt * behind if shape.lean else front + tokens * behind
    whole = front + tokens * behind
    kept = (shape.layers - 1) * (tokens * width * shape.hidden if means.redo else whole) + (0 if means.redo else last)
    kept += 2 * learnt * width * shape.hidden
    logits = LOGITS_AT_ONCE * (2 * width + 4) + (shape.embedded // 2 * width if width == 2 else 0)
    moving = tokens * width * (3 * shape.intermediate + 3 * shape.hidden)
    backward = moving + (whole if means.redo else -last)
    return kept, max(logits, backward)


THEIRS = 2.2
"""Measured: what transformers' layers with peft's adapters keep, against our own."""


def _weights(shape: Shape, means: Means, machine: Machine) -> int:
    each = _weight_bytes(shape, means, machine)
    if not means.quantised:
        return shape.parameters * each
    return int(shape.quantisable * NF4_BYTES) + (shape.parameters - shape.quantisable) * each


def _weight_bytes(shape: Shape, means: Means, machine: Machine) -> int:
    """Bytes of a weight that is not quantised, as `models.load` keeps it."""
    half = machine.bf16 if machine.device == "cuda" or means.quantised else shape.parameters >= BIG_MODEL
    return 2 if half else 4


def _blocks(tokens: int) -> int:
    return -(-tokens // BLOCK)


def _rounded(tokens: int) -> int:
    return _blocks(tokens) * BLOCK
