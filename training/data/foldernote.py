"""The README of a dataset folder, made from its card."""

from __future__ import annotations

import re
from collections.abc import Sequence

from training.data.schema import DatasetCard, Step, job_name

_MARKS = re.compile(r"[|\[]")


def readme(card: DatasetCard, usage: str = "") -> str:
    """What the dataset is, where it is from, under which licence, how it was made, and how to train on it.

    `usage` is for folders that another trainer reads.
    """
    parts = [f"# {card.name}", _what(card)]
    if card.sources:
        parts += ["## Sources and licences", _sources(card)]
    if card.permission:
        parts += ["## Permission", f"Messages from Discord are in here under the permission {_plain(card.permission)}."]
    if card.steps:
        parts += ["## How it was made", _steps(card.steps)]
    if card.notes:
        parts.append("\n".join(f"- {_plain(note)}" for note in card.notes))
    if card.tokens and card.conversations:
        parts += ["## Lengths", _lengths(card)]
    if usage or card.conversations:
        parts += ["## Train on it", usage or _train(card)]
    return "\n\n".join(parts) + "\n"


def _what(card: DatasetCard) -> str:
    languages = ", ".join(f"{lang} {count:,}" for lang, count in card.languages.items())
    whose = f" of the persona `{card.persona}`" if card.persona else ""
    told = f"Languages, in conversations: {languages}.\n" if languages else ""
    return (
        f"{card.conversations:,} conversations{whose} with {card.turns:,} turns, made on {card.made_at}, version "
        f"`{card.version}`.\n{told}"
        "`dataset.json` has the same account as this page, and the SHA-256 of each file."
    )


def _sources(card: DatasetCard) -> str:
    rows = [
        (source.name, source.license or "unknown", f"{source.conversations:,}", source.sha256[:16] or "–")
        for source in card.sources
    ]
    return f"Licences: {', '.join(map(_plain, card.licenses))}.\n\n" + _table(
        ("Source", "Licence", "Conversations", "SHA-256"), rows
    )


def _steps(steps: Sequence[Step]) -> str:
    rows = [
        (
            step.name,
            f"{step.before:,}",
            f"{step.after:,}",
            ", ".join(f"{why}: {n:,}" for why, n in step.removed.items()),
        )
        for step in steps
    ]
    return _table(("Step", "Before", "After", "Removed"), rows)


def _lengths(card: DatasetCard) -> str:
    assert card.tokens is not None
    rows = [(bucket, f"{count:,}") for bucket, count in card.tokens.buckets.items()]
    said = (
        f"{card.tokens.total:,} tokens of {_plain(card.tokens.tokenizer)}; the longest conversation has "
        f"{card.tokens.longest:,}."
    )
    return said + "\n\n" + _table(("Tokens", "Conversations"), rows)


def _train(card: DatasetCard) -> str:
    job = f"--task-type persona --persona {card.persona}" if card.persona else "--task-type dialogue"
    option = f"task_type:persona persona:{card.persona}" if card.persona else "task_type:dialogue"
    return (
        "`conversations.jsonl` has one conversation a line.\n\n"
        f"    understudy train {job} --dataset PATH/OF/THIS/FOLDER\n\nor, where a server knows it by name, in Discord:"
        f"\n\n    /finetune start job_name:{job_name(card.name)} {option} dataset:{card.name}"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_plain(cell) for cell in line) + " |" for line in lines)


def _plain(text: str) -> str:
    """One line that a Markdown table holds, and which stays text: other people's names and licences are in here."""
    return _MARKS.sub(r"\\\g<0>", " ".join(text.split())).replace("<", "&lt;")
