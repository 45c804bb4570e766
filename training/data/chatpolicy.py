"""What allows a chat log to be used; apart from the reading of one, since every reading may carry it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from training.data.consent import LEDGER_FILE, ConsentLedger, Permission, ProxyList
from training.data.lineage import Lineage

if TYPE_CHECKING:
    from training.data.anonymise.anonymiser import Anonymiser


@dataclass(frozen=True)
class ChatLogPolicy:
    """What allows a chat log to be used, and whose voice is learnt from it.

    `persona` None: each character that the ledger or the proxy lists know, and no bot. `persona_authors` are names
    or ids of authors that speak for the persona besides those that bear its name; of several bots that bear it,
    only those whose ids are there do. `consent_name` is what errors call the file of `consent`. `anonymiser` is
    made for each export from a roster of the people in it and from its characters' names, which stay; None leaves
    everything as it is. Of the server whose messages they are, `own_ledger` tells who is left out whatever
    `consent` says, and `forgotten` the ids of messages that it forgot on request.
    """

    permission: Permission
    consent: ConsentLedger
    consent_name: str = field(default=LEDGER_FILE, kw_only=True)
    proxies: ProxyList = field(default_factory=ProxyList)
    persona: str | None = None
    aliases: tuple[str, ...] = ()
    persona_authors: frozenset[str] = frozenset()
    anonymiser: Callable[[Sequence[str], Sequence[str]], Anonymiser] | None = None
    own_ledger: Callable[[str], ConsentLedger | None] = lambda guild_id: None
    forgotten: Callable[[str], frozenset[str]] = lambda guild_id: frozenset()
    lineage: Lineage = field(default_factory=Lineage)
    today: Callable[[], date] = lambda: datetime.now(UTC).date()
