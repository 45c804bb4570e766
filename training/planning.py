"""What a run would take, worked out from its real data before it starts."""

from __future__ import annotations

import json
import logging
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from training import lessons as learning
from training import models, pace, standin
from training.batches import Family, micro_batches
from training.chat import ChatFormat, Example
from training.course import Stage
from training.errors import DoesNotFit, MemoryRanOut
from training.evaluation.probes import ANSWER_TOKENS
from training.material import Material, laid_out, windows
from training.memory import GIB, Footprint, Load, Means, Shape, arrange, heaviest, least, load_of, measure
from training.models import Base
from training.preference import Pair, both, passes
from training.ranks import Ranks
from training.runs import write_json
from training.schema import (
    Alternative,
    Choice,
    Hyperparameters,
    Machine,
    Plan,
    Quantisation,
    TrainSpec,
    Workspace,
)
from training.start import starting_point
from training.warned import Warned

if TYPE_CHECKING:
    from transformers import PretrainedConfig

log = logging.getLogger(__name__)
MEANS_FILE = "means.json"
Change = Literal["quantisation", "gradient_checkpointing", "max_length", "lora_rank", "base_model"]
STEPS_LOOKED_AT = 32
MODELS_SHOWN = 3
USUAL_ROWS, USUAL_TOKENS, USUAL_CARD = 400, 180, 60


def plan(spec: TrainSpec, *, workspace: Workspace, machine: Machine | None = None) -> Plan:
    """Count the run's tokens and steps, and estimate its time and memory; nothing is trained or written.

    The plan is for `machine`, else for this one; where one is given, no card of this one is touched.
    Seconds come from the last run of the same kind on such a device, else from one step through one layer.
    A base model of the catalog that is not on this machine has its tokens counted with the stand-in's tokenizer.
    Raises what choosing data and base model raises; what does not fit is told by `fits`.
    """
    machine = machine or models.this_machine()
    start = starting_point(spec, workspace)
    spec = start.taken_up(spec) if start else spec
    lessons = learning.gather(spec, workspace)
    case = _case(spec.base_model or (start.base_model if start else None), workspace, machine)
    chat_format, estimated = _format(case.base, workspace)
    material = laid_out(spec, lessons, case.base, chat_format, case.base.context)
    warnings = learning.warnings(spec, lessons, case.base, chat_format)
    found = _planned(case, spec.hyperparameters, material)
    told = {"examples": len(lessons.learnt), "held_out": len(lessons.held_out), "warnings": warnings + found.warnings}
    return found.model_copy(update=told | {"estimated": estimated})


def card_of(gib: float) -> Machine:
    """A card with so much memory free, as fast as the cards of players are."""
    return Machine(
        device="cuda",
        name=f"a card with {gib:g} GiB free",
        free_gib=gib,
        total_gib=gib,
        bf16=True,
        operations_per_second=pace.CARD_SPEED,
    )


def plan_assumed(spec: TrainSpec, *, workspace: Workspace, machine: Machine | None = None) -> Plan:
    """The plan of a base model alone, for a persona as personas usually are: 400 conversations of 180 tokens, the first
    60 of which are the same in all."""
    case, knobs = _case(spec.base_model, workspace, machine or models.this_machine()), spec.hyperparameters
    warned = learning.base_warnings(spec, case.base)
    rows = tuple(_usual(number) for number in range(USUAL_ROWS))
    stage = Stage(rows, knobs.epochs, knobs.batch_size or case.base.batch_size)
    found = _planned(case, knobs, Material((stage,), (), (), knobs.learning_rate or case.base.learning_rate))
    return found.model_copy(update={"examples": len(rows), "estimated": True, "warnings": warned + found.warnings})


def settled(
    shape: Shape,
    knobs: Hyperparameters,
    material: Material,
    machine: Machine,
    processes: int,
    *,
    beyond: Means | None = None,
) -> tuple[Means, Footprint] | None:
    """By what means a run of so many processes fits, as both plans and runs settle it; None where it does not.

    beyond: means by which it turned out not to.
    """
    longest = max(row.tokens for row in material.rows)
    return arrange(shape, knobs, _loads(material, knobs), longest, machine, processes=processes, beyond=beyond)


@dataclass(frozen=True)
class _Case:
    """What is planned for: a base model on a machine, for somebody's workspace."""

    base: Base
    config: PretrainedConfig
    shape: Shape
    machine: Machine
    workspace: Workspace


def _case(base_model: str | None, workspace: Workspace, machine: Machine) -> _Case:
    base = models.choose(base_model, workspace, machine)
    config = models.load_config(base, workspace)
    return _Case(base, config, measure(config), machine, workspace)


def settled_means(run_dir: Path, shape: Shape, knobs: Hyperparameters, material: Material, ranks: Ranks) -> Means:
    """By what means this machine makes a run; a run that goes on keeps to those that it began with, whatever memory is
    free now, so that it ends as if nothing had happened. Those that memory ran out with are followed by the next ones.

    Raises DoesNotFit, or MemoryRanOut once nothing is left to try; the attempt after that begins with the first means.
    """
    path = run_dir / MEANS_FILE
    machine = models.this_machine()
    kept, same, outgrown = _kept_means(path, machine, ranks)
    # Cards may differ among the processes of a run; the first one's word goes, or they would part here.
    if ranks.of_first(partial(float, same and not outgrown)) and kept:
        return kept
    found = settled(shape, knobs, material, machine, ranks.count, beyond=kept if outgrown else None)
    if found is None:
        if outgrown and (first := settled(shape, knobs, material, machine, ranks.count)):
            path.unlink(missing_ok=True)
            raise MemoryRanOut(needed_gib=first[1].total / GIB, free_gib=machine.free_gib)
        raise _refusal(shape, machine, ranks.count, knobs, material)
    # Each process finds other memory free; all must cut their steps alike.
    quantised, redo, tokens, among = (ranks.of_first(partial(float, value)) for value in astuple(found[0]))
    means = Means(bool(quantised), bool(redo), int(tokens), int(among))
    if ranks.first:
        write_json(path, asdict(means) | {"device": machine.name, "processes": ranks.count})
    return means


def note_outgrown(run_dir: Path) -> None:
    """Note that memory ran out with the means of a run, so that its next attempt takes others."""
    path = run_dir / MEANS_FILE
    if path.is_file():
        write_json(path, json.loads(path.read_text(encoding="utf-8")) | {"outgrown": True})


def _kept_means(path: Path, machine: Machine, ranks: Ranks) -> tuple[Means | None, bool, bool]:
    """(the means of an earlier attempt, whether that was made on this device by as many processes, whether memory ran
    out with them)."""
    if not path.is_file():
        return None, False, False
    here = {"device": machine.name, "processes": ranks.count}
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        outgrown = told.pop("outgrown", False)
        same = [told.pop(name, value) == value for name, value in here.items()]
        return Means(**told), all(same), outgrown
    except (ValueError, TypeError, AttributeError):
        log.warning("%s cannot be read, so the means of the run are settled anew.", path)
        return None, False, False


def _refusal(shape: Shape, machine: Machine, processes: int, knobs: Hyperparameters, material: Material) -> DoesNotFit:
    """What a run needs at least that does not fit, and what would fit instead."""
    longest = max(row.tokens for row in material.rows)
    _, needed = least(shape, knobs, _loads(material, knobs), longest, machine, processes=processes)
    near = list(_alternatives(shape, machine, processes, knobs, material))
    return DoesNotFit(needed_gib=needed.total / GIB, free_gib=machine.free_gib, alternatives=near)


def _planned(case: _Case, knobs: Hyperparameters, material: Material) -> Plan:
    base, machine, processes = case.base, case.machine, case.workspace.processes
    found = settled(case.shape, knobs, material, machine, processes)
    longest = max(row.tokens for row in material.rows)
    means, needed = found or least(case.shape, knobs, _loads(material, knobs), longest, machine, processes=processes)
    written, fetched = needed.adapter * (2 + 4 * knobs.checkpoints_kept), _to_download(case)
    room = _room_on_disk({case.workspace.artifact_root: written, models.HUB_CACHE: fetched})
    return Plan(
        base_model=base.id,
        rehearsal=base.rehearsal,
        device=machine.name,
        fits=found is not None,
        examples=0,
        held_out=0,
        tokens=material.tokens,
        steps=material.steps * knobs.seeds,
        seconds=_seconds(case, knobs, material, means, fits=found is not None),
        peak_gib=needed.total / GIB,
        free_gib=machine.free_gib,
        disk_gib=(written + fetched) / GIB,
        parts_gib={field.name: getattr(needed, field.name) / GIB for field in fields(needed)},
        quantised=means.quantised,
        gradient_checkpointing=means.redo,
        micro_batch_tokens=means.tokens_at_once,
        spread_over=means.among,
        alternatives=() if found else tuple(_alternatives(case.shape, machine, processes, knobs, material)),
        warnings=() if room else (Warned.LITTLE_DISK,),
    )


def _seconds(
    case: _Case, knobs: Hyperparameters, material: Material, means: Means, *, fits: bool
) -> tuple[float, float]:
    """(least, most) seconds of all attempts and of what goes around them."""
    base, machine, processes = case.base, case.machine, case.workspace.processes
    pairs = bool(material.held_out_pairs)
    tokens = material.tokens_learnt * knobs.seeds
    held_for = pace.conditions(base, machine.name, knobs, means, processes=processes, pairs=pairs)
    found = pace.seconds_as_seen(held_for, tokens, case.workspace)
    if found is None:
        speed, within = _speed(case, fits=fits)
        found = pace.seconds_reckoned(case.shape, means, tokens, speed, within, processes=processes)
    low, high = pace.with_building(found, base, case.workspace)
    return round(low, 1), round(high, 1)


def _speed(case: _Case, *, fits: bool) -> tuple[float, tuple[float, float]]:
    """(operations a second, the range that they are good for); a layer of what does not fit may not fit either."""
    machine, where = case.machine, torch.device(case.machine.device)
    if machine.operations_per_second is None and fits:
        return pace.training_speed(case.config, where), pace.OWN_RANGE
    return machine.operations_per_second or pace.usual_speed(where), pace.USUAL_RANGE[machine.device]


def _to_download(case: _Case) -> int:
    """Bytes of the base model that are still to be downloaded, its weights in half precision."""
    return 0 if models.has_weights(case.base) else 2 * case.shape.parameters


def _room_on_disk(wanted: Mapping[Path, int]) -> bool:
    """Whether each disk has room for what is to be written, in bytes, into the folders that lie on it."""
    needed: defaultdict[int, int] = defaultdict(int)
    free: dict[int, int] = {}
    for folder, size in wanted.items():
        there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        disk = there.stat().st_dev
        needed[disk] += size
        free[disk] = shutil.disk_usage(there).free
    return all(needed[disk] <= free[disk] for disk in needed)


def _alternatives(
    shape: Shape, machine: Machine, processes: int, knobs: Hyperparameters, material: Material
) -> Iterator[Alternative]:
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
        if found := settled(shape, changed, rows, machine, processes):
            yield Alternative(change=change, value=str(value), peak_gib=found[1].total / GIB)
            break
    chats = (other for other in models.catalog().values() if other.chat and not other.rehearsal)
    smaller = sorted((_size(other), other.id) for other in chats if _size(other) < shape.parameters)
    fitting = 0
    for _, name in reversed(smaller):
        if found := settled(_shape(name), knobs, material, machine, processes):
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
    """(how the model writes conversations, whether that is only like it).

    For a row of the catalog no hub is asked: a plan is wanted at once, and without a network too.
    """
    if base.id in models.catalog() and not models.is_downloaded(base):
        return ChatFormat(standin.standin_tokenizer()), True
    return models.load_format(base, workspace), False


def _loads(material: Material, knobs: Hyperparameters) -> Callable[[int], Load]:
    """The largest pass of the first steps, or of the longest row, for so many tokens at once; and the longest answer
    that is written to a prompt as the rows have them."""
    course = material.course(knobs)
    steps = [course.rows_at(step) for step in range(min(course.steps, STEPS_LOOKED_AT))]
    steps.append([max(material.rows, key=lambda row: row.tokens)])

    asked = max(window.mask.index(True) for window in windows(material.rows))

    @cache
    def load_at(tokens: int) -> Load:
        found = heaviest(load_of(group) for rows in steps for group in _passes(rows, tokens))
        return replace(found, answer=asked + ANSWER_TOKENS)

    return load_at


def _passes(rows: Sequence[Example | Pair], tokens: int) -> list[list[Family]]:
    """The passes of one step, as its objective cuts them."""
    pairs = [row for row in rows if isinstance(row, Pair)]
    return [both(group) for group in passes(pairs, tokens)] if pairs else micro_batches(windows(rows), tokens)


def _usual(number: int) -> Example:
    own = tuple(1_000 + (number * 131 + i) % 7_919 for i in range(USUAL_TOKENS - USUAL_CARD))
    half = USUAL_TOKENS // 2
    return Example(str(number), (*range(USUAL_CARD), *own), (False,) * half + (True,) * (USUAL_TOKENS - half))
