"""How it is told that no memory is left, by a card, by the processor's allocator, or by its kernels."""

from __future__ import annotations

import errno
import os

import torch

ALLOCATOR, NO_KERNEL = "DefaultCPUAllocator", "could not create a primitive"
"""What torch and oneDNN call themselves, or say, where they fail."""
SYSTEM = os.strerror(errno.ENOMEM)
SOME_MEMORY = 64 * 2**20


def out_of_memory(error: Exception) -> bool:
    """Whether that is a device's way, or the processor's, of saying that no memory is left."""
    said = any(word in str(error) for word in (ALLOCATOR, SYSTEM))
    if said or isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # oneDNN says the same of a shape that it does not know, so memory is asked for once more.
    return NO_KERNEL in str(error) and not _memory_left()


def _memory_left() -> bool:
    try:
        torch.empty(SOME_MEMORY, dtype=torch.uint8)
    except RuntimeError as error:
        return ALLOCATOR not in str(error)
    return True
