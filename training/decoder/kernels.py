"""The differentiable pieces of a decoder layer around frozen weights, which keep little and move little.

Autograd's own graph of the same layer keeps about twice as much and passes over it about three times as often. Each
piece is a function of tensors of shape tokens × features; its gradients are those of the plain formula, to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch.autograd import Function
from torch.nn import functional

Tensor = torch.Tensor
FLOAT = torch.float32
LOGITS_AT_ONCE = 2 * 2**20
"""Numbers of a chunk of logits."""


class Frozen(Protocol):
    """A frozen linear layer, whose weights may lie in fewer bits than they are used in."""

    def weight(self, dtype: torch.dtype) -> Tensor:
        """Outputs × inputs, in the type that is computed in; made anew for each use where it is not kept so."""
        ...

    def bias(self, dtype: torch.dtype) -> Tensor | None:
        """One number an output, or None."""
        ...


@dataclass(frozen=True)
class Dropout:
    """Which features are dropped in front of the LoRA matrices: drawn anew from `seed`, so that redoing a layer in the
    backward pass, or a run from its checkpoint, drops the same ones. `rate` 0 drops none."""

    rate: float = 0.0
    seed: int = 0

    def at(self, site: int) -> Dropout:
        """The same rate with draws of its own, for one place of the model."""
        return Dropout(self.rate, (self.seed * 1_000_003 + site) % 2**63)

    def drawn(self, count: int, device: torch.device) -> Tensor | None:
        """Positions among `count` features to drop, each dropped with probability `rate`, independently.

        Positions are drawn with repetition, as many as a Poisson variable says: then whether one is hit does not depend
        on the others, and the work grows with what is dropped, not with what there is.
        """
        if not self.rate:
            return None
        seeded = torch.Generator().manual_seed(self.seed)
        hits = int(torch.poisson(torch.tensor(-count * math.log1p(-self.rate), dtype=torch.double), generator=seeded))
        if device.type != "cpu":
            seeded = torch.Generator(device).manual_seed(self.seed)
        return torch.randint(count, (hits,), generator=seeded, device=device)


NONE_DROPPED = Dropout()


@dataclass(frozen=True)
class Projections:
    """Linear layers that read one input, each with a LoRA pair: y = W·x + b + scale · B·A·dropout(x).

    `down` holds each A (rank × inputs), `up` each B (outputs × rank), both in fp32; empty where adapters are off.
    """

    layers: Sequence[Frozen]
    down: Sequence[Tensor] = ()
    up: Sequence[Tensor] = ()
    scale: float = 1.0
    ranks: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ranks", tuple(len(a) for a in self.down))


def project(x: Tensor, projections: Projections, dropout: Dropout = NONE_DROPPED) -> tuple[Tensor, ...]:
    """What each of the projections makes of `x` (tokens × inputs); one draw of the dropout serves them all."""
    if not projections.down:
        return _Plain.apply(x, projections)
    return _Adapted.apply(x, projections, dropout, *projections.down, *projections.up)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """`x` over the root of its mean square along the last axis, times a frozen weight."""
    if x.is_cuda:
        return functional.rms_norm(x, (x.shape[-1],), weight.to(x.dtype), eps)
    return _RmsNorm.apply(x, weight.to(x.dtype), eps)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions of `x` (tokens × heads × size): its halves turned by an angle a token.

    cos and sin: tokens × 1 × size, as transformers' rotary embeddings give them; both halves alike.
    """
    return _Rotate.apply(x, cos, sin)


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) · up, of a SwiGLU layer."""
    return _Gated.apply(gate, up)


def target_losses(hidden: Tensor, head: Frozen, targets: Tensor, softcap: float | None = None) -> Tensor:
    """Negative log-likelihood of each target under the logits head·hidden (nats, fp32), the head frozen.

    Logits exist for a few rows at a time only, and become the gradient at once, as in fused linear cross-entropy.
    softcap: logits are bent to softcap·tanh(logits / softcap), as Gemma 2 does.
    """
    return _TargetLosses.apply(hidden, head, targets, softcap)


class _Plain(Function):
    """Frozen layers without adapters."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, projections: Projections) -> tuple[Tensor, ...]:
        ctx.projections = projections
        return tuple(_affine(x, layer) for layer in projections.layers)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        dx = None
        for grad, layer in zip(grads, ctx.projections.layers, strict=True):
            weight = layer.weight(grad.dtype)
            dx = torch.mm(grad, weight) if dx is None else dx.addmm_(grad, weight)
        return dx, None


class _Adapted(Function):
    """Frozen layers with their LoRA pairs, whose small matrices are put together where they read one input."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, projections: Projections, dropout: Dropout, *adapters: Tensor
    ) -> tuple[Tensor, ...]:
        count = len(projections.layers)
        down = torch.cat(adapters[:count]).to(x.dtype)
        up = [b.to(x.dtype) for b in adapters[count:]]
        dropped = dropout.drawn(x.numel(), x.device)
        scale = projections.scale / (1 - dropout.rate)
        read = _without(x, dropped)
        inner = torch.mm(read, down.T)
        outputs = []
        for layer, b, part in zip(projections.layers, up, inner.split(projections.ranks, dim=1), strict=True):
            outputs.append(_affine(x, layer).addmm_(part, b.T, alpha=scale))
        ctx.save_for_backward(read, inner, dropped, down, *up)
        ctx.projections, ctx.scale = projections, scale
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        read, inner, dropped, down, *up = ctx.saved_tensors
        layers, ranks, scale = ctx.projections.layers, ctx.projections.ranks, ctx.scale
        d_inner = torch.empty_like(inner)
        d_up = []
        parts = zip(grads, up, inner.split(ranks, dim=1), d_inner.split(ranks, dim=1), strict=True)
        for grad, b, part, d_part in parts:
            d_part.copy_(torch.mm(grad, b))
            d_up.append(torch.mm(grad.T, part).to(FLOAT).mul_(scale))
        d_inner.mul_(scale)
        d_down = torch.mm(d_inner.T, read).to(FLOAT).split(ranks)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = torch.mm(d_inner, down)
            if dropped is not None:
                dx.view(-1).index_fill_(0, dropped, 0)
            for grad, layer in zip(grads, layers, strict=True):
                dx.addmm_(grad, layer.weight(grad.dtype))
        return dx, None, None, *d_down, *d_up


class _RmsNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=FLOAT).square_().div_(x.shape[-1])
        inverse = mean_square.add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        return torch.mul(x, inverse.to(x.dtype)).mul_(weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        x, weight, inverse = ctx.saved_tensors
        dx = grad * weight
        along = (dx * x).sum(-1, keepdim=True, dtype=FLOAT).mul_(inverse.pow(3)).div_(-x.shape[-1])
        return dx.mul_(inverse.to(x.dtype)).addcmul_(x, along.to(x.dtype)), None, None


class _Rotate(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(grad, cos, sin, -1), None, None


class _Gated(Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        d_up = functional.silu(gate).mul_(grad)
        return torch.ops.aten.silu_backward(grad * up, gate), d_up


class _TargetLosses(Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Frozen, targets: Tensor, softcap: float | None) -> Tensor:
        weight = head.weight(hidden.dtype)
        losses = torch.empty(len(hidden), dtype=FLOAT, device=hidden.device)
        kept = torch.empty_like(hidden) if hidden.requires_grad else None
        rows = max(64, LOGITS_AT_ONCE // len(weight))
        for begin in range(0, len(hidden), rows):
            at = slice(begin, begin + rows)
            logits = torch.mm(hidden[at], weight.T)
            slope = None
            if softcap is not None:
                bent = logits.div_(softcap).tanh_()
                slope = 1 - bent.square()
                logits = bent.mul_(softcap)
            losses[at], surprise = _surprise(logits, targets[at])
            if kept is not None:
                surprise = surprise.to(hidden.dtype)
                torch.mm(surprise if slope is None else surprise.mul_(slope), weight, out=kept[at])
        ctx.save_for_backward(kept)
        return losses

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (kept,) = ctx.saved_tensors
        return kept * grad[:, None].to(kept.dtype), None, None, None


def _surprise(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of each row, and its gradient by the logits: what was thought likely, less what came; both in fp32."""
    likely = torch.softmax(logits, dim=-1, dtype=FLOAT)
    rows = torch.arange(len(targets), device=targets.device)
    came = likely[rows, targets]
    likely[rows, targets] = came - 1
    return -came.clamp_min(torch.finfo(FLOAT).tiny).log(), likely


def _affine(x: Tensor, layer: Frozen) -> Tensor:
    bias = layer.bias(x.dtype)
    weight = layer.weight(x.dtype)
    return torch.mm(x, weight.T) if bias is None else torch.addmm(bias, x, weight.T)


def _without(x: Tensor, dropped: Tensor | None) -> Tensor:
    if dropped is None:
        return x
    read = x.clone()
    read.view(-1).index_fill_(0, dropped, 0)
    return read


def _turned(x: Tensor, cos: Tensor, sin: Tensor, way: int) -> Tensor:
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    turned = x * cos
    turned[..., :half].addcmul_(second, sin[..., :half], value=-way)
    turned[..., half:].addcmul_(first, sin[..., half:], value=way)
    return turned
