"""Forms that members send, found by their id alone, so that one that is open while the bot restarts is not lost.

discord.py forgets its forms with the process. What is sent is therefore taken from the event of all interactions.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

import discord

from bot.door import Ask
from bot.errors import explain

Given: TypeAlias = Mapping[str, Sequence[str]]
"""What was chosen or written, by the id of its field."""
Act: TypeAlias = Callable[[Ask, re.Match[str], Given], Awaitable[None]]


async def receive(interaction: Ask, acts: Mapping[str, Act]) -> None:
    """Do what a form that was sent is for, by the pattern that its whole id matches; errors are told to its sender."""
    if interaction.type is not discord.InteractionType.modal_submit or interaction.data is None:
        return
    data: Mapping[str, Any] = {**interaction.data}
    for pattern, act in acts.items():
        if match := re.fullmatch(pattern, data.get("custom_id", "")):
            try:
                await act(interaction, match, given(data.get("components", ())))
            except Exception as error:  # noqa: BLE001 (explain logs what no one foresaw, with its traceback)
                await explain(interaction, error)
            return


def given(components: Sequence[Mapping[str, Any]]) -> Given:
    """What the fields of a form hold, each below its label."""
    fields = [label["component"] for label in components if "component" in label]
    return {
        field["custom_id"]: field["values"] if "values" in field else [field.get("value") or ""] for field in fields
    }
