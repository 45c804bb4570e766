"""Whose tokens a dataset is counted in."""

from __future__ import annotations

from copy import copy
from functools import cache
from pathlib import Path

from training import models, standin
from training.chat import ChatFormat
from training.data.tokens import TokenCounter, counter_for
from training.schema import Workspace


def counter_of_model(name: str | None, workspace: Workspace) -> TokenCounter:
    """Counts tokens as this base model does; without a name as the configured one, if its tokenizer is at hand.

    If it is not, the stand-in's counts, under a name that says so: nothing is fetched for a count that nobody asked
    for. Raises what reading a named model's tokenizer raises.
    """
    base = models.choose(name, workspace)
    if base.id != standin.ID and (name is not None or _at_hand(base.id)):
        return counter_for(models.load_format(base, workspace), base.id)
    # A copy, since a counter takes note of what it meets.
    counter = copy(_standin_counter())
    if base.id != standin.ID:
        counter.name = f"{standin.ID}, for want of {Path(base.id).name}"
    return counter


@cache
def _standin_counter() -> TokenCounter:
    return counter_for(ChatFormat(standin.standin_tokenizer()), standin.ID)


def _at_hand(model: str) -> bool:
    """Whether a model's tokenizer lies on this machine."""
    from huggingface_hub import try_to_load_from_cache

    if Path(model).is_dir():
        return True
    return isinstance(try_to_load_from_cache(model, "tokenizer_config.json"), str)
