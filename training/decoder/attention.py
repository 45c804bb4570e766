"""Attention in a row of several texts, where texts that begin alike share one copy of their beginning.

A row holds segments one behind the other. A token sees the tokens before it in its own segment, and the whole of the
segment that its own continues. So a persona's card is read once for all the dialogues below it, and nothing is padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch.autograd import Function
from torch.nn import functional
from torch.nn.attention.bias import causal_lower_right

Tensor = torch.Tensor
BLOCK = 128
"""Queries that are worked on at once on a CPU. Its kernels are made anew for each new shape, at a millisecond each, so
that rows are cut into few shapes."""
HIDDEN = -30_000.0
"""Added to the score of what a token must not see; small enough for all types that are computed in."""


@dataclass(frozen=True)
class Segment:
    """Tokens `begin` to `end` of a row; they continue the tokens of `parent`, where it is given."""

    begin: int
    end: int
    parent: tuple[int, int] | None = None


@dataclass(frozen=True)
class Block:
    """Queries `begin` to `end` and the stretches of keys that any of them sees.

    bias: queries × keys, 0 where a query sees a key and `HIDDEN` where not; None where all see all.
    """

    begin: int
    end: int
    keys: tuple[tuple[int, int], ...]
    bias: Tensor | None

    def pick(self, values: Tensor, dim: int = 1) -> Tensor:
        """The keys' part of heads × tokens × size, or of heads × size × tokens."""
        parts = [values.narrow(dim, begin, end - begin) for begin, end in self.keys]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=dim)

    def put(self, values: Tensor, part: Tensor) -> None:
        """Add to the keys' part."""
        at = 0
        for begin, end in self.keys:
            values[:, begin:end] += part[:, at : at + end - begin]
            at += end - begin


class Layout:
    """Where the texts of a row lie. `positions` (tokens) counts each text from its beginning, its parent's included."""

    def __init__(self, segments: Sequence[Segment], positions: Tensor) -> None:
        self.segments = tuple(segments)
        self.positions = positions
        self._blocks: dict[tuple[torch.dtype, int | None], list[Block]] = {}

    @cached_property
    def _owners(self) -> Tensor:
        """For each token its segment; -1 for padding, at the end of the row."""
        owners = torch.full((len(self.positions),), -1)
        for number, segment in enumerate(self.segments):
            owners[segment.begin : segment.end] = number
        return owners

    def blocks(self, dtype: torch.dtype, window: int | None) -> list[Block]:
        """The row cut into blocks of queries; `window`: how many tokens back each sees, itself included."""
        if window is not None and window > int(self.positions.max()):
            window = None
        key = (dtype, window)
        if key not in self._blocks:
            self._blocks[key] = [self._block(at, dtype, window) for at in range(0, len(self.positions), BLOCK)]
        return self._blocks[key]

    def _block(self, begin: int, dtype: torch.dtype, window: int | None) -> Block:
        end = min(begin + BLOCK, len(self.positions))
        present = [self.segments[i] for i in sorted(set(self._owners[begin:end].tolist()) - {-1})]
        first = min([begin, *(segment.begin for segment in present)]) // BLOCK * BLOCK
        parents = {segment.parent for segment in present if segment.parent}
        stretches = [(at // BLOCK * BLOCK, min(-(-stop // BLOCK) * BLOCK, first)) for at, stop in sorted(parents)]
        keys = (*_joined([stretch for stretch in stretches if stretch[0] < stretch[1]]), (first, end))
        seen = self._seen(begin, end, torch.cat([torch.arange(at, stop) for at, stop in keys]), window)
        bias = torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, HIDDEN)
        return Block(begin, end, keys, None if bool(seen.all()) else bias)

    def _seen(self, begin: int, end: int, keys: Tensor, window: int | None) -> Tensor:
        """Queries × keys: whether one sees the other. Padding sees all, so that its softmax stays finite."""
        queries = torch.arange(begin, end)[:, None]
        own = self._owners[begin:end, None]
        seen = (self._owners[keys] == own) & (keys <= queries)
        for number in set(own.flatten().tolist()) - {-1}:
            parent = self.segments[number].parent
            if parent:
                seen |= (own == number) & (keys >= parent[0]) & (keys < parent[1])
        if window is not None:
            seen &= self.positions[begin:end, None] - self.positions[keys] < window
        return seen | (own == -1)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Layout,
    *,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
) -> Tensor:
    """Scaled dot-product attention along the layout; query tokens × heads × size, key and value with fewer heads or
    as many.

    window: how many tokens back each sees. softcap: scores are bent to softcap·tanh(score / softcap).
    """
    if query.device.type == "cpu" and softcap is None:
        return _Blockwise.apply(query, key, value, layout, scale, window)
    return _by_segment(query, key, value, layout, scale, window, softcap)


class _Blockwise(Function):
    """Attention a block of queries at a time, with shapes that come again; heads that share keys are one matrix."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float, window: int | None
    ) -> Tensor:
        blocks = layout.blocks(query.dtype, window)
        queries, keys, values = _grouped(query * scale, key), key.permute(1, 2, 0).contiguous(), value.transpose(0, 1)
        out = torch.empty_like(query)
        outputs = _grouped(out, key)
        shares = []
        for block in blocks:
            at = slice(block.begin, block.end)
            scores = torch.bmm(_stacked(queries[:, :, at]), block.pick(keys, 2))
            if block.bias is not None:
                _apart(scores, queries[:, :, at]).add_(block.bias)
            shares.append(torch.softmax(scores, dim=-1))
            outputs[:, :, at] = _apart(torch.bmm(shares[-1], block.pick(values)), queries[:, :, at])
        ctx.save_for_backward(query, key, value, *shares)
        ctx.blocks, ctx.scale = blocks, scale
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *shares = ctx.saved_tensors
        d_query, d_key, d_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        queries, grads, d_queries = (_grouped(t, key) for t in (query, grad.contiguous(), d_query))
        keys, d_keys, d_values = (t.transpose(0, 1) for t in (key, d_key, d_value))
        values = value.permute(1, 2, 0).contiguous()
        for block, share in zip(ctx.blocks, shares, strict=True):
            at = slice(block.begin, block.end)
            asked, told = _stacked(queries[:, :, at]), _stacked(grads[:, :, at])
            d_share = torch.bmm(told, block.pick(values, 2))
            d_score = torch.ops.aten._softmax_backward_data(d_share, share, -1, share.dtype)
            d_queries[:, :, at] = _apart(torch.bmm(d_score, block.pick(keys)), queries[:, :, at])
            block.put(d_keys, torch.bmm(d_score.transpose(1, 2), asked))
            block.put(d_values, torch.bmm(share.transpose(1, 2), told))
        return d_query.mul_(ctx.scale), d_key.mul_(ctx.scale), d_value, None, None, None


def _grouped(query: Tensor, key: Tensor) -> Tensor:
    """Tokens × heads × size as key heads × heads that share each × tokens × size."""
    tokens, _, size = query.shape
    return query.view(tokens, key.shape[1], -1, size).permute(1, 2, 0, 3)


def _stacked(grouped: Tensor) -> Tensor:
    """The tokens of all heads that share keys, one head below the other: key heads × rows × size."""
    return grouped.reshape(grouped.shape[0], -1, grouped.shape[-1])


def _apart(rows: Tensor, grouped: Tensor) -> Tensor:
    """Such rows with the heads of `grouped` apart again."""
    return rows.view(*grouped.shape[:3], rows.shape[-1])


def _joined(stretches: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Stretches in order, those that touch or overlap made one."""
    joined: list[tuple[int, int]] = []
    for begin, end in stretches:
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


def _by_segment(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float, window: int | None, softcap: float | None
) -> Tensor:
    """The same by torch's own attention, a segment at a time: few and large ones are what a card is fast at."""
    queries, keys, values = (_cut(t.transpose(0, 1)[None], layout) for t in (query, key, value))
    at = {(segment.begin, segment.end): i for i, segment in enumerate(layout.segments)}
    outputs = []
    for i, segment in enumerate(layout.segments):
        seen_keys, seen_values = keys[i], values[i]
        if segment.parent:
            parent = at[segment.parent]
            seen_keys = torch.cat([keys[parent], seen_keys], dim=2)
            seen_values = torch.cat([values[parent], seen_values], dim=2)
        outputs.append(_attention(queries[i], seen_keys, seen_values, scale, window, softcap))
    outputs += queries[len(layout.segments) :]  # padding, which nobody reads
    return torch.cat(outputs, dim=2)[0].transpose(0, 1)


def _cut(heads: Tensor, layout: Layout) -> tuple[Tensor, ...]:
    lengths = [segment.end - segment.begin for segment in layout.segments]
    return heads.split([*lengths, heads.shape[2] - sum(lengths)], dim=2)


def _attention(
    query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None, softcap: float | None
) -> Tensor:
    """Of 1 × heads × tokens × size; the queries are the last of the keys' tokens."""
    shared = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(shared, dim=1), value.repeat_interleave(shared, dim=1)
    asked, there = query.shape[2], key.shape[2]
    window = there if window is None else min(window, there)
    if window == there and softcap is None:
        bias = None if asked == there else causal_lower_right(asked, there)
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=bias, is_causal=bias is None, scale=scale
        )
    back = torch.arange(asked, device=query.device)[:, None] + there - asked - torch.arange(there, device=query.device)
    seen = (back >= 0) & (back < window)
    if softcap is None:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=scale)
    scores = softcap * torch.tanh(query @ key.transpose(2, 3) * (scale / softcap))
    return scores.masked_fill(~seen, HIDDEN).softmax(-1, dtype=torch.float32).to(value.dtype) @ value
