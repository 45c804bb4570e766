"""What a run takes in memory: counted tensor by tensor, measured in a process of its own, and fitted to a machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from benchmarks.memory import Configuration, in_a_process, texts
from training.batches import micro_batches, pack
from training.decoder import attention, forward
from training.decoder.forward import Decoder, Pass
from training.decoder.kernels import Dropout
from training.inference import at_once
from training.memory import (
    GIB,
    HEAP,
    HEAP_REDONE,
    Footprint,
    Load,
    Means,
    arrange,
    footprint,
    heaviest,
    least,
    load_of,
    measure,
)
from training.models import catalog
from training.schema import Choice, Hyperparameters, Machine, Quantisation

CPU = Machine(device="cpu", name="cpu", free_gib=8, total_gib=8, bf16=False)
CARD = Machine(device="cuda", name="a card", free_gib=24, total_gib=24, bf16=False)
KNOBS = Hyperparameters()
SMALL = Configuration("small", "llama", (128, 320, 3, 4, 2, 512), 768, longest=300)


def kept_by(configuration: Configuration) -> tuple[int, Footprint, Callable[[Machine], Footprint]]:
    """(bytes that autograd keeps of a real pass, what is reckoned for it on a CPU, the same on any machine)."""
    hidden, intermediate, layers, heads, key_heads, words = configuration.sizes
    config = AutoConfig.for_model(
        configuration.family,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        head_dim=hidden // heads,
        vocab_size=words,
        pad_token_id=0,
    )
    model: Any = AutoModelForCausalLM.from_config(config).requires_grad_(False)
    adapter = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.05, target_modules="all-linear", task_type="CAUSAL_LM")
    peft = get_peft_model(model, adapter)
    decoder = Decoder(peft.get_base_model(), torch.float32)
    group = micro_batches(texts(configuration), configuration.tokens)[0]
    own = {parameter.untyped_storage().data_ptr() for parameter in peft.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    peft.train()
    with decoder.packed(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        how = Pass(Dropout(0.05, 1), 0.0, configuration.redo)
        losses = decoder.losses(pack(group, 0, torch.device("cpu")), how)
    counted = sum(size for place, size in kept.items() if place not in own)
    assert losses.requires_grad
    means = Means(False, configuration.redo, configuration.tokens)
    reckon = partial(footprint, measure(config), KNOBS, means, load_of(group))
    return counted, reckon(CPU), reckon


@pytest.mark.parametrize("family", ["llama", "qwen3"])
@pytest.mark.parametrize(("card", "redo"), [(0, False), (90, False), (0, True)])
def test_what_is_kept_for_the_backward_pass_is_counted(family: str, card: int, redo: bool) -> None:
    configuration = Configuration("kept", family, SMALL.sizes, 768, redo=redo, card=card, longest=300)
    counted, reckoned, _ = kept_by(configuration)
    assert reckoned.activations / (HEAP_REDONE if redo else HEAP) == pytest.approx(counted, rel=0.03)


def test_what_layers_of_transformers_keep_is_counted() -> None:
    counted, reckoned, _ = kept_by(Configuration("kept", "gemma3_text", SMALL.sizes, 768, longest=300))
    assert reckoned.activations / HEAP == pytest.approx(counted, rel=0.15)


@pytest.mark.parametrize("card", [0, 90])
def test_what_a_card_keeps_is_counted(card: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # The road that attention takes on a card runs on a CPU too, and keeps the same there.
    def by_segment(query: Any, key: Any, value: Any, layout: Any, **how: Any) -> torch.Tensor:
        return attention._by_segment(query, key, value, layout, how["scale"], how["window"], None)

    monkeypatch.setattr(forward, "attend", by_segment)
    counted, _, reckon = kept_by(Configuration("kept", "llama", SMALL.sizes, 768, card=card, longest=300))
    # But for the masks of texts that go on from a card, which a CPU spreads out.
    assert reckon(CARD).activations == pytest.approx(counted, rel=0.1 if card else 0.03)


def test_the_peak_of_a_run_is_foretold() -> None:
    told = in_a_process(Configuration("8M Llama", "llama", (256, 704, 6, 4, 2, 8192), 1024, examples=64))
    assert told["predicted"] == pytest.approx(told["measured"], rel=0.15)


def test_the_heaviest_of_passes_has_the_most_of_each() -> None:
    found = heaviest([Load(256, 128, 9, 5), Load(384, 128, 7, 8)])
    assert found == Load(384, 128, 9, 8, sizes=3)


def usual(tokens: int) -> Load:
    return Load(tokens, tokens // 2, tokens * 512, tokens)


def settled(free_gib: float, longest: int = 512, **knobs: Any) -> tuple[Means, Footprint] | None:
    shape = measure(catalog()["deepseek-ai/deepseek-llm-7b-chat"].config())
    machine = CARD.model_copy(update={"free_gib": free_gib, "bf16": True})
    return arrange(shape, Hyperparameters(**knobs), usual, longest, machine)


def test_what_fits_is_as_fast_as_memory_allows() -> None:
    found = {gib: settled(gib) for gib in (4, 8, 12, 16, 24, 48)}
    assert found[4] is None
    means = {gib: fit[0] for gib, fit in found.items() if fit}
    assert means[48] == Means(quantised=False, redo=False, tokens_at_once=4096)
    assert means[8] == Means(quantised=True, redo=True, tokens_at_once=means[8].tokens_at_once)
    assert not means[16].redo
    assert means[12].tokens_at_once <= means[16].tokens_at_once
    assert all(fit[1].total < gib * GIB for gib, fit in found.items() if fit)


def test_knobs_that_are_given_are_kept_to() -> None:
    assert settled(12, quantisation=Quantisation.NONE) is None
    assert settled(8, gradient_checkpointing=Choice.OFF, micro_batch_tokens=4096) is None
    for fit in (settled(80, quantisation=Quantisation.NF4), settled(80, gradient_checkpointing=Choice.ON)):
        assert fit
        assert fit[0].quantised != fit[0].redo
    given = settled(80, micro_batch_tokens=1000)
    longer = settled(80, micro_batch_tokens=1000, longest=1500)
    assert given
    assert longer
    assert (given[0].tokens_at_once, longer[0].tokens_at_once) == (1000, 1500)


def test_no_pass_is_smaller_than_the_longest_row() -> None:
    for gib in (8, 16):
        fit = settled(gib, longest=700)
        assert fit is None or fit[0].tokens_at_once >= 700
    shape = measure(catalog()["deepseek-ai/deepseek-llm-7b-chat"].config())
    means, needed = least(shape, KNOBS, usual, 3000, CARD.model_copy(update={"free_gib": 1}))
    assert means == Means(quantised=True, redo=True, tokens_at_once=4096)
    assert needed.total > GIB


def test_keys_and_values_of_answers_are_counted() -> None:
    config = AutoConfig.for_model(
        "qwen3", hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, vocab_size=256,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    kept = model(input_ids=torch.ones(1, 50, dtype=torch.long), use_cache=True).past_key_values
    held = sum(part.nbytes for layer in kept.layers for part in (layer.keys, layer.values))
    shape = measure(config)
    assert held == 2 * shape.layers * shape.keys * 4 * 50
    assert at_once(model, 2**31 // (held // 50) // 3) == 3


def test_answers_count_where_they_take_more_than_a_training_pass() -> None:
    shape = measure(catalog()["deepseek-ai/deepseek-llm-7b-chat"].config())
    means, machine = Means(True, True, 512), CARD.model_copy(update={"bf16": True})
    quiet, speaks = (footprint(shape, KNOBS, means, replace(usual(512), answer=n), machine) for n in (0, 300))
    assert quiet.answers == 0
    assert 0 < speaks.answers < 3 * GIB
    assert speaks.total - quiet.total == speaks.answers


def test_weights_are_spread_only_where_main_memory_holds_a_model_for_each_process() -> None:
    shape = measure(catalog()["deepseek-ai/deepseek-llm-7b-chat"].config())
    small = CARD.model_copy(update={"free_gib": 6, "bf16": True})
    for gib, spreads in ((None, True), (200.0, True), (30.0, False)):
        machine = small.model_copy(update={"main_free_gib": gib})
        found, _ = least(shape, KNOBS, usual, 300, machine, processes=4)
        assert (found.among > 1) == spreads
