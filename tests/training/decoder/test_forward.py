"""A packed row gives every text the loss and the gradient that it has alone, whatever the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from tests.training.decoder.tiny import CONFIGS, adapted, gradients, rows
from training.batches import Family, micro_batches, pack
from training.chat import Example
from training.decoder.forward import Decoder, Pass
from training.decoder.kernels import Dropout

CPU = torch.device("cpu")
LEAN = ("llama", "llama with rope scaling", "mistral", "mistral with a window", "qwen2", "qwen3", "smollm3")


def alone(model: Any, examples: Sequence[Example]) -> torch.Tensor:
    """The summed loss by the model's own forward pass, one text at a time."""
    total = torch.zeros(())
    for example in examples:
        ids = torch.tensor([example.ids])
        logits = model(input_ids=ids, use_cache=False).logits[0].float()
        losses = torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:], reduction="none")
        total = total + losses[torch.tensor(example.mask[1:])].sum()
    return total


def packed(decoder: Decoder, groups: Sequence[Sequence[Family]], how: Pass = Pass()) -> float:
    """The same by packed rows; gradients are left in the model."""
    total = 0.0
    with decoder.packed():
        for number, group in enumerate(groups):
            loss = decoder.losses(pack(group, 0, CPU), how.numbered(number)).sum()
            loss.backward()
            total += loss.item()
    return total


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("name", CONFIGS)
def test_losses_and_gradients_are_those_of_the_texts_alone(name: str) -> None:
    model, examples = adapted(CONFIGS[name]), rows()
    model.eval()
    expected = alone(model, examples)
    expected.backward()
    wanted = gradients(model)
    decoder = Decoder(model.get_base_model(), torch.float32)
    assert decoder.lean == (name in LEAN)
    assert decoder.agrees()
    groups = micro_batches(examples, 300)
    assert max(family.shared for group in groups for family in group) == 30
    assert packed(decoder, groups) == pytest.approx(expected.item(), rel=1e-5)
    assert difference(gradients(model), wanted) < 1e-5


@pytest.mark.parametrize("name", ["qwen3", "gemma3"])
def test_layers_that_are_computed_again_give_the_same(name: str) -> None:
    examples = rows()
    found = []
    for redo in (False, True):
        model = adapted(CONFIGS[name], rate=0.3)
        model.train()
        decoder = Decoder(model.get_base_model(), torch.float32)
        if redo and not decoder.lean:
            model.activation_checkpointing_enable({"use_reentrant": False})
        torch.manual_seed(5)
        loss = packed(decoder, micro_batches(examples, 300), Pass(Dropout(0.3, 5), redo=redo))
        found.append((loss, gradients(model)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    assert difference(found[1][1], found[0][1]) < 1e-5


def test_the_loss_does_not_depend_on_how_a_step_is_cut() -> None:
    model, examples = adapted(CONFIGS["llama"]), rows(16)
    decoder = Decoder(model.get_base_model(), torch.float32)
    cuts = [micro_batches(examples, tokens, share=share) for tokens in (64, 500, 10_000) for share in (True, False)]
    assert len({len(cut) for cut in cuts}) > 2
    found = [(packed(decoder, cut), gradients(model)) for cut in cuts]
    for loss, gradient in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        assert difference(gradient, found[0][1]) < 1e-5


def test_bf16_errs_no_more_than_transformers_layers_under_autocast() -> None:
    model, examples = adapted(CONFIGS["llama"]), rows()
    exact, rounded = (Decoder(model.get_base_model(), dtype) for dtype in (torch.float32, torch.bfloat16))
    groups = micro_batches(examples, 300)
    loss, wanted = packed(exact, groups), gradients(model)
    with torch.autocast("cpu", torch.bfloat16):
        theirs = alone(model, examples)
    theirs.backward()
    their_error = difference(gradients(model), wanted)
    assert packed(rounded, groups) == pytest.approx(loss, rel=0.01)
    assert difference(gradients(model), wanted) < 1.5 * their_error


def test_adapters_that_are_switched_off_count_for_nothing() -> None:
    model, examples = adapted(CONFIGS["llama"]), rows()
    decoder = Decoder(model.get_base_model(), torch.float32)
    groups = micro_batches(examples, 10_000)
    with torch.no_grad(), decoder.packed():
        on = decoder.losses(pack(groups[0], 0, CPU))
        with model.disable_adapter():
            off = decoder.losses(pack(groups[0], 0, CPU))
    with torch.no_grad(), model.disable_adapter():
        plain = alone(model.eval(), examples)
    assert off.sum().item() == pytest.approx(plain.item(), rel=1e-5)
    assert (on - off).abs().max() > 0.01


def test_variants_of_lora_go_through_transformers_layers() -> None:
    model, examples = adapted(CONFIGS["llama"], use_dora=True), rows()
    decoder = Decoder(model.get_base_model(), torch.float32)
    assert not decoder.lean
    assert packed(decoder, micro_batches(examples, 300)) == pytest.approx(alone(model, examples).item(), rel=1e-5)


def test_a_model_whose_layers_mix_tokens_otherwise_is_found_out() -> None:
    model = adapted(CONFIGS["gemma3"])
    decoder = Decoder(model.get_base_model(), torch.float32)
    layer = model.get_base_model().model.layers[1]
    # As a convolution along the tokens does, which knows nothing of where a text ends.
    layer.register_forward_hook(lambda _, __, out: out + 0.5 * torch.roll(out, 1, dims=1))
    assert not decoder.agrees()


def test_dropout_drops_its_share_and_comes_again_by_its_seed() -> None:
    count, device = 200_000, CPU
    one, again, other = (Dropout(0.05, seed).drawn(count, device) for seed in (3, 3, 4))
    assert one is not None
    assert again is not None
    assert other is not None
    assert torch.equal(one, again)
    assert not torch.equal(one[:100], other[:100])
    share = len(one.unique()) / count
    # Four standard deviations of as many independent draws.
    assert share == pytest.approx(0.05, abs=4 * (0.05 * 0.95 / count) ** 0.5)
    assert Dropout(0.0, 3).drawn(count, device) is None
    assert Dropout(0.05, 3).at(1) != Dropout(0.05, 3).at(2)


def test_dropout_keeps_the_expected_update() -> None:
    model, examples = adapted(CONFIGS["llama"]), rows(3)
    decoder = Decoder(model.get_base_model(), torch.float32)
    batch = pack(micro_batches(examples, 10_000)[0], 0, CPU)
    with torch.no_grad(), decoder.packed():
        plain = decoder.losses(batch).mean().item()
        dropped = [decoder.losses(batch, Pass(Dropout(0.05, seed))).mean().item() for seed in range(40)]
    assert len(set(dropped)) == 40
    assert sum(dropped) / 40 == pytest.approx(plain, rel=0.01)


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_noise_on_the_embeddings_is_as_large_as_neftune_says(name: str) -> None:
    model, examples = adapted(CONFIGS[name]), rows()
    decoder = Decoder(model.get_base_model(), torch.float32)
    batch = pack(micro_batches(examples, 10_000)[0], 0, CPU)
    heard: list[torch.Tensor] = []
    inner = decoder.inner
    with torch.no_grad(), decoder.packed():
        plain = decoder.losses(batch)
        for alpha in (5.0, 50.0):
            noised = decoder._embedded(batch, Pass(Dropout(0.0, 1), noise=alpha))
            heard.append(noised - inner.get_input_embeddings()(batch.ids))
            assert not torch.equal(decoder.losses(batch, Pass(Dropout(0.0, 1), noise=alpha)), plain)
    for segment in batch.layout.segments:
        begin = segment.parent[1] - segment.parent[0] if segment.parent else 0
        length = begin + segment.end - segment.begin
        most = heard[0][segment.begin : segment.end].abs().max().item()
        assert most == pytest.approx(5.0 / (length * 64) ** 0.5, rel=0.1)
    torch.testing.assert_close(heard[1], heard[0] * 10, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["qwen3", "gemma3"])
def test_each_pass_of_a_step_drops_its_own_and_the_same_again(name: str) -> None:
    """So do the processes of a run, which number the passes of a step among them."""
    model = adapted(CONFIGS[name], rate=0.3).train()
    decoder, how = Decoder(model.get_base_model(), torch.float32), Pass(Dropout(0.3, 5))
    group = micro_batches(rows(), 10_000)[0]
    found = []
    for number in (0, 1, 0):
        # What was drawn before is of no account.
        torch.manual_seed(17)
        torch.rand(number)
        with torch.no_grad(), decoder.packed():
            found.append(decoder.losses(pack(group, 0, CPU), how.numbered(number)))
    assert found[0].equal(found[2])
    assert (found[0] - found[1]).abs().mean() > 1e-3
