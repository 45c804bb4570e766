"""What a run learns from, and what it is checked on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from training.chat import ChatFormat, Example
from training.data.catalog import load_dataset
from training.data.holdout import LEAST_ROWS, hold_out
from training.data.licences import is_restricted
from training.data.mix import digest, mix
from training.data.preferences import Preference, load_preferences, voiced
from training.data.schema import LEAST_PAIRS
from training.errors import EmptyDataset
from training.persona.dialogues import built_conversations, persona_conversations
from training.persona.sheet import find_persona, load_cast
from training.schema import WHOLE_CAST, Conversation, Persona, TaskType, TrainSpec, Workspace
from training.warned import Warned

if TYPE_CHECKING:
    from training.models import Base

FEW_LINES = 40
MANY_EPOCHS = 5
"""Beyond these, voices are recognised less well, and other abilities suffer."""


@dataclass(frozen=True)
class Lessons:
    """The conversations of one run, split before anything is learnt.

    cast: whom the run gives a voice; nobody in a dialogue run. opening: what a run of two stages learns first. pairs,
    held_out_pairs: what a preference run learns from and is checked on; `train` and `held_out` then hold the chosen.
    """

    cast: tuple[Persona, ...]
    train: tuple[Conversation, ...]
    held_out: tuple[Conversation, ...]
    opening: tuple[Conversation, ...] = ()
    pairs: tuple[Preference, ...] = ()
    held_out_pairs: tuple[Preference, ...] = ()

    @property
    def persona(self) -> Persona | None:
        """The one persona of the run, if it is one's."""
        return self.cast[0] if len(self.cast) == 1 else None

    @property
    def learnt(self) -> tuple[Conversation, ...]:
        """Everything that is learnt from, in all stages."""
        return (*self.opening, *self.train)

    @property
    def fewest_lines(self) -> int:
        """How many lines there are of whoever of the cast says least; of a run without a persona, all answers."""
        if not self.cast:
            return len(said(self.train, "assistant"))
        cards = [persona.system_card() for persona in self.cast]
        return min(
            len(said([row for row in self.train if row.messages[0].content == card], "assistant")) for card in cards
        )

    @property
    def digest(self) -> str:
        """A short name for exactly these conversations on these sides."""
        sides = [self.train, self.held_out, *([self.opening] if self.opening else [])]
        if self.pairs:
            sides += [tuple(pair.rejected for pair in pairs) for pairs in (self.pairs, self.held_out_pairs)]
        return "-".join(map(digest, sides))

    @property
    def licenses(self) -> tuple[str, ...]:
        """The licences of everything that is learnt from."""
        return tuple(sorted({row.license or "unknown" for row in self.learnt}))

    @property
    def sources(self) -> dict[str, int]:
        """How many rows are learnt from each source."""
        names = [row.source for row in self.learnt]
        return {name: names.count(name) for name in sorted(set(names))}


def gather(spec: TrainSpec, workspace: Workspace) -> Lessons:
    """The run's conversations, as its task type wants them.

    Raises UnknownPersona, NotThatPersonas, UnknownDataset, PathNotAllowed, UnreadableData or EmptyDataset.
    """
    if spec.task_type is TaskType.DIALOGUE:
        train, held_out = _dataset(spec, workspace)
        return Lessons((), tuple(train), tuple(held_out))
    assert spec.persona is not None
    if spec.task_type is TaskType.PREFERENCE:
        return _preferred(spec, workspace)
    lessons = _everybody(spec, workspace) if spec.persona == WHOLE_CAST else _one(spec, workspace)
    if spec.task_type is TaskType.PERSONA:
        return lessons
    general = _apart(_dataset(spec, workspace)[0], lessons.held_out)
    if spec.task_type is TaskType.TWO_STAGE:
        return replace(lessons, opening=tuple(general))
    knobs = spec.hyperparameters
    return replace(lessons, train=tuple(mix(lessons.train, general, knobs.mix_general, knobs.seed)))


def _apart(general: Sequence[Conversation], held_out: Sequence[Conversation]) -> list[Conversation]:
    """The general rows but for those that answer as a held-out one does: what is checked on is learnt nowhere."""
    checked = {_answers(row) for row in held_out}
    return [row for row in general if _answers(row) not in checked]


def _answers(row: Conversation) -> tuple[str, ...]:
    return tuple(said([row], "assistant"))


def _one(spec: TrainSpec, workspace: Workspace) -> Lessons:
    """One persona's own dialogues."""
    assert spec.persona is not None
    persona = find_persona(workspace, spec.guild_id, spec.persona)
    train, held_out = hold_out(_rows_of(persona, spec, workspace), f"{persona.name}'s dialogues")
    return Lessons((persona,), tuple(train), tuple(held_out))


def _everybody(spec: TrainSpec, workspace: Workspace) -> Lessons:
    """The dialogues of all personas of the guild that have enough of them, each held out as in a run of its own."""
    found: list[Lessons] = []
    for slug in load_cast(workspace, spec.guild_id):
        try:
            found.append(_one(spec.model_copy(update={"persona": slug, "dataset": None}), workspace))
        except EmptyDataset:
            continue
    if not found:
        raise EmptyDataset(name="The cast's dialogues", count=0, needed=LEAST_ROWS)
    return Lessons(
        tuple(persona for one in found for persona in one.cast),
        tuple(row for one in found for row in one.train),
        tuple(row for one in found for row in one.held_out),
    )


def _preferred(spec: TrainSpec, workspace: Workspace) -> Lessons:
    """Pairs of answers, opened by the persona's system card; those for the whole cast keep their own."""
    assert spec.dataset is not None
    pairs = load_preferences(spec.dataset, workspace, spec.guild_id)
    cast = _asked_for(spec, workspace)
    if len(cast) == 1:
        pairs = [voiced(pair, cast[0]) for pair in pairs]
    train, held_out = hold_out(pairs, spec.dataset, LEAST_PAIRS, few_groups=True)
    return Lessons(
        cast,
        tuple(pair.chosen for pair in train),
        tuple(pair.chosen for pair in held_out),
        pairs=tuple(train),
        held_out_pairs=tuple(held_out),
    )


def _asked_for(spec: TrainSpec, workspace: Workspace) -> tuple[Persona, ...]:
    assert spec.persona is not None
    if spec.persona == WHOLE_CAST:
        return tuple(load_cast(workspace, spec.guild_id).values())
    return (find_persona(workspace, spec.guild_id, spec.persona),)


def cast_rows(
    spec: TrainSpec, workspace: Workspace
) -> tuple[dict[str, list[Conversation]], dict[str, list[Conversation]]]:
    """(training rows, held-out rows) of each persona of the guild, by slug; personas without are left out."""
    train: dict[str, list[Conversation]] = {}
    held_out: dict[str, list[Conversation]] = {}
    for slug, persona in load_cast(workspace, spec.guild_id).items():
        try:
            train[slug], held_out[slug] = hold_out(_rows_of(persona, spec, workspace), persona.name)
        except EmptyDataset:
            continue
    return train, held_out


def cast_lines(spec: TrainSpec, workspace: Workspace) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """(training lines, held-out lines) that each persona of the guild says, by slug; personas without are left out."""
    train, held_out = cast_rows(spec, workspace)
    return lines_of(train), lines_of(held_out)


def lines_of(rows: Mapping[str, Sequence[Conversation]]) -> dict[str, list[str]]:
    """What each persona says in its rows, by slug."""
    return {slug: said(conversations, "assistant") for slug, conversations in rows.items()}


def said(rows: Sequence[Conversation], role: str) -> list[str]:
    """Everything that one role says."""
    return [message.content for row in rows for message in row.messages if message.role == role]


def examples(rows: Sequence[Conversation], chat_format: ChatFormat, max_length: int) -> list[Example]:
    """The rows as training windows."""
    return [example for row in rows for example in chat_format.examples(row, max_length)]


def warnings(spec: TrainSpec, lessons: Lessons, base: Base, chat_format: ChatFormat) -> tuple[Warned, ...]:
    """What the asker should know before and after the run."""
    found = {
        Warned.DEFAULT_TEMPLATE: chat_format.is_default,
        Warned.FEW_LINES: lessons.fewest_lines < FEW_LINES,
        Warned.RESTRICTED_LICENCE: any(map(is_restricted, lessons.licenses)),
    }
    return (*base_warnings(spec, base), *(warning for warning, applies in found.items() if applies))


def base_warnings(spec: TrainSpec, base: Base) -> tuple[Warned, ...]:
    """What there is to know of a job before its data is looked at."""
    # Here, since it brings torch along, which gathering conversations has no use for.
    from training.models import catalog

    found = {
        Warned.REHEARSAL_MODEL: base.rehearsal,
        Warned.BASE_NOT_CHAT: not base.chat,
        Warned.STRATEGY_TWO_STAGE: base.chat and spec.task_type is TaskType.TWO_STAGE,
        Warned.STRATEGY_MIXED: base.chat and spec.task_type is TaskType.MIXED,
        Warned.TEMPLATE_UNVERIFIED: base.id in catalog() and base.template is None and not base.rehearsal,
        Warned.MANY_EPOCHS: spec.hyperparameters.epochs > MANY_EPOCHS,
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
