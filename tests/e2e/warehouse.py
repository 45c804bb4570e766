"""A small warehouse as the `datasets` library would have left it: oasst2, in rows that we wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

THINGS = ("tea", "bread", "a garden", "a letter", "a song", "the moon", "a bridge", "a map")
QUESTIONS = ("How do I begin with {}?", "Why do people like {}?", "Tell me something about {}.")
TREES = len(THINGS) * len(QUESTIONS)
_SPLITS = {"train": range(TREES - 3), "validation": range(TREES - 3, TREES)}


def write_warehouse(folder: Path) -> None:
    """Write `OpenAssistant___oasst2/<config>/<version>/<hash>/`, with its two splits."""
    built = folder / "OpenAssistant___oasst2/default/0.0.0/0123456789abcdef"
    built.mkdir(parents=True)
    for split, trees in _SPLITS.items():
        table = pa.Table.from_pylist([message for number in trees for message in _tree(number)])
        with pa.ipc.new_stream(built / f"oasst2-{split}.arrow", table.schema) as writer:
            writer.write_table(table)
    notes = {
        "dataset_name": "oasst2",
        "config_name": "default",
        "splits": {split: {"name": split} for split in _SPLITS},
    }
    (built / "dataset_info.json").write_text(json.dumps(notes))


def _tree(number: int) -> list[dict[str, Any]]:
    thing, question = (
        THINGS[number % len(THINGS)],
        QUESTIONS[number // len(THINGS)].format(THINGS[number % len(THINGS)]),
    )
    asked = _message(number, "0", None, question)
    better = _message(number, "1", asked, f"Start small: look at {thing}, then ask again.", rank=0)
    worse = _message(number, "2", asked, "I cannot say.", rank=1)
    thanks = _message(number, "3", better, "Thank you. And then?")
    answer = _message(number, "4", thanks, f"Then share {thing} with a friend.", rank=0)
    # The hub's rows stand in no order that a reader could rely on.
    return [answer, asked, worse, better, thanks]


def _message(
    tree: int, own: str, parent: dict[str, Any] | None, text: str, *, rank: int | None = None
) -> dict[str, Any]:
    return {
        "message_id": f"{tree}-{own}",
        "parent_id": parent["message_id"] if parent else None,
        "user_id": f"user-{own}",
        "created_date": "2023-02-05T14:23:50.983374+00:00",
        "text": text,
        "role": "prompter" if own in ("0", "3") else "assistant",
        "lang": "en",
        "review_count": 3,
        "review_result": True,
        "deleted": False,
        "rank": rank,
        "synthetic": False,
        "model_name": None,
        "message_tree_id": f"{tree}-0",
        "tree_state": "ready_for_export",
        "labels": {"name": ["spam", "quality"], "value": [0.0, 0.75], "count": [3, 3]},
    }
