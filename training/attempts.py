"""An attempt at something that takes much memory and disk; where either runs out, that is told in plain words."""

from __future__ import annotations

import gc
import logging
import os
import re
from collections.abc import Callable
from typing import TypeVar

import torch
from safetensors import SafetensorError

from training.errors import DiskRefused, disk_refused
from training.out_of_memory import out_of_memory

log = logging.getLogger(__name__)
Made = TypeVar("Made")


def attempt(act: Callable[[], Made], job_id: str) -> Made | None:
    """What it makes, or None where it ran out of memory; what it held then is free again. Raises DiskRefused."""
    try:
        return act()
    except (RuntimeError, MemoryError, OSError, SafetensorError) as error:
        if isinstance(error, (OSError, SafetensorError)) and (refused := _refused_by_disk(error)):
            raise refused from error
        if not out_of_memory(error):
            raise
        log.warning("Job %s ran out of memory.", job_id, exc_info=True)
    # Out here the error no longer holds on to what was in memory.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def _refused_by_disk(error: OSError | SafetensorError) -> DiskRefused | None:
    """Where a run folder lies is nobody's business in a channel; safetensors tells the system's reason as text."""
    if isinstance(error, OSError):
        return disk_refused(error, "A file of the run's folder")
    told = re.search(r"os error (\d+)", str(error))
    return (
        disk_refused(OSError(int(told[1]), os.strerror(int(told[1]))), "A file of the run's folder") if told else None
    )
