"""Mixes parts by weight: nothing is repeated unless that is asked for, and then it is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

from training.data.mix import Mixable, rank, split
from training.data.schema import Step
from training.errors import EmptyDataset


class Repeatable(Mixable, Protocol):
    """What can be mixed: a Conversation, or what stands for one that lies on disk."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Self:
        """The same with other values."""
        ...


Row = TypeVar("Row", bound=Repeatable)


@dataclass(frozen=True)
class Part(Generic[Row]):
    """Conversations that shall make up `weight` of the whole, relative to the other parts' weights."""

    name: str
    weight: float
    conversations: Sequence[Row]


@dataclass(frozen=True)
class Blend(Generic[Row]):
    """What came of the parts. No source group is on both sides."""

    train: tuple[Row, ...]
    held_out: tuple[Row, ...]
    steps: tuple[Step, ...]
    notes: tuple[str, ...]


def one_each(conversation: Mixable) -> int:
    """The size of a conversation where a mix goes by examples."""
    return 1


def blend(
    parts: Sequence[Part[Row]],
    *,
    size: Callable[[Row], int] = one_each,
    unit: str = "examples",
    oversample: float = 1.0,
    held_out: float = 0.0,
    seed: int = 42,
) -> Blend[Row]:
    """The parts in proportion to their weights, in an order fixed by the seed.

    A part that is too small for its weight makes the others smaller; with `oversample` above 1 its conversations are
    rather repeated, up to that many times. `held_out` is the share of each part that is set aside before. Raises
    EmptyDataset for a part without conversations.
    """
    _check(parts, oversample, held_out)
    sides = [split(part.conversations, round(len(part.conversations) * held_out), seed) for part in parts]
    have = [sum(map(size, train)) for train, _ in sides]
    whole = sum(part.weight for part in parts)
    shares = [part.weight / whole for part in parts]
    # All of the part that is largest for its weight, unless another would have to be repeated too often for that.
    per_weight = [own / share for own, share in zip(have, shares, strict=True)]
    total = min(max(per_weight), oversample * min(per_weight))
    chosen: list[Row] = []
    steps, notes = [], []
    for part, (train, aside), own, share in zip(parts, sides, have, shares, strict=True):
        taken = list(_take(train, total * share, own, size, seed))
        chosen += taken
        steps.append(_step(part, taken, len(train), len(aside)))
        said = f"{part.name} makes up {share:.1%} of the {unit}, with {len(taken):,} conversations"
        notes.append(f"{said}; {_repeats(total * share, own)}.")
    if held_out:
        notes.append(f"{sum(len(aside) for _, aside in sides):,} conversations are held out, in held_out.jsonl.")
    chosen.sort(key=lambda row: rank(row, seed))
    return Blend(tuple(chosen), tuple(row for _, aside in sides for row in aside), tuple(steps), tuple(notes))


def _check(parts: Sequence[Part[Row]], oversample: float, held_out: float) -> None:
    if oversample < 1 or not 0 <= held_out < 1 or any(part.weight <= 0 for part in parts):
        raise ValueError("oversample must be at least 1, held_out at least 0 and below 1, and weights above 0")
    for part in parts:
        if not part.conversations:
            raise EmptyDataset(name=part.name, count=0, needed=1)


def _take(rows: Sequence[Row], wanted: float, own: int, size: Callable[[Row], int], seed: int) -> Iterator[Row]:
    """Rows of about the wanted size: all of them as often as they fit in, then the first by rank."""
    ordered = sorted(rows, key=lambda row: rank(row, seed))
    repeated = wanted > own * (1 + 1e-9)
    taken, copy = 0, 0
    while True:
        copy += 1
        for row in ordered:
            # Nearest to what is wanted: a row that would go over it by more than half of itself is left out.
            if taken + size(row) / 2 > wanted + 1e-9:
                return
            taken += size(row)
            yield _copy(row, copy) if repeated else row
        if not repeated:
            return


def _copy(row: Row, number: int) -> Row:
    """Copies have ids of their own, and one group: whoever splits them keeps them together."""
    meta = {**row.meta, "group": row.meta.get("group", row.id)}
    return row.model_copy(update={"id": row.id if number == 1 else f"{row.id}~{number}", "meta": meta})


def _step(part: Part[Row], taken: Sequence[Row], train: int, aside: int) -> Step:
    removed = {"held out": aside, "more than its weight": max(0, train - len(taken))}
    return Step(
        name=f"mix: {part.name}",
        before=train + aside,
        after=len(taken),
        removed={reason: count for reason, count in removed.items() if count},
    )


def _repeats(wanted: float, own: int) -> str:
    if wanted > own * (1 + 1e-9):
        return f"each of its conversations is there {wanted / own:.2f} times on average"
    return "none is repeated"
