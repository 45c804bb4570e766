"""The child process of one training: `python -m tasks.trainer`."""

from __future__ import annotations

from tasks import child


def load() -> child.Finetune:
    """The training pipeline; torch comes with it, so this waits until the GPU's lock is held."""
    from training.pipeline import finetune

    return finetune


if __name__ == "__main__":
    child.run(load)
