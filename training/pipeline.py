"""One run from beginning to end: data → base model → baseline → training → evaluation → run card."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from training import lessons as learning
from training import models, sft
from training.attempts import attempt
from training.charts import loss_chart
from training.data.lineage import note_data
from training.errors import BaseModelUnavailable, DoesNotFit, MemoryRanOut, NotAdaptable, RunStopped
from training.evaluation.intervals import perplexity
from training.evaluation.probes import ANSWER_TOKENS, answered, questions_for, telling
from training.evaluation.schema import Probe
from training.evaluation.scorecard import score
from training.inference import Answer, at_once, generate
from training.lessons import Lessons
from training.loop import Hooks, Trainee, fit, loss_curve
from training.material import Material, laid_out
from training.memory import GIB, Means, measure
from training.modelcard import model_card
from training.models import Loaded
from training.pace import Pace, conditions, remember
from training.planning import note_outgrown, plan, settled_means
from training.preference import Preferences
from training.provenance import Provenance, provenance_of, write_provenance
from training.ranks import ALONE, Ranks
from training.runs import read_lines, read_report, write_bytes, write_json
from training.schema import (
    ChatSpec,
    Hyperparameters,
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
from training.seeds import keep_best
from training.sft import Answers
from training.start import Start, starting_point
from training.together import finetune_together
from training.tracking import tracked

__all__ = ["finetune", "plan"]

log = logging.getLogger(__name__)
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
    on_micro_batch: Callable[[], None] = lambda: None,
    ranks: Ranks = ALONE,
) -> Report:
    """Train an adapter as `spec` asks and leave the run folder complete; a finished folder's report is returned as is.

    Goes on from `run_dir/checkpoints` where it can, and removes them once the report is written. Once `should_stop()`
    is true it raises RunStopped, in the training phase after a checkpoint. Where the workspace asks for several
    processes it starts them; `ranks` says that this is the first of them. `on_micro_batch` is called between the passes
    of a step, and may take its time, which counts as waiting; with several processes it is not, as each has a card of
    its own. Raises DoesNotFit, MemoryRanOut, DiskRefused, Diverged, and what choosing data and base model raises.
    """
    done = run_dir / "report.json"
    if done.is_file():
        # An attempt that ended right behind its report has not removed them.
        _drop_checkpoints(run_dir)
        return read_report(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    hooks = Hooks(on_progress, should_stop, on_checkpoint, on_micro_batch)
    if workspace.processes > ranks.count:
        return finetune_together(spec, job_id=job_id, workspace=workspace, run_dir=run_dir, hooks=hooks)
    write_json(run_dir / "spec.json", spec.model_dump(mode="json"))
    while True:
        with tracked(workspace.wandb, spec, job_id, run_dir) as tracker:
            run = _Run(spec, workspace, run_dir, replace(hooks, on_metrics=tracker.metrics), ranks)
            if report := attempt(partial(run.finish, job_id), job_id):
                tracker.summarise(report)
                return report
        # What was reckoned was too little; the run goes on from its checkpoint with smaller passes.
        if run.phase is Phase.TRAINING:
            note_outgrown(run_dir)
        # Several processes go on together, once somebody asks for it.
        if run.phase is not Phase.TRAINING or ranks.count > 1:
            raise _too_large(run.spec, workspace)


def _too_large(spec: TrainSpec, workspace: Workspace) -> DoesNotFit | MemoryRanOut:
    # Of the plan only the memory counts, so no time is spent on measuring how fast the machine is.
    machine = models.this_machine().model_copy(update={"operations_per_second": 1.0})
    found = plan(spec, workspace=workspace, machine=machine)
    if found.fits:
        return MemoryRanOut(needed_gib=found.peak_gib, free_gib=found.free_gib)
    return DoesNotFit(needed_gib=found.peak_gib, free_gib=found.free_gib, alternatives=found.alternatives)


def follow(
    spec: TrainSpec, *, workspace: Workspace, run_dir: Path, should_stop: Callable[[], bool], ranks: Ranks
) -> None:
    """Learn along with the process that finishes the run, of several that share it; raises what `finetune` does."""
    run = _Run(spec, workspace, run_dir, Hooks(should_stop=should_stop), ranks)
    if attempt(run.go_along, run_dir.name) is None:
        if run.phase is Phase.TRAINING:
            note_outgrown(run_dir)
        raise _too_large(run.spec, workspace)


@dataclass(frozen=True)
class _Prepared:
    """What a run works with, once its data is chosen and its base model in memory."""

    start: Start | None
    lessons: Lessons
    probes: Sequence[Probe]
    loaded: Loaded
    material: Material
    means: Means
    trainee: Trainee[Any]
    objective: Answers | Preferences


class _Run:
    """One attempt at a run."""

    def __init__(self, spec: TrainSpec, workspace: Workspace, run_dir: Path, hooks: Hooks, ranks: Ranks) -> None:
        self.spec, self.workspace, self.run_dir = spec, workspace, run_dir
        self.hooks, self.ranks = hooks, ranks
        self.begun = time.monotonic() - _spent(run_dir)
        self.phase = Phase.DATA
        self.once = 0.0

    def finish(self, job_id: str) -> Report:
        """The steps of a run, in order."""
        ready = self.prepare()
        before = self._baseline(ready)
        if not math.isfinite(before.loss):
            raise BaseModelUnavailable(name=ready.loaded.base.id, reason="its loss on what is held out is not finite")

        trainee = self.train(ready)

        after = self._outcome(ready, trainee)

        self._enter(Phase.SAVING)
        sft.save(trainee, self.run_dir)
        report = self._report(job_id, ready, trainee, before, after)
        begun_from = ready.start.adapter.parent if ready.start else None
        self._publish(report, ready.loaded, provenance_of(ready.lessons, ready.material, ready.loaded, begun_from))
        self._remember_pace(ready, report)
        _drop_checkpoints(self.run_dir)
        return report

    def go_along(self) -> Trainee[Any]:
        """What all processes of a run do; where weights are spread, nothing can be looked at by one of them alone."""
        ready = self.prepare()
        if self.ranks.lockstep:
            self._baseline(ready)
        trainee = self.train(ready)
        if self.ranks.lockstep:
            self._outcome(ready, trainee)
            _preferred(ready.objective, trainee)
        return trainee

    def _baseline(self, ready: _Prepared) -> Examined:
        self._enter(Phase.BASELINE, together=self.ranks.lockstep)
        with ready.trainee.model.disable_adapter():
            return self._examine(ready, ready.trainee)

    def _outcome(self, ready: _Prepared, trainee: Trainee[Any]) -> Examined:
        self._enter(Phase.EVALUATING, together=self.ranks.lockstep)
        return self._examine(ready, trainee)

    def prepare(self) -> _Prepared:
        """Choose the data, load the base model, and put an adapter on it."""
        self._enter(Phase.DATA, together=True)
        start = starting_point(self.spec, self.workspace)
        # From here on the job is told as it is done, on an adapter whose shape is settled.
        self.spec = start.taken_up(self.spec) if start else self.spec
        lessons = learning.gather(self.spec, self.workspace)
        if self.ranks.first:
            # Before anything is learnt: whoever is to be forgotten is found in unfinished runs too.
            note_data(self.run_dir, self.spec.dataset, [*lessons.learnt, *lessons.held_out])
        probes = questions_for(lessons.cast, learning.said(lessons.learnt, "user"))
        base = models.choose(self.spec.base_model or (start.base_model if start else None), self.workspace)
        with self._once():
            source = models.find_source(base, self.workspace, self._building)
        self._enter(Phase.LOADING, together=True)
        config, chat_format = models.load_config(base, self.workspace), models.load_format(base, self.workspace)
        context = min(base.context, config.max_position_embeddings)
        material = laid_out(self.spec, lessons, base, chat_format, context)
        means = settled_means(self.run_dir, measure(config), self.spec.hyperparameters, material, self.ranks)
        spread = replace(self.ranks, lockstep=True) if means.among > 1 else None
        self.ranks = spread or self.ranks
        with nullcontext() if models.has_weights(base) else self._once():
            loaded = models.load(base, source, self.workspace, quantised=means.quantised, spread=spread)
        trainee = self._begin(self.spec.hyperparameters, loaded, material, means, start)
        if spread and not trainee.decoder.lean:
            raise NotAdaptable(name=base.id, reason="its layers cannot be spread over several cards")
        objective = material.objective(trainee, means.tokens_at_once, self.ranks)
        return _Prepared(start, lessons, probes, loaded, material, means, trainee, objective)

    @contextmanager
    def _once(self) -> Iterator[None]:
        """What is made or downloaded within, later runs find; no pace counts its time."""
        begun = time.monotonic()
        yield
        self.once += time.monotonic() - begun

    def _begin(
        self, knobs: Hyperparameters, loaded: Loaded, material: Material, means: Means, start: Start | None
    ) -> Trainee[Any]:
        """An adapter as it is before the first step, for the seed that the knobs have."""
        adapter = start.adapter if start else None
        return sft.setup(loaded, knobs, material.course(knobs), start_from=adapter, redo=means.redo)

    def train(self, ready: _Prepared) -> Trainee[Any]:
        """Go through the course with each seed, and leave the best adapter in place."""
        self._enter(Phase.TRAINING, together=True)
        key = _key(self.spec, ready.loaded, ready.lessons)

        def begin(knobs: Hyperparameters) -> Trainee[Any]:
            return self._begin(knobs, ready.loaded, ready.material, ready.means, ready.start)

        def learn(trainee: Trainee[Any], folder: Path, hooks: Hooks) -> None:
            objective = replace(ready.objective, decoder=trainee.decoder)
            fit(trainee, objective, run_dir=folder, key=key, hooks=hooks, ranks=self.ranks)

        return keep_best(ready.trainee, begin, learn, run_dir=self.run_dir, key=key, hooks=self.hooks, ranks=self.ranks)

    def _report(
        self, job_id: str, ready: _Prepared, trainee: Trainee[Any], before: Examined, after: Examined
    ) -> Report:
        lessons, loaded = ready.lessons, ready.loaded
        lines, verdict = self._judge(ready, before, after)
        curve = loss_curve(self.run_dir)
        if not ready.material.held_out_pairs:
            # From where the base model stood, so that the chart shows what training changed.
            curve = [LossPoint(step=0, eval_loss=before.loss), *curve]
        return Report(
            job_id=job_id,
            spec=self.spec,
            base_model=loaded.base.id,
            rehearsal=loaded.base.rehearsal,
            device=models.device_name(),
            examples=len(lessons.learnt),
            held_out=len(lessons.held_out),
            tokens=ready.material.tokens,
            steps=trainee.step,
            best_step=trainee.best.step,
            seconds=time.monotonic() - self.begun,
            peak_gib=_peak_gib(),
            data_digest=lessons.digest,
            eval_loss_before=before.loss,
            eval_loss_after=after.loss,
            perplexity_before=perplexity(before.loss),
            perplexity_after=perplexity(after.loss),
            curve=thinned(curve, CURVE_POINTS),
            lines=lines,
            verdict=verdict,
            samples=_samples(ready.probes, before, after),
            personas=tuple(persona.slug for persona in lessons.cast),
            seed=trainee.knobs.seed,
            preferred=_preferred(ready.objective, trainee),
            temperature=TEMPERATURE,
            warnings=learning.warnings(self.spec, lessons, loaded.base, loaded.format),
        )

    def _enter(self, phase: Phase, *, together: bool = False) -> None:
        """Tell of a phase, unless a stop is asked for. together: of all processes, which stop as one."""
        stop = self.hooks.should_stop()
        if self.ranks.any(stop) if together else stop:
            raise RunStopped(step=0)
        self.phase = phase
        self.hooks.on_progress(Progress(phase=phase))

    def _building(self, done: float) -> None:
        if self.hooks.should_stop():
            raise RunStopped(step=0)
        self.hooks.on_progress(Progress(phase=Phase.STANDIN, step=round(done * 100), total_steps=100))

    def _examine(self, ready: _Prepared, trainee: Trainee[Any]) -> Examined:
        """Held-out losses, and answers drawn by the run's seed, of the model as its adapter is switched now."""
        loaded = ready.loaded
        sums = sft.measure(loaded, trainee.decoder, ready.material.held_out, ready.means.tokens_at_once)
        room = loaded.context - ANSWER_TOKENS
        prompts = [loaded.format.fit_prompt(_asked(probe, ready.lessons), room) for probe in ready.probes]
        answers = generate(
            trainee.model,
            loaded.format,
            prompts,
            max_new_tokens=ANSWER_TOKENS,
            temperature=TEMPERATURE,
            seed=self.spec.hyperparameters.seed,
            lockstep=self.ranks.lockstep,
            together=at_once(trainee.model, max(map(len, prompts)) + ANSWER_TOKENS),
        )
        return Examined(
            loss=sft.mean_loss(sums),
            per_conversation=tuple(total / count for total, count in sums.values()),
            answers=tuple(answers),
        )

    def _judge(self, ready: _Prepared, before: Examined, after: Examined) -> tuple[tuple[ScoreLine, ...], Verdict]:
        lessons, probes = ready.lessons, ready.probes
        lines, gold = learning.cast_lines(self.spec, self.workspace) if lessons.cast else ({}, {})
        seed = self.spec.hyperparameters.seed
        return score(
            cast=lessons.cast,
            cast_lines=lines,
            gold=gold,
            probes=probes,
            base_answers=answered(probes, before.answers, seed),
            answers=answered(probes, after.answers, seed),
            base_nll=before.per_conversation,
            adapter_nll=after.per_conversation,
            learnt=learning.said(lessons.learnt, "assistant"),
            held_out=learning.said(lessons.held_out, "assistant"),
            seed=seed,
            rehearsal=ready.loaded.base.rehearsal,
        )

    def _publish(self, report: Report, loaded: Loaded, found: Provenance) -> None:
        """Write what people read; the report comes last, since it says that the folder is complete."""
        write_bytes(self.run_dir / "loss.png", loss_chart(report.curve, title=self.spec.job_name))
        write_provenance(self.run_dir, found)
        card = model_card(report, found, loaded.format.stop_ids)
        write_bytes(self.run_dir / "README.md", card.encode())
        write_json(self.run_dir / "report.json", report.model_dump(mode="json"))

    def _remember_pace(self, ready: _Prepared, report: Report) -> None:
        """Better later plans; a run whose metrics were lost tells nothing of its pace."""
        steps = [line for file in _metrics(self.run_dir) for line in read_lines(file)]
        training, tokens = (sum(line[name] for line in steps) for name in ("seconds", "tokens"))
        waited = sum(line.get("waited", 0.0) for line in steps)
        if not training or not tokens:
            return
        base, knobs, pairs = ready.loaded.base, self.spec.hyperparameters, bool(ready.material.held_out_pairs)
        device, processes = models.device_name(), self.ranks.count
        held_for = conditions(base, device, knobs, ready.means, processes=processes, pairs=pairs)
        around = max(0.0, report.seconds - training - waited - self.once)
        remember(held_for, Pace(tokens_per_second=tokens / training, seconds_around=around), self.workspace)


def _drop_checkpoints(run_dir: Path) -> None:
    """Remove what no one will go on from; what cannot be removed does not spoil a finished run."""
    for name in ("checkpoints", "seeds"):
        shutil.rmtree(run_dir / name, ignore_errors=True)


def thinned(curve: Sequence[LossPoint], most: int) -> tuple[LossPoint, ...]:
    """At most so many points, evenly spread; points with a held-out loss are kept before others."""
    if len(curve) <= most:
        return tuple(curve)
    marked = [i for i, point in enumerate(curve) if point.eval_loss is not None][-most:]
    room = most - len(marked)
    spread = {round(i * (len(curve) - 1) / max(1, room - 1)) for i in range(room)}
    return tuple(curve[i] for i in sorted(spread | set(marked)))


def _asked(probe: Probe, lessons: Lessons) -> list[Message]:
    """The question as it is put: below the card of whom it is put to."""
    cards = [who.system_card() for who in lessons.cast if probe.persona in ("", who.slug)]
    return [*(Message(role="system", content=card) for card in cards), Message(role="user", content=probe.question)]


def _preferred(objective: Answers | Preferences, trainee: Trainee[Any]) -> float | None:
    return replace(objective, decoder=trainee.decoder).preferred() if isinstance(objective, Preferences) else None


def _spent(run_dir: Path) -> float:
    """Seconds that earlier attempts at a run have trained for, and waited in between."""
    return sum(line["seconds"] + line.get("waited", 0.0) for file in _metrics(run_dir) for line in read_lines(file))


def _metrics(run_dir: Path) -> list[Path]:
    """The files that tell of the steps of a run; where it has several seeds, its own repeats the best of theirs."""
    return list(run_dir.glob("seeds/*/metrics.jsonl")) or [run_dir / "metrics.jsonl"]


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
