"""What a run would take, worked out from its real data before it starts."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, astuple, dataclass, fields
from functools import cache, partial
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, TypeAdapter

from training import lessons as learning
from training import models, standin
from training.batches import micro_batches
from training.chat import ChatFormat, Example
from training.course import Stage
from training.errors import BaseModelUnavailable, DoesNotFit
from training.material import Material, laid_out, windows
from training.memory import GIB, Footprint, Load, Means, Shape, arrange, heaviest, least, load_of, measure
from training.models import Base
from training.ranks import Ranks
from training.runs import write_json
from training.schema import (
    Alternative,
    Choice,
    Hyperparameters,
    Machine,
    Noun,
    Plan,
    Quantisation,
    TrainSpec,
    Workspace,
)

log = logging.getLogger(__name__)
PACE_FILE = "pace.json"
MEANS_FILE = "means.json"
PROBE_SECONDS = 0.2
USED = (0.1, 0.6)
"""Share of the measured multiplication speed that training reaches: less with small models, more with large ones."""
Change = Literal["quantisation", "gradient_checkpointing", "max_length", "lora_rank", "base_model"]
STEPS_LOOKED_AT = 32
MODELS_SHOWN = 3
CARD_SPEED = 50e12
"""Operations a second in bf16: between an RTX 4060 Ti's 44 and a 3090's 71 dense teraflops, by their data sheets."""
USUAL_ROWS, USUAL_TOKENS, USUAL_CARD = 400, 180, 60
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
    A base model of the catalog whose tokenizer cannot be had has its tokens counted with the stand-in's.
    Raises what choosing data and base model raises; what does not fit is told by `fits`.
    """
    machine = machine or models.this_machine()
    lessons = learning.gather(spec, workspace)
    case = _case(spec, workspace, machine)
    chat_format, estimated = _format(case.base, workspace)
    material = laid_out(spec, lessons, case.base, chat_format, case.base.context)
    warnings = learning.warnings(spec, lessons, case.base, chat_format)
    found = _planned(case, spec.hyperparameters, material)
    told = {"examples": len(lessons.learnt), "held_out": len(lessons.held_out), "warnings": warnings}
    return found.model_copy(update=told | {"estimated": estimated})


def card_of(gib: float) -> Machine:
    """A card with so much memory free, as fast as the cards of players are."""
    return Machine(
        device="cuda",
        name=f"a card with {gib:g} GiB free",
        free_gib=gib,
        total_gib=gib,
        bf16=True,
        operations_per_second=CARD_SPEED,
    )


def plan_assumed(spec: TrainSpec, *, workspace: Workspace, machine: Machine | None = None) -> Plan:
    """The plan of a base model alone, for a persona as personas usually are: 400 conversations of 180 tokens, the first
    60 of which are the same in all."""
    case, knobs = _case(spec, workspace, machine or models.this_machine()), spec.hyperparameters
    warned = learning.base_warnings(spec, case.base)
    rows = tuple(_usual(number) for number in range(USUAL_ROWS))
    stage = Stage(rows, knobs.epochs, knobs.batch_size or case.base.batch_size)
    found = _planned(case, knobs, Material((stage,), (), (), knobs.learning_rate or case.base.learning_rate))
    return found.model_copy(update={"examples": len(rows), "estimated": True, "warnings": warned})


def settled(
    shape: Shape, knobs: Hyperparameters, material: Material, machine: Machine, processes: int
) -> tuple[Means, Footprint] | None:
    """By what means a run of so many processes fits, as both plans and runs settle it; None where it does not."""
    longest = max(row.tokens for row in material.rows)
    return arrange(shape, knobs, _loads(material, knobs), longest, machine, processes=processes)


@dataclass(frozen=True)
class _Case:
    """What is planned for: a base model on a machine, for somebody's workspace."""

    base: Base
    shape: Shape
    machine: Machine
    workspace: Workspace


def _case(spec: TrainSpec, workspace: Workspace, machine: Machine) -> _Case:
    base = models.choose(spec.base_model, workspace, machine)
    return _Case(base, measure(models.load_config(base, workspace)), machine, workspace)


def settled_means(run_dir: Path, shape: Shape, knobs: Hyperparameters, material: Material, ranks: Ranks) -> Means:
    """By what means this machine makes a run; a run that goes on keeps to those that it began with, whatever memory is
    free now, so that it ends as if nothing had happened.

    Raises DoesNotFit.
    """
    path = run_dir / MEANS_FILE
    machine = models.this_machine()
    kept, same = _kept_means(path, machine, ranks)
    # Cards may differ among the processes of a run; the first one's word goes, or they would part here.
    if ranks.of_first(partial(float, same)) and kept:
        return kept
    found = settled(shape, knobs, material, machine, ranks.count)
    if found is None:
        longest = max(row.tokens for row in material.rows)
        _, needed = least(shape, knobs, _loads(material, knobs), longest, machine, processes=ranks.count)
        raise DoesNotFit(needed_gib=needed.total / GIB, free_gib=machine.free_gib)
    # Each process finds other memory free; all must cut their steps alike.
    quantised, redo, tokens, among = (ranks.of_first(partial(float, value)) for value in astuple(found[0]))
    means = Means(bool(quantised), bool(redo), int(tokens), int(among))
    if ranks.first:
        write_json(path, asdict(means) | {"device": machine.name, "processes": ranks.count})
    return means


def _kept_means(path: Path, machine: Machine, ranks: Ranks) -> tuple[Means | None, bool]:
    """(the means of an earlier attempt, whether that was made on this device by as many processes)."""
    if not path.is_file():
        return None, False
    told = json.loads(path.read_text(encoding="utf-8"))
    here = {"device": machine.name, "processes": ranks.count}
    same = [told.pop(name, value) == value for name, value in here.items()]
    return Means(**told), all(same)


def _planned(case: _Case, knobs: Hyperparameters, material: Material) -> Plan:
    base, machine, processes = case.base, case.machine, case.workspace.processes
    found = settled(case.shape, knobs, material, machine, processes)
    longest = max(row.tokens for row in material.rows)
    means, needed = found or least(case.shape, knobs, _loads(material, knobs), longest, machine, processes=processes)
    return Plan(
        base_model=base.id,
        rehearsal=base.rehearsal,
        device=machine.name,
        fits=found is not None,
        examples=0,
        held_out=0,
        tokens=material.tokens,
        steps=material.steps * knobs.seeds,
        seconds=_seconds(case, material.tokens_learnt * knobs.seeds, means),
        peak_gib=needed.total / GIB,
        free_gib=machine.free_gib,
        disk_gib=needed.adapter * (2 + 4 * knobs.checkpoints_kept) / GIB,
        parts_gib={field.name: getattr(needed, field.name) / GIB for field in fields(needed)},
        quantised=means.quantised,
        gradient_checkpointing=means.redo,
        micro_batch_tokens=means.tokens_at_once,
        spread_over=means.among,
        alternatives=() if found else tuple(_alternatives(case, knobs, material)),
    )


def _alternatives(case: _Case, knobs: Hyperparameters, material: Material) -> Iterator[Alternative]:
    """What would fit: one knob changed, then the largest smaller models of the catalog."""
    changes: list[tuple[Change, object]] = []
    if knobs.quantisation is Quantisation.NONE:
        changes.append(("quantisation", Quantisation.NF4))
    if knobs.gradient_checkpointing is Choice.OFF:
        changes.append(("gradient_checkpointing", Choice.ON))
    changes += [("max_length", tokens) for tokens in (512, 256) if tokens < max(row.tokens for row in material.rows)]
    changes += [("lora_rank", rank) for rank in (8,) if rank < knobs.lora_rank]
    for change, value in changes:
        changed = knobs.model_copy(update={change: value})
        rows = material.shortened(changed.max_length) if change == "max_length" else material
        if not rows.stages:
            continue
        if found := settled(case.shape, changed, rows, case.machine, case.workspace.processes):
            yield Alternative(change=change, value=str(value), peak_gib=found[1].total / GIB)
            break
    chats = (other for other in models.catalog().values() if other.chat and not other.rehearsal)
    smaller = sorted((_size(other), other.id) for other in chats if _size(other) < case.shape.parameters)
    fitting = 0
    for _, name in reversed(smaller):
        if found := settled(_shape(name), knobs, material, case.machine, case.workspace.processes):
            yield Alternative(change="base_model", value=name, peak_gib=found[1].total / GIB)
            fitting += 1
        if fitting == MODELS_SHOWN:
            return


@cache
def _shape(name: str) -> Shape:
    base = models.catalog()[name]
    return measure(standin.standin_config() if base.rehearsal else base.config())


def _size(base: Base) -> int:
    return _shape(base.id).parameters


def _format(base: Base, workspace: Workspace) -> tuple[ChatFormat, bool]:
    """(how the model writes conversations, whether that is only like it)."""
    try:
        return models.load_format(base, workspace), False
    except BaseModelUnavailable:
        if base.id not in models.catalog():
            raise
        return ChatFormat(standin.standin_tokenizer()), True


def _loads(material: Material, knobs: Hyperparameters) -> Callable[[int], Load]:
    """The largest pass of the first steps, or of the longest row, for so many tokens at once."""
    course = material.course(knobs)
    steps = [course.rows_at(step) for step in range(min(course.steps, STEPS_LOOKED_AT))]
    steps.append([max(material.rows, key=lambda row: row.tokens)])

    @cache
    def load_at(tokens: int) -> Load:
        return heaviest(load_of(group) for rows in steps for group in micro_batches(windows(rows), tokens))

    return load_at


def _usual(number: int) -> Example:
    own = tuple(1_000 + (number * 131 + i) % 7_919 for i in range(USUAL_TOKENS - USUAL_CARD))
    half = USUAL_TOKENS // 2
    return Example(str(number), (*range(USUAL_CARD), *own), (False,) * half + (True,) * (USUAL_TOKENS - half))


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


def _seconds(case: _Case, tokens: int, means: Means) -> tuple[float, float]:
    """(least, most) seconds for so many tokens of training and all that goes around them."""
    base, machine, cache_dir = case.base, case.machine, case.workspace.cache_dir
    known = _paces(cache_dir / PACE_FILE).get(_pace_key(base, machine.name))
    if known:
        likely = tokens / known.tokens_per_second + known.seconds_around
        low, high = 0.7 * likely, 1.5 * likely
    else:
        # Forward, and backward through frozen weights: four operations a parameter and token; two more to do it again.
        speed = machine.operations_per_second or operations_per_second(torch.device(machine.device))
        work = (6 if means.redo else 4) * case.shape.parameters * tokens / speed
        low, high = work / USED[1] + AROUND_SECONDS[0], work / USED[0] + AROUND_SECONDS[1]
    if base.id == standin.ID and not standin.standin_folder(cache_dir).is_dir():
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
