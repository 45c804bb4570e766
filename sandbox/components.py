"""What Discord checks in a message's components: rows, buttons, selects, and the components of version 2."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Any
from urllib.parse import urlsplit

from sandbox import limits
from sandbox.errors import Json, Path, Problems


class Kind(IntEnum):
    """Discord's component types that the sandbox knows."""

    ROW = 1
    BUTTON = 2
    STRING_SELECT = 3
    TEXT_INPUT = 4
    USER_SELECT = 5
    ROLE_SELECT = 6
    MENTIONABLE_SELECT = 7
    CHANNEL_SELECT = 8
    SECTION = 9
    TEXT = 10
    THUMBNAIL = 11
    GALLERY = 12
    FILE = 13
    SEPARATOR = 14
    CONTAINER = 17
    LABEL = 18


SELECTS = (
    Kind.STRING_SELECT,
    Kind.USER_SELECT,
    Kind.ROLE_SELECT,
    Kind.MENTIONABLE_SELECT,
    Kind.CHANNEL_SELECT,
)
IN_CONTAINER = (Kind.ROW, Kind.SECTION, Kind.TEXT, Kind.GALLERY, Kind.FILE, Kind.SEPARATOR)
TOP_V2 = (*IN_CONTAINER, Kind.CONTAINER)
# Where a component holds another one that is not in a list: of a section, and of a modal's label.
SINGLE = ("accessory", "component")
LINK = 5
PREMIUM = 6


def walk(components: list[Json]) -> Iterator[Json]:
    """Every component of a tree, parents first."""
    for component in components:
        yield component
        yield from walk(component.get("components") or [])
        yield from (component[key] for key in SINGLE if component.get(key))


def numbered(components: list[Json]) -> list[Json]:
    """A copy in which every component has an id, as Discord sends it back."""
    taken = {component["id"] for component in walk(components) if component.get("id")}
    free = (number for number in range(1, 10_000) if number not in taken)

    def copy(component: Json) -> Json:
        made = {**component, "id": component.get("id") or next(free)}
        if component.get("components"):
            made["components"] = [copy(child) for child in component["components"]]
        return made | {key: copy(component[key]) for key in SINGLE if component.get(key)}

    return [copy(component) for component in components]


class Check:
    """One pass over one message's components, noting all that Discord would refuse."""

    def __init__(self, problems: Problems, files: set[str]) -> None:
        self._problems = problems
        self._files = files
        self._custom_ids: set[str] = set()

    def legacy(self, path: Path, components: list[Json]) -> None:
        """Up to five rows of buttons or one select each."""
        if len(components) > limits.ROWS:
            self._problems.add(path, "BASE_TYPE_MAX_LENGTH", f"Must be {limits.ROWS} or fewer in length.")
        for at, component in enumerate(components):
            if self._typed((*path, at), component, (Kind.ROW,)):
                self._row((*path, at), component)

    def version_2(self, path: Path, components: list[Json]) -> None:
        """A tree of layout and content components, 40 in all."""
        if not components:
            self._problems.required(path)
        for at, component in enumerate(components):
            self._layout((*path, at), component, TOP_V2)
        everything = [component for component in walk(components) if isinstance(component, dict)]
        if len(everything) > limits.V2_COMPONENTS:
            most = limits.V2_COMPONENTS
            self._problems.add(path, "COMPONENT_MAX_TOTAL_COMPONENTS_EXCEEDED", f"At most {most} components in all.")
        if sum(len(str(component.get("content") or "")) for component in everything) > limits.V2_TEXT:
            most = limits.V2_TEXT
            self._problems.add(path, "COMPONENT_DISPLAYABLE_TEXT_SIZE_EXCEEDED", f"At most {most} characters in all.")

    def _typed(self, path: Path, component: object, allowed: tuple[Kind, ...]) -> bool:
        if not isinstance(component, dict):
            self._problems.add(path, "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")
            return False
        if component.get("type") in allowed:
            return True
        named = ", ".join(str(int(kind)) for kind in allowed)
        self._problems.add((*path, "type"), "UNION_TYPE_CHOICES", f'Value of field "type" must be one of ({named},).')
        return False

    def _row(self, path: Path, row: Json) -> None:
        children = row.get("components")
        inside: Path = (*path, "components")
        if not self._problems.between(inside, children, 1, limits.ROW_BUTTONS):
            return
        assert isinstance(children, list)
        for at, child in enumerate(children):
            if not self._typed((*inside, at), child, (Kind.BUTTON, *SELECTS)):
                continue
            if child["type"] == Kind.BUTTON:
                self._button((*inside, at), child)
            else:
                self._select((*inside, at), child)
                if len(children) > 1:
                    self._problems.add(
                        inside, "COMPONENT_LAYOUT_WIDTH_EXCEEDED", "The specified component exceeds the maximum width"
                    )

    def _button(self, path: Path, button: Json) -> None:
        style = button.get("style")
        self._problems.choice((*path, "style"), style, (1, 2, 3, 4, LINK, PREMIUM))
        self._problems.longer((*path, "label"), button.get("label"), limits.BUTTON_LABEL)
        if style == LINK:
            self._link(path, button)
            return
        if style == PREMIUM:
            if not button.get("sku_id"):
                self._problems.required((*path, "sku_id"))
            return
        if button.get("url"):
            self._problems.add((*path, "url"), "BUTTON_COMPONENT_INVALID_FIELD", "Only link buttons have a url")
        self._custom_id(path, button)
        self._says_something(path, button)

    def _link(self, path: Path, button: Json) -> None:
        if button.get("custom_id"):
            message = "A custom id and url cannot both be specified"
            self._problems.add((*path, "custom_id"), "BUTTON_COMPONENT_CUSTOM_ID_URL_MUTUALLY_EXCLUSIVE", message)
        if check_url(self._problems, (*path, "url"), button.get("url"), ("http", "https", "discord"), needed=True):
            self._problems.longer((*path, "url"), button["url"], limits.BUTTON_URL)
        self._says_something(path, button)

    def _says_something(self, path: Path, button: Json) -> None:
        if not button.get("label") and not button.get("emoji"):
            self._problems.add(path, "BUTTON_COMPONENT_LABEL_OR_EMOJI_REQUIRED", "A label or an emoji is required")

    def _custom_id(self, path: Path, component: Json) -> None:
        custom_id = component.get("custom_id")
        place: Path = (*path, "custom_id")
        if not custom_id:
            self._problems.add(place, "BASE_TYPE_REQUIRED", "A custom id is required")
        elif self._problems.longer(place, custom_id, limits.CUSTOM_ID):
            if custom_id in self._custom_ids:
                self._problems.add(place, "COMPONENT_CUSTOM_ID_DUPLICATED", "Component custom id cannot be duplicated")
            self._custom_ids.add(custom_id)

    def _select(self, path: Path, select: Json) -> None:
        self._custom_id(path, select)
        self._problems.longer((*path, "placeholder"), select.get("placeholder"), limits.SELECT_PLACEHOLDER)
        for bound in ("min_values", "max_values"):
            value = 1 if select.get(bound) is None else select[bound]
            if not isinstance(value, int) or not 0 <= value <= limits.SELECT_OPTIONS:
                message = f"Must be between 0 and {limits.SELECT_OPTIONS}."
                self._problems.add((*path, bound), "NUMBER_TYPE_MAX", message)
        if select["type"] == Kind.STRING_SELECT:
            self._options((*path, "options"), select.get("options"))

    def _options(self, path: Path, options: Any) -> None:
        if not self._problems.between(path, options, 1, limits.SELECT_OPTIONS):
            return
        seen: set[str] = set()
        for at, option in enumerate(options):
            for key in ("label", "value"):
                self._problems.between((*path, at, key), option.get(key), 1, limits.SELECT_TEXT)
            self._problems.longer((*path, at, "description"), option.get("description"), limits.SELECT_TEXT)
            if option.get("value") in seen:
                message = "The specified option value is already used"
                self._problems.add((*path, at), "SELECT_COMPONENT_OPTION_VALUE_DUPLICATED", message)
            seen.add(option.get("value"))

    def _layout(self, path: Path, component: Json, allowed: tuple[Kind, ...]) -> None:
        if not self._typed(path, component, allowed):
            return
        kind = Kind(component["type"])
        if kind is Kind.ROW:
            self._row(path, component)
        elif kind is Kind.TEXT:
            self._problems.between((*path, "content"), component.get("content"), 1, limits.V2_TEXT)
        elif kind is Kind.SECTION:
            self._section(path, component)
        elif kind is Kind.GALLERY:
            self._gallery((*path, "items"), component.get("items"))
        elif kind is Kind.FILE:
            self._media((*path, "file"), component.get("file"), ("attachment",))
        elif kind is Kind.CONTAINER:
            self._container(path, component)

    def _container(self, path: Path, container: Json) -> None:
        children = container.get("components")
        if self._problems.between((*path, "components"), children, 1, limits.V2_COMPONENTS):
            assert isinstance(children, list)
            for at, child in enumerate(children):
                self._layout((*path, "components", at), child, IN_CONTAINER)

    def _section(self, path: Path, section: Json) -> None:
        texts = section.get("components")
        if self._problems.between((*path, "components"), texts, 1, 3):
            assert isinstance(texts, list)
            for at, text in enumerate(texts):
                self._layout((*path, "components", at), text, (Kind.TEXT,))
        accessory = section.get("accessory")
        place: Path = (*path, "accessory")
        if accessory is None:
            self._problems.required(place)
        elif self._typed(place, accessory, (Kind.BUTTON, Kind.THUMBNAIL)):
            if accessory["type"] == Kind.BUTTON:
                self._button(place, accessory)
            else:
                self._media((*place, "media"), accessory.get("media"), ("http", "https", "attachment"))

    def _gallery(self, path: Path, items: Any) -> None:
        if self._problems.between(path, items, 1, 10):
            for at, item in enumerate(items):
                self._media((*path, at, "media"), item.get("media"), ("http", "https", "attachment"))

    def _media(self, path: Path, media: object, schemes: tuple[str, ...]) -> None:
        url = media.get("url") if isinstance(media, dict) else None
        if check_url(self._problems, (*path, "url"), url, schemes, needed=True):
            check_attached(self._problems, (*path, "url"), str(url), self._files)


def check_url(problems: Problems, path: Path, url: object, schemes: tuple[str, ...], *, needed: bool = False) -> bool:
    """Note an address that is missing although needed, malformed, or of a scheme that is not allowed."""
    if not url:
        if needed:
            problems.required(path)
        return False
    if not problems.longer(path, url, limits.URL):
        return False
    try:
        parts = urlsplit(str(url))
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in schemes:
        named = ", ".join(f"'{scheme}'" for scheme in schemes)
        message = f'Scheme "{parts.scheme}" is not supported. Scheme must be one of ({named}).'
        problems.add(path, "URL_TYPE_INVALID_SCHEME", message)
        return False
    if not parts.netloc or " " in str(url):
        problems.add(path, "URL_TYPE_INVALID_URL", "Not a well formed URL.")
        return False
    return True


def check_attached(problems: Problems, path: Path, url: str, files: set[str]) -> None:
    """Note an `attachment://` address that names no file of the message."""
    name = url.removeprefix("attachment://")
    if name != url and name not in files:
        code = "UNFURLED_MEDIA_ITEM_REFERENCED_ATTACHMENT_NOT_FOUND"
        problems.add(path, code, f"The referenced attachment {name} was not found.")
