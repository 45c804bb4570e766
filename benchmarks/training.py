"""How fast an adapter learns, beside the guide's script, TRL and LLaMA-Factory on the same model and dialogues.

    .venv/bin/python -m benchmarks.training [--only NAME…] [--seconds 40] [--json PATH] [--peers DIR] [--workload DIR]
    .venv/bin/python -m benchmarks.training --profile

Makes the workload (`benchmarks.peers.workload`) in a temporary folder, or takes the one in DIR, and lets each trainer
learn on it in a process of its own, one after the other, one thread each, for so many CPU-seconds of training. Prints
the table of `benchmarks/README.md` and which goals hold. LLaMA-Factory gets an environment of its own below `--peers`,
made by pip where there is none; the others run in this one. `--profile`: how long steps wait for data and checkpoints.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.peers.meter import Measured
from benchmarks.peers.settings import RATE
from benchmarks.peers.workload import LAST

ROOT = Path(__file__).resolve().parents[1]
PEERS = Path.home() / ".cache" / "understudy" / "peers"
PACKAGES = {"llamafactory_sft": ("torch==2.13.0", "llamafactory==0.9.5"), "unsloth_sft": ("unsloth",)}
"""What the peers need that get an environment of their own."""
UNUSED = ("torchvision", "torchaudio")
"""Pictures and sound, of which a registry's builds may want a card's libraries."""
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}


class Failed(Exception):
    """A process ended with an error."""


@dataclass(frozen=True)
class Trainer:
    """One row of the table: a module of `benchmarks.peers` and what it is asked for."""

    title: str
    module: str
    mode: str = "default"
    card: bool = False


TRAINERS = {
    "guide": Trainer("the guide's script", "guide"),
    "trl": Trainer("TRL, as it comes", "trl_sft"),
    "trl-no-checkpointing": Trainer("TRL, answers only, no checkpointing", "trl_sft", "no-checkpointing"),
    "trl-packing": Trainer("the same, bf16 base, packing", "trl_sft", "packing"),
    "trl-padding-free": Trainer("the same, bf16 base, padding-free", "trl_sft", "padding-free"),
    "trl-grouped": Trainer("the same, bf16 base, grouped by length", "trl_sft", "grouped"),
    "llamafactory": Trainer("LLaMA-Factory, as it comes", "llamafactory_sft"),
    "llamafactory-packed": Trainer("LLaMA-Factory, neat packing", "llamafactory_sft", "packed"),
    "ours": Trainer("Understudy", "ours"),
    "ours-lean": Trainer("Understudy, lean: 1,024 tokens at once, checkpointing", "ours", "lean"),
    "guide-card": Trainer("the guide's script", "guide", card=True),
    "ours-unshared-card": Trainer("Understudy, the card read for each dialogue", "ours", "unshared", card=True),
    "ours-card": Trainer("Understudy, the card shared", "ours", card=True),
}
TUNED = ("trl-no-checkpointing", "trl-packing", "trl-padding-free", "trl-grouped", "llamafactory-packed")


@dataclass(frozen=True)
class Figures:
    """What one trainer made of its time."""

    found: Measured

    @property
    def rate(self) -> float:
        """Assistant tokens per CPU-second."""
        return self.found.useful_tokens / self.found.seconds

    @property
    def loss(self) -> float:
        """Nats per assistant token held out, at the end."""
        return self.found.curve[-1][1]

    @property
    def padding(self) -> float:
        """The share of what went through the model that was padding."""
        return 1 - self.found.tokens / self.found.padded_tokens

    def seconds_to(self, loss: float) -> float | None:
        """CPU-seconds until the held-out loss was there, in a line between two looks; None: it never was."""
        curve = self.found.curve
        if curve[0][1] <= loss:
            return 0.0
        for (since, before), (until, after) in pairwise(curve):
            if after <= loss:
                return since + (until - since) * min(1.0, (before - loss) / (before - after))
        return None

    def loss_at(self, seconds: float) -> float:
        """The held-out loss at the last look before so many CPU-seconds had passed."""
        return [loss for since, loss in self.found.curve if since <= seconds][-1]


Found = Mapping[str, Figures]
RATIOS: tuple[tuple[float, str, tuple[str, ...]], ...] = (
    (8, "ours", ("guide",)),
    (6.5, "ours", ("trl",)),
    (4.5, "ours", ("llamafactory",)),
    (2.8, "ours", ("llamafactory-packed",)),
    (1.9, "ours", TUNED),
    (20, "ours-card", ("guide-card",)),
    (3.5, "ours-card", ("ours-unshared-card",)),
    (4, "ours-lean", ("guide",)),
)
"""Goals: so many times the useful tokens per CPU-second of the best of these."""


# --- running -------------------------------------------------------------------------------------------------------


@contextmanager
def workload(given: Path | None) -> Iterator[Path]:
    """The folder with the workload, made now unless `given` holds one."""
    with tempfile.TemporaryDirectory(prefix="understudy-benchmark-") as temporary:
        folder = given or Path(temporary)
        if not (folder / LAST).exists():
            begun = time.monotonic()
            print("Making the workload …", end=" ", flush=True)
            _call([sys.executable, "-m", "benchmarks.peers.workload", str(folder)])
            print(f"{time.monotonic() - begun:.0f} s", flush=True)
        yield folder


def environment(module: str, peers: Path) -> Path:
    """The Python that a peer runs in; where it needs its own, pip makes that once, as pip's own settings say."""
    if module not in PACKAGES:
        return Path(sys.executable)
    folder = peers / module
    python, complete = folder / "bin" / "python", folder / "complete"
    if not complete.exists():
        print(f"Installing {' '.join(PACKAGES[module])} in {folder} …", file=sys.stderr, flush=True)
        _call([sys.executable, "-m", "venv", str(folder)])
        _call([str(python), "-m", "pip", "install", *PACKAGES[module]])
        if module == "llamafactory_sft":
            _call([str(python), "-m", "pip", "uninstall", "--yes", *UNUSED])
        complete.touch()
    return python


def run(trainer: Trainer, folder: Path, seconds: float, peers: Path, *more: str) -> dict[str, Any]:
    """Let one trainer learn in a process of its own; what it left. Raises Failed."""
    python = environment(trainer.module, peers)
    with tempfile.TemporaryDirectory(prefix="understudy-benchmark-") as scratch:
        out = Path(scratch) / "found.json"
        given = [str(folder), str(out), "--mode", trainer.mode, "--seconds", str(seconds)]
        card = ["--card"] if trainer.card else []
        _call([str(python), "-m", f"benchmarks.peers.{trainer.module}", *given, *card, *more], TMPDIR=scratch)
        left: dict[str, Any] = json.loads(out.read_text())
        return left


def _call(command: list[str], **environ: str) -> None:
    """Run it without a word; raises Failed with its last lines."""
    whole = {**os.environ, **ONE_THREAD, **environ}
    done = subprocess.run(command, cwd=ROOT, env=whole, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")


def compare(names: Sequence[str], folder: Path, given: argparse.Namespace) -> Found:
    """Run these trainers one after the other, and print a row for each as soon as it is there."""
    found: dict[str, Figures] = {}
    print(HEADER, flush=True)
    for name in names:
        trainer = TRAINERS[name]
        try:
            told = run(trainer, folder, given.seconds, given.peers, "--rate", str(given.rate))
        except Failed as error:
            print(failed(trainer, error), flush=True)
            continue
        found[name] = Figures(Measured(**told))
        print(line(trainer, found[name], found.get("guide-card" if trainer.card else "guide")), flush=True)
    return found


# --- telling -------------------------------------------------------------------------------------------------------

HEADER = (
    "| Trainer | Card | Steps | Useful tok/CPU-s | × guide | CPU-s to the guide's loss | × sooner | Held-out loss"
    " | End-of-turn NLL | Added MB | Padding |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


def line(trainer: Trainer, figures: Figures, guide: Figures | None) -> str:
    """The figures as a row of a table."""
    found = figures.found
    until = figures.seconds_to(guide.loss) if guide else None
    took = guide.seconds_to(guide.loss) if guide else None
    cells = (
        trainer.title,
        "400" if trainer.card else "none",
        found.steps,
        f"{figures.rate:,.0f}",
        f"{figures.rate / guide.rate:.2f}" if guide else "",
        "never" if until is None else f"{until:.1f}",
        f"{took / until:.2f}" if took and until else "",
        f"{found.curve[0][1]:.2f} → {figures.loss:.3f}",
        f"{found.ends[0]:.2f} → {found.ends[-1]:.2f}",
        f"{found.peak_mib * 2**20 / 1e6:,.0f}",
        f"{figures.padding:.0%}",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def failed(trainer: Trainer, error: Failed) -> str:
    """A row that tells what a process ended with."""
    last = str(error).strip().splitlines()[-1].replace("|", "/")
    return f"| {trainer.title} | {'400' if trainer.card else 'none'} | {last} |"


def verdicts(found: Found) -> Iterator[str]:
    """Which of the goals hold, of those whose trainers have run."""
    for wanted, fast, slow in RATIOS:
        slow_ones = [name for name in slow if name in found]
        if fast in found and len(slow_ones) == len(slow):
            best = max(slow_ones, key=lambda name: found[name].rate)
            ratio = found[fast].rate / found[best].rate
            yield verdict(ratio >= wanted, f"{fast} ≥ {wanted}× {best} in useful tokens per CPU-second: {ratio:.2f}")
    if "ours" not in found:
        return
    ours = found["ours"]
    if "guide" in found:
        loss = found["guide"].loss
        until, took = ours.seconds_to(loss), found["guide"].seconds_to(loss)
        sooner = took / until if took and until else 0.0
        yield verdict(sooner >= 10, f"ours at the guide's held-out loss ≥ 10× sooner: {sooner:.1f}")
    end = ours.found.ends[-1]
    yield verdict(end <= 1.7, f"end-of-turn NLL of ours ≤ 1.7: {end:.2f}")
    for name, peer in found.items():
        if TRAINERS[name].module != "ours" and not TRAINERS[name].card:
            here = ours.loss_at(peer.found.seconds)
            yield verdict(here <= peer.loss, f"held-out loss no worse than that of {name}: {here:.3f}, {peer.loss:.3f}")
    if "ours-lean" in found:
        added = found["ours-lean"].found.peak_mib * 2**20 / 1e6
        yield verdict(added <= 450, f"ours-lean adds ≤ 450 MB: {added:.0f}")


def verdict(holds: bool, what: str) -> str:
    """A goal, and whether it is reached."""
    return f"- {'yes' if holds else 'NO'}: {what}"


def profile(folder: Path) -> None:
    """Print how long steps of a real run wait for their rows and for checkpoints."""
    told = run(Trainer("", "ours", "profile"), folder, 0.0, PEERS)
    waited = told["data"] + told["checkpoints"]
    print(
        f"{told['steps']} steps and {told['checkpoints_written']} checkpoints in {told['seconds']:.1f} s: "
        f"{told['data'] / told['seconds']:.2%} of it chose rows and laid them out, "
        f"{told['checkpoints'] / told['seconds']:.2%} waited for checkpoints."
    )
    print(verdict(waited < 0.02 * told["seconds"], "together below 2 %"))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=TRAINERS, default=list(TRAINERS), metavar="NAME")
    parser.add_argument("--seconds", type=float, default=40.0, help="CPU-seconds of training for each.")
    parser.add_argument("--rate", type=float, default=RATE, help="The learning rate of all.")
    parser.add_argument("--json", type=Path, help="Where to write all figures, the curves too.")
    parser.add_argument("--peers", type=Path, default=PEERS, help="Where environments of peers are made and kept.")
    parser.add_argument("--workload", type=Path, help="A folder that keeps the workload for another run.")
    parser.add_argument("--profile", action="store_true", help="Show instead what steps wait for.")
    given = parser.parse_args()
    with workload(given.workload) as folder:
        if given.profile:
            profile(folder)
            return
        found = compare(given.only, folder, given)
    print("\n" + "\n".join(verdicts(found)))
    if given.json:
        given.json.write_text(json.dumps({name: asdict(figures.found) for name, figures in found.items()}, indent=1))
    if len(found) < len(given.only):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
