"""How much memory a run takes, worked out from a model's configuration, and by what means it fits.

What is kept for the backward pass is counted tensor by tensor, as `decoder.forward` and `decoder.kernels` keep it. What
libraries and allocators take besides cannot be counted; those constants were measured, and `benchmarks/memory.py`
measures the whole again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
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
LIBRARIES = {"cpu": 600 * 2**20, "cuda": 450 * 2**20}
"""What is taken before a model is there. Measured on a CPU: Python, torch, transformers and peft. On a card: CUDA's
context and cuBLAS, assumed."""
KERNEL = 0.57 * 2**20
"""Measured on a processor with AMX: one multiplication as oneDNN has made it for one shape; torch keeps each twice."""
KERNELS_KEPT = 1024
"""So many of them at most."""
CODE = 24 * 2**20
"""Measured: what torch's libraries read of their own files when training first uses it."""
HEAP, HEAP_REDONE = 1.33, 1.55
"""Measured on a CPU: memory that the C library holds over what is in use, once passes of many sizes have come and gone
(1.25 to 1.45 by the run; 1.45 to 1.7 with gradient checkpointing, where more comes and goes)."""
NF4_BYTES = 0.516
"""A weight in nf4: half a byte, and its share of a scale of 8 bits for 64 weights and one of 32 bits for 256 scales."""
SPARE = {"cpu": 0.03, "cuda": 0.08}
"""Of free memory, left to others; on a card also to the gaps between what is in use."""
SMALLEST = 256
TOGETHER = 16
"""Texts that are written in one batch."""
CACHE_BYTES = 2**31
"""What keys and values of one batch may take."""


@dataclass(frozen=True)
class Shape:
    """What a model's configuration says of its size.

    queries, keys: features of all its query and key heads. normed_heads: whether those are normed. lean: if it goes
    through layers of our own. `linears` are (inputs, outputs) of every layer that LoRA adapts.
    """

    parameters: int
    hidden: int
    intermediate: int
    layers: int
    vocabulary: int
    heads: int
    queries: int
    keys: int
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
    """The largest pass of a run.

    tokens, learnt: its tokens, and those of them that are learnt. pairs: pairs of tokens that attention weighs on a
    CPU, in blocks as it works. heard: tokens that some text of the pass sees, counted for each text that does. sizes:
    how many numbers of tokens the passes of the run have. answer: tokens of the longest prompt and its answer, of those
    that are written before and after training; 0: none are.
    """

    tokens: int
    learnt: int
    pairs: int
    heard: int
    sizes: int = 2
    answer: int = 0


@dataclass(frozen=True)
class Means:
    """By what a run fits into memory: 4-bit weights, layers computed again in the backward pass, small passes, and
    weights that are spread over so many processes."""

    quantised: bool
    redo: bool
    tokens_at_once: int
    among: int = 1


@dataclass(frozen=True)
class Footprint:
    """Peak memory of a run by its parts, in bytes, on the device that computes.

    answers: what writing them takes beyond a training pass.
    """

    weights: int
    adapter: int
    gradients: int
    optimiser: int
    copies: int
    activations: int
    workspace: int
    answers: int
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
    head = model.get_output_embeddings()
    linears = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Shape(
        parameters=model.num_parameters(),
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        layers=config.num_hidden_layers,
        vocabulary=config.vocab_size,
        heads=config.num_attention_heads,
        queries=config.num_attention_heads * size,
        keys=(getattr(config, "num_key_value_heads", None) or config.num_attention_heads) * size,
        normed_heads=any(name.endswith("q_norm") for name, _ in model.named_modules()),
        lean=config.model_type in FAMILY,
        linears=tuple((m.in_features, m.out_features) for m in linears),
    )


def in_four_bits(shape: Shape, machine: Machine) -> bool:
    """Whether `auto` keeps the model as nf4: bf16 weights would take more than 60 % of the card's free memory."""
    return machine.device == "cuda" and 2 * shape.parameters > 0.6 * machine.free_gib * GIB


def written_at_once(cache_bytes: int, most: int = TOGETHER) -> int:
    """How many texts are written at once whose keys and values take so many bytes each; never by what is free, since
    it decides what is drawn."""
    return min(most, max(1, CACHE_BYTES // cache_bytes))


def load_of(group: Sequence[Family]) -> Load:
    """The load of one pass."""
    tokens = learnt = heard = 0
    seen: defaultdict[int, set[int]] = defaultdict(set)
    for family in group:
        card = range(tokens, tokens + family.shared)
        _see(seen, card, range(0))
        tokens += family.shared
        heard += family.shared
        for member in family.members:
            own = range(tokens, tokens + len(member.ids) - family.shared)
            _see(seen, own, card)
            tokens, heard, learnt = own.stop, heard + len(member.ids), learnt + member.labels
    tokens, learnt = _rounded(tokens), _rounded(learnt)
    return Load(tokens, learnt, sum(map(len, seen.values())) * BLOCK**2, heard, len({tokens, learnt}))


def heaviest(loads: Iterable[Load]) -> Load:
    """The most of everything that any of the passes has."""
    found = list(loads)
    sizes = {size for load in found for size in (load.tokens, load.learnt)}
    return Load(
        tokens=max(load.tokens for load in found),
        learnt=max(load.learnt for load in found),
        pairs=max(load.pairs for load in found),
        heard=max(load.heard for load in found),
        sizes=len(sizes),
    )


def footprint(shape: Shape, knobs: Hyperparameters, means: Means, load: Load, machine: Machine) -> Footprint:
    """What a run takes at its peak, whose largest pass is `load`."""
    on_cpu = machine.device == "cpu"
    heap = (HEAP_REDONE if means.redo else HEAP) if on_cpu else 1.0
    adapter = shape.adapter_parameters(knobs.lora_rank) * heap
    kept, workspace = _activations(shape, knobs, means, load, machine)
    small = resolved(knobs.optimiser, torch.device(machine.device)) is not Optimiser.ADAMW
    written = _written(shape, means, load, machine)
    return Footprint(
        weights=_weights(shape, means, machine),
        adapter=int(adapter * 4),
        gradients=int(adapter * 4),
        optimiser=int(adapter * (2 if small else 8)),
        # On a CPU the best adapter, and what a checkpoint copies while it is written, lie in the same memory.
        copies=int(adapter * 4 * 5) if on_cpu else 0,
        activations=int(kept * heap),
        workspace=int(workspace * heap) + (CODE if on_cpu else 0),
        answers=int(max(0.0, written - kept - workspace) * heap),
        libraries=LIBRARIES[machine.device],
    )


def arrange(
    shape: Shape,
    knobs: Hyperparameters,
    load_at: Callable[[int], Load],
    longest: int,
    machine: Machine,
    *,
    processes: int = 1,
    beyond: Means | None = None,
) -> tuple[Means, Footprint] | None:
    """The fastest means by which a run fits, and what it then takes; None where none does.

    load_at: the largest pass that there is when so many tokens are allowed in one. longest: the longest row, which no
    pass can be smaller than. processes: over how many the weights may be spread. beyond: means that turned out to take
    too much; only slower ones are looked at. What the knobs state is kept to.
    """
    # Without cards, all processes share one memory.
    sharing = processes if machine.device == "cpu" else 1
    room = machine.free_gib * GIB * (1 - SPARE[machine.device]) / sharing
    ways = list(_ways(shape, knobs, longest, machine, processes))
    for means in ways[ways.index(beyond) + 1 if beyond in ways else 0 :]:
        found = footprint(shape, knobs, means, load_at(means.tokens_at_once), machine)
        if found.total <= room:
            return means, found
    return None


def least(
    shape: Shape,
    knobs: Hyperparameters,
    load_at: Callable[[int], Load],
    longest: int,
    machine: Machine,
    *,
    processes: int = 1,
) -> tuple[Means, Footprint]:
    """The means that take least of what the knobs allow, whether it fits or not."""
    tried = (
        (means, footprint(shape, knobs, means, load_at(means.tokens_at_once), machine))
        for means in _ways(shape, knobs, longest, machine, processes)
    )
    return min(tried, key=lambda one: one[1].total)


def _ways(shape: Shape, knobs: Hyperparameters, longest: int, machine: Machine, processes: int) -> Iterator[Means]:
    """The means that the knobs allow, faster ones first; spread weights come last, since they travel all the time."""
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
    among = sorted({1, processes if _spreads(shape, knobs) and _all_loaded(shape, machine, processes) else 1})
    for count, four_bits, again, tokens in product(among, quantised, redo, sizes):
        yield Means(four_bits, again, tokens, count)


def _all_loaded(shape: Shape, machine: Machine, processes: int) -> bool:
    """Whether main memory holds the whole model once for each process, as it does until each has taken its part."""
    return machine.main_free_gib is None or 2 * shape.parameters * processes <= machine.main_free_gib * GIB


def _spreads(shape: Shape, knobs: Hyperparameters) -> bool:
    """Whether the weights can be spread: layers of our own say when they need which."""
    return shape.lean and not knobs.dora


def _activations(
    shape: Shape, knobs: Hyperparameters, means: Means, load: Load, machine: Machine
) -> tuple[float, float]:
    """(bytes kept for the backward pass, bytes that come and go while the most is kept)."""
    width = 2 if machine.bf16 else 4
    cast = _weight_bytes(shape, means, machine) != width
    lean = _spreads(shape, knobs)
    front, behind = (_ours if lean else _theirs)(shape, knobs, load, width)
    front += _weighed(shape, load, machine, width)
    if cast and not means.quantised and not lean:
        # Autograd keeps the weights as they were cast.
        front += shape.quantisable // shape.layers * width
    whole = front + load.tokens * behind
    # Behind its attention, the last layer serves only to predict targets.
    last = front + load.learnt * behind if lean else whole
    entry = load.tokens * shape.hidden * width
    kept = shape.layers * entry if means.redo else (shape.layers - 1) * whole + last
    kept += 2 * load.learnt * shape.hidden * width
    head = shape.vocabulary * shape.hidden * width if cast else 0
    logits = max(LOGITS_AT_ONCE, 64 * shape.vocabulary) * (2 * width + 4) + head
    spread = max((i * o for i, o in shape.linears), default=0) * width if cast or means.quantised else 0
    moving = load.tokens * width * 3 * (shape.intermediate + shape.hidden) + spread
    # When the first layer is gone back through whose tokens all count, the last one's share is free again.
    backward = moving + (whole if means.redo else -last)
    return kept, max(logits, backward) + _kernels(load, machine)


def _written(shape: Shape, means: Means, load: Load, machine: Machine) -> float:
    """Bytes that come and go while a batch of answers is written: keys and values, of one layer twice as they grow; the
    prompts' way through a layer; and what words are drawn from."""
    if not load.answer:
        return 0.0
    width = _weight_bytes(shape, means, machine)
    cache = 2 * shape.layers * shape.keys * width * load.answer
    texts = written_at_once(cache)
    moving = load.answer * width * 3 * (shape.intermediate + shape.hidden)
    return texts * (cache * (1 + 1 / shape.layers) + moving + 24 * shape.vocabulary)


def _ours(shape: Shape, knobs: Hyperparameters, load: Load, width: int) -> tuple[float, float]:
    """(bytes that one layer of ours keeps up to its attention, bytes that it keeps behind it for each token)."""
    rank = knobs.lora_rank
    # The positions that dropout drops are kept as 64-bit numbers.
    dropped = knobs.lora_dropout * 8
    normed = (shape.queries + shape.keys) * shape.normed_heads
    front = width * (2 * shape.hidden + normed + 3 * rank) + dropped * shape.hidden + 4
    narrow = shape.queries + 2 * shape.hidden + 3 * shape.intermediate + 4 * rank
    behind = width * narrow + dropped * (shape.queries + shape.hidden + shape.intermediate) + 4
    return load.tokens * front, behind


def _theirs(shape: Shape, knobs: Hyperparameters, load: Load, width: int) -> tuple[float, float]:
    """The same of a layer of transformers' with peft's adapters, as Gemma 3's was counted: four norms in 32 bits."""
    norms = 4 * 10 * shape.hidden + width * 6 * shape.hidden
    heads = 4 * (shape.queries + shape.keys)
    behind = norms + heads + 4 * shape.intermediate + width * 4 * (shape.intermediate + 2 * knobs.lora_rank)
    return 0.0, behind


def _weighed(shape: Shape, load: Load, machine: Machine, width: int) -> float:
    """Bytes that attention keeps in one layer: what it read, and how it weighed it."""
    if machine.device == "cpu":
        return width * (load.tokens * (shape.queries + 2 * shape.keys) + load.pairs * shape.heads)
    # Keys that heads share, and those of a card, are laid out for each head and text that reads them.
    return load.tokens * (width * 2 * shape.queries + 4 * shape.heads) + load.heard * width * 2 * shape.queries


def _kernels(load: Load, machine: Machine) -> float:
    """Bytes of what oneDNN makes for each shape that it multiplies; fp32 goes another way, and a card has none."""
    shapes = 70 + 23 * load.sizes if machine.device == "cpu" and machine.bf16 else 0
    return min(shapes, KERNELS_KEPT) * KERNEL


def _weights(shape: Shape, means: Means, machine: Machine) -> int:
    each = _weight_bytes(shape, means, machine)
    linear = NF4_BYTES if means.quantised else each
    # The largest one is whole while it is used.
    gathered = max((i * o for i, o in shape.linears), default=0) if means.among > 1 else 0
    return int((shape.quantisable / means.among + gathered) * linear) + (shape.parameters - shape.quantisable) * each


def _weight_bytes(shape: Shape, means: Means, machine: Machine) -> int:
    """Bytes of a weight that is not quantised, as `models.load` keeps it."""
    half = machine.bf16 if machine.device == "cuda" or means.quantised else shape.parameters >= BIG_MODEL
    return 2 if half else 4


def _see(seen: defaultdict[int, set[int]], own: range, card: range) -> None:
    """Note for each block of `own` the blocks that it sees, as `decoder.attention` lays them out."""
    read = set(range(card.start // BLOCK, -(-card.stop // BLOCK))) if card else set()
    for block in range(own.start // BLOCK, -(-own.stop // BLOCK)):
        seen[block] |= read | set(range(own.start // BLOCK, block + 1))


def _rounded(tokens: int) -> int:
    return -(-tokens // BLOCK) * BLOCK
