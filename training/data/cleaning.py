"""Which cleaning a person chose, as the filters that do it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import Field

from training.data import filters
from training.data.filters import Filter
from training.schema import Conversation, Noun


class Cleaning(Noun):
    """The chosen steps; what is not set is not done. Each default and each sentence is written here only."""

    dedup: bool = Field(False, description="Drop exact duplicates, whatever their case, width and white space.")
    near_dedup: bool = Field(False, description="Drop near duplicates: MinHash of runs of five words.")
    threshold: float = Field(
        filters.NEAR_THRESHOLD, ge=0.5, le=1, description="Jaccard similarity from which texts are near duplicates."
    )
    refusals: bool = Field(False, description="Drop refusals and self-descriptions of language models.")
    repetition: bool = Field(False, description="Drop answers that turn in circles.")
    language: tuple[str, ...] = Field((), description="Keep this language only; may be given again.")
    min_turns: int = Field(0, ge=0, description="Drop conversations of fewer turns.")
    max_turns: int | None = Field(None, ge=2, description="Drop conversations of more turns.")
    min_chars: int = Field(0, ge=0, description="Drop conversations of fewer characters.")
    max_chars: int | None = Field(None, ge=1, description="Drop conversations of more characters.")
    leaks: str | None = Field(None, description="Drop what is in this held-out file, folder or dataset too.")

    def steps(self, held_out: Iterable[Conversation] = ()) -> Sequence[tuple[str, Filter]]:
        """The filters with their names, cheap ones first; `held_out` is what `leaks` names."""
        made: list[tuple[str, Filter]] = []
        if self.dedup:
            made.append(("exact duplicates", filters.exact_duplicates()))
        if self.min_turns or self.max_turns or self.min_chars or self.max_chars:
            made.append(("length", self._length()))
        if self.refusals:
            made.append(("boilerplate", filters.refusals()))
        if self.repetition:
            made.append(("repetition", filters.repetition()))
        if self.language:
            made.append((f"language {', '.join(self.language)}", filters.language(self.language)))
        if self.leaks is not None:
            made.append(("leaks", filters.leaks(held_out, self.threshold)))
        if self.near_dedup:
            made.append((f"near duplicates, Jaccard {self.threshold:g}", filters.near_duplicates(self.threshold)))
        return made

    def _length(self) -> Filter:
        return filters.length(
            min_turns=self.min_turns,
            max_turns=self.max_turns,
            min_chars=self.min_chars,
            max_chars=self.max_chars,
        )


STANDARD = Cleaning(dedup=True, near_dedup=True, refusals=True, repetition=True)
"""What is done where nothing is chosen."""
