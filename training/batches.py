"""Which examples each step learns from, and how they share a forward pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from training.chat import Example

MICRO_TOKENS = 4096
"""Tokens, padding included, in one forward pass; a single longer example gets a pass of its own."""


@dataclass(frozen=True)
class Batch:
    """Examples padded at the right, without the `prefix` that they all begin with (1 × its length, may be empty).

    `rows` and `columns` are where the tokens in `targets` are predicted from.
    """

    prefix: torch.Tensor
    ids: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    targets: torch.Tensor


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """How many optimiser steps pass over all examples once."""
    return -(-examples // batch_size)


def drawn(examples: Sequence[Example], step: int, batch_size: int, seed: int) -> list[Example]:
    """The examples of one optimiser step, counted from 0; every epoch has its own order, fixed by the seed."""
    epoch, position = divmod(step, steps_per_epoch(len(examples), batch_size))
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch)).tolist()
    return [examples[i] for i in order[position * batch_size : (position + 1) * batch_size]]


def micro_batches(examples: Sequence[Example], tokens: int = MICRO_TOKENS) -> list[list[Example]]:
    """The examples sorted by length and cut so that each part, padded to its longest, stays within `tokens`."""
    parts: list[list[Example]] = []
    for example in sorted(examples, key=lambda e: -len(e.ids)):
        if parts and len(parts[-1][0].ids) * (len(parts[-1]) + 1) <= tokens:
            parts[-1].append(example)
        else:
            parts.append([example])
    return parts


def collate(examples: Sequence[Example], pad: int, device: torch.device, *, share: bool = True) -> Batch:
    """The examples as tensors; padding stands behind every label, so causal attention never sees it.

    `share` takes out what all examples begin with, a persona's card above all, to be read once instead of once a row.
    """
    shared = _shared_prefix(examples) if share and len(examples) > 1 else 0
    width = max(len(e.ids) for e in examples) - shared
    ids = torch.tensor([_filled(e.ids[shared:], width, pad) for e in examples])
    mask = torch.tensor([_filled(e.mask[shared:], width, False) for e in examples])
    rows, columns = mask.nonzero(as_tuple=True)
    prefix = torch.tensor([examples[0].ids[:shared]], dtype=torch.long)
    parts = (prefix, ids, rows, columns - 1, ids[rows, columns])
    return Batch(*(part.to(device) for part in parts))


def target_losses(model: Any, batch: Batch, device: torch.device) -> torch.Tensor:
    """Negative log-likelihood of every target of the batch under a causal model (nats, fp32)."""
    with precision(device):
        decoder = model.get_decoder()
        if batch.prefix.numel():
            cache = decoder(input_ids=batch.prefix, use_cache=True).past_key_values
            for layer in cache.layers:
                layer.keys = layer.keys.expand(len(batch.ids), -1, -1, -1)
                layer.values = layer.values.expand(len(batch.ids), -1, -1, -1)
            hidden = decoder(input_ids=batch.ids, past_key_values=cache, use_cache=True).last_hidden_state
        else:
            hidden = decoder(input_ids=batch.ids, use_cache=False).last_hidden_state
        logits = model.get_output_embeddings()(hidden[batch.rows, batch.columns])
    return functional.cross_entropy(logits.float(), batch.targets, reduction="none")


def precision(device: torch.device) -> torch.autocast:
    """bf16 arithmetic where the device is fast at it; weights of the adapter stay fp32."""
    fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)


def rate_at(step: int, total: int, peak: float, warmup_ratio: float, floor: float = 0.1) -> float:
    """The learning rate of the step counted from 0: up in a line, then along half a cosine to `floor` of the peak."""
    warmup = round(total * warmup_ratio)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, total - warmup)
    return peak * (floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2)


def _shared_prefix(examples: Sequence[Example]) -> int:
    """How many tokens all examples begin with; each keeps at least one token before its first label."""
    first = examples[0].ids
    length = min(e.mask.index(True) for e in examples) - 1
    for e in examples[1:]:
        while length > 0 and e.ids[:length] != first[:length]:
            length = next(i for i in range(length) if e.ids[i] != first[i])
    return max(length, 0)


def _filled(values: Sequence[Any], width: int, filler: Any) -> list[Any]:
    return [*values, *[filler] * (width - len(values))]
