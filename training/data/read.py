"""Reads a file of conversations: canonical JSONL, one Conversation a line."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from training.errors import UnreadableData
from training.schema import Conversation

MAX_LINE_BYTES = 1024 * 1024
MAX_FILE_BYTES = 64 * 1024 * 1024


def read_conversations(path: Path, name: str = "") -> list[Conversation]:
    """All conversations of a file, in its order; blank lines are skipped.

    Raises UnreadableData with the line's number. It calls the file by `name`, which is what the asker called it, else
    by the last part of its path: where it lies on this machine is nobody's business. The line's own text is never
    quoted: it may be private.
    """
    name = name or path.name
    rows: list[Conversation] = []
    line_of: dict[str, int] = {}
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise UnreadableData(name=name, reason=f"it is larger than {MAX_FILE_BYTES // 2**20} MiB")
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if row := _conversation(line, name, number):
                    if row.id in line_of:
                        reason = f"line {number} repeats the id of line {line_of[row.id]}"
                        raise UnreadableData(name=name, reason=reason)
                    line_of[row.id] = number
                    rows.append(row)
    except OSError as error:
        raise UnreadableData(name=name, reason=error.strerror or "the file system refused") from error
    return rows


def _conversation(line: bytes, name: str, number: int) -> Conversation | None:
    if len(line) > MAX_LINE_BYTES:
        raise UnreadableData(name=name, reason=f"line {number} is longer than {MAX_LINE_BYTES // 2**20} MiB")
    if number == 1:
        line = line.removeprefix(b"\xef\xbb\xbf")
    if not line.strip():
        return None
    try:
        row = Conversation.model_validate_json(line)
    except ValidationError as error:
        raise UnreadableData(name=name, reason=f"line {number}{_first_fault(error)}") from error
    if not all(message.content.strip() for message in row.messages):
        raise UnreadableData(name=name, reason=f"line {number} has a turn without words")
    return row


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_input=False, include_url=False, include_context=False)[0]
    if fault["type"] == "json_invalid":
        return " is not valid JSON in UTF-8"
    where = ".".join(str(part) for part in fault["loc"])
    if not where:
        return ": the turns must be an optional system turn, then user and assistant in turn, ending with the assistant"
    return f", field {where}: {fault['msg']}"
