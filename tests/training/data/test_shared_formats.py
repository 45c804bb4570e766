"""The shared samples of real data sets, with the counts that they are known to give."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import pytest

from training.data.canonical import NO_ANSWER, NO_TURNS, Tally
from training.data.chats import NEEDS_MEDIA, TOOL_CALLS
from training.data.formats import Reading, read_any
from training.data.instruct import MERGED
from training.data.oasst import NOT_READY
from training.schema import Conversation

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="the shared samples are not here")
TREES = "oasst/oasst2_sample.trees.jsonl"
FLAT = "oasst/oasst2_sample.hf_rows.jsonl"
SYNTHETIC = "oasst/openassistant_en_synthetic_12.trees.jsonl"
Policy = Literal["best", "all"]


def read(file: str, reading: Reading | None = None) -> tuple[list[Conversation], Tally]:
    tally = Tally()
    made = list(read_any(SHARED / file, reading or Reading(), tally))
    assert tally.rows == tally.used + tally.dropped.total()
    return made, tally


def texts(conversation: Conversation) -> list[str]:
    return [message.content for message in conversation.messages]


# --- Open Assistant ------------------------------------------------------------------------------------------------


def expected(sample: str) -> dict[str, Any]:
    counts: dict[str, Any] = json.loads((SHARED / "oasst/expected_counts.json").read_text(encoding="utf-8"))
    return counts[sample]


def digest(file: str, made: list[Conversation]) -> str:
    """The digest of the message ids on each thread, which are found again by their texts below the end's id."""
    above: dict[str, str | None] = {}
    for line in (SHARED / file).read_text(encoding="utf-8").splitlines():
        waiting = [json.loads(line)["prompt"]]
        while waiting:
            node = waiting.pop()
            for reply in node.get("replies") or ():
                above[reply["message_id"]] = node["message_id"]
                waiting.append(reply)
    threads = []
    for row in made:
        path = [row.id]
        while parent := above.get(path[-1]):
            path.append(parent)
        threads.append(">".join(reversed(path)))
    return hashlib.sha256("\n".join(sorted(threads)).encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("file", "sample", "keep"),
    [(TREES, "oasst2_sample(shared)", False), (SYNTHETIC, "synthetic_12(shared,allow synthetic)", True)],
)
def test_trees_give_the_expected_threads(file: str, sample: str, keep: bool) -> None:
    counts = expected(sample)
    best, tally = read(file, Reading(oasst="best", keep_pruned=keep))
    every, _ = read(file, Reading(oasst="all", keep_pruned=keep))
    assert (tally.rows, tally.used) == (counts["trees"], counts["ready"])
    assert tally.dropped == Counter({NOT_READY: counts["trees"] - counts["ready"]})
    assert (len(best), len(every)) == (counts["one_path_per_tree"], counts["recommended_all_threads"])
    assert Counter(str(len(row.messages)) for row in best) == counts["turns_hist_one_path"]
    assert (digest(file, best), digest(file, every)) == (counts["sha_one_path"], counts["sha_all"])


def test_the_synthetic_trees_are_pruned_unless_asked() -> None:
    made, tally = read(SYNTHETIC)
    assert (len(made), tally.dropped) == (10, {"synthetic": 2})


@pytest.mark.parametrize("policy", ["best", "all"])
def test_the_hub_rows_give_the_same_conversations_as_the_trees(policy: Policy) -> None:
    from_rows, tally = read(FLAT, Reading(source="oasst2", oasst=policy))
    from_trees, _ = read(TREES, Reading(source="oasst2", oasst=policy))
    assert tally.rows == 220
    assert sorted(from_rows, key=lambda row: row.id) == sorted(from_trees, key=lambda row: row.id)
    assert len({row.meta["group"] for row in from_rows}) == 22


# --- fixtures with every known quirk -------------------------------------------------------------------------------


def test_alpaca_quirks() -> None:
    made, tally = read("general/fixture_alpaca_schema.json")
    assert tally.dropped == {NEEDS_MEDIA: 2, NO_ANSWER: 2, MERGED: 1}
    assert [texts(row) for row in made] == [
        ["Say hello.", "Hello!"],
        ["Say bye.", "Bye!"],
        ["Name the capital of France.", "Paris"],
        ["Name the capital of France.", "Paris"],
        ["Translate to German.\n\nGood morning", "Guten Morgen"],
    ]


def test_belle_quirks() -> None:
    made, tally = read("general/fixture_belle_schema.jsonl")
    rows = {int(row.id.rsplit("-", 1)[1]): texts(row) for row in made}
    assert (tally.rows, tally.dropped) == (12, {NO_ANSWER: 1})
    assert rows[1] == ["用一句话介绍茶。", "茶是一种用茶树叶子泡制的饮品。"]
    assert rows[2] == ["将下面的句子翻译成英文。\n今天下雨了。", "It is raining today."]
    assert rows[6] == rows[7] == ["计算 12*12", "12*12 = 144"]
    assert rows[9] == ["推荐一本书", "《活着》", "为什么？", "因为它讲述了坚韧的生命力。"]
    assert rows[10] == ["列出三种水果", "苹果\n香蕉\n橙子"]
    assert rows[12] == ["把零宽字符去掉", "把零宽字符去掉"]


def test_firefly_quirks() -> None:
    made, tally = read("general/fixture_firefly_schema.jsonl")
    assert (tally.rows, tally.used, tally.dropped) == (12, 11, {NO_ANSWER: 1})
    assert tally.kinds["NewKind2026"] == tally.kinds["Cot"] == 1
    assert [row.meta["overlaps"] for row in made if row.meta["kind"] == "BELLE"] == ["belle"]
    assert texts(made[-1]) == ["翻译成英文：谢谢", "Thank you"]


def test_ultrachat_quirks() -> None:
    made, tally = read("general/fixture_ultrachat_schema.jsonl")
    rows = {row.id: texts(row) for row in made}
    assert (tally.rows, tally.dropped) == (9, {NO_TURNS: 1, NO_ANSWER: 1})
    assert len(rows["1"]) == 2
    assert rows["2"] == ["Hi\nAre you there?", "Yes."]
    assert rows["0"] == rows["8"]
    assert (len(rows["5"]), len(rows["6"]), len(rows["7"])) == (6, 16, 2)


# --- samples of other projects -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "family", "used", "turns", "dropped"),
    [
        ("general/belle_zh_seed_tasks_175.jsonl", "alpaca", 175, 350, {}),
        ("general/self_instruct_seed_tasks_175.jsonl", "alpaca", 175, 350, {}),
        ("general/llamafactory_alpaca_en_demo_150.json", "alpaca", 150, 300, {}),
        ("general/llamafactory_alpaca_zh_demo_100.json", "alpaca", 100, 200, {}),
        ("general/llamafactory_v1_sft_demo_40.jsonl", "messages", 40, 80, {}),
        ("general/glaive_sharegpt_toolcall_60.json", "sharegpt", 28, 174, {TOOL_CALLS: 32}),
        ("persona/fastchat_dummy_conversation_120.json", "sharegpt", 120, 480, {}),
        ("persona/gpteacher_roleplay_200.json", "alpaca", 200, 400, {}),
        ("persona/llamafactory_identity.json", "alpaca", 91, 182, {}),
    ],
)
def test_samples_convert_with_exact_counts(
    file: str, family: str, used: int, turns: int, dropped: dict[str, int]
) -> None:
    _, tally = read(file)
    assert (tally.format, tally.used, tally.conversations, tally.turns) == (family, used, used, turns)
    assert tally.dropped == dropped
