"""The lines of a plan's card that tell by what means a run fits, or what would fit instead; pure, as `cards` is."""

from __future__ import annotations

from bot.phrases import harmless
from training.schema import Plan

_CHANGES: dict[str, str] = {
    "quantisation": "weights in 4 bits ({})",
    "gradient_checkpointing": "gradient checkpointing {}",
    "max_length": "at most {} tokens of a conversation",
    "lora_rank": "LoRA rank {}",
    "base_model": "the base model {}",
}
"""What a plan would have changed, by the knob's name."""


def means(plan: Plan) -> list[str]:
    """By what means the run would be made, in one line; plans of workers before this release do not tell."""
    if not plan.micro_batch_tokens:
        return []
    told = [f"{plan.micro_batch_tokens:,} tokens at once"]
    if plan.quantised:
        told.append("weights in 4 bits")
    if plan.gradient_checkpointing:
        told.append("gradient checkpointing")
    if plan.spread_over > 1:
        told.append(f"weights spread over {plan.spread_over} cards")
    if plan.estimated:
        told.append("tokens estimated, since the model's own tokenizer is not here")
    return [" · ".join(told)]


def instead(plan: Plan) -> list[str]:
    """What to do about a job that does not fit."""
    if not plan.alternatives:
        return ["Nothing was started. Choose a smaller base model, or ask for a GPU with more memory."]
    near = [
        f"- {_CHANGES[other.change].format(harmless(other.value, 120))}: {other.peak_gib:.1f} GiB"
        for other in plan.alternatives
    ]
    return ["Nothing was started. This would fit:", *near]
