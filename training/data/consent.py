"""Whose messages may be used, and under which permission of Discord's: both are refused unless a file says so."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from datetime import date as Day
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, ConfigDict, Field, ValidationError, field_validator, model_validator

from training.data.scope import Place, covers, ids_in, scope_lines
from training.errors import PermissionMissing, UnusableLedger, UnusablePermission
from training.places import guild_folder
from training.runs import OWNER_ONLY, write_json
from training.schema import Noun, Workspace

PERMISSION_FILE = "discord_permission.json"
LEDGER_FILE = "consent.json"
TRAIN = "train"
MAX_BYTES = 32 * 1024 * 1024
HOW_TO_RECORD = "`understudy data permission record --reference … --scope GUILD_OR_CHANNEL --date YYYY-MM-DD`"

Snowflake = Annotated[str, Field(pattern=r"^[0-9]{1,20}$")]
_EXPIRES = ("expires_at", "expiry", "valid_until", "valid_to", "until")
_IN_FORCE = ("granted", "active", "approved", "valid")
_WITHDRAWN = ("revoked", "revoked_at", "withdrawn", "withdrawn_at")
Line = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$")]


# --- Discord's permission --------------------------------------------------------------------------------------------


class Permission(Noun):
    """Discord's express permission to train on message content, as the operator recorded it."""

    # A file of the operator's own may tell more than is asked for.
    model_config = ConfigDict(extra="ignore")

    reference: Line = Field(description="What Discord calls it, such as the number of a ticket.")
    scope: tuple[Line, ...] = Field(
        min_length=1, description="The servers or channels that it covers: ids, or words with their ids or names."
    )
    date: Day = Field(validation_alias=AliasChoices("date", "granted_at", "granted", "issued"))
    granted_by: Line = "Discord"
    expires: Day | None = Field(None, validation_alias=AliasChoices("expires", *_EXPIRES))

    @model_validator(mode="before")
    @classmethod
    def _withdrawn(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if _is_withdrawn(value) or value.get("granted") is False or value.get("status", "granted") not in _IN_FORCE:
            raise ValueError("it says that it is not granted, or no longer")
        return value | {"scope": scope_lines(value)}

    @field_validator("date", "expires", mode="before")
    @classmethod
    def _day(cls, value: Any) -> Any:
        """A day, or the day of a moment."""
        return value[:10] if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d[T ]", value) else value

    def quote(self) -> str:
        """The permission in one line, as cards quote it."""
        until = f" until {self.expires}" if self.expires else ""
        return f"{self.reference} ({self.granted_by}, {self.date}{until}, for {', '.join(self.scope)})"

    def check(self, today: Day, place: Place) -> None:
        """Raise UnusablePermission where it is not valid today, or does not cover the place."""
        self.check_date(today)
        if not self.covers(place):
            scope = f'its scope is "{"; ".join(self.scope)}", which names neither by id nor by name'
            raise UnusablePermission(reason=f"it does not cover {place}: {scope}")

    def covers(self, place: Place) -> bool:
        """Whether its scope names the place."""
        return any(covers(line, place) for line in self.scope)

    def check_date(self, today: Day) -> None:
        """Raise UnusablePermission where it is not valid today."""
        if self.date > today:
            raise UnusablePermission(reason=f"it is dated {self.date}, which is yet to come")
        if self.expires and self.expires < today:
            raise UnusablePermission(reason=f"it expired on {self.expires}")


def permission_path(workspace: Workspace, guild_id: str) -> Path:
    """Where a guild's permission is recorded."""
    return guild_folder(workspace, guild_id) / PERMISSION_FILE


def read_permission(path: Path, name: str) -> Permission:
    """The recorded permission; raises PermissionMissing, which calls the data by `name`, or UnusablePermission."""
    if not path.is_file():
        raise PermissionMissing(name=name, how=HOW_TO_RECORD)
    try:
        return Permission.model_validate(_load(path))
    except (ValueError, OSError) as error:
        raise UnusablePermission(reason=_fault(error)) from error


def record_permission(path: Path, permission: Permission) -> None:
    """Write the permission down, in place of an older one. Raises UnusablePermission for a date yet to come."""
    permission.check_date(_today())
    if vague := next((line for line in permission.scope if not ids_in(line)), None):
        raise UnusablePermission(reason=f'the scope "{vague}" holds no id of a server or channel')
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, permission.model_dump(mode="json"))


def make_permission(**fields: Any) -> Permission:
    """A permission from what was typed; raises UnusablePermission."""
    try:
        return Permission(**fields)
    except ValidationError as error:
        raise UnusablePermission(reason=_fault(error)) from error


# --- people's consent ------------------------------------------------------------------------------------------------


class Entry(Noun):
    """What one member decided last; an entry without a policy version was made under the ledger's."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    status: Literal["granted", "revoked"]
    scope: tuple[str, ...] = ()
    at: str = ""
    policy_version: str | None = None
    expires: str = ""
    history: tuple[dict[str, Any], ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, value: Any) -> Any:
        """An entry of another hand: `granted` for a status, one scope without a list; in doubt nothing is granted."""
        if not isinstance(value, dict):
            return value
        value = dict(value)
        told = value.get("status")
        if isinstance(told, str):
            value["status"] = told.strip().lower()
        elif told is None and "granted" in value:
            value["status"] = "granted" if value["granted"] is True else "revoked"
        if value.get("granted", True) is not True or _is_withdrawn(value):
            value["status"] = "revoked"
        value["scope"] = _several(value.get("scope"))
        value["policy_version"] = _text(value.get("policy_version"))
        ends = [str(value[key]) for key in ("expires", *_EXPIRES) if value.get(key)]
        value["expires"] = next((end for end in ends if _is_over(end, datetime.now(UTC))), ends[0] if ends else "")
        return value

    def allows(self, scope: str, now: datetime) -> bool:
        """Whether it is a grant of `scope` that has not run out."""
        return self.status == "granted" and scope in self.scope and not _is_over(self.expires, now)


class Webhook(Noun):
    """The characters that speak through one webhook, each with the member whose words they are."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    service: str = ""
    characters: dict[str, Snowflake] = Field({})


class ConsentLedger(Noun):
    """Who of one guild lets their messages be used, and for what; whoever is not in it does not."""

    # What else a file tells stays in it.
    model_config = ConfigDict(extra="allow")

    policy_version: str = Field(min_length=1)
    guild_id: Snowflake | None = None
    users: dict[Snowflake, Entry] = Field({})
    webhooks: dict[Snowflake, Webhook] = Field({})

    @field_validator("policy_version", "guild_id", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return _text(value)

    def allows(self, user_id: str, scope: str = TRAIN) -> bool:
        """Whether this member's words may be used for `scope` under today's policy."""
        entry = self.users.get(user_id)
        if entry is None or not entry.allows(scope, datetime.now(UTC)):
            return False
        return entry.policy_version in (None, self.policy_version)

    def has_revoked(self, user_id: str) -> bool:
        """Whether this member, or bot, was taken out by name; whoever never agreed was not."""
        return user_id in self.users and self.users[user_id].status == "revoked"

    def check(self, guild_id: str, name: str = LEDGER_FILE) -> None:
        """Raise UnusableLedger, which calls the file by `name`, where it is another guild's."""
        if self.guild_id and self.guild_id != guild_id:
            raise UnusableLedger(name=name, reason=f"it is of server {self.guild_id}, not of {guild_id}")

    def decided(self, user_id: str, status: Literal["granted", "revoked"], scope: Iterable[str] = ()) -> ConsentLedger:
        """The ledger with one more decision; the earlier one goes to its history."""
        before = self.users.get(user_id)
        past = (*before.history, before.model_dump(exclude={"history"}, exclude_none=True)) if before else ()
        entry = Entry(
            status=status,
            scope=tuple(sorted(set(scope))),
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            policy_version=self.policy_version,
            history=past,
        )
        return self.model_copy(update={"users": {**self.users, user_id: entry}})

    def minding(self, other: ConsentLedger) -> ConsentLedger:
        """The ledger with everyone revoked whom another one has as revoked, and with the webhooks that it lists."""
        revoked = {user: entry for user, entry in other.users.items() if entry.status == "revoked"}
        webhooks = {**other.webhooks, **self.webhooks}
        return self.model_copy(update={"users": {**self.users, **revoked}, "webhooks": webhooks})

    def with_character(self, webhook_id: str, name: str, user_id: str) -> ConsentLedger:
        """The ledger with a webhook's character, whose words are this member's."""
        before = self.webhooks.get(webhook_id, Webhook())
        webhook = before.model_copy(update={"characters": {**before.characters, name: user_id}})
        return self.model_copy(update={"webhooks": {**self.webhooks, webhook_id: webhook}})

    def under(self, policy_version: str) -> ConsentLedger:
        """The ledger under another policy; what was granted under the old one must be granted anew."""
        if policy_version == self.policy_version:
            return self
        kept = {
            user: entry.model_copy(update={"policy_version": entry.policy_version or self.policy_version})
            for user, entry in self.users.items()
        }
        return self.model_copy(update={"policy_version": policy_version, "users": kept})


def ledger_path(workspace: Workspace, guild_id: str) -> Path:
    """Where a guild's ledger is kept."""
    return guild_folder(workspace, guild_id) / LEDGER_FILE


def read_ledger(path: Path) -> ConsentLedger:
    """The ledger of a file. Raises UnusableLedger."""
    try:
        return ConsentLedger.model_validate(_load(path))
    except FileNotFoundError as error:
        raise UnusableLedger(
            name=path.name, reason="there is no such file, and `understudy data consent grant` makes one"
        ) from error
    except (ValueError, OSError) as error:
        raise UnusableLedger(name=path.name, reason=_fault(error)) from error


def write_ledger(path: Path, ledger: ConsentLedger) -> None:
    """Replace the ledger's file at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, ledger.model_dump(mode="json", exclude_none=True), OWNER_ONLY)


# --- who speaks through a webhook ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ProxyList:
    """Characters and the members they belong to; a name that several members use belongs to all of them."""

    owners: Mapping[str, frozenset[str]] = field(default_factory=dict)


def fold(name: str) -> str:
    """A name for comparing."""
    return " ".join(name.casefold().split())


def read_proxies(paths: Iterable[str]) -> ProxyList:
    """The characters of Tupperbox and PluralKit exports.

    A PluralKit export does not say whose it is: `USER_ID=FILE` tells. Without, its characters belong to nobody known,
    and their messages are dropped. Raises UnusableLedger.
    """
    owners: dict[str, set[str]] = defaultdict(set)
    for given in paths:
        user, found, rest = given.partition("=")
        known = found and user.isdigit()
        path = Path(rest if known else given)
        for name, owner in _characters(path):
            owners[fold(name)].add(owner or (user if known else ""))
    return ProxyList({name: frozenset(users) for name, users in owners.items()})


def _characters(path: Path) -> Iterable[tuple[str, str]]:
    """(a name that a character is seen under, its member's id or nothing)."""
    try:
        table = _load(path)
        if "tuppers" in table:
            rows = [(row, str(row["user_id"]), row.get("nick"), row.get("tag")) for row in table["tuppers"]]
        elif "members" in table:
            rows = [(row, "", row.get("display_name"), table.get("tag")) for row in table["members"]]
        else:
            raise ValueError("it is neither a Tupperbox nor a PluralKit export")
        names = [(str(name), owner, tag) for row, owner, shown, tag in rows for name in (row["name"], shown) if name]
    except (KeyError, TypeError, AttributeError) as error:
        raise UnusableLedger(name=path.name, reason="it is neither a Tupperbox nor a PluralKit export") from error
    except (ValueError, OSError) as error:
        raise UnusableLedger(name=path.name, reason=_fault(error)) from error
    return [pair for name, owner, tag in names for pair in ((name, owner), (f"{name} {tag or ''}", owner))]


# --- files of another hand -------------------------------------------------------------------------------------------


def _is_withdrawn(value: dict[str, Any]) -> bool:
    """Whether a permission or an entry tells of its end."""
    return any(value.get(key) for key in _WITHDRAWN)


def _several(value: Any) -> Any:
    """A list, also where one text stands for it, or each thing with yes or no."""
    if isinstance(value, str):
        return [part for part in re.split(r"[\s,;]+", value) if part]
    if isinstance(value, dict):
        return [name for name, given in value.items() if given is True]
    return value if value is not None else []


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _is_over(expires: str, now: datetime) -> bool:
    """Whether a moment is over; one that cannot be read is."""
    if not expires:
        return False
    try:
        moment = datetime.fromisoformat(expires)
    except ValueError:
        return True
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) < now


# --- reading small files ---------------------------------------------------------------------------------------------


def _load(path: Path) -> dict[str, Any]:
    """A JSON object; a key that comes twice is refused, since the second would silently outdo the first."""
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES // 2**20} MiB")
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_once)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError("it is not valid JSON in UTF-8") from error
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key comes twice in one object")
    return made


def _fault(error: Exception) -> str:
    if isinstance(error, ValidationError):
        fault = error.errors(include_input=False, include_url=False, include_context=False)[0]
        return f"field {'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
    return (error.strerror or "it cannot be read") if isinstance(error, OSError) else str(error)


def _today() -> Day:
    return datetime.now(UTC).date()
