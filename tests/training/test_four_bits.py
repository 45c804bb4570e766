"""QLoRA on a CPU: what lies in 4 bits, that it learns as bf16 does, and optimisers with states of 8 bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from safetensors.torch import load_file
from transformers import LlamaConfig

from tests.training.decoder.tiny import gradients
from tests.training.vocabulary import tokenizer_for
from training import models, sft
from training.adapters import add_adapter
from training.batches import micro_batches, pack
from training.course import Course, Stage
from training.decoder.forward import Decoder, compute_dtype
from training.errors import NotInFourBits, RunStopped
from training.inference import generate
from training.lessons import examples, gather
from training.loop import Hooks, fit, trained_weights
from training.memory import measure
from training.models import Loaded
from training.optimisers import make_optimiser, restore_state, state_of
from training.schema import Hyperparameters, Message, Optimiser, TrainSpec, Workspace
from training.sft import Answers

CPU = torch.device("cpu")
DTYPE = compute_dtype(CPU)
KNOBS = Hyperparameters(epochs=1, batch_size=12, learning_rate=0.01, lora_rank=16, lora_dropout=0.0)


def loaded(workspace: Workspace, *, quantised: bool) -> Loaded:
    base = models.choose(None, workspace)
    return models.load(base, base.id, workspace, quantised=quantised)


class Training:
    """One fresh trainee on a base model in 4 bits."""

    def __init__(self, workspace: Workspace, knobs: Hyperparameters = KNOBS, *, quantised: bool = True) -> None:
        self.loaded = loaded(workspace, quantised=quantised)
        lessons = gather(TrainSpec(job_name="t", guild_id="1", persona="glordon"), workspace)
        self.rows = examples(lessons.train, self.loaded.format, 512)
        course = Course((Stage(self.rows, knobs.epochs, 12),), 0.01, knobs.warmup_ratio, knobs.seed)
        self.trainee = sft.setup(self.loaded, knobs, course)
        held_out = examples(lessons.held_out, self.loaded.format, 512)
        self.answers = Answers(self.loaded, self.trainee.decoder, held_out, 2048)

    def gradient(self) -> torch.Tensor:
        """That of the mean loss of a few examples."""
        decoder = self.trainee.decoder
        with decoder.packed():
            for group in micro_batches(self.rows[:12], 2048):
                batch = pack(group, self.loaded.format.pad, CPU)
                decoder.losses(batch).mean().backward()
        return gradients(self.trainee.model)

    def run(self, run_dir: Path, hooks: Hooks = Hooks()) -> dict[str, torch.Tensor]:
        run_dir.mkdir(exist_ok=True)
        fit(self.trainee, self.answers, run_dir=run_dir, key="k", hooks=hooks)
        return load_file(sft.save(self.trainee, run_dir) / "adapter_model.safetensors")


def shaken(training: Training) -> Training:
    """With an adapter that does something: a fresh one gives half of its matrices no gradient."""
    torch.manual_seed(3)
    for name, weight in trained_weights(training.trainee.model).items():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    return training


def test_the_layers_lie_in_four_bits_and_nothing_else_does(tiny_workspace: Workspace) -> None:
    base = loaded(tiny_workspace, quantised=True)
    model = add_adapter(base, KNOBS)
    layers = [module for module in base.model.modules() if isinstance(module, Linear4bit)]
    assert len(layers) == 2 * 7
    for layer in layers:
        assert layer.weight.dtype == torch.uint8
        assert layer.weight.quant_state.quant_type == "nf4"
        assert layer.weight.quant_state.nested
        assert not layer.support_avx512bf16_for_cpu
    kept = {name: p.dtype for name, p in model.named_parameters() if p.dtype != torch.uint8}
    assert {dtype for name, dtype in kept.items() if "lora_" in name} == {torch.float32}
    assert {dtype for name, dtype in kept.items() if "lora_" not in name} == {DTYPE}
    assert base.model.get_input_embeddings().weight.dtype == DTYPE
    assert base.model.get_output_embeddings().weight.dtype == DTYPE


def test_without_a_wish_a_cpu_takes_none(tiny_workspace: Workspace) -> None:
    base = models.choose(None, tiny_workspace)
    for wish in (None, False):
        model = models.load(base, base.id, tiny_workspace, quantised=wish).model
        assert not any(isinstance(module, Linear4bit) for module in model.modules())


def test_layers_whose_rows_do_not_hold_whole_blocks_are_refused(tiny_workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "warehouse/odd"
    config = LlamaConfig(hidden_size=96, intermediate_size=128, num_hidden_layers=1, num_attention_heads=4)
    config.save_pretrained(folder)
    tokenizer_for(None).save_pretrained(folder)
    base = models.choose(str(folder), tiny_workspace)
    with pytest.raises(NotInFourBits, match=r"layers of it read 96 features, no multiple of 64"):
        models.load(base, str(folder), tiny_workspace, quantised=True)
    # A card has no such limit.
    how = models._four_bits(base, measure(config), torch.device("cuda"))
    assert how["quantization_config"].load_in_4bit


@pytest.mark.parametrize(("generation", "dtype"), [(7, torch.float32), (8, torch.bfloat16)])
def test_a_card_that_only_emulates_bf16_computes_in_fp32(
    monkeypatch: pytest.MonkeyPatch, generation: int, dtype: torch.dtype
) -> None:
    card = SimpleNamespace(major=generation, minor=5)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda device: True)
    assert compute_dtype(torch.device("cuda")) == dtype


def test_gradients_are_close_to_those_of_bf16_and_no_check_in_between_changes_them(tiny_workspace: Workspace) -> None:
    four, whole = (shaken(Training(tiny_workspace, quantised=quantised)) for quantised in (True, False))
    before = four.gradient()
    four.answers.held_out_loss()
    prompt = four.loaded.format.prompt([Message(role="user", content="Hi!")])
    generate(four.trainee.model, four.loaded.format, [prompt], max_new_tokens=4)
    with torch.inference_mode():
        four.trainee.model(input_ids=torch.tensor([prompt]))
    assert torch.equal(four.gradient(), before)
    assert torch.cosine_similarity(before, whole.gradient(), dim=0) > 0.9


def test_a_run_in_four_bits_learns_and_is_resumed_bit_for_bit(tiny_workspace: Workspace, tmp_path: Path) -> None:
    undisturbed = Training(tiny_workspace)
    before = undisturbed.answers.held_out_loss()
    adapter = undisturbed.run(tmp_path / "a")
    assert undisturbed.answers.held_out_loss() < before - 0.03
    asked = iter(range(10_000))
    with pytest.raises(RunStopped):
        Training(tiny_workspace).run(tmp_path / "b", Hooks(should_stop=lambda: next(asked) >= 3))
    resumed = Training(tiny_workspace).run(tmp_path / "b")
    assert all(torch.equal(resumed[name], weight) for name, weight in adapter.items())


def test_what_was_learnt_in_four_bits_serves_a_whole_base_too(tiny_workspace: Workspace, tmp_path: Path) -> None:
    before = Training(tiny_workspace, quantised=False).answers.held_out_loss()
    Training(tiny_workspace).run(tmp_path / "a")
    whole = loaded(tiny_workspace, quantised=False)
    model = sft.resume_adapter(whole, tmp_path / "a/adapter")
    held_out = Training(tiny_workspace).answers.held_out
    decoder = Decoder(model.get_base_model(), torch.float32)
    assert sft.mean_loss(sft.measure(whole, decoder, held_out, 2048)) < before


EIGHT_BIT = [Optimiser.ADAMW_8BIT, Optimiser.PAGED_ADAMW_8BIT]


def steps(weights: dict[str, torch.nn.Parameter], count: int, begin: int = 0) -> Iterator[None]:
    """Leave the gradient of a least-squares fit in the weights, step by step."""
    for step in range(begin, begin + count):
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(32, 128, generator=generator)
        loss = (x @ weights["large"].T - x.sum(1, keepdim=True)).square().mean() + weights["small"].square().sum()
        loss.backward()
        yield
        for weight in weights.values():
            weight.grad = None


def fresh() -> dict[str, torch.nn.Parameter]:
    """One weight whose states are kept in 8 bits, and one too small for that."""
    return {"large": torch.nn.Parameter(torch.zeros(64, 128)), "small": torch.nn.Parameter(torch.ones(8))}


def distance(weights: dict[str, torch.nn.Parameter]) -> float:
    return (weights["large"] - 1).square().mean().item() + weights["small"].square().mean().item()


def learn(optimiser: torch.optim.Optimizer, weights: dict[str, torch.nn.Parameter], counts: Sequence[int]) -> None:
    begin, count = counts
    for _ in steps(weights, count, begin):
        optimiser.step()


@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
@pytest.mark.parametrize("kind", EIGHT_BIT)
def test_states_of_eight_bits_learn_and_go_on_where_they_were(kind: Optimiser) -> None:
    whole, before = fresh(), distance(fresh())
    optimiser = make_optimiser(kind, whole, 0.05, CPU)
    learn(optimiser, whole, (0, 10))
    tensors, numbers = state_of(optimiser, whole)
    assert tensors["large/state1"].dtype == torch.uint8
    kept = {name: value.clone() for name, value in tensors.items()}
    copies = {name: torch.nn.Parameter(weight.detach().clone()) for name, weight in whole.items()}
    resumed = make_optimiser(kind, copies, 0.05, CPU)
    restore_state(resumed, copies, kept, {name: dict(plain) for name, plain in numbers.items()})
    for going, weights in ((optimiser, whole), (resumed, copies)):
        learn(going, weights, (10, 10))
    assert all(torch.equal(copies[name], whole[name]) for name in whole)
    assert distance(whole) < before / 4


@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
@pytest.mark.parametrize("kind", EIGHT_BIT)
def test_a_run_with_states_of_eight_bits_is_resumed_bit_for_bit(
    kind: Optimiser, tiny_workspace: Workspace, tmp_path: Path
) -> None:
    knobs = KNOBS.model_copy(update={"optimiser": kind, "lora_rank": 64})
    undisturbed = Training(tiny_workspace, knobs)
    before = undisturbed.answers.held_out_loss()
    adapter = undisturbed.run(tmp_path / "a")
    assert undisturbed.answers.held_out_loss() < before - 0.03
    asked = iter(range(10_000))
    with pytest.raises(RunStopped):
        Training(tiny_workspace, knobs).run(tmp_path / "b", Hooks(should_stop=lambda: next(asked) >= 3))
    resumed = Training(tiny_workspace, knobs).run(tmp_path / "b")
    assert all(torch.equal(resumed[name], weight) for name, weight in adapter.items())
