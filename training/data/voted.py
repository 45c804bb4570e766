"""Makes a dataset of closed votes: what was preferred, to learn from by DPO, and single judgements for KTO."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from training.data.folder import LINEAGE, Counts, write_folder
from training.data.lineage import Lineage
from training.data.preferences import PREFERENCES
from training.data.schema import LEAST_PAIRS, DatasetCard, Step
from training.data.votes import JUDGEMENTS, judgement_rows, preference_rows, withheld
from training.errors import VotesUndecided
from training.evaluation.schema import BallotBox
from training.persona.dialogues import with_card
from training.schema import Conversation, Message, Persona


def write_votes(
    folder: Path,
    name: str,
    box: BallotBox,
    persona: Persona,
    *,
    lineage: Lineage,
    permission: str | None = None,
    counter: Counts | None = None,
) -> DatasetCard:
    """Write a dataset folder of the votes on one persona.

    Its conversations are the chosen answers; the pairs lie beside them in `preferences.jsonl`, which a preference run
    reads, and what was said of single answers in `judgements.jsonl`, which is all there is where no pair was decided.
    lineage: whose words are in it; permission: Discord's for those. Raises VotesUndecided or FolderTaken.
    """
    own = box.model_copy(update={"pairs": tuple(pair for pair in box.pairs if pair.persona == persona.slug)})
    preferred, judged = list(preference_rows(own)), list(judgement_rows(own))
    if not preferred and not judged:
        raise VotesUndecided(count=len(own.pairs))
    files: dict[str, Iterable[Mapping[str, Any]]] = {}
    if preferred:
        files[PREFERENCES] = preferred
    if judged:
        files[JUDGEMENTS] = judged
    if lineage.links:
        files[LINEAGE] = lineage
    return write_folder(
        folder,
        name,
        (with_card(_chosen(row), persona) for row in preferred),
        steps=[_step(own, len(preferred))],
        persona=persona.slug,
        counter=counter,
        notes=list(_notes(name, persona, preferred, judged)),
        permission=permission if lineage.links else None,
        extra_files=files,
        least=0,
    )


def _chosen(row: Mapping[str, Any]) -> Conversation:
    """The talk with the answer that was preferred."""
    return Conversation(
        id=row["id"],
        source=row["source"],
        lang=row["lang"],
        messages=tuple(Message.model_validate(turn) for turn in (*row["prompt"], *row["chosen"])),
        meta=row["meta"],
    )


def _step(box: BallotBox, kept: int) -> Step:
    typed = withheld(box)
    removed = {"typed by members who have not agreed": typed, "not decided": len(box.pairs) - typed - kept}
    return Step(
        name="votes",
        before=len(box.pairs),
        after=kept,
        removed={why: number for why, number in removed.items() if number},
    )


def _notes(
    name: str, persona: Persona, preferred: Sequence[Mapping[str, Any]], judged: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    if preferred:
        how = f"/finetune start task_type:preference persona:{persona.slug} dataset:{name}"
        questions = len({row["meta"]["group"] for row in preferred})
        if len(preferred) < LEAST_PAIRS or questions < 2:
            how = f"a run takes {LEAST_PAIRS} at least, on two questions at least, so more votes are wanted first"
        yield f"{PREFERENCES} has {len(preferred)} pairs of answers to learn preferences from: {how}."
    if judged:
        yield f"{JUDGEMENTS} has {len(judged)} judgements of single answers, for a trainer of KTO; none is learnt here."
