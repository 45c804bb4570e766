"""The child process of one training or one check: `python -m tasks.trainer`."""

from __future__ import annotations

from tasks import child


def load_finetune() -> child.Finetune:
    """The training pipeline; torch comes with it, so this waits until the GPU's lock is held."""
    from training.pipeline import finetune

    return finetune


def load_check() -> child.Check:
    """The check of an adapter, which brings torch as well."""
    from training.evaluation.check import check

    return check


if __name__ == "__main__":
    child.run(load_finetune, load_check)
