"""How much main memory a process may still take: what the system has, within what its container is allowed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
OF_PROCESS = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")


def main_memory(meminfo: Path = MEMINFO, of_process: Path = OF_PROCESS, cgroups: Path = CGROUPS) -> tuple[int, int]:
    """(bytes that this process could still take, bytes that it could have in all).

    A limit of a control group counts where there is one (version 2; as Docker, systemd and Kubernetes set it). Where
    the system does not tell what is free, all of it counts as free.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free = _figures(meminfo).get("MemAvailable", total // 1024) * 1024
    for folder in _groups(of_process, cgroups):
        limit = _number(folder / "memory.max")
        if limit is None:
            continue
        # The files that a group has read count as its own, but make room as soon as it is needed.
        taken = (_number(folder / "memory.current") or 0) - _figures(folder / "memory.stat").get("inactive_file", 0)
        free, total = min(free, max(0, limit - taken)), min(total, limit)
    return free, total


def _groups(of_process: Path, cgroups: Path) -> Iterator[Path]:
    """The folders of the groups that this process is in, from the outermost: each may have a limit of its own."""
    yield cgroups
    told = of_process.read_text(encoding="ascii").splitlines() if of_process.is_file() else []
    inner = next((line.removeprefix("0::/") for line in told if line.startswith("0::/")), "")
    for part in Path(inner).parts:
        cgroups /= part
        yield cgroups


def _number(path: Path) -> int | None:
    """What a file says; None where there is none, or no limit."""
    text = path.read_text(encoding="ascii").strip() if path.is_file() else "max"
    return int(text) if text.isdigit() else None


def _figures(path: Path) -> dict[str, int]:
    """The named figures of a file, one on each line."""
    lines = path.read_text(encoding="ascii").splitlines() if path.is_file() else []
    found = (line.replace(":", " ").split() for line in lines)
    return {words[0]: int(words[1]) for words in found if len(words) > 1 and words[1].isdigit()}
