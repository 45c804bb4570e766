"""Makes a persona's training dialogues, or the whole cast's, and mixes general conversations in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from training.data.catalog import offers, open_dataset
from training.data.derive import Parents, parents_of
from training.data.folder import REJECTED, Counts, write_folder
from training.data.lineage import remember
from training.data.mix import mix
from training.data.schema import DatasetCard, DataSpec, Step
from training.errors import LanguageModelMissing, LicenceNotAccepted, UnknownDataset
from training.persona.dialogues import composed_dialogues, with_card
from training.persona.llm import Asker
from training.persona.sheet import find_persona, load_cast
from training.persona.writer import Writer, WritingProgress, Written
from training.places import guild_folder
from training.schema import Conversation, LanguageModel, Persona, Workspace

MOST_GENERAL = 50_000
Look = Callable[[int, int], None]


@dataclass(frozen=True)
class Writing:
    """What a language model does in a build.

    dialogues: wanted of each persona. world: lore documents that it may know. journals: the folder where the model's
    answers are kept, so that none is asked for twice. judge: whether it also judges what it wrote.
    """

    journals: Path
    dialogues: int = 100
    world: Sequence[Path] = ()
    judge: bool = True
    on_progress: Callable[[WritingProgress], None] = lambda _: None
    should_stop: Callable[[], bool] = lambda: False

    def write(
        self, persona: Persona, cast: Iterable[Persona], said: Sequence[Conversation], server: LanguageModel, seed: int
    ) -> Written:
        """One persona's dialogues. Raises LanguageModelFailed or RunStopped, after which the same call goes on."""
        asker = Asker(server, self.journals / f"{persona.slug}.jsonl", self.should_stop)
        others = [other for other in cast if other.slug != persona.slug]
        judge = asker if self.judge else None
        writer = Writer(persona, others, asker, said, judge, seed, on_progress=self.on_progress)
        return writer.write(self.dialogues, self.world)


@dataclass
class Made:
    """The rows of a build, and what is to be told of them."""

    rows: list[Conversation] = field(default_factory=list)
    by_hand: int = 0
    composed: int = 0
    facts_left_out: int = 0
    by_model: list[Written] = field(default_factory=list)

    @property
    def rejected(self) -> list[dict[str, object]]:
        """The dialogues of the language model that were refused, with their reasons."""
        return [row for written in self.by_model for row in written.rejected]

    @property
    def notes(self) -> list[str]:
        """What a dataset's card says of the making, a sentence each."""
        notes = [f"{self.by_hand} were written by hand, {self.composed} composed of them, the sheet and set phrases."]
        if self.facts_left_out:
            notes.append(f"{self.facts_left_out} facts were left out, because their sentence has no sure first person.")
        return notes + [note for written in self.by_model for note in written.notes()]


def make_dialogues(
    personas: Sequence[Persona],
    workspace: Workspace,
    guild_id: str,
    *,
    seed: int = 42,
    examples: int | None = None,
    writing: Writing | None = None,
    look: Look = lambda done, total: None,
) -> Made:
    """The dialogues of these personas: written by hand, composed, and, with `writing`, by the language model.

    examples: the most conversations of each that are not the model's. Raises EmptyDataset, UnreadableData,
    LanguageModelMissing, LanguageModelFailed or RunStopped.
    """
    if writing and workspace.language_model is None:
        raise LanguageModelMissing
    cast = load_cast(workspace, guild_id).values()
    made = Made()
    for number, persona in enumerate(personas):
        look(number, len(personas))
        composed = composed_dialogues(persona, workspace, guild_id, seed=seed, examples=examples)
        made.rows += composed.rows
        made.by_hand += composed.written
        made.composed += len(composed.rows) - composed.written
        made.facts_left_out += composed.facts_left_out
        if writing and workspace.language_model:
            made.by_model.append(writing.write(persona, cast, composed.rows, workspace.language_model, seed))
            made.rows += [with_card(row, persona) for row in made.by_model[-1].conversations]
    return made


def write_dialogues(
    made: Made,
    folder: Path,
    name: str,
    *,
    persona: str | None,
    rows: Iterable[Conversation] | None = None,
    steps: Sequence[Step] = (),
    notes: Sequence[str] = (),
    parents: Parents | None = None,
    counter: Counts | None = None,
) -> DatasetCard:
    """Write the dataset folder, of what was made or of a mix with it; `parents`: where the rest is from.

    Raises FolderTaken.
    """
    rejected = {REJECTED: made.rejected} if made.rejected else {}
    return write_folder(
        folder,
        name,
        made.rows if rows is None else rows,
        steps=steps,
        persona=persona,
        counter=counter,
        notes=[*made.notes, *notes],
        permission=parents.permission if parents else None,
        extra_files=lambda: {**(parents.files() if parents else {}), **rejected},
    )


@dataclass(frozen=True)
class Build:
    """A build that a guild asks for."""

    spec: DataSpec
    workspace: Workspace
    journals: Path
    look: Look
    should_stop: Callable[[], bool]

    def write(self, folder: Path, known_as: Path) -> DatasetCard:
        """Write the dataset folder, which will be moved to `known_as`.

        Raises UnknownPersona, UnknownDataset, EmptyDataset, LicenceNotAccepted, LanguageModelMissing,
        LanguageModelFailed, or RunStopped, after which the same build goes on.
        """
        from training.data.counting import counter_of_model

        spec = self.spec
        assert spec.name is not None
        general = self._general()
        cast = load_cast(self.workspace, spec.guild_id)
        chosen = [find_persona(self.workspace, spec.guild_id, spec.persona)] if spec.persona else list(cast.values())
        made = self._made(chosen)
        mixed = mix(made.rows, general, 1 - spec.persona_share, spec.seed) if general else made.rows
        notes = []
        if general and len(mixed) == len(made.rows) + len(general):
            share = f"{len(general) / len(mixed):.0%}"
            notes.append(f"All {len(general)} conversations of {spec.general} were taken: {share} of the whole.")
        parents, _ = parents_of([self._folder()], self.workspace)
        card = write_dialogues(
            made,
            folder,
            spec.name,
            persona=spec.persona,
            rows=parents.watch(mixed),
            steps=_steps(len(made.rows), len(general), len(mixed)),
            notes=notes,
            parents=parents,
            counter=counter_of_model(None, self.workspace),
        )
        # Before it has its name: a crash in between leaves too much noted rather than too little.
        if (lineage := parents.lineage()).links:
            remember(self.workspace, known_as, card, lineage)
        return card

    def _folder(self) -> Path | None:
        """Where the conversations to mix in lie, if they are the guild's own."""
        home = guild_folder(self.workspace, self.spec.guild_id) / "datasets"
        return home / self.spec.general if self.spec.general else None

    def _made(self, chosen: Sequence[Persona]) -> Made:
        """The dialogues; with a language model it is its answers that are told of, since they take the time."""
        spec = self.spec
        if not spec.use_language_model:
            return make_dialogues(chosen, self.workspace, spec.guild_id, seed=spec.seed, look=self.look)
        writing = Writing(self.journals, on_progress=self._answered, should_stop=self.should_stop)
        return make_dialogues(chosen, self.workspace, spec.guild_id, seed=spec.seed, writing=writing)

    def _answered(self, seen: WritingProgress) -> None:
        # What is to stop hears of it from the one who asks the model, between two questions.
        if seen.stage == "dialogues" and not self.should_stop():
            self.look(seen.done, seen.total)

    def _general(self) -> Sequence[Conversation]:
        """The conversations to mix in, if any; raises UnknownDataset or LicenceNotAccepted."""
        spec = self.spec
        if spec.general is None or spec.persona_share == 1:
            return ()
        known = offers(self.workspace, spec.guild_id)
        if spec.general not in known:
            raise UnknownDataset(name=spec.general, choices=", ".join(known))
        if known[spec.general].restricted and not spec.accept_licence:
            raise LicenceNotAccepted(sources=spec.general, how="accept_licence:True")
        return list(islice(open_dataset(spec.general, self.workspace, spec.guild_id), MOST_GENERAL))


def _steps(own: int, general: int, mixed: int) -> tuple[Step, ...]:
    """The mix as a step of the making, if there was one."""
    if not general:
        return ()
    before = own + general
    return (Step(name="mix", before=before, after=mixed, removed={"more than its share": before - mixed}),)
