"""The optimiser of a run, and its state as tensors that a checkpoint can hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from training.errors import PackageMissing
from training.schema import Optimiser

Weights = Mapping[str, torch.nn.Parameter]


def make_optimiser(kind: Optimiser, weights: Weights, rate: float, device: torch.device) -> torch.optim.Optimizer:
    """AdamW over the weights, without decay. Raises PackageMissing where bitsandbytes is needed and absent."""
    parameters = list(weights.values())
    if resolved(kind, device) is Optimiser.ADAMW:
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0, fused=True)
    try:
        import bitsandbytes.optim as eight_bit
    except ImportError as error:
        raise PackageMissing(name=f"optimiser {kind.value}", reason=str(error)) from error
    paged = kind is Optimiser.PAGED_ADAMW_8BIT
    made = eight_bit.PagedAdamW8bit if paged else eight_bit.AdamW8bit
    return made(parameters, lr=rate, weight_decay=0.0)


def resolved(kind: Optimiser, device: torch.device) -> Optimiser:
    """What `auto` means on this device."""
    if kind is not Optimiser.AUTO:
        return kind
    return Optimiser.ADAMW_8BIT if device.type == "cuda" else Optimiser.ADAMW


def state_of(optimiser: torch.optim.Optimizer, weights: Weights) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """(tensors by weight and key, plain numbers by weight) that `restore_state` takes."""
    tensors: dict[str, torch.Tensor] = {}
    numbers: dict[str, Any] = {}
    for name, weight in weights.items():
        for key, value in optimiser.state[weight].items():
            if isinstance(value, torch.Tensor):
                tensors[f"{name}/{key}"] = value.detach()
            else:
                numbers.setdefault(name, {})[key] = value
    return tensors, numbers


def restore_state(
    optimiser: torch.optim.Optimizer, weights: Weights, tensors: Mapping[str, torch.Tensor], numbers: Mapping[str, Any]
) -> None:
    """Put a fresh optimiser where `state_of` found one."""
    if hasattr(optimiser, "init_state"):
        _begin(optimiser)
    for name, plain in numbers.items():
        optimiser.state[weights[name]].update(plain)
    for full, value in tensors.items():
        name, _, key = full.rpartition("/")
        state = optimiser.state[weights[name]]
        if key in state:
            # In place: bitsandbytes may hold this in memory of a special kind.
            state[key].copy_(value)
        else:
            state[key] = value.to(weights[name].device, copy=True)


def _begin(optimiser: Any) -> None:
    """Have bitsandbytes make its states, which it does at the first step otherwise."""
    optimiser.check_overrides()
    optimiser.to_gpu()
    optimiser.initialized = True
    for group_number, group in enumerate(optimiser.param_groups):
        for number, weight in enumerate(group["params"]):
            optimiser.init_state(group, weight, group_number, number)
