"""An adapter merged into its base model: a model of its own, checked to answer as the two did apart."""

from __future__ import annotations

import copy
import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from training import models
from training.adapters import format_of, resume_adapter
from training.chat import ChatFormat
from training.errors import AdapterUnreadable, MergeDiffers, NotMergeable
from training.inference import sampling
from training.models import Loaded
from training.schema import Message, Workspace

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TALK = tuple(Message(role=role, content="Hello!") for role in ("system", "user", "assistant", "user", "assistant"))
SHARD = "5GB"
TOLERANCE = {torch.float32: 1e-3}
ROUNDED = 0.1
"""The most by which logits may be off, as a share of their spread: in fp32, and where weights are of 16 bits. Rounding
alone makes up to 6 % of 32 layers in bf16."""


@dataclass(frozen=True)
class Agreement:
    """How far logits are from those of the base model with its adapter, as a share of their spread.

    merged: those of the merged model as it was read back. base: those of the base model alone, so what an adapter does.
    """

    merged: float
    base: float
    dtype: torch.dtype

    @property
    def limit(self) -> float:
        """The most that rounding excuses, and never so much that it could be the base model alone."""
        rounding = TOLERANCE.get(self.dtype, ROUNDED)
        return min(rounding, self.base / 2) if self.base > rounding else rounding


@dataclass(frozen=True)
class Merged:
    """A merged model in its folder."""

    agreement: Agreement
    format: ChatFormat


@dataclass(frozen=True)
class _Asked:
    """The ids of a prompt, and its logits with the adapter and without."""

    ids: list[int]
    wanted: torch.Tensor
    alone: torch.Tensor


def merge(
    source: str, adapter: Path, workspace: Workspace, made: Path, *, probe: Sequence[Message], temperature: float
) -> Merged:
    """Write the base model at `source` with the adapter merged in, in the type of the base's own files, into `made`.

    What was written is read back and asked for the logits of `probe`. temperature: the one that answers are drawn at
    where nobody names one. Holds one model in memory at a time.

    Raises NotMergeable, AdapterUnreadable, MergeDiffers and what loading raises.
    """
    base = models.base_at(source)
    loaded = models.load_as_stored(base, source, workspace)
    chat_format = format_of(adapter, loaded.format)
    whole, asked = _whole(loaded, adapter, chat_format.prompt(probe)[-loaded.context :])
    whole.generation_config = _generation(chat_format, temperature)
    whole.save_pretrained(made, max_shard_size=SHARD)
    _ending_turns(chat_format).save_pretrained(made)
    # Two may not fit, and a model holds itself in circles.
    del loaded, whole
    gc.collect()
    again = models.load_as_stored(base, str(made), workspace).model
    agreement = Agreement(
        merged=_distance(_logits(again, asked.ids), asked.wanted),
        base=_distance(asked.alone, asked.wanted),
        dtype=again.dtype,
    )
    if not agreement.merged <= agreement.limit:
        raise MergeDiffers(difference=agreement.merged, limit=agreement.limit)
    return Merged(agreement, chat_format)


def _whole(loaded: Loaded, adapter: Path, ids: list[int]) -> tuple[Any, _Asked]:
    """The base model with the adapter merged in, and what the two said apart."""
    if getattr(loaded.model.config, "quantization_config", None):
        raise NotMergeable(name=loaded.base.id)
    model = resume_adapter(loaded, adapter).eval()
    with model.disable_adapter():
        alone = _logits(model, ids)
    asked = _Asked(ids, _logits(model, ids), alone)
    try:
        return model.merge_and_unload(safe_merge=True), asked
    except ValueError as error:  # weights that are not finite
        raise AdapterUnreadable(path=adapter.parent.name) from error


def _generation(chat_format: ChatFormat, temperature: float) -> Any:
    """How answers are drawn by default: as here, up to the end of the turn, which padding never is."""
    from transformers import GenerationConfig

    return GenerationConfig(
        bos_token_id=chat_format.tokenizer.bos_token_id,
        eos_token_id=list(chat_format.stop_ids),
        pad_token_id=chat_format.pad,
        **sampling(temperature),
    )


def _ending_turns(chat_format: ChatFormat) -> PreTrainedTokenizerBase:
    """The tokenizer, with what ends a turn as its end of sequence: some programs stop at no other token.

    It stays as it is where the template writes that token, or asks which it is, in other places too.
    """
    tokenizer = copy.deepcopy(chat_format.tokenizer)
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(chat_format.end_of_turn)
    same = ChatFormat(tokenizer).text(TALK) == chat_format.text(TALK)
    return tokenizer if same else chat_format.tokenizer


def _logits(model: Any, ids: list[int]) -> torch.Tensor:
    """The logits of every position, around zero, since adding the same to all of one position changes no answer."""
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0].float()
    return logits - logits.mean(-1, keepdim=True)


def _distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())
