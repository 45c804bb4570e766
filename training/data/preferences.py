"""Reads rows of preferences: `{"prompt": […], "chosen": […], "rejected": […]}`, as votes leave them.

The prompt is a list of messages, or the text of one user turn; each answer is a list of one assistant message, or its
text. `id`, `source` and `license` may stand beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError

from training.data.canonical import Dropped, canonical_turns
from training.data.catalog import locate
from training.data.files import read_rows
from training.data.folder import PERMISSION, is_folder
from training.data.mix import rank
from training.errors import EmptyDataset, UnreadableData
from training.schema import Conversation, Message, Noun, Persona, Workspace

PREFERENCES = "preferences.jsonl"
"""Where a dataset of votes has them, beside its conversations."""
MOST_LEARNT = 20_000
ORDER_SEED = 4


class Preference(Noun):
    """Two answers to the same talk, of which the chosen one was liked better; both conversations share one id."""

    chosen: Conversation
    rejected: Conversation

    @property
    def id(self) -> str:
        """Its own."""
        return self.chosen.id

    @property
    def source(self) -> str:
        """Where it is from."""
        return self.chosen.source

    @property
    def meta(self) -> dict[str, str]:
        """What is known of it besides, as of a conversation."""
        return self.chosen.meta


def _as_turns(role: str) -> BeforeValidator:
    """A plain text stands for one turn of `role`."""
    return BeforeValidator(lambda given: [{"role": role, "content": given}] if isinstance(given, str) else given)


class _Answer(Noun):
    role: Literal["assistant"]
    content: str = Field(min_length=1)


class _Row(Noun):
    """A row as it is written."""

    model_config = ConfigDict(extra="ignore")

    prompt: Annotated[tuple[Message, ...], _as_turns("user"), Field(min_length=1)]
    chosen: Annotated[tuple[_Answer, ...], _as_turns("assistant"), Field(min_length=1, max_length=1)]
    rejected: Annotated[tuple[_Answer, ...], _as_turns("assistant"), Field(min_length=1, max_length=1)]
    id: str = ""
    source: str = ""
    license: str = ""
    lang: str = "und"
    meta: Mapping[str, str] = {}


def load_preferences(name_or_path: str, workspace: Workspace, guild_id: str) -> list[Preference]:
    """The preferences of a guild's own dataset or of a file that it may read, at most 20,000 of them.

    Raises UnknownDataset, PathNotAllowed, UnreadableData with the row's number, and EmptyDataset.
    """
    path, _ = locate(name_or_path, workspace, guild_id)
    if is_folder(path):
        path = path / PREFERENCES
        if not path.is_file():
            raise UnreadableData(name=name_or_path, reason="it holds no pairs of answers to learn preferences from")
    rows = sorted(_read(path, name_or_path), key=lambda row: rank(row, ORDER_SEED))
    if not rows:
        raise EmptyDataset(name=name_or_path, count=0, needed=1)
    return rows[:MOST_LEARNT]


def voiced(preference: Preference, persona: Persona) -> Preference:
    """The preference with the persona's system card in place of any system turn of its own."""
    from training.persona.dialogues import with_card

    return Preference(chosen=with_card(preference.chosen, persona), rejected=with_card(preference.rejected, persona))


def _read(path: Path, name: str) -> Iterator[Preference]:
    taken: set[str] = set()
    for row in read_rows(path, name):
        made = _preference(row.value, row.number, name)
        if made.id in taken:
            raise UnreadableData(name=name, reason=f"row {row.number} repeats the id of an earlier one")
        taken.add(made.id)
        yield made


def _preference(value: dict[str, Any], number: int, name: str) -> Preference:
    try:
        row = _Row.model_validate(value)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise UnreadableData(name=name, reason=f"row {number}, field {where}: {fault['msg']}") from error
    if row.prompt[-1].role != "user":
        raise UnreadableData(name=name, reason=f"row {number}: its prompt does not end with a user turn")
    if row.chosen[0].content.strip() == row.rejected[0].content.strip():
        raise UnreadableData(name=name, reason=f"row {number}: both answers are the same, so nothing was preferred")
    chosen, rejected = (_answered(row, answer.content, number, name) for answer in (row.chosen[0], row.rejected[0]))
    return Preference(chosen=chosen, rejected=rejected)


def _answered(row: _Row, answer: str, number: int, name: str) -> Conversation:
    """The talk with one of its answers."""
    turns = canonical_turns([*((turn.role, turn.content) for turn in row.prompt), ("assistant", answer)])
    if isinstance(turns, Dropped) or turns[-1].content != answer:
        raise UnreadableData(name=name, reason=f"row {number}: an answer is empty, or the prompt holds no user turn")
    return Conversation(
        id=row.id or f"row-{number}",
        source=row.source or Path(name).stem,
        license=row.license,
        lang=row.lang,
        messages=turns,
        # What a row claims of permissions is worth nothing; those lie beside what was made of a chat log.
        meta={key: value for key, value in row.meta.items() if key != PERMISSION},
    )
