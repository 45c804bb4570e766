"""Which conversations a run, and the stand-in model, never learn from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from training.data.mix import Row, split
from training.errors import EmptyDataset

LEAST_ROWS = 12
SPLIT_SEED = 1
"""Not a run's own seed: runs that differ by seed stay comparable, and the stand-in has seen nobody's held-out rows."""


def hold_out(
    conversations: Sequence[Row], name: str, least: int = LEAST_ROWS, *, few_groups: bool = False
) -> tuple[list[Row], list[Row]]:
    """(train, held out): a fifth is held out, at least 20 rows but never more than a third, and at most 200.

    `split` keeps groups together. few_groups: where each is larger than that, the smallest is held out all the same,
    as long as another is left. Raises EmptyDataset, which calls the data by `name`, where there are fewer than `least`
    rows, or too few groups of them, to learn and to check anything.
    """
    rows = len(conversations)
    if rows < least:
        raise EmptyDataset(name=name, count=rows, needed=least)
    train, held_out = split(conversations, min(max(20, rows // 5), rows // 3, 200), SPLIT_SEED)
    if not held_out and few_groups:
        groups = Counter(row.meta.get("group", row.id) for row in conversations)
        train, held_out = split(conversations, min(groups.values()) if len(groups) > 1 else 0, SPLIT_SEED)
    if not held_out:
        # Groups are never torn apart, and each of these is larger than all that may be held out.
        count = len({row.meta.get("group", row.id) for row in conversations})
        raise EmptyDataset(name=name, count=count, needed=least)
    return train, held_out
