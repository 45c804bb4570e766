"""How examples share passes, and how a pass is laid out."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.batches import Family, families, micro_batches, pack
from training.chat import Example

CPU = torch.device("cpu")


def example(ids: list[int], learnt: int = 1, name: str = "e") -> Example:
    return Example(name, tuple(ids), (False,) * (len(ids) - learnt) + (True,) * learnt)


def bodies(groups: list[list[Family]]) -> list[tuple[int, ...]]:
    return sorted(member.ids for group in groups for family in group for member in family.members)


texts = st.lists(st.integers(1, 3), min_size=3, max_size=40).map(lambda ids: example(ids, 1))
heads = st.sampled_from([[], [7] * 20, [8] * 30, [8] * 17 + [9] * 20])
examples = st.lists(
    st.tuples(heads, texts).map(lambda pair: example([*pair[0], *pair[1].ids])), min_size=1, max_size=25
)


@settings(max_examples=60, deadline=None)
@given(examples, st.integers(20, 300), st.booleans())
def test_every_example_is_in_exactly_one_pass_within_the_budget(
    given_rows: list[Example], tokens: int, share: bool
) -> None:
    groups = micro_batches(given_rows, tokens, share=share)
    assert bodies(groups) == sorted(row.ids for row in given_rows)
    for group in groups:
        count = sum(family.tokens for family in group)
        alone = sum(len(family.members) for family in group) == 1
        assert count <= tokens or alone
        for family in group:
            first = family.members[0].ids[: family.shared]
            assert all(member.ids[: family.shared] == first for member in family.members)
            assert all(member.mask.index(True) > family.shared for member in family.members)
            assert share or not family.shared


@settings(max_examples=60, deadline=None)
@given(examples)
def test_a_row_holds_every_target_once_where_it_is_predicted(given_rows: list[Example]) -> None:
    [group] = micro_batches(given_rows, 10_000)
    batch = pack(group, 0, CPU)
    members = [member for family in group for member in family.members]
    assert len(batch.ids) % 128 == len(batch.targets) % 128 == 0
    assert batch.count == sum(member.labels for member in members)
    real = sum(family.tokens for family in group)
    assert batch.layout.segments[-1].end == real
    assert not batch.ids[real:].any()
    owners = batch.owners[: batch.count].tolist()
    for number, member in enumerate(members):
        mine = [i for i, owner in enumerate(owners) if owner == number]
        assert batch.targets[mine].tolist() == [t for t, on in zip(member.ids, member.mask, strict=True) if on]
        before = [i - 1 for i, on in enumerate(member.mask) if on]
        at = batch.predictors[mine]
        assert batch.ids[at].tolist() == [member.ids[i] for i in before]
        assert batch.layout.positions[at].tolist() == before


def test_a_card_is_shared_by_those_below_it_and_by_nobody_else() -> None:
    cards = [[i + 1] * 50 for i in range(2)]
    rows = [example([*cards[i % 2], 90 + i, 91, 92], 2) for i in range(6)]
    rows += [example([200 + i, 3, 4]) for i in range(2)]
    grouped = families(rows)
    assert sorted((family.shared, len(family.members)) for family in grouped) == [(0, 1), (0, 1), (50, 3), (50, 3)]
    assert sum(family.tokens for family in grouped) == 2 * 50 + 6 * 3 + 2 * 3


def test_nobody_joins_who_would_make_all_share_less() -> None:
    long_card = [1] * 400
    rows = [example([*long_card, 5 + i, 6, 7]) for i in range(4)] + [example([*[1] * 20, 9, 9, 9])]
    assert sorted((family.shared, len(family.members)) for family in families(rows)) == [(0, 1), (400, 4)]


def test_passes_are_about_even() -> None:
    groups = micro_batches([example([i, 1, 2] * 20) for i in range(9)], 200, share=False)
    assert [sum(family.tokens for family in group) for group in groups] == [180, 180, 180]
