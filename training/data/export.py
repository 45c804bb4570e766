"""Writes conversations for other trainers, in the schema each of them reads."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson

from training.data.folder import Account, Counts, Late, finish_folder, now, require_free, room_for
from training.data.lineage import SESSION
from training.data.schema import DatasetCard, Source, Step
from training.errors import UnderstudyError
from training.runs import write_bytes
from training.schema import Conversation

OPENAI_LEAST = 10
OPENAI_MOST_BYTES = 512 * 1024 * 1024
OPENAI_MOST_TOKENS = 65_536
"""Of one example; what is longer is cut there."""


class Target(StrEnum):
    """Who shall read what is written."""

    OPENAI = "openai"
    SHAREGPT = "sharegpt"
    ALPACA = "alpaca"
    TRL = "trl"
    AXOLOTL = "axolotl"
    LLAMAFACTORY = "llamafactory"


class NotForOpenAI(UnderstudyError):
    """{name} would be refused by OpenAI's fine-tuning: {reason}."""


@dataclass
class _Lost:
    """What whoever takes the files should know, in conversations: what is lost, or may not be read."""

    counts: Counter[str] = field(default_factory=Counter)

    def notes(self) -> list[str]:
        return [f"{count:,} conversations: {what}." for what, count in self.counts.most_common()]


Row = Callable[[Conversation, _Lost], dict[str, Any]]


def export(
    folder: Path,
    name: str,
    conversations: Iterable[Conversation],
    target: Target,
    held_out: Iterable[Conversation] = (),
    *,
    digest_of: Callable[[Source], str] = lambda source: "",
    steps: Late[Sequence[Step]] = (),
    notes: Late[Sequence[str]] = (),
    persona: str | None = None,
    counter: Counts | None = None,
) -> DatasetCard:
    """Write a folder for `target`, whole or not at all, with a card that counts what is lost on the way.

    `held_out` goes to a second file in the same schema, which the card names but does not count. The others are as in
    `write_folder`.
    Raises FolderTaken, EmptyDataset, and NotForOpenAI.
    """
    require_free(folder)
    made = room_for(folder)
    file_name, row, usage = _TARGETS[target]
    account, lost = Account(counter), _Lost()
    try:
        path = made / file_name.format(name=name)
        rows = (row(conversation, lost) for conversation in _counted(conversations, account, lost))
        write = _write_array if path.suffix == ".json" else _write_lines
        write(path, rows)
        if aside := [row(conversation, _Lost()) for conversation in held_out]:
            write(path.with_name(f"held_out{path.suffix}"), aside)
        if target is Target.OPENAI:
            _check_openai(path, name, account.conversations)
        for config, text in _configs(target, name, path.name).items():
            write_bytes(made / config, text.encode())
        return finish_folder(
            made,
            folder,
            name,
            account,
            sources=account.by_source(digest_of),
            steps=now(steps),
            persona=persona,
            notes=(
                f"Exported for {target.value}: ids, sources and languages are left out.",
                *lost.notes(),
                *now(notes),
                *([f"{len(aside):,} held-out conversations are in held_out{path.suffix}."] if aside else []),
            ),
            usage=usage.format(name=name, file=path.name),
        )
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _counted(conversations: Iterable[Conversation], account: Account, lost: _Lost) -> Iterator[Conversation]:
    for conversation in conversations:
        # The account names the set as it was before; the target's file has a hash of its own.
        account.add(conversation)
        if SESSION in conversation.meta:
            lost.counts["from chat logs; `understudy data forget` names an export, but takes nothing out of it"] += 1
        yield conversation


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("wb") as file:
        file.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def _write_array(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("wb") as file:
        for number, row in enumerate(rows):
            file.write((b",\n" if number else b"[\n") + orjson.dumps(row))
        file.write(b"\n]\n" if file.tell() else b"[]\n")


# --- one row in each schema ----------------------------------------------------------------------------------------


def _messages(conversation: Conversation, lost: _Lost) -> dict[str, Any]:
    return {"messages": [{"role": turn.role, "content": turn.content} for turn in conversation.messages]}


def _openai(conversation: Conversation, lost: _Lost) -> dict[str, Any]:
    # A token has at least one byte, so what has fewer bytes than that is short enough in any tokenizer.
    if sum(len(turn.content.encode()) for turn in conversation.messages) > OPENAI_MOST_TOKENS:
        lost.counts[f"may be longer than {OPENAI_MOST_TOKENS:,} tokens, where OpenAI cuts them"] += 1
    return _messages(conversation, lost)


def _sharegpt(conversation: Conversation, lost: _Lost) -> dict[str, Any]:
    speakers = {"system": "system", "user": "human", "assistant": "gpt"}
    return {"conversations": [{"from": speakers[turn.role], "value": turn.content} for turn in conversation.messages]}


def _alpaca(conversation: Conversation, lost: _Lost) -> dict[str, Any]:
    turns = list(conversation.messages)
    row: dict[str, Any] = {"instruction": turns[-2].content, "input": "", "output": turns[-1].content}
    if turns[0].role == "system":
        row["system"] = turns.pop(0).content
        lost.counts["the system turn is in a column `system`, which plain Alpaca readers ignore"] += 1
    if len(turns) > 2:
        said = [turn.content for turn in turns[:-2]]
        row["history"] = [list(pair) for pair in zip(said[::2], said[1::2], strict=True)]
        lost.counts["the rounds before the last are in a column `history`, which plain Alpaca readers ignore"] += 1
    return row


# --- what goes beside it -------------------------------------------------------------------------------------------


def _check_openai(path: Path, name: str, examples: int) -> None:
    """The rules that a file must meet; roles and the assistant's last word are those of every Conversation."""
    if examples < OPENAI_LEAST:
        raise NotForOpenAI(name=name, reason=f"it has {examples} examples, and {OPENAI_LEAST} is the least")
    if path.stat().st_size > OPENAI_MOST_BYTES:
        raise NotForOpenAI(name=name, reason=f"the file is larger than {OPENAI_MOST_BYTES // 2**20} MB")


def _configs(target: Target, name: str, file: str) -> dict[str, str]:
    if target is Target.AXOLOTL:
        return {"axolotl.yml": _AXOLOTL.format(file=json.dumps(file))}
    if target is Target.LLAMAFACTORY:
        return {"dataset_info.json": json.dumps({name: {"file_name": file, **_LLAMAFACTORY}}, indent=2) + "\n"}
    return {}


_AXOLOTL = """\
# The part of an axolotl configuration that reads this data; the path is relative to where axolotl is started.
datasets:
  - path: {file}
    ds_type: json
    type: chat_template
    field_messages: messages
    message_property_mappings:
      role: role
      content: content
    roles_to_train: ["assistant"]
    train_on_eos: turn
"""
_LLAMAFACTORY = {
    "formatting": "sharegpt",
    "columns": {"messages": "conversations"},
    "tags": {
        "role_tag": "from",
        "content_tag": "value",
        "user_tag": "human",
        "assistant_tag": "gpt",
        "system_tag": "system",
    },
}
_TARGETS: dict[Target, tuple[str, Row, str]] = {
    Target.OPENAI: (
        "train.jsonl",
        _openai,
        'Upload `{file}` with the purpose "fine-tune", and name it as the training file of a job.',
    ),
    Target.SHAREGPT: ("train.json", _sharegpt, "`{file}` is a list of ShareGPT conversations."),
    Target.ALPACA: ("train.json", _alpaca, "`{file}` is a list of Alpaca rows; each ends a conversation."),
    Target.TRL: (
        "train.jsonl",
        _messages,
        'In Python: `SFTTrainer(model, train_dataset=load_dataset("json", data_files="{file}", split="train"), '
        "args=SFTConfig(assistant_only_loss=True))`. TRL cuts rows at its `max_length`.",
    ),
    Target.AXOLOTL: ("train.jsonl", _messages, "Copy `axolotl.yml` into the configuration of a run."),
    Target.LLAMAFACTORY: (
        "{name}.json",
        _sharegpt,
        "Give LLaMA-Factory this folder as `dataset_dir` and `{name}` as `dataset`.",
    ),
}
