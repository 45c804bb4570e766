"""Which examples each step learns from, and how they are laid into rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TypeVar

import torch

from training.chat import Example
from training.decoder.attention import BLOCK, Layout, Segment

Row = TypeVar("Row")
MICRO_TOKENS = 4096
"""Tokens of one forward pass where memory allows."""
LEAST_SHARED = 16
"""Tokens that examples must have in common at their beginning to share them."""


@dataclass(frozen=True)
class Family:
    """Examples that all begin with the same `shared` tokens, none of which is learnt; 0: they share nothing."""

    shared: int
    members: tuple[Example, ...]

    @property
    def tokens(self) -> int:
        """Tokens of a row that holds them, the shared ones once."""
        return self.shared + sum(len(member.ids) - self.shared for member in self.members)


@dataclass(frozen=True)
class Batch:
    """Examples in one row, without padding but for its end.

    ids: the tokens of the row. layout: where each example lies. predictors: where in the row the tokens in `targets`
    are predicted from. owners: for each target the number of its example. The first `count` targets are real, the rest
    fills up.
    """

    ids: torch.Tensor
    layout: Layout
    predictors: torch.Tensor
    targets: torch.Tensor
    owners: torch.Tensor
    count: int


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """How many optimiser steps pass over all examples once."""
    return -(-examples // batch_size)


def drawn(examples: Sequence[Row], step: int, batch_size: int, seed: int) -> list[Row]:
    """The rows of one optimiser step, counted from 0; every epoch has its own order, fixed by the seed."""
    epoch, position = divmod(step, steps_per_epoch(len(examples), batch_size))
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch)).tolist()
    return [examples[i] for i in order[position * batch_size : (position + 1) * batch_size]]


def rate_at(step: int, total: int, peak: float, warmup_ratio: float, floor: float = 0.1) -> float:
    """The learning rate of the step counted from 0: up in a line, then along half a cosine to `floor` of the peak."""
    warmup = round(total * warmup_ratio)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, total - warmup)
    return peak * (floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2)


def families(examples: Iterable[Example]) -> list[Family]:
    """The examples grouped by how they begin; one joins a group only if no fewer tokens are saved then."""
    groups: list[tuple[int, list[Example]]] = []
    for example in sorted(examples, key=lambda e: e.ids):
        room = example.mask.index(True) - 1
        if groups:
            shared, members = groups[-1]
            common = min(_common(members[-1], example), room, shared or members[-1].mask.index(True) - 1)
            if common >= LEAST_SHARED and common * len(members) >= shared * (len(members) - 1):
                members.append(example)
                groups[-1] = (common, members)
                continue
        groups.append((0, [example]))
    return [Family(shared, tuple(members)) for shared, members in groups]


def micro_batches(
    examples: Sequence[Example], tokens: int, *, share: bool = True, among: int = 1
) -> list[list[Family]]:
    """The examples cut into as few passes of at most `tokens` tokens as can be, each about as large as the others.

    A single longer example gets a pass of its own. `share`: read what examples have in common at their beginning once.
    `among`: so many processes divide the passes, so that there are as many for each, if there are enough examples.
    """
    whole = families(examples) if share else [Family(0, (example,)) for example in examples]
    whole.sort(key=lambda family: -family.tokens)
    passes = _filled(whole, tokens)
    wanted = -(-len(passes) // among) * among
    even = -(-sum(family.tokens for family in whole) // wanted)
    # A little more than even, since what does not fit exactly would else open another pass.
    evener = _filled(whole, min(tokens, even + even // 16))
    return evener if len(evener) == wanted or among > 1 else passes


def pack(group: Sequence[Family], pad: int, device: torch.device) -> Batch:
    """The families of one pass as one row, a family's shared tokens in front of what its members add to them.

    On a CPU the row and its targets are filled up to a multiple of a block, so that few shapes occur.
    """
    ids: list[int] = []
    positions: list[int] = []
    segments: list[Segment] = []
    learnt: list[tuple[int, int, int]] = []
    for family in group:
        head = (len(ids), len(ids) + family.shared)
        if family.shared:
            ids += family.members[0].ids[: family.shared]
            positions += range(family.shared)
            segments.append(Segment(*head))
        for member in family.members:
            shift = len(ids) - family.shared
            ids += member.ids[family.shared :]
            positions += range(family.shared, len(member.ids))
            segments.append(Segment(shift + family.shared, len(ids), head if family.shared else None))
            owner = learnt[-1][2] + 1 if learnt else 0
            learnt += [(shift + i - 1, member.ids[i], owner) for i, on in enumerate(member.mask) if on]
    quantum = BLOCK if device.type == "cpu" else 1
    fill, more = -len(ids) % quantum, -len(learnt) % quantum
    layout = Layout(segments, torch.tensor(positions + [0] * fill, device=device))
    columns = zip(*learnt, *[(0, 0, 0)] * more, strict=True)
    predictors, targets, owners = (torch.tensor(column, device=device) for column in columns)
    return Batch(torch.tensor(ids + [pad] * fill, device=device), layout, predictors, targets, owners, len(learnt))


def _filled(whole: Sequence[Family], tokens: int) -> list[list[Family]]:
    """Passes filled one after the other; a family that does not fit is cut in two, each with the shared tokens."""
    passes: list[list[Family]] = [[]]
    room = tokens
    for family in whole:
        rest = list(family.members)
        while rest:
            part = _fitting(rest, family.shared, room) or ([] if passes[-1] else rest[:1])
            if part:
                passes[-1].append(Family(family.shared if len(part) > 1 else 0, tuple(part)))
                room -= passes[-1][-1].tokens
                rest = rest[len(part) :]
            if rest:
                passes.append([])
                room = tokens
    return [group for group in passes if group]


def _fitting(rest: Sequence[Example], shared: int, room: int) -> list[Example]:
    """As many of the members, from the first on, as fit with their shared tokens."""
    part: list[Example] = []
    room -= shared
    for member in rest:
        room -= len(member.ids) - shared
        if room < 0:
            break
        part.append(member)
    return part


def _common(one: Example, other: Example) -> int:
    """How many tokens both begin with."""
    pairs = zip(one.ids, other.ids, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
