"""What a run would take, worked out from its real data before it starts."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import torch
from pydantic import Field, TypeAdapter

from training import lessons as learning
from training import models, standin
from training.batches import MICRO_TOKENS, steps_per_epoch
from training.memory import GIB, Shape, measure, needed_bytes
from training.models import Base
from training.runs import write_json
from training.schema import Machine, Noun, Plan, TrainSpec, Workspace

log = logging.getLogger(__name__)
PACE_FILE = "pace.json"
PROBE_SECONDS = 0.2
USED = (0.1, 0.6)
"""Share of the measured multiplication speed that training reaches: less with small models, more with large ones."""
BUILD_SECONDS = (30.0, 150.0)
AROUND_SECONDS = (10.0, 60.0)
"""Making a stand-in; loading, asking and scoring around the training of one run."""


class Pace(Noun):
    """How fast a run trained, and how long everything around its training took."""

    tokens_per_second: float = Field(gt=0)
    seconds_around: float = Field(ge=0)


PACES = TypeAdapter(dict[str, Pace])


def plan(spec: TrainSpec, *, workspace: Workspace, machine: Machine | None = None) -> Plan:
    """Count the run's tokens and steps, and estimate its time and memory; nothing is trained or written.

    The plan is for `machine`, else for this one; where one is given, no card of this one is touched.
    Seconds come from the last run of the same base model on such a device, else from how fast it multiplies matrices.
    Raises what choosing data and base model raises; what does not fit is told by `fits`.
    """
    machine = machine or models.this_machine()
    lessons = learning.gather(spec, workspace)
    base = models.choose(spec.base_model, workspace, machine)
    shape = measure(models.load_config(base, workspace))
    chat_format = models.load_format(base, workspace)
    knobs = spec.hyperparameters
    rows = learning.examples(lessons.train, chat_format, min(knobs.max_length, base.context))
    tokens = sum(len(e.ids) for e in rows)
    longest = max(MICRO_TOKENS, *(len(e.ids) for e in rows))
    labels = round(longest * sum(e.labels for e in rows) / tokens)
    needed = needed_bytes(shape, knobs.lora_rank, longest, labels, machine)
    adapter = shape.adapter_parameters(knobs.lora_rank) * 4
    return Plan(
        base_model=base.id,
        rehearsal=base.rehearsal,
        device=machine.name,
        fits=needed <= machine.free_gib * GIB,
        examples=len(lessons.train),
        held_out=len(lessons.held_out),
        tokens=tokens,
        steps=steps_per_epoch(len(rows), knobs.batch_size or base.batch_size) * knobs.epochs,
        seconds=_seconds(base, shape, tokens * knobs.epochs, workspace, machine),
        peak_gib=needed / GIB,
        free_gib=machine.free_gib,
        disk_gib=adapter * (2 + 4 * knobs.checkpoints_kept) / GIB,
        warnings=learning.warnings(spec, lessons, rehearsal=base.rehearsal),
    )


def remember_pace(base: Base, tokens_per_second: float, seconds_around: float, workspace: Workspace) -> None:
    """Keep how fast a finished run was, for the next plan; where that cannot be written, plans are only less exact."""
    path = workspace.cache_dir / PACE_FILE
    pace = Pace(tokens_per_second=tokens_per_second, seconds_around=seconds_around)
    known = _paces(path) | {_pace_key(base, models.device_name()): pace}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {key: pace.model_dump() for key, pace in known.items()})
    except OSError as error:
        log.warning("How fast this run was is not kept for later plans: %s", error)


def _seconds(base: Base, shape: Shape, tokens: int, workspace: Workspace, machine: Machine) -> tuple[float, float]:
    """(least, most) seconds for so many tokens of training and all that goes around them."""
    known = _paces(workspace.cache_dir / PACE_FILE).get(_pace_key(base, machine.name))
    if known:
        likely = tokens / known.tokens_per_second + known.seconds_around
        low, high = 0.7 * likely, 1.5 * likely
    else:
        # Forward, and backward through frozen weights: four operations a parameter and token.
        speed = machine.operations_per_second or operations_per_second(torch.device(machine.device))
        work = 4 * shape.parameters * tokens / speed
        low, high = work / USED[1] + AROUND_SECONDS[0], work / USED[0] + AROUND_SECONDS[1]
    if base.id == standin.ID and not standin.standin_folder(workspace.cache_dir).is_dir():
        low, high = low + BUILD_SECONDS[0], high + BUILD_SECONDS[1]
    return round(low, 1), round(high, 1)


def operations_per_second(where: torch.device) -> float:
    """Floating-point operations a second of a device, timed on a matrix of 1024 × 1024 in bf16."""
    matrix = torch.randn(1024, 1024, device=where, dtype=torch.bfloat16)
    float((matrix @ matrix)[0, 0])  # the first one waits for libraries to load
    done, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < PROBE_SECONDS:
        # Reading one number waits for the device.
        float((matrix @ matrix)[0, 0])
        done += 1
    return done * 2 * 1024**3 / (time.perf_counter() - begun)


def _pace_key(base: Base, device_name: str) -> str:
    return f"{base.id} on {device_name}"


def _paces(path: Path) -> dict[str, Pace]:
    """What earlier runs left; a file that cannot be read counts as none, and the next run writes it anew."""
    try:
        return PACES.validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        log.warning("%s cannot be read, so plans go without it: %s", path, error)
        return {}
