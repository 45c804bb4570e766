"""Where a run's adapter comes from: what is told of that in its card, and asked before it may be published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from training.data.lineage import permissions_of, sessions_of
from training.data.schema import Source
from training.lessons import Lessons
from training.material import Material
from training.models import Loaded, base_at
from training.runs import write_json
from training.schema import Conversation, Noun, Slug

PROVENANCE_FILE = "provenance.json"


class Voice(Noun):
    """A persona as the adapter knows it: by its system card."""

    slug: Slug
    name: str
    card: str


class Provenance(Noun):
    """What a run learnt from, and on which base model; `provenance.json` in its run folder."""

    base_license: str
    source: str = Field(description="The folder or hub name that the base model came from.")
    weights: str = Field(description="How its weights were kept while the adapter learnt: nf4, or their type.")
    learning_rate: float = Field(0.0, description="The highest of the run.")
    batch_size: int = Field(0, description="Conversations, or pairs, in one optimiser step.")
    data: tuple[Source, ...] = Field((), description="What was learnt from, by source and licence.")
    opening: int = Field(0, description="How many of the conversations a run of two stages learnt first.")
    pairs: int = Field(0, description="Pairs of answers that a preference run learnt from.")
    languages: tuple[str, ...] = ()
    permissions: tuple[str, ...] = Field((), description="Permissions of Discord's that chats were used under.")
    chats: int = Field(0, description="Chat sessions that something was learnt from.")
    cast: tuple[Voice, ...] = ()
    begun_from: Provenance | None = Field(None, description="Of the run whose adapter was learnt on.")
    recorded: bool = Field(True, description="False: an older run, of which no one knows what it learnt from.")

    @property
    def runs(self) -> tuple[Provenance, ...]:
        """This run, and those that it went on from, the newest first."""
        return (self, *(self.begun_from.runs if self.begun_from else ()))

    @property
    def licenses(self) -> tuple[str, ...]:
        """The licences of all data, of earlier runs too."""
        return tuple(sorted({source.license or "unknown" for run in self.runs for source in run.data}))


def provenance_of(lessons: Lessons, material: Material, loaded: Loaded, begun_from: Path | None) -> Provenance:
    """What is known of a run once it has its data; `begun_from`: the folder of the run that it goes on from."""
    learnt = [*lessons.learnt, *(pair.rejected for pair in lessons.pairs)]
    return Provenance(
        base_license=loaded.base.license,
        source=loaded.source,
        weights=_kept(loaded.model),
        learning_rate=material.peak,
        batch_size=material.stages[-1].batch_size,
        data=_sources(lessons.learnt),
        opening=len(lessons.opening),
        pairs=len(lessons.pairs),
        languages=tuple(sorted({row.lang for row in learnt})),
        permissions=tuple(permissions_of(learnt)),
        chats=len(sessions_of(learnt)),
        cast=tuple(Voice(slug=one.slug, name=one.name, card=one.system_card()) for one in lessons.cast),
        begun_from=read_provenance(begun_from, loaded.source) if begun_from else None,
    )


def write_provenance(run_dir: Path, found: Provenance) -> None:
    """Keep it in the run's folder."""
    write_json(run_dir / PROVENANCE_FILE, found.model_dump(mode="json"))


def read_provenance(run_dir: Path, source: str) -> Provenance:
    """Of the run in a folder, whose base model is at `source`; not `recorded` where the file is missing or damaged."""
    try:
        return Provenance.model_validate_json((run_dir / PROVENANCE_FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return Provenance(base_license=base_at(source).license, source=source, weights="unknown", recorded=False)


def _sources(rows: Iterable[Conversation]) -> tuple[Source, ...]:
    counts = Counter((row.source, row.license) for row in rows)
    return tuple(Source(name=name, license=license, conversations=n) for (name, license), n in sorted(counts.items()))


def _kept(model: Any) -> str:
    """`nf4` and the like for quantised weights, else the name of their type."""
    quantised = getattr(model.config, "quantization_config", None)
    return str(quantised.bnb_4bit_quant_type) if quantised else str(model.dtype).removeprefix("torch.")
