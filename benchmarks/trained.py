"""What the scorecard says of adapters that were really trained, well or badly, and checked as any job checks them.

A job leaves its best adapter in place, by the losses on what is held out, and so hardly ever one that has trained too
long. Where that is wanted, the weights of the last step are put in its place.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from benchmarks.overtraining import cell
from training.checkpoints import newest_checkpoint
from training.data.folder import write_folder
from training.evaluation.check import check
from training.evaluation.schema import CheckReport, CheckSpec
from training.persona.dialogues import persona_conversations
from training.persona.sheet import find_persona
from training.pipeline import finetune
from training.places import guild_folder
from training.schema import Hyperparameters, RunId, TrainSpec, Workspace

PERSONA, OTHER, GUILD = "glordon", "olga", "benchmark"
FEW, FEW_ROWS = "few", 18
"""The dataset of so few conversations, a third of them held out, that the rest can be known by heart."""
LINES = ("voice", "held_out_fit", "general", "breaks", "degeneracy", "copying")
"""Without facts, by which no rehearsal model is judged."""


@dataclass(frozen=True)
class Kind:
    """How an adapter comes about: `runs` in a row, each learning on from the one before; `last`: from its last step."""

    knobs: Hyperparameters
    runs: int = 1
    last: bool = False
    persona: str = PERSONA
    dataset: str | None = None


KINDS: dict[str, Kind | None] = {
    "trained as usual, 3 epochs": Kind(Hyperparameters()),
    "the base model alone": None,
    "an adapter that learnt nothing (rate 1e-8)": Kind(Hyperparameters(epochs=1, learning_rate=1e-8)),
    "another persona's adapter": Kind(Hyperparameters(), persona=OTHER),
    "30 epochs, the best adapter kept as a job does": Kind(Hyperparameters(epochs=10), runs=3),
    "over-trained: 30 epochs to the last step": Kind(Hyperparameters(epochs=10), runs=3, last=True),
    "the same at a high rate (8e-3)": Kind(Hyperparameters(epochs=10, learning_rate=8e-3), runs=3, last=True),
    "a copier: 12 conversations, 30 epochs at 8e-3": Kind(
        Hyperparameters(epochs=10, learning_rate=8e-3), runs=3, last=True, dataset=FEW
    ),
}


class Bench:
    """Trains adapters and checks each as the persona's, in a folder of its own."""

    def __init__(self, cache: Path, folder: Path) -> None:
        torch.set_num_threads(1)
        self.workspace = Workspace(
            artifact_root=folder, dataset_warehouse=folder, cache_dir=cache, base_model="standin"
        )
        persona = find_persona(self.workspace, GUILD, PERSONA)
        rows = persona_conversations(persona, self.workspace, GUILD)[:FEW_ROWS]
        place = guild_folder(self.workspace, GUILD) / "datasets" / FEW
        place.parent.mkdir(parents=True)
        write_folder(place, FEW, rows, persona=PERSONA)
        self.made = 0

    def card(self, kind: Kind | None) -> CheckReport:
        """The check of such an adapter."""
        return self._checked(self._trained(kind) if kind else None)

    def _trained(self, kind: Kind) -> RunId:
        run_id: RunId | None = None
        for _ in range(kind.runs):
            run_id = self._run(kind, run_id)
        assert run_id is not None
        return run_id

    def _run(self, kind: Kind, start_from: RunId | None) -> RunId:
        run_id = self._new_id()
        folder = self.workspace.artifact_root / "runs" / run_id
        last: dict[str, torch.Tensor] = {}

        def keep(step: int) -> None:
            kept = newest_checkpoint(folder / "checkpoints")
            assert kept is not None
            last.update(kept.groups["adapter"])

        finetune(
            TrainSpec(
                job_name="benchmark",
                guild_id=GUILD,
                persona=kind.persona,
                dataset=kind.dataset,
                start_from=start_from,
                hyperparameters=kind.knobs,
            ),
            job_id=run_id,
            workspace=self.workspace,
            run_dir=folder,
            on_progress=lambda _: None,
            should_stop=lambda: False,
            on_checkpoint=keep,
        )
        if kind.last:
            put_in_place(last, folder / "adapter" / "adapter_model.safetensors")
        return run_id

    def _checked(self, run_id: RunId | None) -> CheckReport:
        job_id = self._new_id()
        return check(
            CheckSpec(guild_id=GUILD, persona=PERSONA, run_id=run_id),
            job_id=job_id,
            workspace=self.workspace,
            run_dir=self.workspace.artifact_root / "checks" / job_id,
            on_progress=lambda _: None,
            should_stop=lambda: False,
        )

    def _new_id(self) -> RunId:
        self.made += 1
        return f"{self.made:012d}"


def put_in_place(weights: dict[str, torch.Tensor], file: Path) -> None:
    """Give a saved adapter other weights, named as they are in a model where it is called `default`."""
    tensors = {name.replace(".default", ""): tensor for name, tensor in weights.items()}
    assert tensors.keys() == load_file(file).keys()
    save_file(tensors, file, metadata={"format": "pt"})


def table_of(cache: Path) -> str:
    """Markdown, a row an adapter."""
    head = ["adapter", *(name.replace("_", " ") for name in LINES)]
    rows = [head, ["---"] * len(head)]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(cache, Path(folder))
        for name, kind in KINDS.items():
            lines = {line.id: line for line in bench.card(kind).lines}
            rows.append([name, *(cell(lines[line]) for line in LINES)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
