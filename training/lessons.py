"""What a run learns from, and what it is checked on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training.chat import ChatFormat, Example
from training.data.catalog import load_dataset
from training.data.holdout import hold_out
from training.data.licences import is_restricted
from training.data.mix import digest, mix
from training.errors import EmptyDataset
from training.persona.dialogues import built_conversations, persona_conversations
from training.persona.sheet import find_persona, load_cast
from training.schema import Conversation, Persona, TaskType, TrainSpec, Warned, Workspace

FEW_ROWS = 40
MANY_EPOCHS = 5
"""Beyond these, voices are recognised less well, and other abilities suffer."""


@dataclass(frozen=True)
class Lessons:
    """The conversations of one run, split before anything is learnt. `persona` is None for a dialogue run."""

    persona: Persona | None
    train: tuple[Conversation, ...]
    held_out: tuple[Conversation, ...]

    @property
    def digest(self) -> str:
        """A short name for exactly these conversations on these sides."""
        return f"{digest(self.train)}-{digest(self.held_out)}"

    @property
    def licenses(self) -> tuple[str, ...]:
        """The licences of everything that is learnt from."""
        return tuple(sorted({row.license or "unknown" for row in self.train}))

    @property
    def sources(self) -> dict[str, int]:
        """How many rows are learnt from each source."""
        names = [row.source for row in self.train]
        return {name: names.count(name) for name in sorted(set(names))}


def gather(spec: TrainSpec, workspace: Workspace) -> Lessons:
    """The run's conversations, as its task type wants them.

    Raises UnknownPersona, NotThatPersonas, UnknownDataset, PathNotAllowed, UnreadableData or EmptyDataset.
    """
    if spec.task_type is TaskType.DIALOGUE:
        train, held_out = _dataset(spec, workspace)
        return Lessons(None, tuple(train), tuple(held_out))
    assert spec.persona is not None
    persona = find_persona(workspace, spec.guild_id, spec.persona)
    rows = _rows_of(persona, spec, workspace)
    train, held_out = hold_out(rows, f"{persona.name}'s dialogues")
    if spec.task_type is TaskType.MIXED:
        general, _ = _dataset(spec, workspace)
        train = mix(train, general, spec.hyperparameters.mix_general, spec.hyperparameters.seed)
    return Lessons(persona, tuple(train), tuple(held_out))


def cast_lines(spec: TrainSpec, workspace: Workspace) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """(training lines, held-out lines) that each persona of the guild says, by slug; personas without are left out."""
    train: dict[str, list[str]] = {}
    gold: dict[str, list[str]] = {}
    for slug, persona in load_cast(workspace, spec.guild_id).items():
        try:
            sides = hold_out(_rows_of(persona, spec, workspace), persona.name)
        except EmptyDataset:
            continue
        train[slug], gold[slug] = (said(side, "assistant") for side in sides)
    return train, gold


def said(rows: Sequence[Conversation], role: str) -> list[str]:
    """Everything that one role says."""
    return [message.content for row in rows for message in row.messages if message.role == role]


def examples(rows: Sequence[Conversation], chat_format: ChatFormat, max_length: int) -> list[Example]:
    """The rows as training windows."""
    return [example for row in rows for example in chat_format.examples(row, max_length)]


def warnings(spec: TrainSpec, lessons: Lessons, *, rehearsal: bool) -> tuple[Warned, ...]:
    """What the asker should know before and after the run."""
    found = {
        Warned.REHEARSAL_MODEL: rehearsal,
        Warned.FEW_LINES: len(lessons.train) < FEW_ROWS,
        Warned.MANY_EPOCHS: spec.hyperparameters.epochs > MANY_EPOCHS,
        Warned.RESTRICTED_LICENCE: any(map(is_restricted, lessons.licenses)),
    }
    return tuple(warning for warning, applies in found.items() if applies)


def _rows_of(persona: Persona, spec: TrainSpec, workspace: Workspace) -> list[Conversation]:
    """What this persona says: in a persona run that names a dataset built for it, that dataset's rows."""
    if spec.task_type is TaskType.PERSONA and spec.dataset and persona.slug == spec.persona:
        return built_conversations(persona, spec.dataset, workspace, spec.guild_id)
    return persona_conversations(persona, workspace, spec.guild_id)


def _dataset(spec: TrainSpec, workspace: Workspace) -> tuple[list[Conversation], list[Conversation]]:
    assert spec.dataset is not None
    return hold_out(load_dataset(spec.dataset, workspace, spec.guild_id), spec.dataset)
