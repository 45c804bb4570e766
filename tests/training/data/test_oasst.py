"""Open Assistant's trees: what is pruned, which thread is taken, and where every row went."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from training.data import oasst
from training.data.canonical import NO_ANSWER, Tally
from training.data.files import Row
from training.data.formats import Reading
from training.schema import Conversation

Nodes = list[dict[str, Any]]


def node(name: str, parent: str | None, role: str, **more: Any) -> dict[str, Any]:
    """One flat row of a small tree "t"."""
    row = {"message_id": name, "parent_id": parent, "message_tree_id": "t", "role": role, "text": f"text of {name}"}
    return {**row, "lang": "pt-BR", "deleted": False, "synthetic": False, "review_result": True, "rank": None, **more}


def tree() -> Nodes:
    """q → a0 (rank 0) → f0 → g0; q → a1 (rank 1) → f1; q → a2 (no rank)."""
    return [
        node("q", None, "prompter"),
        node("a0", "q", "assistant", rank=0),
        node("a1", "q", "assistant", rank=1),
        node("a2", "q", "assistant"),
        node("f0", "a0", "prompter"),
        node("g0", "f0", "assistant"),
        node("f1", "a1", "prompter"),
    ]


def nested(nodes: Nodes) -> dict[str, Any]:
    """The same tree as the tree export has it."""

    def under(parent: str | None) -> Nodes:
        return [{**n, "replies": under(n["message_id"])} for n in nodes if n["parent_id"] == parent]

    return {"message_tree_id": "t", "tree_state": oasst.READY, "prompt": under(None)[0]}


def rows(values: Nodes) -> Iterator[Row]:
    return (Row(number, value) for number, value in enumerate(values, start=1))


def flat(nodes: Nodes, **how: Any) -> tuple[list[Conversation], Tally]:
    tally = Tally()
    made = list(oasst.convert_flat(rows(nodes), Reading(source="s", **how), tally))
    assert tally.rows == len(nodes) == tally.used + tally.dropped.total()
    return made, tally


def trees(values: Nodes, **how: Any) -> tuple[list[Conversation], Tally]:
    tally = Tally()
    made = list(oasst.convert_trees(rows(values), Reading(source="s", **how), tally))
    assert tally.rows == len(values) == tally.used + tally.dropped.total()
    return made, tally


def threads(made: list[Conversation]) -> list[str]:
    return [" ".join(m.content.removeprefix("text of ") for m in row.messages) for row in made]


def changed(name: str, **more: Any) -> Nodes:
    return [{**n, **more} if n["message_id"] == name else n for n in tree()]


def test_best_takes_the_lowest_rank_down_to_the_last_answer() -> None:
    made, tally = flat(tree())
    assert threads(made) == ["q a0 f0 g0"]
    assert tally.used == 4
    assert tally.dropped == {oasst.NOT_CHOSEN: 2, NO_ANSWER: 1}
    assert (made[0].id, made[0].lang, made[0].meta) == ("g0", "pt-BR", {"group": "t"})


def test_all_takes_every_thread_once_and_cuts_what_stays_unanswered() -> None:
    made, tally = flat(tree(), oasst="all")
    assert sorted(threads(made)) == ["q a0 f0 g0", "q a1", "q a2"]
    assert (tally.used, tally.dropped) == (6, {NO_ANSWER: 1})


@pytest.mark.parametrize("policy", ["best", "all"])
def test_nested_and_flat_rows_in_any_order_come_to_the_same(policy: str) -> None:
    shuffled = tree()
    random.Random(4).shuffle(shuffled)
    from_trees, tally = trees([nested(tree())], oasst=policy)
    from_rows, _ = flat(shuffled, oasst=policy)
    assert sorted(threads(from_trees)) == sorted(threads(from_rows))
    assert (tally.rows, tally.used) == (1, 1)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"deleted": True}, oasst.DELETED),
        ({"review_result": False}, oasst.REJECTED),
        ({"synthetic": True}, oasst.SYNTHETIC),
    ],
)
def test_a_pruned_message_takes_its_replies_along_unless_asked(more: dict[str, Any], reason: str) -> None:
    made, tally = flat(changed("a0", **more))
    assert threads(made) == ["q a1"]
    assert tally.dropped[reason] == 1
    assert tally.dropped[oasst.BELOW] == 2
    kept, _ = flat(changed("a0", **more), keep_pruned=True)
    assert threads(kept) == ["q a0 f0 g0"]


def test_an_unreviewed_message_is_kept() -> None:
    assert threads(flat(changed("a0", review_result=None))[0]) == ["q a0 f0 g0"]


def test_a_message_without_words_is_pruned_even_when_all_are_wanted() -> None:
    made, tally = flat(changed("g0", text="  "), keep_pruned=True)
    assert threads(made) == ["q a0"]
    assert tally.dropped[oasst.EMPTY] == 1


def test_without_a_rank_the_most_reviewed_reply_is_taken_and_then_the_first_id() -> None:
    plain = [{**n, "rank": None} for n in tree()]
    assert threads(flat(plain[::-1])[0]) == ["q a0 f0 g0"]
    plain[2]["review_count"] = 3
    assert threads(flat(plain)[0]) == ["q a1"]


def test_a_follow_up_that_nobody_answered_does_not_end_the_path_early() -> None:
    more = [*tree(), node("f9", "a0", "prompter", review_count=9)]
    assert threads(flat(more)[0]) == ["q a0 f0 g0"]


def test_a_tree_that_is_not_ready_is_left_out_and_a_missing_state_is_ready() -> None:
    made, tally = flat(changed("a1", tree_state="growing"))
    assert (made, tally.dropped) == ([], {oasst.NOT_READY: 7})
    assert trees([{**nested(tree()), "tree_state": "growing"}])[1].dropped == {oasst.NOT_READY: 1}
    unmarked = nested(tree())
    del unmarked["tree_state"]
    assert len(trees([unmarked])[0]) == 1


def test_orphans_circles_and_repeated_ids_are_told_apart() -> None:
    odd = [
        node("lost", "gone", "assistant"),
        node("below", "lost", "prompter"),
        node("one", "two", "assistant"),
        node("two", "one", "prompter"),
        node("a0", "q", "assistant", rank=0, text="again"),
    ]
    made, tally = flat([*tree(), *odd])
    assert threads(made) == ["q a0 f0 g0"]
    assert [tally.dropped[why] for why in (oasst.ORPHAN, oasst.CYCLE, oasst.DUPLICATE)] == [2, 2, 1]


def test_incomplete_messages_are_dropped_with_a_reason() -> None:
    bad = [
        node("x", "q", "narrator"),
        node("y", "q", "assistant", text=7),
        node("z", "q", "assistant", message_id=None),
    ]
    bad.append({**node("w", "q", "assistant"), "message_tree_id": None})
    assert flat([*tree(), *bad])[1].dropped[oasst.INCOMPLETE] == 4
    assert trees([{"message_tree_id": "t", "prompt": None}])[1].dropped == {oasst.INCOMPLETE: 1}


def test_a_chain_deeper_than_the_stack_is_read() -> None:
    chain = [node("0", None, "prompter")]
    chain += [node(str(n), str(n - 1), "assistant" if n % 2 else "prompter") for n in range(1, 5_000)]
    made, tally = flat(chain, oasst="all")
    assert len(made[0].messages) == tally.used == 5_000


def test_trees_whose_messages_lie_apart_keep_their_order() -> None:
    other = [{**n, "message_tree_id": "u", "message_id": f"u{n['message_id']}"} for n in tree()]
    for n in other:
        n["parent_id"] = n["parent_id"] and f"u{n['parent_id']}"
    mingled = [n for pair in zip(tree(), other, strict=True) for n in pair]
    assert [row.meta["group"] for row in flat(mingled)[0]] == ["t", "u"]


def test_replies_that_are_no_messages_and_repeated_trees_are_told() -> None:
    whole = nested(tree())
    whole["prompt"]["replies"] += [{"text": 5}, "str"]
    made, tally = trees([whole, nested(tree())])
    assert threads(made) == ["q a0 f0 g0"]
    assert (tally.lost, tally.dropped) == ({oasst.MALFORMED: 2}, {oasst.DUPLICATE: 1})
    assert [problem.row for problem in tally.inspection().problems] == [1, 1, 2]
