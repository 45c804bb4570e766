"""Frozen weights spread over the processes of a run; each is whole only while it is used.

What FSDP does, the third stage of ZeRO (Rajbhandari et al., 2020), for weights that learn nothing: they have no
gradients to scatter, so that gathering is all there is to it, and it can happen where `decoder.linear` reads a weight.
All processes must make the same passes, since each needs the others' parts.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed

from training.ranks import Ranks

Tensor = torch.Tensor


class Shards:
    """A weight of which this process keeps one part, in bytes, so that four bits and sixteen are spread alike."""

    def __init__(self, weight: Tensor, ranks: Ranks) -> None:
        content = weight.detach().contiguous().flatten().view(torch.uint8)
        self._shape, self._dtype, self._bytes = weight.shape, weight.dtype, len(content)
        each = -(-len(content) // ranks.count)
        padded = torch.nn.functional.pad(content, (0, each * ranks.count - len(content)))
        self._mine = padded[ranks.rank * each :][:each].clone()
        self._count = ranks.count

    def to(self, device: torch.device) -> None:
        """Keep the part there from now on."""
        self._mine = self._mine.to(device)

    def whole(self) -> Tensor:
        """The weight, gathered from all processes; it lasts as long as it is held."""
        # A tensor that is made in inference mode could not be read by a pass with gradients.
        with torch.inference_mode(False):
            gathered = self._mine.new_empty(len(self._mine) * self._count)
            distributed.all_gather_into_tensor(gathered, self._mine)
            return gathered[: self._bytes].view(self._dtype).view(self._shape)


def shard(model: Any, ranks: Ranks, where: torch.device) -> None:
    """Spread the linear layers of a frozen model over the processes, and move what is left of it to `where`."""
    for layer in model.get_decoder().layers:
        for module in layer.modules():
            if isinstance(module, torch.nn.Linear):
                _spread(module, ranks, where)
    model.to(where)


def _spread(linear: Any, ranks: Ranks, where: torch.device) -> None:
    linear.shards = Shards(linear.weight, ranks)
    linear.shards.to(where)
    _release(linear)
    linear.register_forward_pre_hook(lambda module, _: _gather(module))
    linear.register_forward_hook(lambda module, *_: _release(module))


def _gather(module: Any) -> None:
    """For transformers' own forward pass, by which texts are written."""
    module.weight.data = module.shards.whole()


def _release(module: Any) -> None:
    with torch.inference_mode(False):
        module.weight.data = module.weight.data.new_empty(0)
