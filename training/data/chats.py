"""Formats whose rows are whole chats: our own, OpenAI's `messages`, ShareGPT, UltraChat, and character cards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import orjson

from training.data.canonical import NO_TURNS, Dropped, Role, Tally, Turn
from training.data.reading import Draft, Reading, convert_rows
from training.schema import Conversation

if TYPE_CHECKING:
    from training.data.files import Row

TOOL_CALLS = "tool calls"
NEEDS_MEDIA = "needs media"
UNKNOWN_ROLE = "unknown role"
NOT_TEXT = "a turn that is not text"
NO_WEIGHT = "no turn to learn from"
WEIGHTS_AWRY = "weights on turns that do not alternate"
NO_EXAMPLES = "no example dialogues"

_ROLES: dict[str, Role | Literal["tool"]] = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard", "bot", "model", "ai"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("tool", "function", "function_call", "function_response", "observation", "ipython"), "tool"),
    **dict.fromkeys(("tool_call", "tool_calls", "tool_response"), "tool"),
}
_TEXT_PARTS = ("text", "input_text", "output_text")
_TOOL_PARTS = ("tool_call", "tool_calls", "tool_use", "tool_result", "function_call", "tools")
_MEDIA_PARTS = ("image", "image_url", "input_image", "audio", "input_audio", "video", "video_url", "file", "input_file")
_MEDIA_COLUMNS = ("images", "image", "videos", "audios")


# --- formats -------------------------------------------------------------------------------------------------------


def convert_messages(rows: Iterator[Row], reading: Reading, tally: Tally) -> Iterator[Conversation]:
    """Rows `{"messages": [{"role", "content"}]}`, OpenAI's fine-tuning files among them.

    A turn's weight of 0 goes into the conversation's meta as `weights`, one figure for each assistant turn; speakers'
    names are left out.
    """
    return convert_rows(rows, reading, tally, _from_messages)


def convert_canonical(rows: Iterator[Row], reading: Reading, tally: Tally) -> Iterator[Conversation]:
    """Rows of our own, which keep their id, source, licence, language and meta."""
    return convert_rows(rows, reading, tally, _from_canonical)


def convert_sharegpt(rows: Iterator[Row], reading: Reading, tally: Tally) -> Iterator[Conversation]:
    """Rows `{"conversations": [{"from", "value"}]}`."""
    return convert_rows(rows, reading, tally, _from_sharegpt)


def convert_ultrachat(rows: Iterator[Row], reading: Reading, tally: Tally) -> Iterator[Conversation]:
    """Rows `{"id", "data": [text, …]}`, the user first."""
    return convert_rows(rows, reading, tally, _from_ultrachat)


def convert_cards(rows: Iterator[Row], reading: Reading, tally: Tally) -> Iterator[Conversation]:
    """The example dialogues of character cards, each under the card's own system turn. Raises UnreadableCard."""
    return convert_rows(rows, reading, tally, lambda value: _from_card(value, reading.source))


# --- rows ----------------------------------------------------------------------------------------------------------


def turns_of(messages: object) -> list[Turn] | Dropped:
    """The turns of a list of messages, whichever of the common names their fields and roles have."""
    if messages is None:
        return Dropped(NO_TURNS)
    if not isinstance(messages, list):
        return Dropped(NOT_TEXT)
    turns: list[Turn] = []
    for message in messages:
        turn = _turn(message)
        if isinstance(turn, Dropped):
            return turn
        turns.append(turn)
    return turns


def has_media(value: dict[str, Any]) -> bool:
    """Whether a row brings pictures or recordings, which its text is about."""
    return any(value.get(column) for column in _MEDIA_COLUMNS)


def language_in(value: dict[str, Any]) -> object:
    """What a row says of its language."""
    return value.get("lang") or value.get("language")


def _from_messages(value: dict[str, Any]) -> Sequence[Draft] | Dropped:
    return _chat(value, value.get("messages"), value.get("id", value.get("prompt_id")))


def _from_sharegpt(value: dict[str, Any]) -> Sequence[Draft] | Dropped:
    return _chat(value, value.get("conversations"), value.get("id"))


def _from_canonical(value: dict[str, Any]) -> Sequence[Draft] | Dropped:
    turns = turns_of(value.get("messages"))
    if isinstance(turns, Dropped):
        return turns
    source, license = value.get("source"), value.get("license")
    return [
        Draft(
            turns,
            value.get("id"),
            value.get("lang"),
            source=source if isinstance(source, str) else "",
            license=license if isinstance(license, str) else "",
            meta=_meta(value.get("meta")),
        )
    ]


def _from_ultrachat(value: dict[str, Any]) -> Sequence[Draft] | Dropped:
    data = value.get("data")
    if data is None:
        return Dropped(NO_TURNS)
    if not isinstance(data, list) or not all(text is None or isinstance(text, str) for text in data):
        return Dropped(NOT_TEXT)
    turns: list[Turn] = [("assistant" if place % 2 else "user", text or "") for place, text in enumerate(data)]
    return [Draft(turns, value.get("id"), language_in(value))]


def _from_card(value: dict[str, Any], name: str) -> Sequence[Draft] | Dropped:
    from training.persona.card import persona_from_card

    persona = persona_from_card(value, name=name)
    head: list[Turn] = [("system", persona.system_card())]
    drafts = [
        Draft(head + [(message.role, message.content) for message in example], meta={"persona": persona.slug})
        for example in persona.examples
    ]
    return drafts or Dropped(NO_EXAMPLES)


def _chat(value: dict[str, Any], messages: object, own_id: object) -> Sequence[Draft] | Dropped:
    if has_media(value):
        return Dropped(NEEDS_MEDIA)
    turns = turns_of(messages)
    if isinstance(turns, Dropped):
        return turns
    weights = _weights(messages, turns)
    if isinstance(weights, Dropped):
        return weights
    system = value.get("system")
    if isinstance(system, str):
        turns = [("system", system), *turns]
    return [Draft(turns, own_id, language_in(value), meta={"weights": weights} if weights else {})]


# --- turns ---------------------------------------------------------------------------------------------------------


def _turn(message: object) -> Turn | Dropped:
    if not isinstance(message, dict):
        return Dropped(NOT_TEXT)
    if message.get("tool_calls") or message.get("function_call"):
        return Dropped(TOOL_CALLS)
    name = message.get("role") or message.get("from")
    role = _ROLES.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        return Dropped(UNKNOWN_ROLE)
    if role == "tool":
        return Dropped(TOOL_CALLS)
    text = _text(_first(message, "content", "value"))
    return text if isinstance(text, Dropped) else (role, text)


def _text(content: object) -> str | Dropped:
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if not isinstance(content, list):
        return Dropped(NOT_TEXT)
    parts = [_part(part) for part in content]
    refused = next((part for part in parts if isinstance(part, Dropped)), None)
    return refused or "\n".join(part for part in parts if isinstance(part, str) and part.strip())


def _part(part: object) -> str | Dropped:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        return Dropped(NOT_TEXT)
    kind = part.get("type") or "text"
    if kind in _TOOL_PARTS:
        return Dropped(TOOL_CALLS)
    if kind in _MEDIA_PARTS:
        return Dropped(NEEDS_MEDIA)
    text = _first(part, "text", "value")
    return text if kind in _TEXT_PARTS and isinstance(text, str) else Dropped(NOT_TEXT)


def _first(value: dict[str, Any], one: str, other: str) -> object:
    """The field of either name; tables give a row every column, so the one not meant is there and null."""
    found = value.get(one)
    return value.get(other) if found is None else found


def _weights(messages: object, turns: list[Turn]) -> str | Dropped:
    """The weights of the assistant turns, "0,1"; empty where all count in full."""
    assert isinstance(messages, list)
    if not any("weight" in message or "loss_weight" in message for message in messages):
        return ""
    spoken = [
        (role, _first(message, "weight", "loss_weight") != 0)
        for message, (role, text) in zip(messages, turns, strict=True)
        if role != "system" and text.strip()
    ]
    learnt = [counts for role, counts in spoken if role == "assistant"]
    if all(learnt):
        return ""
    if not any(learnt):
        return Dropped(NO_WEIGHT)
    if any(role != ("assistant" if place % 2 else "user") for place, (role, _) in enumerate(spoken)):
        return Dropped(WEIGHTS_AWRY)
    return ",".join(str(int(counts)) for counts in learnt)


# --- the rest of a row ---------------------------------------------------------------------------------------------


def _meta(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {
        str(key): item if isinstance(item, str) else orjson.dumps(item, default=str).decode()
        for key, item in value.items()
        if item is not None
    }
