"""Modals: what Discord checks in one that an app opens, and what a member's client checks in the answers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandbox import errors, limits
from sandbox.commands import Misused
from sandbox.components import Check, Kind, numbered
from sandbox.errors import Json, Path, Problems

logger = logging.getLogger(__name__)

AT_THE_TOP = (Kind.ROW, Kind.TEXT, Kind.LABEL)
IN_A_LABEL = (Kind.TEXT_INPUT, Kind.STRING_SELECT)
# Discord has these in a label too; the sandbox refuses them as not built, and says so in its log.
UNBUILT_IN_A_LABEL = (5, 6, 7, 8, 19, 21, 22, 23)
SHORT, PARAGRAPH = 1, 2


@dataclass(frozen=True)
class Field:
    """One question of a modal: its label, and the text input or string select below it."""

    label: str
    component: Json

    @property
    def custom_id(self) -> str:
        """What the answer is sent under."""
        return str(self.component["custom_id"])

    @property
    def required(self) -> bool:
        """Whether it must be answered, which is so unless the app says otherwise."""
        return self.component.get("required") is not False

    def untouched(self) -> str | list[str]:
        """The answer of somebody who leaves the field as it is shown."""
        if self.component["type"] == Kind.TEXT_INPUT:
            return self.component.get("value") or ""
        return [option["value"] for option in self.component["options"] if option.get("default")]


def fields(modal: Json) -> list[Field]:
    """A checked modal's questions, in order."""
    found = []
    for part in modal["components"]:
        if part["type"] == Kind.LABEL:
            found.append(Field(part["label"], part["component"]))
        elif part["type"] == Kind.ROW:
            found += [Field(child["label"], child) for child in part["components"]]
    return found


# --- what the app opens -----------------------------------------------------------------------------------------------


def check_modal(data: Json) -> Json:
    """Read the modal of an answer; raise 50035 where Discord would."""
    problems = Problems()
    problems.between(("data", "custom_id"), data.get("custom_id"), 1, limits.CUSTOM_ID)
    problems.between(("data", "title"), data.get("title"), 1, limits.MODAL_TITLE)
    _ModalCheck(problems, set()).modal(("data", "components"), data.get("components"))
    problems.refuse_if_any()
    return {"custom_id": data["custom_id"], "title": data["title"], "components": numbered(data["components"])}


class _ModalCheck(Check):
    """One pass over one modal's components."""

    def modal(self, path: Path, components: Any) -> None:
        """One to five rows with a text input, labels, and texts."""
        if not self._problems.between(path, components, 1, limits.MODAL_COMPONENTS):
            return
        for at, component in enumerate(components):
            if not self._typed((*path, at), component, AT_THE_TOP):
                continue
            if component["type"] == Kind.ROW:
                self._input_row((*path, at, "components"), component.get("components"))
            elif component["type"] == Kind.LABEL:
                self._label((*path, at), component)
            else:
                self._problems.between((*path, at, "content"), component.get("content"), 1, limits.V2_TEXT)

    def _input_row(self, path: Path, children: Any) -> None:
        if not self._problems.between(path, children, 1, 1):
            return
        if self._typed((*path, 0), children[0], (Kind.TEXT_INPUT,)):
            self._problems.between((*path, 0, "label"), children[0].get("label"), 1, limits.MODAL_LABEL)
            self._text_input((*path, 0), children[0])

    def _label(self, path: Path, label: Json) -> None:
        self._problems.between((*path, "label"), label.get("label"), 1, limits.MODAL_LABEL)
        if label.get("description") is not None:
            self._problems.between((*path, "description"), label["description"], 1, limits.MODAL_DESCRIPTION)
        component, place = label.get("component"), (*path, "component")
        if isinstance(component, dict) and component.get("type") in UNBUILT_IN_A_LABEL:
            logger.warning("A modal with a component of type %s was refused: not built.", component["type"])
            raise errors.unbuilt()
        if not self._typed(place, component, IN_A_LABEL):
            return
        assert isinstance(component, dict)
        if component["type"] == Kind.TEXT_INPUT:
            self._text_input(place, component)
        else:
            self._modal_select(place, component)

    def _text_input(self, path: Path, field: Json) -> None:
        self._custom_id(path, field)
        self._problems.choice((*path, "style"), field.get("style"), (SHORT, PARAGRAPH))
        self._problems.longer((*path, "placeholder"), field.get("placeholder"), limits.INPUT_PLACEHOLDER)
        self._problems.longer((*path, "value"), field.get("value"), limits.INPUT_TEXT)
        least, most = self._lengths(path, field)
        if least > most:
            message = f"int value should be less than or equal to {most}."
            self._problems.add((*path, "min_length"), "NUMBER_TYPE_MAX", message)

    def _lengths(self, path: Path, field: Json) -> tuple[int, int]:
        bounds = []
        for key, lowest, unsaid in (("min_length", 0, 0), ("max_length", 1, limits.INPUT_TEXT)):
            value = field.get(key)
            value = unsaid if value is None else value
            if not isinstance(value, int) or not lowest <= value <= limits.INPUT_TEXT:
                message = f"int value should be between {lowest} and {limits.INPUT_TEXT}."
                self._problems.add((*path, key), "NUMBER_TYPE_MAX", message)
                value = unsaid
            bounds.append(value)
        return bounds[0], bounds[1]

    def _modal_select(self, path: Path, select: Json) -> None:
        self._select(path, select)
        self._problems.choice((*path, "disabled"), select.get("disabled") or False, (False,))


# --- what the member answers ------------------------------------------------------------------------------------------


def filled(modal: Json, values: Mapping[str, Any]) -> Json:
    """The data of a submitted modal, with the values by custom id; raise Misused where a client would not send it."""
    unknown = values.keys() - {field.custom_id for field in fields(modal)}
    if unknown:
        raise Misused(f"The form has no field {min(unknown)}.")
    answers = {field.custom_id: _answered(field, values.get(field.custom_id)) for field in fields(modal)}
    components = [_submitted(part, answers) for part in modal["components"]]
    return {"custom_id": modal["custom_id"], "components": components}


def _submitted(part: Json, answers: Mapping[str, Json]) -> Json:
    wire: Json = {"type": part["type"], "id": part["id"]}
    if part["type"] == Kind.LABEL:
        wire["component"] = answers[part["component"]["custom_id"]]
    elif part["type"] == Kind.ROW:
        wire["components"] = [answers[child["custom_id"]] for child in part["components"]]
    return wire


def _answered(field: Field, value: Any) -> Json:
    component = field.component
    wire: Json = {"type": component["type"], "id": component["id"], "custom_id": field.custom_id}
    if component["type"] == Kind.TEXT_INPUT:
        return wire | {"value": _written(field, "" if value is None else str(value))}
    chosen = [] if value is None else [value] if isinstance(value, str) else list(value)
    if chosen or field.required:
        check_choice(component, chosen, field.label)
    return wire | {"values": chosen}


def _written(field: Field, text: str) -> str:
    if not text.strip():
        if field.required:
            raise Misused(f"{field.label} is required.")
        return text
    least = field.component.get("min_length") or 0
    most = field.component.get("max_length") or limits.INPUT_TEXT
    if not least <= len(text) <= most:
        raise Misused(f"{field.label} must be {least:,} to {most:,} characters long; this is {len(text):,}.")
    return text


def check_choice(select: Json, chosen: list[str], called: str) -> None:
    """Raise Misused unless these values can be chosen together in a string select."""
    offered = {option["value"] for option in select["options"]}
    if any(value not in offered for value in chosen) or len(set(chosen)) < len(chosen):
        raise Misused(f"{called} must be of the list, each once.")
    # A bound may be 0, or there as null.
    least = 1 if select.get("min_values") is None else select["min_values"]
    most = 1 if select.get("max_values") is None else select["max_values"]
    if not least <= len(chosen) <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}"
        raise Misused(f"{called} takes {wanted} of the list; {len(chosen)} are chosen.")
