"""`understudy data permission | consent | forget`: whose messages may be used, and how they go again."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from training.errors import UnderstudyError
from training.places import TERMINAL, guild_folder
from training.schema import GUILD_PATTERN, Workspace
from training.terminal import print_rows, workspace_of

if TYPE_CHECKING:
    from training.data.chatlog import ChatLogPolicy
    from training.data.consent import ConsentLedger
    from training.data.forgetting import Forgotten

HEAD_BYTES = 64 * 1024
KEY_FILE = "anonymise.key"
_GUILD = re.compile(rb'"guild"\s*:\s*\{[^{}]*?"id"\s*:\s*"?([0-9]{1,20})\b')

app = typer.Typer()
permission = typer.Typer(help="Discord's permission to train on messages; without one, chat logs are refused.")
consent = typer.Typer(help="Whose messages may be used; whoever has not agreed is left out.")
app.add_typer(permission, name="permission", no_args_is_help=True)
app.add_typer(consent, name="consent", no_args_is_help=True)


def _guild(value: str) -> str:
    # It becomes the name of a folder.
    if not re.fullmatch(GUILD_PATTERN, value):
        raise typer.BadParameter("an id has letters, digits, - and _ only")
    return value


def _users(values: list[str]) -> list[str]:
    if bad := next((value for value in values if not re.fullmatch("[0-9]{1,20}", value)), None):
        raise typer.BadParameter(f"{bad} is no id: Discord's ids are numbers of up to 20 digits")
    return values


Guild = Annotated[str, typer.Option("--guild", callback=_guild, help="Id of the Discord server.")]
Users = Annotated[list[str], typer.Option("--user", callback=_users, help="Id of a member; may be given again.")]
Scopes = Annotated[list[str], typer.Option("--scope", help="What for: train, publish; may be given again.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
LedgerFile = Annotated[Path | None, typer.Option("--ledger", help="Default: the server's own ledger.")]


# --- permission ------------------------------------------------------------------------------------------------------


@permission.command("record")
def record(
    ctx: typer.Context,
    *,
    reference: Annotated[str, typer.Option(help="What Discord calls the permission, such as a ticket's number.")],
    scope: Annotated[list[str], typer.Option(help="Id of a server or channel that it covers; may be given again.")],
    date: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="When it was given.")],
    guild: Annotated[str | None, typer.Option(help="Id of the server; default: the first scope.")] = None,
    granted_by: Annotated[str, typer.Option(help="Who gave it.")] = "Discord",
    expires: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Its last day.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write down the permission that Discord gave for training on messages; cards of datasets and runs quote it."""
    from training.data.consent import make_permission, permission_path, record_permission
    from training.data.scope import ids_in

    made = make_permission(
        reference=reference,
        scope=tuple(scope),
        date=date.date(),
        granted_by=granted_by,
        expires=expires.date() if expires else None,
    )
    path = permission_path(workspace_of(ctx), _guild(guild or next(iter(ids_in(made.scope[0])), "")))
    record_permission(path, made)
    _tell({"file": str(path), **made.model_dump(mode="json", exclude_none=True)}, "Recorded", as_json)


@permission.command("show")
def show(ctx: typer.Context, guild: Guild, as_json: AsJson = False) -> None:
    """The permission that is recorded for a server."""
    from training.data.consent import permission_path, read_permission

    path = permission_path(workspace_of(ctx), guild)
    found = read_permission(path, f"Every chat log of server {guild}")
    _tell(found.model_dump(mode="json", exclude_none=True), "Discord's permission", as_json)


# --- consent ---------------------------------------------------------------------------------------------------------


@consent.command("grant")
def grant(
    ctx: typer.Context,
    *,
    guild: Guild,
    user: Users,
    scope: Scopes = ["train"],  # noqa: B006
    policy: Annotated[
        str | None, typer.Option(help="Version of the policy agreed to; a new one ends old consent.")
    ] = None,
    ledger: LedgerFile = None,
    as_json: AsJson = False,
) -> None:
    """Note that members agree to the use of their messages."""
    found = _decide(ctx, guild, user, "granted", scope=scope, policy=policy, ledger=ledger)
    _tell_ledger(found, as_json)


@consent.command("revoke")
def revoke(ctx: typer.Context, guild: Guild, user: Users, ledger: LedgerFile = None, as_json: AsJson = False) -> None:
    """Note that members no longer agree. What was made of their messages goes with `understudy data forget`."""
    _tell_ledger(_decide(ctx, guild, user, "revoked", ledger=ledger), as_json)


@consent.command("list")
def list_consent(ctx: typer.Context, guild: Guild, ledger: LedgerFile = None, as_json: AsJson = False) -> None:
    """Who agreed to what."""
    from training.data.consent import ledger_path, read_ledger

    path = ledger or ledger_path(workspace_of(ctx), guild)
    found = read_ledger(path)
    found.check(guild, path.name)
    _tell_ledger(found, as_json)


@consent.command("character")
def character(
    ctx: typer.Context,
    *,
    guild: Guild,
    user: Users,
    webhook: Annotated[str, typer.Option(help="Id that the character's messages have as their author.")],
    name: Annotated[str, typer.Option(help="The character's name, as its messages show it.")],
    ledger: LedgerFile = None,
    as_json: AsJson = False,
) -> None:
    """Note whose words a webhook's character speaks: that member's consent counts for it."""
    from training.data.consent import write_ledger

    path, found = _ledger(ctx, guild, ledger, None)
    found = found.with_character(_users([webhook])[0], name, user[0])
    write_ledger(path, found)
    _tell_ledger(found, as_json)


def _decide(
    ctx: typer.Context,
    guild: str,
    users: list[str],
    status: Literal["granted", "revoked"],
    *,
    scope: Sequence[str] = (),
    policy: str | None = None,
    ledger: Path | None = None,
) -> ConsentLedger:
    """Write what members decided into the ledger."""
    from training.data.consent import write_ledger

    path, found = _ledger(ctx, guild, ledger, policy)
    for user in users:
        found = found.decided(user, status, scope)
    write_ledger(path, found)
    return found


def _ledger(ctx: typer.Context, guild: str, given: Path | None, policy: str | None) -> tuple[Path, ConsentLedger]:
    """The server's ledger and where it lies; a new one where there is none yet."""
    from training.data.consent import ConsentLedger, ledger_path, read_ledger

    path = given or ledger_path(workspace_of(ctx), guild)
    if not path.exists():
        known = guild if guild.isdigit() else None
        return path, ConsentLedger(policy_version=policy or "1", guild_id=known)
    found = read_ledger(path)
    found.check(guild, path.name)
    return path, found.under(policy) if policy else found


def _tell_ledger(ledger: ConsentLedger, as_json: bool) -> None:
    if as_json:
        typer.echo(ledger.model_dump_json(exclude_none=True))
        return
    rows = {"policy": ledger.policy_version}
    for user, entry in ledger.users.items():
        stale = (
            "" if entry.policy_version in (None, ledger.policy_version) else f", under policy {entry.policy_version}"
        )
        rows[user] = f"{entry.status} {', '.join(entry.scope)} {entry.at}{stale}"
    for webhook, one in ledger.webhooks.items():
        rows |= {f"{name} ({webhook})": f"speaks for {user}" for name, user in one.characters.items()}
    print_rows("Consent", rows)


# --- forget ----------------------------------------------------------------------------------------------------------


@app.command("forget")
def forget_data(
    ctx: typer.Context,
    *,
    guild: Annotated[str | None, typer.Option(help="Id of the Discord server. Default: every server.")] = None,
    user: Annotated[list[str] | None, typer.Option("--user", help="Id of a member; may be given again.")] = None,
    message: Annotated[
        list[str] | None, typer.Option("--message", help="Id of one message; may be given again.")
    ] = None,
    dataset: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True, file_okay=False, help="A dataset folder besides the server's own; may be given again."
        ),
    ] = None,
    ledger: LedgerFile = None,
    as_json: AsJson = False,
) -> None:
    """Remove members' words, or single messages, with every answer to them, and keep them out of what is made later.

    Adapters that learnt from them are marked for training anew; exports that hold them are named.
    """
    from training.data.forgetting import forget

    users, messages = _users(user or []), _users(message or [])
    if not users and not messages:
        raise typer.BadParameter("name whom or what to forget, with --user or --message")
    workspace = workspace_of(ctx)
    servers = [_guild(guild)] if guild else _servers(workspace, dataset or [], ledger)
    # First, so that no conversion that starts in the meantime takes them in again.
    _keep_out(ctx, servers, users, messages, ledger)
    folders = [guild_folder(workspace, one) for one in (servers if guild else {*servers, TERMINAL})]
    _tell_forgotten(forget(folders, dataset or [], workspace.artifact_root / "runs", users, messages), as_json)


def _servers(workspace: Workspace, datasets: Sequence[Path], ledger: Path | None) -> list[str]:
    """Every server that something was made for, or whose messages or ledger are given. Raises ServerUnknown."""
    from training.data.consent import read_ledger
    from training.data.lineage import homes, read_links
    from training.errors import ServerUnknown

    found = {home.name for home in homes(workspace) if home.name.isdigit()}
    found |= {link.guild for folder in datasets for link in read_links(folder) if link.guild}
    if ledger and ledger.exists():
        found |= {guild for guild in (read_ledger(ledger).guild_id,) if guild}
    if not found:
        raise ServerUnknown
    return sorted(found)


def _keep_out(
    ctx: typer.Context, servers: Sequence[str], users: list[str], messages: list[str], ledger: Path | None
) -> None:
    """Note with each server, and in a ledger that was given, what no conversion may take in again."""
    from training.data.consent import read_ledger
    from training.data.forgetting import forget_messages

    if users and ledger:
        own = read_ledger(ledger).guild_id if ledger.exists() else None
        _decide(ctx, own or servers[0], users, "revoked", ledger=ledger)
    for server in servers:
        if users:
            _decide(ctx, server, users, "revoked")
        if messages:
            forget_messages(workspace_of(ctx), server, messages)


def _tell_forgotten(done: Forgotten, as_json: bool) -> None:
    if as_json:
        typer.echo(done.model_dump_json())
        return
    rows = {"on": done.at, "examples removed": str(done.examples), "datasets changed": str(len(done.datasets))}
    for one in done.datasets:
        left = f"version {one.before} is now {one.version}" if one.version else "nothing was left, so it is gone"
        rows[one.name] = f"{one.removed} removed; {left}"
    rows["adapters to train anew"] = f"{len(done.retrain)}: {', '.join(done.retrain)}" if done.retrain else "0"
    if done.unreadable:
        rows["unreadable"] = f"{', '.join(done.unreadable)}: taken to have learnt from it"
    if done.exports:
        how = "make them anew with `understudy data export`, or delete them"
        rows["exported before"] = f"{', '.join(done.exports)}: {how}"
    print_rows("Forgotten", rows)


def _tell(values: dict[str, Any], title: str, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(values, ensure_ascii=False))
    else:
        print_rows(title, {name: ", ".join(v) if isinstance(v, list) else str(v) for name, v in values.items()})


# --- what `convert` asks for -----------------------------------------------------------------------------------------


def chatlog_policy(
    export: Path,
    workspace: Workspace,
    *,
    persona: str | None = None,
    permission_file: Path | None = None,
    consent_file: Path | None = None,
    proxies: list[str] | None = None,
    persona_authors: list[str] | None = None,
    keep_names: bool = False,
) -> ChatLogPolicy | None:
    """What allows a chat export to be read; None where no permission is recorded, or the file is no such export.

    Permission and ledger are those of the export's server, unless files are given. Raises UnusablePermission or
    UnusableLedger.
    """
    from training.data.chatlog import ChatLogPolicy
    from training.data.consent import ledger_path, permission_path, read_ledger, read_permission, read_proxies
    from training.data.forgetting import forgotten_messages
    from training.persona.sheet import load_cast

    guild = guild_of(export)
    if guild is None and permission_file is None:
        return None
    home = guild or TERMINAL
    where = permission_file or permission_path(workspace, home)
    if permission_file is None and not where.is_file():
        return None
    ledger = consent_file or ledger_path(workspace, home)
    cast = load_cast(workspace, TERMINAL)
    known = cast.get(persona) if persona else None
    names = [name for one in cast.values() for name in (one.name, *one.aliases)]
    return ChatLogPolicy(
        permission=read_permission(where, export.name),
        consent=read_ledger(ledger),
        consent_name=ledger.name,
        proxies=read_proxies(proxies or []),
        persona=known.name if known else persona,
        aliases=known.aliases if known else (),
        persona_authors=frozenset(persona_authors or ()),
        anonymiser=None if keep_names else _anonymiser(workspace, home, names),
        own_ledger=partial(_own_ledger, workspace),
        forgotten=partial(forgotten_messages, workspace),
    )


def _own_ledger(workspace: Workspace, guild: str) -> ConsentLedger | None:
    from training.data.consent import ledger_path, read_ledger

    path = ledger_path(workspace, guild)
    return read_ledger(path) if path.is_file() else None


def guild_of(export: Path) -> str | None:
    """The id of the server that an export is of, which mostly stands at its beginning; None for anything else."""
    if export.is_dir():
        # An export may be cut into several files.
        return next((guild for file in sorted(export.iterdir()) if file.is_file() and (guild := guild_of(file))), None)
    found = _GUILD.search(_head(export))
    return found[1].decode() if found else _guild_of_row(export)


def _guild_of_row(export: Path) -> str | None:
    from training.data.files import read_rows
    from training.data.participants import id_of

    try:
        first = next(read_rows(export), None)
    except UnderstudyError:
        return None
    guild = id_of(first.value, "guild") if first else ""
    return guild if re.fullmatch("[0-9]{1,20}", guild) else None


def _head(file: Path) -> bytes:
    """How a file begins, unpacked; as much of it as can be read, for whoever reads the rest tells what is wrong."""
    from training.data.packed import open_plain

    head = bytearray()
    try:
        with open_plain(file, file.name) as plain:
            while len(head) < HEAD_BYTES and (piece := plain.read1(HEAD_BYTES)):
                head += piece
    except (OSError, UnderstudyError):
        pass
    return bytes(head[:HEAD_BYTES])


def _anonymiser(workspace: Workspace, guild: str, cast: Sequence[str]) -> Any:
    """Makes an anonymiser with the server's own key, to whom nobody of the cast is a person."""
    from training.data.anonymise.anonymiser import Anonymiser
    from training.data.anonymise.pseudonyms import read_key

    key = read_key(guild_folder(workspace, guild) / KEY_FILE)
    return lambda roster, characters: Anonymiser(key, roster, [*characters, *cast])
