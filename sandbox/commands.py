"""The app's commands: what Discord checks when they are synced, and which of them a member may use."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox import limits
from sandbox.clock import Clock
from sandbox.errors import Json, Path, Problems, too_many_command_creates
from sandbox.people import BOT_ID, Permission

# Discord's pattern allows letters and digits of any script; \w is those and the underscore.
NAME = re.compile(r"^[-'\w]{1,32}$")
SUBCOMMAND, GROUP, STRING, INTEGER, BOOLEAN, USER, CHANNEL, ROLE, MENTIONABLE, NUMBER, ATTACHMENT = range(1, 12)
CHOOSABLE = (STRING, INTEGER, NUMBER)
DAY_S = 24 * 3600.0


def check_commands(commands: object) -> list[Json]:
    """Refuse with 50035 what Discord refuses in a bulk sync; return the commands."""
    problems = Problems()
    if not isinstance(commands, list):
        problems.add((), "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
        problems.refuse_if_any()
        return []
    seen: set[tuple[int, str]] = set()
    counts: dict[int, int] = {}
    for at, command in enumerate(commands):
        kind = command.get("type") or 1
        counts[kind] = counts.get(kind, 0) + 1
        if (kind, command.get("name")) in seen:
            code = "APPLICATION_COMMANDS_DUPLICATE_NAME"
            problems.add((at, "name"), code, "Application command names must be unique")
        seen.add((kind, command.get("name")))
        _check_command(problems, (at,), command, kind)
    for kind, count in counts.items():
        most = limits.COMMANDS_OF_TYPE.get(kind, 0)
        if count > most:
            problems.add((), "BASE_TYPE_MAX_LENGTH", f"Must be {most} or fewer in length.")
    problems.refuse_if_any()
    return commands


def _check_command(problems: Problems, path: Path, command: Json, kind: int) -> None:
    if not problems.choice((*path, "type"), kind, tuple(limits.COMMANDS_OF_TYPE)):
        return
    name = command.get("name")
    if kind == 1:
        _check_name(problems, (*path, "name"), name)
        problems.between((*path, "description"), command.get("description"), 1, limits.COMMAND_DESCRIPTION)
        _check_options(problems, (*path, "options"), command.get("options") or [], depth=0)
    else:
        problems.between((*path, "name"), name, 1, limits.COMMAND_NAME)
        if command.get("description"):
            code = "APPLICATION_COMMANDS_DESCRIPTION_INVALID"
            problems.add((*path, "description"), code, "Context menu commands cannot have description")
    if _characters(command) > limits.COMMAND_CHARACTERS:
        message = f"Command exceeds maximum size ({limits.COMMAND_CHARACTERS})"
        problems.add(path, "APPLICATION_COMMAND_TOO_LARGE", message)
    permissions = command.get("default_member_permissions")
    if permissions is not None and not str(permissions).isdigit():
        message = f'Value "{permissions}" is not int.'
        problems.add((*path, "default_member_permissions"), "NUMBER_TYPE_COERCE", message)


def _check_name(problems: Problems, path: Path, name: object) -> None:
    if not problems.between(path, name, 1, limits.COMMAND_NAME):
        return
    if not NAME.match(str(name)) or str(name) != str(name).lower():
        problems.add(path, "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")


def _check_options(problems: Problems, path: Path, options: list[Json], *, depth: int) -> None:
    if len(options) > limits.COMMAND_OPTIONS:
        problems.add(path, "BASE_TYPE_MAX_LENGTH", f"Must be {limits.COMMAND_OPTIONS} or fewer in length.")
    kinds = [option.get("type") for option in options]
    nested = [kind in {SUBCOMMAND, GROUP} for kind in kinds]
    if any(nested) and not all(nested):
        code = "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID"
        problems.add(
            path, code, "Sub-command and sub-command group option types are mutually exclusive to all other types"
        )
    names: set[object] = set()
    optional_seen = False
    for at, option in enumerate(options):
        place: Path = (*path, at)
        _check_option(problems, place, option, depth)
        if option.get("name") in names:
            code = "APPLICATION_COMMAND_OPTIONS_NAME_INVALID"
            problems.add((*place, "name"), code, "Option name must be unique")
        names.add(option.get("name"))
        if option.get("required") and optional_seen:
            code = "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID"
            problems.add(place, code, "Required options must be placed before non-required options")
        optional_seen |= not option.get("required")


def _check_option(problems: Problems, path: Path, option: Json, depth: int) -> None:
    kind = option.get("type")
    problems.choice((*path, "type"), kind, tuple(range(SUBCOMMAND, ATTACHMENT + 1)))
    _check_name(problems, (*path, "name"), option.get("name"))
    problems.between((*path, "description"), option.get("description"), 1, limits.COMMAND_DESCRIPTION)
    if kind in {SUBCOMMAND, GROUP}:
        if depth > 1 or (kind == GROUP and depth > 0):
            code = "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID"
            problems.add((*path, "type"), code, "Sub-commands can be nested one group deep")
        _check_options(problems, (*path, "options"), option.get("options") or [], depth=depth + 1)
        return
    choices = option.get("choices")
    if choices and option.get("autocomplete"):
        code = "APPLICATION_COMMAND_OPTIONS_AUTOCOMPLETE_CHOICES"
        problems.add((*path, "autocomplete"), code, "Choices and autocomplete cannot both be set")
    if (choices or option.get("autocomplete")) and kind not in CHOOSABLE:
        problems.add((*path, "type"), "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID", "This type has no choices")
    check_choices(problems, (*path, "choices"), choices or [], kind)
    _check_bounds(problems, path, option, kind)


def _check_bounds(problems: Problems, path: Path, option: Json, kind: object) -> None:
    low, high = option.get("min_value"), option.get("max_value")
    if (low is not None or high is not None) and kind not in {INTEGER, NUMBER}:
        problems.add((*path, "min_value"), "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID", "Only numbers have bounds")
    elif low is not None and high is not None and low > high:
        problems.add((*path, "min_value"), "NUMBER_TYPE_MAX", "min_value must not be over max_value")
    for key in ("min_length", "max_length"):
        length = option.get(key)
        if length is not None and (kind != STRING or not 0 <= length <= limits.STRING_OPTION):
            problems.add((*path, key), "NUMBER_TYPE_MAX", f"Must be a text's length, at most {limits.STRING_OPTION}.")


def check_choices(problems: Problems, path: Path, choices: Sequence[Json], kind: object) -> None:
    """Check the choices of an option, or the suggestions of an autocompletion."""
    if len(choices) > limits.CHOICES:
        problems.add(path, "BASE_TYPE_MAX_LENGTH", f"Must be {limits.CHOICES} or fewer in length.")
    names: set[object] = set()
    for at, choice in enumerate(choices):
        name, value = choice.get("name"), choice.get("value")
        problems.between((*path, at, "name"), name, 1, limits.CHOICE_TEXT)
        if kind == STRING and not isinstance(value, str):
            problems.add((*path, at, "value"), "STRING_TYPE_CONVERT", f"Could not interpret {value!r} as string.")
        elif kind == STRING:
            problems.longer((*path, at, "value"), value, limits.CHOICE_TEXT)
        elif not isinstance(value, int | float) or (kind == INTEGER and not isinstance(value, int)):
            problems.add((*path, at, "value"), "NUMBER_TYPE_COERCE", f'Value "{value}" is not a number.')
        if name in names:
            code = "APPLICATION_COMMAND_OPTIONS_CHOICE_NAME_DUPLICATE"
            problems.add((*path, at, "name"), code, "The specified choice name is already used")
        names.add(name)


def _characters(command: Json) -> int:
    """What counts towards the 8,000: names, descriptions and choice values, all the way down."""
    own = len(command.get("name") or "") + len(command.get("description") or "")
    values = sum(len(str(c.get("name"))) + len(str(c.get("value"))) for c in command.get("choices") or [])
    return own + values + sum(_characters(option) for option in command.get("options") or [])


@dataclass
class Registry:
    """The commands as last synced, for everywhere (None) and for single guilds."""

    clock: Clock
    _by_guild: dict[str | None, dict[tuple[int, str], Json]] = field(default_factory=dict)
    _created: dict[str | None, list[float]] = field(default_factory=dict)

    def sync(self, commands: object, guild_id: str | None) -> list[Json]:
        """Replace the commands of a guild, or the global ones; a command that keeps its name keeps its id."""
        checked = check_commands(commands)
        old = self._by_guild.get(guild_id, {})
        keyed = {(command.get("type") or 1, str(command["name"])): command for command in checked}
        self._count_creates(guild_id, len(keyed.keys() - old.keys()))
        self._by_guild[guild_id] = {key: self._completed(c, old.get(key), guild_id) for key, c in keyed.items()}
        return self.of(guild_id)

    def of(self, guild_id: str | None) -> list[Json]:
        """The commands of one guild, or the global ones."""
        return list(self._by_guild.get(guild_id, {}).values())

    def usable(self, guild_id: str, permitted: Callable[[Json], bool]) -> list[Json]:
        """The slash commands that a member sees in a guild: the guild's own come before global ones of that name."""
        shown = {key: c for place in (None, guild_id) for key, c in self._by_guild.get(place, {}).items()}
        return [command for command in shown.values() if command["type"] == 1 and permitted(command)]

    def _count_creates(self, guild_id: str | None, new: int) -> None:
        now = self.clock.now()
        recent = [moment for moment in self._created.get(guild_id, []) if now - moment < DAY_S]
        if len(recent) + new > limits.COMMAND_CREATES_A_DAY:
            raise too_many_command_creates(limits.COMMAND_CREATES_A_DAY)
        self._created[guild_id] = recent + [now] * new

    def _completed(self, command: Json, old: Json | None, guild_id: str | None) -> Json:
        permissions = command.get("default_member_permissions")
        made: Json = {
            "id": old["id"] if old else self.clock.snowflake(),
            "application_id": BOT_ID,
            "version": self.clock.snowflake(),
            "type": command.get("type") or 1,
            "name": command["name"],
            "name_localizations": command.get("name_localizations"),
            "description": command.get("description") or "",
            "description_localizations": command.get("description_localizations"),
            "options": command.get("options") or [],
            "default_member_permissions": None if permissions is None else str(permissions),
            "dm_permission": command.get("dm_permission", True),
            "nsfw": bool(command.get("nsfw", False)),
            "contexts": command.get("contexts"),
            "integration_types": command.get("integration_types") or [0],
        }
        if guild_id:
            made["guild_id"] = guild_id
        return made


def may_use(command: Json, granted: Permission) -> bool:
    """Whether a member with these permissions may use the command: all of its default permissions are needed."""
    if Permission.ADMINISTRATOR in granted:
        return True
    if Permission.USE_APPLICATION_COMMANDS not in granted:
        return False
    needed = command["default_member_permissions"]
    return needed is None or (int(needed) != 0 and int(needed) & int(granted) == int(needed))


@dataclass(frozen=True)
class Used:
    """A filled-in command: the options that reach the bot, nested as Discord nests them."""

    command: Json
    full_name: str
    options: list[Json]


class Misused(Exception):
    """The member's own client would not have sent this; the text says why."""


def fill_in(command: Json, sub: Sequence[str], values: dict[str, Any], *, focused: str | None = None) -> Used:
    """Put values into a command's options as a member's client does; raises Misused with a sentence."""
    options = command["options"]
    steps: list[Json] = []
    for name in sub:
        step = next((o for o in options if o["name"] == name and o["type"] in {SUBCOMMAND, GROUP}), None)
        if step is None:
            raise Misused(f"/{command['name']} has no subcommand {name}.")
        steps.append(step)
        options = step.get("options") or []
    if any(option["type"] in {SUBCOMMAND, GROUP} for option in options):
        raise Misused(f"Choose a subcommand of /{' '.join([command['name'], *sub])}.")
    filled = _filled(options, values, focused)
    for step in reversed(steps):
        filled = [{"name": step["name"], "type": step["type"], "options": filled}]
    return Used(command, " ".join([command["name"], *sub]), filled)


def _filled(options: list[Json], values: dict[str, Any], focused: str | None) -> list[Json]:
    known = {option["name"]: option for option in options}
    if unknown := [name for name in values if name not in known]:
        raise Misused(f"There is no option {unknown[0]}.")
    if focused is not None:
        if focused not in known or not known[focused].get("autocomplete"):
            raise Misused(f"The option {focused} has no suggestions.")
        values = {focused: "", **{name: value for name, value in values.items() if _fits(known[name], value)}}
    filled = []
    for name, option in known.items():
        if name not in values:
            if option.get("required") and focused is None:
                raise Misused(f"The option {name} is required.")
            continue
        entry: Json = {"name": name, "type": option["type"]}
        if name == focused:
            entry |= {"value": str(values[name]), "focused": True}
        else:
            entry["value"] = checked_value(option, values[name])
        filled.append(entry)
    return filled


def _fits(option: Json, value: Any) -> bool:
    """Whether a half-typed value is already a valid one; a client sends only those along while it asks for choices."""
    try:
        checked_value(option, value)
    except Misused:
        return False
    return True


def checked_value(option: Json, value: Any) -> Any:
    """The value as the option's type has it; raises Misused with a sentence."""
    kind, name = option["type"], option["name"]
    if kind == BOOLEAN and not isinstance(value, bool):
        raise Misused(f"The option {name} is true or false.")
    if kind in {INTEGER, NUMBER}:
        value = _number(option, value)
    if kind in {STRING, USER, CHANNEL, ROLE, MENTIONABLE, ATTACHMENT}:
        value = str(value)
    if kind == STRING and not option.get("min_length", 0) <= len(value) <= option.get(
        "max_length", limits.STRING_OPTION
    ):
        least, most = option.get("min_length", 0), option.get("max_length", limits.STRING_OPTION)
        raise Misused(f"The option {name} takes {least} to {most} characters.")
    choices = option.get("choices")
    if choices and value not in [choice["value"] for choice in choices]:
        raise Misused(f"The option {name} is one of: {', '.join(str(choice['name']) for choice in choices)}.")
    return value


def _number(option: Json, value: Any) -> int | float:
    wanted = int if option["type"] == INTEGER else float
    what = "a whole number" if wanted is int else "a number"
    try:
        number = wanted(value)
    except (TypeError, ValueError, OverflowError):
        raise Misused(f"The option {option['name']} takes {what}.") from None
    if isinstance(value, bool) or (wanted is int and number != float(value)):
        raise Misused(f"The option {option['name']} takes {what}.")
    low, high = option.get("min_value"), option.get("max_value")
    if (low is not None and number < low) or (high is not None and number > high):
        bounds = f"from {low} to {high}" if low is not None and high is not None else f"at {low or high} at the limit"
        raise Misused(f"The option {option['name']} takes {what} {bounds}.")
    return number
