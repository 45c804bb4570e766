"""Attention a segment at a time, as on a card, is attention a block at a time, as on a CPU."""

from __future__ import annotations

import pytest
import torch

from tests.training.decoder.tiny import rows
from training.batches import micro_batches, pack
from training.decoder.attention import _by_segment, attend

HEADS, SIZE = 6, 16


@pytest.mark.parametrize("key_heads", [6, 2, 1])
@pytest.mark.parametrize("window", [None, 50, 8])
def test_both_ways_of_attention_give_the_same_output_and_gradients(key_heads: int, window: int | None) -> None:
    (group,) = micro_batches(rows(), 10_000)
    assert max(family.shared for family in group) == 30
    batch = pack(group, 0, torch.device("cpu"))
    layout, tokens = batch.layout, len(batch.ids)
    real = max(segment.end for segment in layout.segments)
    assert real < tokens, "the row has padding"
    torch.manual_seed(0)
    made = [torch.randn(tokens, heads, SIZE) for heads in (HEADS, key_heads, key_heads)]
    weights = torch.randn(real, HEADS, SIZE)
    outputs, slopes = [], []
    for on_card in (False, True):
        given = [part.clone().requires_grad_() for part in made]
        if on_card:
            out = _by_segment(*given, layout, 0.25, window, None)
        else:
            out = attend(*given, layout, scale=0.25, window=window)
        (out[:real] * weights).sum().backward()
        outputs.append(out[:real])
        slopes.append([part.grad for part in given])
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(slopes[1], slopes[0], strict=True):
        assert theirs is not None
        assert theirs.abs().max() > 0.01
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
