"""Where the files lie that ship with Understudy, and those of one guild."""

from __future__ import annotations

from pathlib import Path

from training.schema import Workspace

TERMINAL = "terminal"
"""The guild of everything done from a terminal; Discord's have numbers for ids, and the REST door's is another."""
SHIPPED = Path(__file__).resolve().parents[1]


def guild_folder(workspace: Workspace, guild_id: str) -> Path:
    """The folder of everything one guild made; no other guild may read it."""
    return workspace.artifact_root / "guilds" / guild_id
