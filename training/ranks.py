"""The processes of one run, one a card; they learn from parts of each step and add up what they found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import distributed

Part = TypeVar("Part")


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this is; the default is a run of one process.

    lockstep: whether all must make the same passes, since the model's weights are spread over them (`sharding`).
    """

    rank: int = 0
    count: int = 1
    lockstep: bool = False

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and tells."""
        return self.rank == 0

    def mine(self, parts: Sequence[Part]) -> Iterator[tuple[float, Part]]:
        """This process's share of the parts of a step, each with what it counts: 1, or 0 where it only goes along."""
        for part in parts[self.rank :: self.count]:
            yield 1.0, part
        if self.lockstep and self.rank >= len(parts) % self.count > 0:
            yield 0.0, parts[-1]

    def add_up(self, weights: Iterable[torch.nn.Parameter], loss: float) -> float:
        """Sum the gradients of all processes in place, and their losses."""
        if self.count == 1:
            return loss
        owned = list(weights)
        told = torch.tensor([loss], dtype=torch.float32, device=owned[0].device)
        flat = torch.cat([told, *(_gradient(weight).flatten() for weight in owned)])
        distributed.all_reduce(flat)
        summed, *parts = flat.split([1, *(weight.numel() for weight in owned)])
        for weight, part in zip(owned, parts, strict=True):
            weight.grad = part.view_as(weight)
        return float(summed)

    def of_first(self, measure: Callable[[], float]) -> float:
        """What the first process measures, the others waiting or going along, so that all decide alike."""
        if self.count == 1:
            return measure()
        found = measure() if self.first or self.lockstep else 0.0
        told = torch.tensor([found], dtype=torch.float64, device=_where())
        distributed.broadcast(told, 0)
        return float(told)

    def any(self, here: bool) -> bool:
        """Whether it is so in any of the processes."""
        if self.count == 1:
            return here
        flag = torch.tensor([float(here)], device=_where())
        distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag.item())


ALONE = Ranks()


def _where() -> str:
    """Where tensors must lie for these processes to exchange them."""
    return "cuda" if distributed.get_backend() == "nccl" else "cpu"


def _gradient(weight: torch.nn.Parameter) -> torch.Tensor:
    """A process whose share of a step is empty has none."""
    return torch.zeros_like(weight) if weight.grad is None else weight.grad
