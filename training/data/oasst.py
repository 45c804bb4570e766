"""Open Assistant's trees of messages, nested (`prompt` with `replies`) or flat (one message a row)."""

from __future__ import annotations

import hashlib
import math
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from training.data.canonical import NO_ANSWER, NO_QUESTION, Dropped, Role, Tally, Turn
from training.data.reading import Draft, Maker, Reading
from training.schema import Conversation

if TYPE_CHECKING:
    from training.data.files import Row

READY = "ready_for_export"
NOT_READY = "tree not ready"
DELETED = "deleted"
REJECTED = "rejected in review"
SYNTHETIC = "synthetic"
EMPTY = "empty message"
BELOW = "reply to a message that was left out"
ORPHAN = "its parent is missing"
CYCLE = "replies in a circle"
DUPLICATE = "repeated message id"
INCOMPLETE = "incomplete message"
MALFORMED = "a reply that is no message"
NOT_CHOSEN = "not on the chosen path"

_ROLES: dict[object, Role] = {"prompter": "user", "user": "user", "assistant": "assistant"}
_COLUMNS = (
    *("message_id", "parent_id", "text", "role", "lang", "tree_state"),
    *("rank", "review_count", "review_result", "deleted", "synthetic"),
)
_NO_RANK = float("inf")


@dataclass(eq=False)
class Node:
    """One message of a tree; `row` is the row it was read from, `answers` whether an assistant speaks below it."""

    id: str
    parent: str | None
    role: Role
    value: dict[str, Any]
    row: int = 0
    replies: list[Node] = field(default_factory=list)
    above: Node | None = None
    answers: bool = False

    @property
    def order(self) -> tuple[float, int, str]:
        """Best first: the lowest rank, then the most reviewed, then by id, so that the file's order does not matter."""
        rank, reviews = self.value.get("rank"), self.value.get("review_count")
        return (
            rank if isinstance(rank, int | float) and not math.isnan(rank) else _NO_RANK,
            -reviews if isinstance(reviews, int) else 0,
            self.id,
        )


# --- formats -------------------------------------------------------------------------------------------------------


def convert_trees(rows: Iterator[Row], reading: Reading, tally: Tally) -> Iterator[Conversation]:
    """The conversations of nested trees; a row is a tree."""
    maker = Maker(reading, tally)
    seen: set[bytes] = set()
    for row in rows:
        root = _root(row, seen, tally)
        if isinstance(root, Dropped):
            tally.drop(row.number, root.reason)
            continue
        fates = keep([root], reading)
        ends = chosen_ends([root], reading) if root not in fates else []
        if ends:
            tally.use()
        else:
            tally.drop(row.number, fates.get(root, NO_ANSWER))
        group = row.value.get("message_tree_id")
        yield from _conversations(ends, group if isinstance(group, str) else root.id, row.number, maker)


def convert_flat(rows: Iterator[Row], reading: Reading, tally: Tally) -> Iterator[Conversation]:
    """The conversations of flat messages in any order; a row is a message.

    The rows wait in a temporary SQLite file until all of a tree's have come, so memory holds one tree at a time.
    """
    maker = Maker(reading, tally)
    with tempfile.TemporaryDirectory(prefix="understudy-") as folder, closing(_spill(Path(folder))) as store:
        _fill(store, rows, tally)
        for tree, messages in _trees(store):
            yield from _one_tree(tree, messages, maker, tally)


# --- trees ---------------------------------------------------------------------------------------------------------


def keep(roots: Iterable[Node], reading: Reading) -> dict[Node, str]:
    """Prune in place what is not to be learnt from, with all replies to it; why, for each node that went."""
    fates: dict[Node, str] = {}
    for root in roots:
        if root.role == "assistant":
            fates[root] = NO_QUESTION
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        above = node.above
        if node not in fates:
            reason = BELOW if above is not None and above in fates else _fault(node, reading)
            if reason:
                fates[node] = reason
        waiting += node.replies
    for node in _all_nodes(roots):
        node.replies = [reply for reply in node.replies if reply not in fates]
    return fates


def chosen_ends(roots: Iterable[Node], reading: Reading) -> list[Node]:
    """The last message of every conversation that the policy takes from pruned trees."""
    roots = list(roots)
    nodes = _all_nodes(roots)
    for node in reversed(nodes):
        node.answers = any(reply.answers or reply.role == "assistant" for reply in node.replies)
    if reading.oasst == "all":
        return [node for node in nodes if node.role == "assistant" and not node.answers]
    root = min((root for root in roots if root.answers), key=lambda node: node.order, default=None)
    return [_best_end(root)] if root else []


def path_to(end: Node) -> list[Node]:
    """The thread from the root to a message."""
    path = [end]
    while path[-1].above is not None:
        path.append(path[-1].above)
    return path[::-1]


def _best_end(root: Node) -> Node:
    node = root
    while node.answers:
        leading = [reply for reply in node.replies if reply.answers or reply.role == "assistant"]
        node = min(leading, key=lambda reply: reply.order)
    return node


def _all_nodes(roots: Iterable[Node]) -> list[Node]:
    """Every node, parents before their replies, in the order of a reader who goes down each thread."""
    nodes: list[Node] = []
    waiting = list(roots)[::-1]
    while waiting:
        nodes.append(waiting.pop())
        waiting += nodes[-1].replies[::-1]
    return nodes


def _fault(node: Node, reading: Reading) -> str:
    if not str(node.value.get("text") or "").strip():
        return EMPTY
    if reading.keep_pruned:
        return ""
    if node.value.get("deleted"):
        return DELETED
    if node.value.get("review_result") is False:
        return REJECTED
    return SYNTHETIC if node.value.get("synthetic") else ""


def _conversations(ends: list[Node], group: str, row: int, maker: Maker) -> Iterator[Conversation]:
    for end in ends:
        turns: list[Turn] = [(node.role, node.value["text"]) for node in path_to(end)]
        made = maker.make(Draft(turns, end.id, end.value.get("lang"), meta={"group": group}), row)
        if isinstance(made, Conversation):
            yield made


# --- nested rows ---------------------------------------------------------------------------------------------------


def _root(row: Row, seen: set[bytes], tally: Tally) -> Node | Dropped:
    """The first message of a row's tree, with all replies; `seen` are those of the rows before."""
    state = row.value.get("tree_state")
    if state is not None and state != READY:
        return Dropped(NOT_READY)
    root = _node(row.value.get("prompt"), row.number)
    if root is None:
        return Dropped(INCOMPLETE)
    key = hashlib.blake2b(root.id.encode(errors="replace"), digest_size=12).digest()
    if key in seen:
        return Dropped(DUPLICATE)
    seen.add(key)
    _add_replies(root, tally)
    return root


def _add_replies(root: Node, tally: Tally) -> None:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        replies = node.value.get("replies")
        for value in replies if isinstance(replies, list) else []:
            reply = _node(value, root.row)
            if reply is None:
                tally.lose(root.row, MALFORMED)
                continue
            reply.above = node
            node.replies.append(reply)
        waiting += node.replies


def _node(value: object, row: int) -> Node | None:
    if not isinstance(value, dict):
        return None
    name, parent, role = value.get("message_id"), value.get("parent_id"), _ROLES.get(_hashable(value.get("role")))
    if not isinstance(name, str) or role is None or not isinstance(value.get("text"), str | None):
        return None
    return Node(name, parent if isinstance(parent, str) else None, role, value, row)


def _hashable(value: object) -> object:
    return value if isinstance(value, str) else None


# --- flat rows -----------------------------------------------------------------------------------------------------


def _spill(folder: Path) -> sqlite3.Connection:
    store = sqlite3.connect(folder / "messages.sqlite")
    # It lives as long as this run: nothing in it needs to survive a crash.
    store.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-16384;")
    store.execute("CREATE TABLE messages (tree TEXT, row INTEGER, value BLOB)")
    return store


def _fill(store: sqlite3.Connection, rows: Iterator[Row], tally: Tally) -> None:
    def waiting() -> Iterator[tuple[str, int, bytes]]:
        for row in rows:
            tree = row.value.get("message_tree_id")
            if not isinstance(tree, str) or _node(row.value, row.number) is None:
                tally.drop(row.number, INCOMPLETE)
                continue
            yield tree, row.number, orjson.dumps({key: row.value.get(key) for key in _COLUMNS}, default=str)

    store.executemany("INSERT INTO messages VALUES (?, ?, ?)", waiting())
    store.execute("CREATE INDEX by_tree ON messages (tree, row)")


def _trees(store: sqlite3.Connection) -> Iterator[tuple[str, list[Node]]]:
    """Each tree's messages, the trees in the order in which the file first names them."""
    order = store.execute("SELECT tree FROM messages GROUP BY tree ORDER BY min(row)")
    for (tree,) in order:
        found = store.execute("SELECT row, value FROM messages WHERE tree = ? ORDER BY row", (tree,))
        nodes = [_node(orjson.loads(value), row) for row, value in found]
        yield tree, [node for node in nodes if node is not None]


def _one_tree(tree: str, nodes: list[Node], maker: Maker, tally: Tally) -> Iterator[Conversation]:
    if any(node.value["tree_state"] not in (None, READY) for node in nodes):
        for node in nodes:
            tally.drop(node.row, NOT_READY)
        return
    roots, fates = _joined(nodes)
    fates |= keep(roots, maker.reading)
    ends = chosen_ends([root for root in roots if root not in fates], maker.reading)
    used = {node for end in ends for node in path_to(end)}
    for node in nodes:
        if node in used:
            tally.use()
        else:
            lost = NO_ANSWER if node.role == "user" and not node.answers else NOT_CHOSEN
            tally.drop(node.row, fates.get(node, lost))
    yield from _conversations(ends, tree, ends[0].row if ends else 0, maker)


def _joined(nodes: list[Node]) -> tuple[list[Node], dict[Node, str]]:
    """(the roots, with their replies attached; why, for each message that hangs from none of them)."""
    by_id: dict[str, Node] = {}
    fates: dict[Node, str] = {}
    for node in nodes:
        if node.id in by_id:
            fates[node] = DUPLICATE
        else:
            by_id[node.id] = node
    for node in by_id.values():
        node.above = by_id.get(node.parent) if node.parent is not None else None
        if node.above is not None:
            node.above.replies.append(node)
    tops = [node for node in by_id.values() if node.above is None]
    roots = [node for node in tops if node.parent is None]
    lost = set(_all_nodes(node for node in tops if node.parent is not None))
    reached = set(_all_nodes(roots))
    for node in by_id.values():
        if node in lost:
            fates[node] = ORPHAN
        elif node not in reached:
            fates[node] = CYCLE
    return roots, fates
