"""What must hold on a CUDA card beyond speed: `python -m benchmarks.gpu_checks`, with `--rehearse` on a CPU.

A run that was stopped and gone on with ends as the undisturbed one does: bit for bit on a CPU, on a card, whose kernels
add up in no fixed order, within the tolerances below. And our loss over the targets is that of liger-kernel's fused
linear cross-entropy, where that package is installed; else that of torch's own.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.memory import PER_STEP, SEED, Configuration, save_model, texts
from benchmarks.training import verdict
from training import models, sft
from training.course import Course, Stage
from training.decoder.kernels import target_losses
from training.errors import RunStopped
from training.loop import Hooks, fit
from training.schema import Hyperparameters, Workspace

ON_CARD = Configuration("1B Llama, nf4", "llama", (2048, 8192, 16, 32, 8, 128256), 4096, quantised=True)
ON_CPU = Configuration("10M Llama", "llama", (320, 864, 6, 5, 5, 8192), 1024, examples=96)
STRAY, LOSS_OFF = 0.05, 0.005
"""Of the way that training moved an adapter, so much may a resumed one lie beside the undisturbed one on a card; and
so many nats per assistant token its held-out loss."""
LOGITS = (4096, 2048, 128256)
SMALL_LOGITS = (256, 64, 1000)
"""Targets, features and words of the loss that is compared."""

Losses = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


# --- resuming ------------------------------------------------------------------------------------------------------


def trained(base: Path, run_dir: Path, of: Configuration, hooks: Hooks = Hooks()) -> tuple[float, torch.Tensor, float]:
    """(held-out loss, adapter as one vector, how far training moved it) after training from where the folder stands."""
    workspace = Workspace(artifact_root=base, dataset_warehouse=base, cache_dir=base)
    loaded = models.load(models.Base(id="random"), str(base), workspace, quantised=of.quantised)
    rows, held_out = texts(of)[:-PER_STEP], texts(of)[-PER_STEP:]
    knobs = Hyperparameters(learning_rate=1e-3)
    trainee = sft.setup(loaded, knobs, Course((Stage(rows, 1, PER_STEP),), 1e-3, knobs.warmup_ratio, SEED))
    answers = sft.Answers(loaded, trainee.decoder, held_out, of.tokens)
    run_dir.mkdir(exist_ok=True)
    begun = _vector(trainee)
    fit(trainee, answers, run_dir=run_dir, key="benchmark", hooks=hooks)
    ended = _vector(trainee)
    return answers.held_out_loss(), ended, float((ended - begun).norm())


def _vector(trainee: sft.Trainee[Any]) -> torch.Tensor:
    return torch.cat([weight.detach().flatten().cpu() for weight in trainee.weights().values()])


def resume(of: Configuration, *, exact: bool) -> str:
    """Whether a run that was stopped halfway ends as the undisturbed one."""
    half = (of.examples // PER_STEP - 1) // 2
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        save_model(of, base)
        loss, adapter, moved = trained(base, base / "undisturbed", of)
        seen = [0]

        def stop() -> bool:
            seen[0] += 1
            return seen[0] == half

        try:
            trained(base, base / "stopped", of, Hooks(should_stop=stop))
        except RunStopped as stopped:
            print(f"{stopped} It goes on.", flush=True)
        loss_after, again, _ = trained(base, base / "stopped", of)
    stray, off = float((again - adapter).norm()) / moved, abs(loss_after - loss)
    holds = stray == 0 if exact else stray <= STRAY and off <= LOSS_OFF
    wanted = "bit for bit" if exact else f"within {STRAY:.0%} of its way and {LOSS_OFF} nats"
    return verdict(holds, f"a resumed run ends as the undisturbed one, {wanted}: {stray:.2%}, {off:.4f} nats")


# --- the loss ------------------------------------------------------------------------------------------------------


class _Head:
    """A frozen head, as the loss takes it."""

    def __init__(self, weight: torch.Tensor) -> None:
        self._weight = weight

    def weight(self, dtype: torch.dtype) -> torch.Tensor:
        return self._weight.to(dtype)

    def bias(self, dtype: torch.dtype) -> torch.Tensor | None:
        return None


def ours(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The loss that training uses."""
    return target_losses(hidden, _Head(weight), targets).sum()


def theirs(where: torch.device) -> tuple[str, Losses]:
    """(name, summed loss) of what ours is compared with."""
    if where.type == "cuda" and importlib.util.find_spec("liger_kernel"):
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

        fused = LigerFusedLinearCrossEntropyLoss(reduction="sum")
        return "liger-kernel's", lambda hidden, weight, targets: fused(weight, hidden, targets)
    plain = torch.nn.functional.cross_entropy
    return "torch's", lambda hidden, weight, targets: plain((hidden @ weight.T).float(), targets, reduction="sum")


def losses_compared(sizes: tuple[int, int, int], where: torch.device) -> str:
    """Whether our loss and its gradient are those of a library's kernel; on a card, what both take is printed."""
    count, features, words = sizes
    torch.manual_seed(SEED)
    dtype = torch.bfloat16 if where.type == "cuda" else torch.float32
    hidden = torch.randn(count, features, device=where, dtype=dtype)
    weight = torch.randn(words, features, device=where, dtype=dtype).mul_(features**-0.5)
    targets = torch.randint(words, (count,), device=where)
    name, other = theirs(where)
    (loss, slope), (wanted, expected) = (_timed(how, hidden, weight, targets) for how in (ours, other))
    off, apart = abs(loss / wanted - 1), float((slope - expected).norm() / expected.norm())
    return verdict(off < 1e-3 and apart < 0.02, f"our loss is {name}: {off:.1e} off, its gradient {apart:.1e}")


def _timed(
    how: Losses, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
) -> tuple[float, torch.Tensor]:
    """(loss, its gradient by what the head reads)."""
    for _ in range(2):  # the first one waits for kernels to be made
        given = hidden.clone().requires_grad_()
        if given.is_cuda:
            torch.cuda.reset_peak_memory_stats()
        before, begun = torch.cuda.memory_allocated() if given.is_cuda else 0, time.perf_counter()
        loss = how(given, weight, targets)
        loss.backward()
        told = float(loss)
    if given.is_cuda:
        peak = (torch.cuda.max_memory_allocated() - before) / 2**20
        print(f"{(time.perf_counter() - begun) * 1e3:.1f} ms, {peak:,.0f} MiB", flush=True)
    assert given.grad is not None
    return told, given.grad.float()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rehearse", action="store_true", help="The same on the CPU, with a small model.")
    given = parser.parse_args()
    where = models.device()
    if where.type == "cpu" and not given.rehearse:
        raise SystemExit("There is no CUDA card here; --rehearse runs the same on the CPU with a small model.")
    print(losses_compared(SMALL_LOGITS if given.rehearse else LOGITS, where), flush=True)
    print(resume(ON_CPU if given.rehearse else ON_CARD, exact=where.type == "cpu"))


if __name__ == "__main__":
    main()
