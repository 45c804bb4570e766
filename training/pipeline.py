"""One run from beginning to end: data → base model → baseline → training → evaluation → run card."""

from __future__ import annotations

import hashlib
import json
import math
import resource
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from training import lessons as learning
from training import models, sft
from training.batches import MICRO_TOKENS
from training.charts import loss_chart
from training.chat import Example
from training.course import Course, Stage
from training.data.lineage import note_data
from training.errors import BaseModelUnavailable, DoesNotFit, RunStopped
from training.evaluation.metrics import perplexity
from training.evaluation.probes import Probe, questions, telling
from training.evaluation.scorecard import score
from training.inference import Answer, generate
from training.lessons import Lessons
from training.loop import Hooks, Trainee, fit
from training.memory import GIB
from training.modelcard import model_card
from training.models import Loaded
from training.planning import plan, remember_pace
from training.runs import read_lines, write_bytes, write_json
from training.schema import (
    ChatSpec,
    Conversation,
    LossPoint,
    Message,
    Phase,
    Progress,
    Report,
    Sample,
    ScoreLine,
    TrainSpec,
    Verdict,
    Workspace,
)
from training.sft import Answers

__all__ = ["finetune", "plan"]

ANSWER_TOKENS = 96
TEMPERATURE: float = ChatSpec.model_fields["temperature"].default
"""Probes are answered as members will hear the persona; the likeliest words alone repeat themselves more."""
CURVE_POINTS = 200
SAMPLES = 4

Notify = Callable[[Progress], None]


@dataclass(frozen=True)
class Examined:
    """What a model makes of the held-out conversations and the probes."""

    loss: float
    per_conversation: tuple[float, ...]
    answers: tuple[Answer, ...]


def finetune(
    spec: TrainSpec,
    *,
    job_id: str,
    workspace: Workspace,
    run_dir: Path,
    on_progress: Notify,
    should_stop: Callable[[], bool],
    on_checkpoint: Callable[[int], None] = lambda step: None,
) -> Report:
    """Train an adapter as `spec` asks and leave the run folder complete; a finished folder's report is returned as is.

    Goes on from `run_dir/checkpoints` where it can, and removes them once the report is written. Once `should_stop()`
    is true it raises RunStopped, in the training phase after a checkpoint. Raises DoesNotFit, Diverged, and what
    choosing data and base model raises.
    """
    done = run_dir / "report.json"
    if done.is_file():
        # An attempt that ended right behind its report has not removed them.
        _drop_checkpoints(run_dir)
        return Report.model_validate_json(done.read_bytes())
    run_dir.mkdir(parents=True, exist_ok=True)
    write_json(run_dir / "spec.json", spec.model_dump(mode="json"))
    try:
        return _Run(spec, job_id, workspace, run_dir, Hooks(on_progress, should_stop, on_checkpoint)).finish()
    except torch.OutOfMemoryError as error:
        estimate = plan(spec, workspace=workspace)
        raise DoesNotFit(needed_gib=estimate.peak_gib, free_gib=estimate.free_gib) from error


class _Run:
    """One attempt at a run."""

    def __init__(self, spec: TrainSpec, job_id: str, workspace: Workspace, run_dir: Path, hooks: Hooks) -> None:
        self.spec, self.job_id, self.workspace, self.run_dir, self.hooks = spec, job_id, workspace, run_dir, hooks
        self.begun = time.monotonic()

    def finish(self) -> Report:
        """The steps of a run, in order."""
        self._enter(Phase.DATA)
        lessons = learning.gather(self.spec, self.workspace)
        # Before anything is learnt: whoever is to be forgotten is found in unfinished runs too.
        note_data(self.run_dir, self.spec.dataset, [*lessons.train, *lessons.held_out])
        probes = questions(lessons.persona, learning.said(lessons.train, "user"))
        loaded = self._load()
        train = self._examples(lessons.train, loaded)
        held_out = self._examples(lessons.held_out, loaded)
        trainee = sft.setup(loaded, self.spec.hyperparameters, self._course(train, loaded))
        objective = Answers(loaded, trainee.decoder, held_out, MICRO_TOKENS)

        self._enter(Phase.BASELINE)
        with trainee.model.disable_adapter():
            before = _examine(trainee, objective, probes, lessons)
        if not math.isfinite(before.loss):
            raise BaseModelUnavailable(name=loaded.base.id, reason="its loss on the held-out lines is not finite")

        self._enter(Phase.TRAINING)
        key = _key(self.spec, loaded, lessons)
        curve = fit(trainee, objective, run_dir=self.run_dir, key=key, hooks=self.hooks)

        self._enter(Phase.EVALUATING)
        after = _examine(trainee, objective, probes, lessons)
        lines, verdict = self._judge(lessons, probes, before, after)

        self._enter(Phase.SAVING)
        sft.save(trainee, self.run_dir)
        report = Report(
            job_id=self.job_id,
            spec=self.spec,
            base_model=loaded.base.id,
            rehearsal=loaded.base.rehearsal,
            device=models.device_name(),
            examples=len(lessons.train),
            held_out=len(lessons.held_out),
            tokens=sum(len(e.ids) for e in train),
            steps=trainee.course.steps,
            best_step=trainee.best.step,
            seconds=self._seconds(trainee),
            peak_gib=_peak_gib(),
            data_digest=lessons.digest,
            eval_loss_before=before.loss,
            eval_loss_after=after.loss,
            perplexity_before=perplexity(before.loss),
            perplexity_after=perplexity(after.loss),
            # From where the base model stood, so that the chart shows what training changed.
            curve=(LossPoint(step=0, eval_loss=before.loss), *thinned(curve, CURVE_POINTS - 1)),
            lines=lines,
            verdict=verdict,
            samples=_samples(probes, before, after),
            temperature=TEMPERATURE,
            warnings=learning.warnings(self.spec, lessons, rehearsal=loaded.base.rehearsal),
        )
        self._publish(report, loaded, lessons)
        return report

    def _enter(self, phase: Phase) -> None:
        if self.hooks.should_stop():
            raise RunStopped(step=0)
        self.hooks.on_progress(Progress(phase=phase))

    def _load(self) -> Loaded:
        base = models.choose(self.spec.base_model, self.workspace)

        def building(done: float) -> None:
            if self.hooks.should_stop():
                raise RunStopped(step=0)
            self.hooks.on_progress(Progress(phase=Phase.STANDIN, step=round(done * 100), total_steps=100))

        source = models.find_source(base, self.workspace, building)
        self._enter(Phase.LOADING)
        return models.load(base, source, self.workspace)

    def _examples(self, rows: Sequence[Conversation], loaded: Loaded) -> list[Example]:
        return learning.examples(rows, loaded.format, min(self.spec.hyperparameters.max_length, loaded.context))

    def _course(self, train: Sequence[Example], loaded: Loaded) -> Course[Example]:
        knobs = self.spec.hyperparameters
        stage = Stage(train, knobs.epochs, knobs.batch_size or loaded.base.batch_size)
        return Course((stage,), knobs.learning_rate or loaded.base.learning_rate, knobs.warmup_ratio, knobs.seed)

    def _judge(
        self, lessons: Lessons, probes: Sequence[Probe], before: Examined, after: Examined
    ) -> tuple[tuple[ScoreLine, ...], Verdict]:
        lines, gold = learning.cast_lines(self.spec, self.workspace) if lessons.persona else ({}, {})
        return score(
            persona=lessons.persona,
            cast_lines=lines,
            gold=gold,
            probes=probes,
            base_replies=[answer.text for answer in before.answers],
            adapter_replies=[answer.text for answer in after.answers],
            adapter_ended=[answer.ended for answer in after.answers],
            base_nll=before.per_conversation,
            adapter_nll=after.per_conversation,
            seed=self.spec.hyperparameters.seed,
        )

    def _seconds(self, trainee: Trainee[Example]) -> float:
        """Time spent: this attempt's, and the training steps of earlier ones."""
        earlier = read_lines(self.run_dir / "metrics.jsonl")[: trainee.resumed_at]
        return time.monotonic() - self.begun + sum(line["seconds"] for line in earlier)

    def _publish(self, report: Report, loaded: Loaded, lessons: Lessons) -> None:
        """Write what people read; the report comes last, since it says that the folder is complete.

        What follows it only saves room and betters later plans.
        """
        write_bytes(self.run_dir / "loss.png", loss_chart(report.curve, title=self.spec.job_name))
        card = model_card(report, loaded.base, loaded.source, lessons)
        write_bytes(self.run_dir / "README.md", card.encode())
        write_json(self.run_dir / "report.json", report.model_dump(mode="json"))
        _drop_checkpoints(self.run_dir)
        steps = read_lines(self.run_dir / "metrics.jsonl")
        training = sum(line["seconds"] for line in steps)
        pace = sum(line["tokens"] for line in steps) / training
        remember_pace(loaded.base, pace, max(0.0, report.seconds - training), self.workspace)


def _drop_checkpoints(run_dir: Path) -> None:
    """Remove what no one will go on from; what cannot be removed does not spoil a finished run."""
    shutil.rmtree(run_dir / "checkpoints", ignore_errors=True)


def thinned(curve: Sequence[LossPoint], most: int) -> tuple[LossPoint, ...]:
    """At most so many points, evenly spread; points with a held-out loss are kept before others."""
    if len(curve) <= most:
        return tuple(curve)
    marked = [i for i, point in enumerate(curve) if point.eval_loss is not None][-most:]
    room = most - len(marked)
    spread = {round(i * (len(curve) - 1) / max(1, room - 1)) for i in range(room)}
    return tuple(curve[i] for i in sorted(spread | set(marked)))


def _examine(trainee: Trainee[Example], objective: Answers, probes: Sequence[Probe], lessons: Lessons) -> Examined:
    """Held-out losses, and answers drawn by the run's seed, of the model as its adapter is switched now."""
    loaded = trainee.loaded
    sums = objective.measure()
    card = [Message(role="system", content=lessons.persona.system_card())] if lessons.persona else []
    room = loaded.context - ANSWER_TOKENS
    asked = [[*card, Message(role="user", content=probe.question)] for probe in probes]
    prompts = [loaded.format.fit_prompt(messages, room) for messages in asked]
    answers = generate(
        trainee.model,
        loaded.format,
        prompts,
        max_new_tokens=ANSWER_TOKENS,
        temperature=TEMPERATURE,
        seed=trainee.knobs.seed,
    )
    return Examined(
        loss=sft.mean_loss(sums),
        per_conversation=tuple(total / count for total, count in sums.values()),
        answers=tuple(answers),
    )


def _samples(probes: Sequence[Probe], before: Examined, after: Examined) -> tuple[Sample, ...]:
    """The most telling probes of each kind, in turn, with both answers."""
    base, adapter = ([answer.text for answer in examined.answers] for examined in (before, after))
    return tuple(
        Sample(question=probes[i].question, base=base[i], adapter=adapter[i])
        for i in telling(probes, base, adapter)[:SAMPLES]
    )


def _key(spec: TrainSpec, loaded: Loaded, lessons: Lessons) -> str:
    """What a checkpoint must have been written for to be gone on from."""
    named = [spec.hyperparameters.model_dump(), loaded.source, lessons.digest]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()[:16]


def _peak_gib() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / GIB
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB
