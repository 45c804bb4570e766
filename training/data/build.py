"""Makes a persona's training dialogues, or the whole cast's, and mixes general conversations in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from training.data.catalog import offers, open_dataset
from training.data.folder import REJECTED, write_folder
from training.data.mix import mix
from training.data.schema import DatasetCard, DataSpec
from training.errors import LanguageModelMissing, LicenceNotAccepted, UnknownDataset
from training.persona.dialogues import composed_dialogues
from training.persona.llm import Asker
from training.persona.sheet import find_persona, load_cast
from training.persona.writer import Writer, Written
from training.schema import Conversation, Persona, Workspace

WRITTEN_BY_MODEL = 100
"""Dialogues that a language model is asked for, a persona."""
MOST_GENERAL = 50_000
Look = Callable[[int, int], None]


@dataclass(frozen=True)
class Build:
    """One build. journals: where a language model's answers are kept, so that none is asked for twice."""

    spec: DataSpec
    workspace: Workspace
    journals: Path
    look: Look
    should_stop: Callable[[], bool]

    def write(self, folder: Path) -> DatasetCard:
        """Write the dataset folder.

        Raises UnknownPersona, UnknownDataset, EmptyDataset, LicenceNotAccepted, LanguageModelMissing,
        LanguageModelFailed, or RunStopped, after which the same build goes on.
        """
        spec = self.spec
        assert spec.name is not None
        general = self._general()
        cast = load_cast(self.workspace, spec.guild_id)
        chosen = [find_persona(self.workspace, spec.guild_id, spec.persona)] if spec.persona else list(cast.values())
        rows: list[Conversation] = []
        written: list[Written] = []
        left_out = 0
        for number, persona in enumerate(chosen):
            self.look(number, len(chosen))
            composed = composed_dialogues(persona, self.workspace, spec.guild_id, seed=spec.seed)
            rows += composed.rows
            left_out += composed.facts_left_out
            if spec.use_language_model:
                others = [other for other in cast.values() if other.slug != persona.slug]
                written.append(self._written(persona, others, composed.rows))
                rows += written[-1].conversations
        mixed = mix(rows, general, 1 - spec.persona_share, spec.seed) if general else rows
        notes = [note for made in written for note in made.notes()]
        if left_out:
            notes.append(f"{left_out} facts were left out, because their sentence has no sure first person.")
        if general and len(mixed) == len(rows) + len(general):
            share = f"{len(general) / len(mixed):.0%}"
            notes.append(f"All {len(general)} conversations of {spec.general} were taken: {share} of the whole.")
        rejected = [row for made in written for row in made.rejected]
        return write_folder(
            folder,
            spec.name,
            mixed,
            persona=spec.persona,
            notes=notes,
            extra_files={REJECTED: rejected} if rejected else None,
        )

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

    def _written(self, persona: Persona, others: Sequence[Persona], said: Sequence[Conversation]) -> Written:
        if self.workspace.language_model is None:
            raise LanguageModelMissing
        asker = Asker(self.workspace.language_model, self.journals / f"{persona.slug}.jsonl", self.should_stop)
        return Writer(persona, others, asker, said, seed=self.spec.seed).write(WRITTEN_BY_MODEL)
