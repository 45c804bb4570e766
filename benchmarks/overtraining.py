"""What more and more epochs do to a real adapter: a rehearsal model, one persona, looked at on the way."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training import lessons as learning
from training import models, sft
from training.course import Course, Stage
from training.evaluation import general
from training.evaluation.lines import Scored, copying, degeneracy, held_out_fit, voice
from training.evaluation.lines import general as general_line
from training.evaluation.probes import answered, check_probes
from training.evaluation.schema import Probe
from training.inference import generate
from training.loop import Hooks, Trainee, fit
from training.material import laid_out
from training.persona.sheet import find_persona, load_cast
from training.schema import Hyperparameters, Message, ScoreLine, TrainSpec, Verdict, Workspace
from training.sft import Answers

PERSONA, GUILD = "glordon", "benchmark"
LOOKED_AT = (0, 1, 3, 10, 30)
"""After so many epochs."""
AT_ONCE, LENGTH, TEMPERATURE, SEED = 2048, 96, 0.7, 42


@dataclass(frozen=True)
class Look:
    """The lines of the scorecard after so many epochs."""

    epochs: int
    voice: ScoreLine
    fit: ScoreLine
    general: ScoreLine
    degeneracy: ScoreLine
    copying: ScoreLine


class Training:
    """One persona's adapter in training, far beyond what a job allows."""

    def __init__(self, cache: Path, folder: Path, rate: float | None = None) -> None:
        torch.set_num_threads(1)
        workspace = Workspace(artifact_root=folder, dataset_warehouse=folder, cache_dir=cache, base_model="standin")
        knobs = Hyperparameters(epochs=1, learning_rate=rate)
        spec = TrainSpec(job_name="benchmark", guild_id=GUILD, persona=PERSONA, hyperparameters=knobs)
        self.persona = find_persona(workspace, GUILD, PERSONA)
        self.lessons = learning.gather(spec, workspace)
        self.lines, self.gold = learning.cast_lines(spec, workspace)
        self.names = {name for who in load_cast(workspace, GUILD).values() for name in (who.name, *who.aliases)}
        base = models.choose(None, workspace)
        source = models.find_source(base, workspace)
        self.loaded = models.load(models.base_at(source), source, workspace)
        material = laid_out(spec, self.lessons, base, self.loaded.format, self.loaded.context)
        stage = Stage(material.stages[0].rows, LOOKED_AT[-1], material.stages[0].batch_size)
        self.course = Course((stage,), material.peak, knobs.warmup_ratio, SEED)
        self.trainee: Trainee[Any] = sft.setup(self.loaded, knobs, self.course)
        self.objective = Answers(self.loaded, self.trainee.decoder, material.held_out, AT_ONCE)
        self.others = learning.examples(general.texts(), self.loaded.format, self.loaded.context)
        self.folder = folder

    def looks(self) -> list[Look]:
        """Train, and look after each number of epochs."""
        base = self._losses(self.objective.held_out), self._losses(self.others)
        found = [self._look(0, base)]
        a_pass = self.course.steps // LOOKED_AT[-1]

        def look(line: dict[str, Any]) -> None:
            if line["step"] in {epochs * a_pass for epochs in LOOKED_AT}:
                found.append(self._look(line["step"] // a_pass, base))

        run_dir = self.folder / "run"
        run_dir.mkdir()
        fit(self.trainee, self.objective, run_dir=run_dir, key="", hooks=Hooks(on_metrics=look))
        return found

    def _look(self, epochs: int, base: tuple[list[float], list[float]]) -> Look:
        probes = [probe for probe in check_probes(self.persona) if probe.kind == "neutral"]
        said = [answer for sample in range(3) for answer in self._answers(probes, sample)]
        asked = {PERSONA: range(len(said))}
        human = {slug: [*lines, *self.gold.get(slug, ())] for slug, lines in self.lines.items()}
        heard = voice(said, asked, human=human, names=self.names, seed=SEED)
        learnt = learning.said(self.lessons.learnt, "assistant")
        own: Scored = copying(said, learnt, self.gold[PERSONA], SEED)
        return Look(
            epochs,
            heard.line,
            held_out_fit(base[0], self._losses(self.objective.held_out), SEED),
            general_line(base[1], self._losses(self.others), SEED),
            degeneracy(said, SEED).line,
            own.line,
        )

    def _answers(self, probes: Sequence[Probe], sample: int) -> list[Any]:
        card = Message(role="system", content=self.persona.system_card())
        turns = [[card, Message(role="user", content=probe.question)] for probe in probes]
        prompts = [self.loaded.format.prompt(messages) for messages in turns]
        how: dict[str, Any] = {"max_new_tokens": LENGTH, "temperature": TEMPERATURE, "seed": SEED + sample}
        return answered(probes, generate(self.trainee.model, self.loaded.format, prompts, **how), SEED, sample)

    def _losses(self, rows: Sequence[Any]) -> list[float]:
        sums = sft.measure(self.loaded, self.trainee.decoder, rows, AT_ONCE)
        return [total / count for total, count in sums.values()]


def table_of(cache: Path) -> str:
    """Markdown, a row a look."""
    lines = ["| epochs | voice | held-out gain | general ΔNLL | degenerate | copying |", "|---|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        for look in Training(cache, Path(folder)).looks():
            shown = (look.voice, look.fit, look.general, look.degeneracy, look.copying)
            lines.append(f"| {look.epochs} | {' | '.join(map(cell, shown))} |")
    return "\n".join(lines)


def cell(line: ScoreLine) -> str:
    """A line's value and verdict."""
    mark = {Verdict.PASS: "pass", Verdict.WARN: "warn", Verdict.FAIL: "**fail**"}.get(line.verdict, "–")
    return mark if line.value is None else f"{line.value:+.2f} {mark}"
