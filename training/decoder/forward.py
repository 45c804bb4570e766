"""The losses of a packed row under a model with adapters.

Models of the Llama family (Llama, Mistral, Qwen 2 and 3, SmolLM) go through layers of our own, which keep and move
little. All others go through transformers' layers, with attention along the row's layout in place of theirs. Both give
the losses that the model gives for each text alone; `Decoder.agrees` makes sure of that before anything is learnt.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface

from training.batches import Batch, families, pack
from training.chat import Example
from training.decoder import kernels
from training.decoder.attention import Layout, attend
from training.decoder.kernels import NONE_DROPPED, Dropout
from training.decoder.linear import Linear, has_adapter, is_plain, projections

Tensor = torch.Tensor
FAMILY = frozenset({"llama", "mistral", "qwen2", "qwen3", "smollm3"})
"""What transformers calls the architectures whose layers are known here."""
ALONG_LAYOUT = "understudy"


@dataclass(frozen=True)
class Pass:
    """How a forward pass is made.

    dropout: in front of the LoRA matrices. noise: NEFTune's alpha. redo: compute each layer again in the backward pass
    instead of keeping what it needs.
    """

    dropout: Dropout = NONE_DROPPED
    noise: float = 0.0
    redo: bool = False

    def numbered(self, number: int) -> Pass:
        """The same for one of several passes of a step, with draws of its own."""
        return replace(self, dropout=self.dropout.at(number))


class Decoder:
    """A causal model of transformers', with or without peft's adapters, as a function of packed rows.

    dtype: what is computed in; the model's weights may be kept in another.
    """

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        self.model = model
        self.dtype = dtype
        self.inner = model.get_decoder()
        self.head = Linear(model.get_output_embeddings())
        self.softcap: float | None = getattr(model.config, "final_logit_softcapping", None)
        self.lean = is_lean(model)

    @contextmanager
    def packed(self) -> Iterator[None]:
        """Within, transformers' layers attend along layouts, and such a model writes no text."""
        if self.lean:
            yield
            return
        config = self.inner.config
        before = config._attn_implementation
        config._attn_implementation = ALONG_LAYOUT
        try:
            yield
        finally:
            config._attn_implementation = before

    def losses(self, batch: Batch, how: Pass = Pass()) -> Tensor:
        """Negative log-likelihood of each real target of the batch (nats, fp32); within `packed`, backward included."""
        return kernels.target_losses(self.hidden(batch, how), self.head, batch.targets, self.softcap)[: batch.count]

    def hidden(self, batch: Batch, how: Pass = Pass()) -> Tensor:
        """The last hidden states that the batch's targets are predicted from; within `packed`, backward included."""
        return self._ours(batch, how) if self.lean else self._theirs(batch, how)

    def agrees(self) -> bool:
        """Whether two texts with a common beginning get from a packed row what each gets from the model alone."""
        seeded = torch.Generator().manual_seed(0)
        words = self.model.config.get_text_config().vocab_size
        begin, *ends = (tuple(torch.randint(words, (n,), generator=seeded).tolist()) for n in (24, 5, 11))
        examples = [Example("", begin + end, (False,) * 26 + (True,) * (len(end) - 2)) for end in ends]
        batch = pack(families(examples), 0, self.model.device)
        with torch.inference_mode():
            with self.packed():
                ours = self.losses(batch)
            theirs = torch.cat([self._plain(example) for example in sorted(examples, key=lambda e: e.ids)])
        if self.dtype == torch.float32:
            return torch.allclose(ours, theirs, atol=1e-3, rtol=2e-4)
        # In half precision single losses of a deep model differ by rounding; a token wrongly seen moves them all.
        return bool((ours - theirs).abs().mean() <= 0.02 + 0.02 * theirs.mean())

    def _plain(self, example: Example) -> Tensor:
        """The losses of one text by the model's own forward pass."""
        ids = torch.tensor([example.ids], device=self.model.device)
        mask = torch.tensor(example.mask, device=self.model.device)
        with self._precision():
            logits = self.model(input_ids=ids, use_cache=False).logits[0].float()
        return torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:], reduction="none")[mask[1:]]

    def _ours(self, batch: Batch, how: Pass) -> Tensor:
        """By layers of our own."""
        x = self._embedded(batch, how).to(self.dtype)
        angles = self.inner.rotary_emb(x[None], batch.layout.positions[None])
        turn = tuple(part[0, :, None].to(self.dtype) for part in angles)
        last = len(self.inner.layers) - 1
        run = _redone if how.redo and torch.is_grad_enabled() else _layer
        for number, layer in enumerate(self.inner.layers):
            # Behind its attention, the last layer serves only to predict targets.
            rows = batch.predictors if number == last else None
            x = run(layer, x, turn, batch.layout, how.dropout.at(number), rows)
        return _norm(x, self.inner.norm)

    def _theirs(self, batch: Batch, how: Pass) -> Tensor:
        """By transformers' layers."""
        given = {"inputs_embeds": self._embedded(batch, how)[None]} if how.noise else {"input_ids": batch.ids[None]}
        # A mask of four dimensions is taken for finished, so that none is made; nobody reads it.
        mask = torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=batch.ids.device)
        positions = batch.layout.positions[None]
        if self.model.training:
            # The layers' own dropout then depends on step and pass, and on nothing that was drawn before.
            torch.manual_seed(how.dropout.seed)
        with self._precision():
            told = self.inner(
                **given, attention_mask=mask, position_ids=positions, use_cache=False, layout=batch.layout
            )
        return told.last_hidden_state[0, batch.predictors].to(self.dtype)

    def _embedded(self, batch: Batch, how: Pass) -> Tensor:
        x = self.inner.get_input_embeddings()(batch.ids)
        return x + _noise(batch.layout, x, how) if how.noise else x

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.model.device.type, self.dtype, enabled=self.dtype != torch.float32)


def compute_dtype(where: torch.device) -> torch.dtype:
    """What training computes in there: bf16 where the device is fast at it."""
    fast = bf16_on_card() if where.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def bf16_on_card() -> bool:
    """Whether the card computes in bf16 itself; older ones emulate it, more slowly than fp32."""
    return torch.cuda.is_bf16_supported(including_emulation=False)


def is_lean(model: Any) -> bool:
    """Whether the model is of the known family and frozen, with plain LoRA pairs on all of its layers or on none."""
    if model.config.model_type not in FAMILY or model.config.hidden_act not in ("silu", "swish"):
        return False
    linears = [module for layer in model.get_decoder().layers for module in _linears(layer)]
    return all(map(is_plain, linears)) and len({has_adapter(module) for module in linears}) == 1


def _linears(layer: Any) -> list[Any]:
    attention, mlp = layer.self_attn, layer.mlp
    projected = [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
    return [*projected, mlp.gate_proj, mlp.up_proj, mlp.down_proj]


def _layer(
    layer: Any, x: Tensor, turn: tuple[Tensor, ...], layout: Layout, dropout: Dropout, rows: Tensor | None
) -> Tensor:
    """One layer: attention, then a SwiGLU, each on what was normed and added to what came; `rows`: of these alone."""
    attention, mlp = layer.self_attn, layer.mlp
    normed = _norm(x, layer.input_layernorm)
    read = projections([attention.q_proj, attention.k_proj, attention.v_proj])
    heads = kernels.project(normed, read, dropout.at(0))
    query, key, value = (part.view(len(x), -1, attention.head_dim) for part in heads)
    if hasattr(attention, "q_norm"):
        query, key = _norm(query, attention.q_norm), _norm(key, attention.k_norm)
    if getattr(attention, "use_rope", True):
        query, key = kernels.rotate(query, *turn), kernels.rotate(key, *turn)
    window = getattr(attention, "sliding_window", None) or _window(attention.config)
    heard = attend(query, key, value, layout, scale=attention.scaling, window=window).reshape(len(x), -1)
    if rows is not None:
        heard, x = heard[rows], x[rows]
    x = x + kernels.project(heard, projections([attention.o_proj]), dropout.at(1))[0]
    normed = _norm(x, layer.post_attention_layernorm)
    gate, up = kernels.project(normed, projections([mlp.gate_proj, mlp.up_proj]), dropout.at(2))
    return x + kernels.project(kernels.gated(gate, up), projections([mlp.down_proj]), dropout.at(3))[0]


def _redone(*arguments: Any) -> Tensor:
    """A layer of which only the input is kept; its arguments tell what is dropped in it, so that the same is again."""
    made: Tensor = checkpoint(_layer, *arguments, use_reentrant=False, preserve_rng_state=False)
    return made


def _norm(x: Tensor, norm: Any) -> Tensor:
    return kernels.rms_norm(x, norm.weight, norm.variance_epsilon)


def _window(config: Any) -> int | None:
    """Mistral's window holds for every layer; in other models each layer says its own."""
    return config.sliding_window if config.model_type == "mistral" else None


def _noise(layout: Layout, x: Tensor, how: Pass) -> Tensor:
    """NEFTune: uniform noise of up to alpha / √(tokens of the text · features), drawn as the dropout is."""
    seeded = torch.Generator(x.device).manual_seed(how.dropout.at(-1).seed)
    noise = torch.empty_like(x).uniform_(-1, 1, generator=seeded)
    lengths = torch.ones(len(x), device=x.device)
    for segment in layout.segments:
        begin = segment.parent[0] - segment.parent[1] if segment.parent else 0
        lengths[segment.begin : segment.end] = segment.end - segment.begin - begin
    return noise.mul_(how.noise / (lengths * x.shape[-1]).sqrt_()[:, None]).to(x.dtype)


def _registered(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    *,
    layout: Layout,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers asks for it: 1 × heads × tokens × size in, 1 × tokens × heads × size out."""
    # Under autocast the rotary angles may have brought queries and keys back to fp32.
    query, key, value = (part[0].transpose(0, 1).to(value.dtype).contiguous() for part in (query, key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return attend(query, key, value, layout, scale=scale, window=sliding_window, softcap=softcap)[None], None


AttentionInterface.register(ALONG_LAYOUT, _registered)
