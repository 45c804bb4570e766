"""How long a run takes: by the last one of its kind on this machine, else by one step through one of its layers."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field, TypeAdapter

from training import standin
from training.batches import families, pack
from training.chat import Example
from training.decoder.forward import Decoder, Pass, compute_dtype
from training.decoder.kernels import Dropout
from training.memory import BIG_MODEL, Means, Shape, measure
from training.models import Base
from training.runs import write_json
from training.schema import Hyperparameters, Noun, Workspace

if TYPE_CHECKING:
    from transformers import PretrainedConfig

log = logging.getLogger(__name__)
PACE_FILE = "pace.json"
PROBE_SECONDS = 0.3
PROBE_TEXTS, PROBE_TOKENS, PROBE_WORDS = 4, 128, 512
USUAL = {"model_type": "llama", "hidden_size": 1024, "intermediate_size": 2816, "num_attention_heads": 16}
"""The layer that a machine is timed with when nobody knows yet which model it will train."""
OWN_RANGE, USUAL_RANGE = (0.7, 2.0), {"cpu": (0.4, 6.0), "cuda": (0.4, 2.5)}
"""By how much a run may take less or more than its operations at the speed of one of its own layers, or of the usual
one: on a processor small models are far slower for what they compute."""
SEEN_RANGE = (0.7, 1.5)
"""By how much a run may differ from the last one of its kind."""
CARD_SPEED = 15e12
"""Operations a second that training reaches on the cards of players: about a third of the dense bf16 teraflops that
data sheets give an RTX 4060 Ti (44) or a 3090 (71)."""
BUILD_SECONDS = (30.0, 150.0)
AROUND_SECONDS = (10.0, 60.0)
"""Making a stand-in; loading, asking and scoring around the training of one run."""


class Pace(Noun):
    """How fast a run trained, and how long everything around its training took."""

    tokens_per_second: float = Field(gt=0)
    seconds_around: float = Field(ge=0)


PACES = TypeAdapter(dict[str, Pace])


def conditions(
    base: Base, device_name: str, knobs: Hyperparameters, means: Means, *, processes: int, pairs: bool
) -> str:
    """What a pace holds for, as its name in the file. pairs: whether preferences are learnt."""
    told = {
        "nf4": means.quantised,
        "checkpointing": means.redo,
        "DoRA": knobs.dora,
        "preferences": pairs,
        f"{processes} processes": processes > 1,
        "spread weights": means.among > 1,
    }
    return ", ".join([f"{base.id} on {device_name}", f"r {knobs.lora_rank}", *(name for name in told if told[name])])


def remember(held_for: str, pace: Pace, workspace: Workspace) -> None:
    """Keep how fast a finished run was, for the next plan; where that cannot be written, plans are only less exact."""
    path = workspace.cache_dir / PACE_FILE
    known = _paces(path) | {held_for: pace}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {key: pace.model_dump() for key, pace in known.items()})
    except OSError as error:
        log.warning("How fast this run was is not kept for later plans: %s", error)


def seconds_as_seen(held_for: str, tokens: int, workspace: Workspace) -> tuple[float, float] | None:
    """(least, most) seconds for so many tokens, by the last run under these conditions; None where there was none."""
    known = _paces(workspace.cache_dir / PACE_FILE).get(held_for)
    if known is None:
        return None
    likely = tokens / known.tokens_per_second + known.seconds_around
    return SEEN_RANGE[0] * likely, SEEN_RANGE[1] * likely


def seconds_reckoned(
    shape: Shape, means: Means, tokens: int, speed: float, within: tuple[float, float], *, processes: int = 1
) -> tuple[float, float]:
    """(least, most) seconds for so many tokens, by the operations that they take and a second does, times what the
    range says. Processes may share the work wholly, or wait for each other as long as they gain.
    """
    quicker, slower = within
    # Forward, and backward through frozen weights: four operations a parameter and token; two more to do it again.
    work = (6 if means.redo else 4) * shape.parameters * tokens / speed
    return quicker * work / processes + AROUND_SECONDS[0], slower * work + AROUND_SECONDS[1]


def with_building(seconds: tuple[float, float], base: Base, workspace: Workspace) -> tuple[float, float]:
    """The same, and making a stand-in where the run needs one and there is none."""
    if base.id != standin.ID or standin.standin_folder(workspace.cache_dir).is_dir():
        return seconds
    return seconds[0] + BUILD_SECONDS[0], seconds[1] + BUILD_SECONDS[1]


def usual_speed(where: torch.device) -> float:
    """`training_speed` of a layer of middling size."""
    from transformers import AutoConfig

    return training_speed(AutoConfig.for_model(**USUAL), where)


def training_speed(config: PretrainedConfig, where: torch.device) -> float:
    """Floating-point operations a second that training reaches: steps of LoRA, forward and backward, through one layer
    of the model's dimensions, whose weights are made up.

    A layer that is kept in four bits or computed again takes longer by its share, which ranges allow for.
    """
    decoder = _one_layer(config, where)
    ids = torch.randint(PROBE_WORDS, (PROBE_TEXTS, PROBE_TOKENS), generator=torch.Generator().manual_seed(0)).tolist()
    learnt = (False, *[True] * (PROBE_TOKENS - 1))
    batch = pack(families(Example(str(n), tuple(row), learnt) for n, row in enumerate(ids)), 0, where)
    how = Pass(Dropout(0.05, 1))
    decoder.model.train()
    steps = -1  # the first one waits for libraries to load
    begun = time.perf_counter()
    with decoder.packed():
        while steps < 1 or time.perf_counter() - begun < PROBE_SECONDS:
            if steps == 0:
                begun = time.perf_counter()
            loss = decoder.losses(batch, how).sum()
            torch.autograd.backward(loss)
            # Reading one number waits for the device.
            loss.item()
            steps += 1
    taken = time.perf_counter() - begun
    return 4 * measure(decoder.model.config).quantisable * PROBE_TEXTS * PROBE_TOKENS * steps / taken


def _one_layer(config: PretrainedConfig, where: torch.device) -> Decoder:
    """A model of one layer and a few words, with adapters, its weights of the type that a whole one's would have."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    told: dict[str, Any] = config.to_dict() | {"num_hidden_layers": 1, "vocab_size": PROBE_WORDS, "pad_token_id": 0}
    if told.get("layer_types"):
        told["layer_types"] = told["layer_types"][:1]
    big = where.type == "cuda" or measure(config).parameters >= BIG_MODEL
    dtype = compute_dtype(where) if where.type == "cuda" else torch.bfloat16 if big else torch.float32
    with torch.device(where), torch.random.fork_rng():
        small = AutoModelForCausalLM.from_config(type(config).from_dict(told), dtype=dtype).requires_grad_(False)
    adapted = get_peft_model(small, LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    return Decoder(adapted.get_base_model(), compute_dtype(where))


def _paces(path: Path) -> dict[str, Pace]:
    """What earlier runs left; a file that cannot be read counts as none, and the next run writes it anew."""
    try:
        return PACES.validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        log.warning("%s cannot be read, so plans go without it: %s", path, error)
        return {}
