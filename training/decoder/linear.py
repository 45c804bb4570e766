"""The linear layers of a model as `kernels` wants them: frozen, perhaps in four bits, perhaps with a LoRA pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from training.decoder.kernels import Projections


class Linear:
    """A linear layer of torch's, bitsandbytes' or peft's: its frozen part."""

    def __init__(self, module: Any) -> None:
        self._module = getattr(module, "base_layer", module)

    def weight(self, dtype: torch.dtype) -> torch.Tensor:
        """Outputs × inputs; nf4 weights are spread out, and shards gathered, for this use alone."""
        shards = getattr(self._module, "shards", None)
        stored = shards.whole() if shards else self._module.weight.detach()
        state = getattr(self._module.weight, "quant_state", None)
        if state is None:
            return stored.to(dtype)
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(stored, state).to(dtype)

    def bias(self, dtype: torch.dtype) -> torch.Tensor | None:
        """One number an output, or None."""
        bias = self._module.bias
        return None if bias is None else bias.detach().to(dtype)


def projections(modules: Sequence[Any]) -> Projections:
    """Linear layers that read one input, with their active adapters unless those are switched off."""
    layers = [Linear(module) for module in modules]
    if not has_adapter(modules[0]) or modules[0].disable_adapters:
        return Projections(layers)
    name = modules[0].active_adapters[0]
    down = [module.lora_A[name].weight for module in modules]
    up = [module.lora_B[name].weight for module in modules]
    return Projections(layers, down, up, modules[0].scaling[name])


def has_adapter(module: Any) -> bool:
    """Whether peft has put an adapter on the layer."""
    return hasattr(module, "lora_A")


def is_plain(module: Any) -> bool:
    """Whether the layer is frozen, with no adapter or exactly one active LoRA pair without any of LoRA's variants."""
    if not has_adapter(module):
        return isinstance(module, torch.nn.Linear) and not module.weight.requires_grad
    named = module.active_adapters
    return len(named) == 1 and not module.merged and not module.lora_variant and not any(module.lora_bias.values())
