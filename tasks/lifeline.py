"""Ends a process with the one that started it, also when that one was killed."""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1
# Loaded with the module, since a freshly forked child may only make system calls.
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def end_with(parent: int, signal_number: int) -> None:
    """Have the kernel send this process a signal when the thread that started it ends.

    Only Linux can; elsewhere this does nothing, and the caller needs another way, such as a pipe that closes.
    """
    if _libc is None:
        return
    _libc.prctl(_PR_SET_PDEATHSIG, signal_number)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal_number)
