"""Chat logs: exports of DiscordChatExporter become conversations, where permission and consent allow it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from training.data.canonical import Dropped, Tally, canonical_turns
from training.data.chatpolicy import ChatLogPolicy
from training.data.chatwords import chat_reason, is_refusal, spoken_text, without_mentions
from training.data.consent import HOW_TO_RECORD, ConsentLedger, fold
from training.data.lineage import Link
from training.data.participants import DELETED_USER, SOMEONE, Participants, id_of
from training.data.scope import Place
from training.data.sessions import Post, Round, Speaker, rounds, sessions
from training.errors import PermissionMissing, UnreadableData
from training.schema import Conversation, Message

if TYPE_CHECKING:
    from training.data.files import Row
    from training.data.reading import Reading

__all__ = ["ChatLogPolicy", "convert_export"]

LICENSE = "consent of its authors"
SPOKEN = frozenset({"Default", "Reply"})

NO_CONSENT = "no consent"
DELETED = "deleted user"
FORGOTTEN = "forgotten"
NOBODY_KNOWN = "a character of nobody known"
OTHER_BOT = "another bot"
UNASKED_BOT = "another bot; --persona NAME says that it is the persona"
NAMED_IN_PART = "another bot; give its whole name with --persona, or its id with --persona-author"
NO_PERSONA = "no persona speaks"
UNASKED = "no persona speaks; --persona NAME says who it is"
SYSTEM = "system message"
INTERACTION = "answer to a command"
MALFORMED = "not a message"
TWICE = "a message that came before"
BOTS = (OTHER_BOT, UNASKED_BOT, NAMED_IN_PART)

MOST_SEEN = 1_000_000
"""Ids that are held at least, so that a message is read once; an export has fewer."""

_REPLY_LINK = re.compile(r"\[Reply to:?\]\(<?https://(?:\w+\.)?discord(?:app)?\.com/channels/\d+/\d+/(\d+)")


def convert_export(rows: Iterator[Row], reading: Reading, tally: Tally) -> Iterator[Conversation]:
    """The conversations of exports, one for each session and persona; a row of `tally` is a message.

    Raises PermissionMissing, UnusablePermission, UnusableLedger or UnreadableData.
    """
    policy = reading.chatlog
    if policy is None:
        raise PermissionMissing(name=reading.source, how=HOW_TO_RECORD)
    earlier = _Earlier()
    for row in rows:
        yield from _Export(row.value, row.number, reading, policy, earlier).conversations(tally)


class _Seen:
    """Which messages came before, as hashes of their ids."""

    def __init__(self) -> None:
        self._new: set[int] = set()
        self._old: set[int] = set()

    def again(self, *parts: str) -> bool:
        """Whether this came before; from now on it did."""
        digest = hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
        key = int.from_bytes(digest)
        if key in self._new or key in self._old:
            return True
        self._new.add(key)
        if len(self._new) >= MOST_SEEN:
            self._new, self._old = set(), self._new
        return False


@dataclass(slots=True)
class _Earlier:
    """What the parts of a chat read so far leave for the next: a count, the messages, the bots by name."""

    count: int = 0
    seen: _Seen = field(default_factory=_Seen)
    namesakes: set[str] = field(default_factory=set)
    bots: dict[str, set[str]] = field(default_factory=dict)


class _Export:
    """One export, and who speaks in it."""

    def __init__(
        self, value: dict[str, Any], row: int, reading: Reading, policy: ChatLogPolicy, earlier: _Earlier
    ) -> None:
        self.reading, self.policy, self.earlier = reading, policy, earlier
        self.messages = value.get("messages")
        self.guild, self.channel = id_of(value, "guild"), id_of(value, "channel")
        if not isinstance(self.messages, Iterable) or isinstance(self.messages, str | dict):
            raise UnreadableData(name=reading.source, reason=f"row {row}, field messages: it is not a list")
        # It becomes the name of a folder.
        if not re.fullmatch("[0-9]{1,20}", self.guild):
            raise UnreadableData(name=reading.source, reason=f"row {row}, field guild.id: it is not an id")
        place = Place(self.guild, self.channel, _name(value, "guild"), _name(value, "channel"))
        policy.permission.check(policy.today(), place)
        self.consent = _consent(policy, self.guild)
        self.forgotten = policy.forgotten(self.guild)
        self.participants = Participants(self.messages, (policy.persona or "", *policy.aliases))
        self.labels = self.participants.labels
        self.hidden = self.participants.hidden(policy.anonymiser) if policy.anonymiser else None
        self.speakers: dict[tuple[str, str], Speaker] = {}
        self.wanted = frozenset(fold(name) for name in (policy.persona, *policy.aliases) if name)
        # What looks like an id is one: nobody comes in by taking another's id for a name.
        self.authors = frozenset(fold(name) for name in policy.persona_authors if not name.isdigit())
        self.several = f"two accounts speak as {policy.persona or 'the persona'}: name one with --persona-author"
        for name, bot in self._bots():
            earlier.bots.setdefault(name, set()).add(bot)
            if self._one_is_asked_for and self._bears_the_name(name):
                earlier.namesakes.add(bot)

    def conversations(self, tally: Tally) -> Iterator[Conversation]:
        """One conversation for each session and persona that was answered in it."""
        for posts in sessions(self._posts(tally)):
            yield from self._session(posts, tally)

    # --- messages to posts

    def _posts(self, tally: Tally) -> Iterator[Post]:
        assert self.messages is not None
        for message in self.messages:
            self.earlier.count += 1
            post = self._post(message, self.earlier.count)
            if post is None:
                tally.drop(self.earlier.count, MALFORMED)
            elif self.earlier.seen.again(self.guild, self.channel, post.id):
                tally.drop(post.number, TWICE)
            else:
                yield post

    def _post(self, message: Any, number: int) -> Post | None:
        """A message as a post; None where it is not one."""
        author = message.get("author") if isinstance(message, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        at = _seconds(message.get("timestamp")) if isinstance(message, dict) else None
        if not isinstance(author, dict) or not isinstance(content, str) or at is None or not id_of(message):
            return None
        speaker = self._speaker(author)
        system = SYSTEM if message.get("type") not in SPOKEN else INTERACTION if message.get("interaction") else None
        barred = FORGOTTEN if id_of(message) in self.forgotten else self._barred(speaker)
        text = spoken_text(self.hidden.spoken(content) if self.hidden else without_mentions(content, self.labels))
        bot = barred in BOTS or barred == self.several
        return Post(
            number=number,
            id=id_of(message),
            at=at,
            speaker=speaker,
            text=text,
            answers=_answered(message),
            reason=system or barred or chat_reason(content, text),
            unheard=barred is not None and not bot,
            # What cannot be a question to anyone does not stand between a question and its answer.
            chat=not system and not bot and chat_reason(content, text) in (None, "no text"),
            refusal=is_refusal(text),
        )

    # --- who speaks

    def _speaker(self, author: dict[str, Any]) -> Speaker:
        """Who a message is by; a webhook's character is known by the webhook's id and its name together."""
        author_id, name = id_of(author), str(author.get("name") or "")
        if known := self.speakers.get((author_id, name)):
            return known
        is_bot = bool(author.get("isBot"))
        owners = self._owners(author, name) if is_bot else frozenset({author_id})
        label = name if is_bot else self.hidden.label(author_id) if self.hidden else self.labels.get(author_id, "")
        made = Speaker(author_id, name, label or SOMEONE, owners, character=is_bot, account=_is_account(author))
        self.speakers[author_id, name] = made
        return made

    def _owners(self, author: dict[str, Any], name: str) -> frozenset[str]:
        """The members who speak through a character; none for a bot of a name that no list knows."""
        if _is_account(author):
            return self._listed_owners(name)
        webhook = self.consent.webhooks.get(id_of(author))
        if webhook is None and self.consent.webhooks:
            # Anyone who may make a webhook may give it any name.
            return frozenset()
        for character, owner in (webhook.characters if webhook else {}).items():
            if fold(character) == fold(name):
                return frozenset({owner})
        return self.policy.proxies.owners.get(fold(name), frozenset())

    def _listed_owners(self, name: str) -> frozenset[str]:
        """Whose character this is by its whole name, in the ledger or in a list of proxies."""
        webhooks = self.consent.webhooks.values()
        owners = {owner for hook in webhooks for known, owner in hook.characters.items() if fold(known) == fold(name)}
        return self.policy.proxies.owners.get(fold(name), frozenset()) | owners

    def _barred(self, speaker: Speaker) -> str | None:
        """Why nothing that this speaker says may be used."""
        if speaker.author_id == DELETED_USER or not speaker.author_id:
            return DELETED
        if not speaker.character:
            return None if self.consent.allows(speaker.author_id) else NO_CONSENT
        if self.consent.has_revoked(speaker.author_id):
            return NO_CONSENT
        if speaker.account and not self._stands_for_its_owner(speaker):
            return self._barred_bot(speaker)
        if not speaker.owners or "" in speaker.owners:
            return None if speaker.author_id in self.policy.persona_authors else NOBODY_KNOWN
        return None if all(map(self.consent.allows, speaker.owners)) else NO_CONSENT

    def _barred_bot(self, speaker: Speaker) -> str | None:
        """Why a bot is not the persona that the operator names, or that a list knows by its whole name."""
        if not self._one_is_asked_for:
            return UNASKED_BOT
        if self._is_wanted(speaker):
            return None
        if self._bears_the_name(speaker.name):
            return self.several
        return NAMED_IN_PART if _first_word(speaker.name) in self.wanted else OTHER_BOT

    def _stands_for_its_owner(self, speaker: Speaker) -> bool:
        """Whether a bot bears a listed character's whole name, and is the only one that does.

        Then it speaks for the member whose character that is, whose consent it needs.
        """
        return bool(speaker.owners) and len(self.earlier.bots.get(fold(speaker.name), ())) == 1

    def _bots(self) -> Iterator[tuple[str, str]]:
        """The names and ids of all bots in the export that are not forgotten."""
        assert self.messages is not None
        for message in self.messages:
            author = message.get("author") if isinstance(message, dict) else None
            if isinstance(author, dict) and _is_account(author) and not self.consent.has_revoked(id_of(author)):
                yield fold(str(author.get("name") or "")), id_of(author)

    def _bears_the_name(self, name: str) -> bool:
        name = fold(name)
        return name in self.wanted or name.replace(" ", "-") in self.wanted or name in self.authors

    def _is_wanted(self, speaker: Speaker) -> bool:
        """Whether this is the persona that is asked for; a member may be, where the operator says so by name or id."""
        if speaker.author_id in self.policy.persona_authors:
            return True
        if speaker.account:
            if self._stands_for_its_owner(speaker) and _first_word(speaker.name) in self.wanted:
                return True
            return self._bears_the_name(speaker.name) and len(self.earlier.namesakes) == 1
        if not speaker.character:
            return fold(speaker.name) in self.authors
        return self._bears_the_name(speaker.name) or _first_word(speaker.name) in self.wanted

    # --- sessions to conversations

    def _session(self, posts: list[Post], tally: Tally) -> Iterator[Conversation]:
        fates: list[dict[int, str]] = []
        for persona in self._personas(posts):
            made, fate = rounds(posts, partial(self._speaks_for, persona=persona))
            conversation = self._conversation(made, posts[0])
            fates.append(fate)
            if conversation:
                tally.made(conversation)
                yield conversation
        nobody = NO_PERSONA if self._one_is_asked_for else UNASKED
        for post in posts:
            reasons = [fate[post.number] for fate in fates if post.number in fate]
            if fates and len(reasons) < len(fates):
                tally.use()
            else:
                tally.drop(post.number, post.reason or (reasons or [nobody])[0])

    def _personas(self, posts: Sequence[Post]) -> list[str]:
        """Whose conversations to make of a session."""
        speaking = [post.speaker for post in posts if post.reason is None]
        if self._one_is_asked_for:
            wanted = [speaker for speaker in speaking if self._is_wanted(speaker)]
            return [self.policy.persona or wanted[0].name] if wanted else []
        return list(dict.fromkeys(speaker.name for speaker in speaking if speaker.character))

    @property
    def _one_is_asked_for(self) -> bool:
        return self.policy.persona is not None or bool(self.policy.persona_authors)

    def _speaks_for(self, speaker: Speaker, persona: str) -> bool:
        if self._one_is_asked_for:
            return self._is_wanted(speaker)
        return speaker.character and fold(speaker.name) == fold(persona)

    def _conversation(self, made: Sequence[Round], first: Post) -> Conversation | None:
        if not made:
            return None
        session = _digest(self.channel, first.id)
        by = made[0].answered[0].speaker
        spoken = by.name if by.character else self.policy.persona or "persona"
        name = f"{self.reading.source or 'discord'}-{_digest(self.channel, first.id, fold(spoken))}"
        labels = list(dict.fromkeys(post.speaker.label for one in made for post in one.asked))
        messages = canonical_turns(
            turn
            for one in made
            for turn in (("user", _asked(one.asked, named=len(labels) > 1)), ("assistant", _lines(one.answered)))
        )
        assert not isinstance(messages, Dropped)
        turns = tuple(self._masked(message, name) for message in messages)
        meta = {
            "persona": spoken,
            "speakers": ", ".join([spoken, *(self._mask(label, name) for label in labels)]),
            "group": session,
            "session": session,
            "permission": self.policy.permission.quote(),
        }
        self._link(name, session, made)
        return Conversation(
            id=name,
            source=self.reading.source or "discord",
            license=self.reading.license or LICENSE,
            lang=self.reading.lang or "und",
            messages=turns,
            meta=meta,
        )

    def _link(self, example: str, session: str, made: Sequence[Round]) -> None:
        posts = [post for one in made for post in (*one.asked, *one.answered)]
        self.policy.lineage.add(
            Link(
                example=example,
                session=session,
                messages=tuple(dict.fromkeys(post.id for post in posts)),
                authors=tuple(sorted({author for post in posts for author in post.speaker.authors})),
                source=self.reading.source or "discord",
                guild=self.guild,
            )
        )

    def _masked(self, message: Message, conversation: str) -> Message:
        return Message(role=message.role, content=self._mask(message.content, conversation))

    def _mask(self, text: str, conversation: str) -> str:
        return self.hidden.text(text, conversation) if self.hidden else text


def _asked(posts: Sequence[Post], *, named: bool) -> str:
    """What was asked; where several speak in a conversation, each begins with its speaker's name."""
    lines: list[str] = []
    before: Speaker | None = None
    for post in posts:
        lines.append(f"{post.speaker.label}: {post.text}" if named and post.speaker != before else post.text)
        before = post.speaker
    return "\n".join(lines)


def _lines(posts: Sequence[Post]) -> str:
    return "\n".join(post.text for post in posts)


def _answered(message: dict[str, Any]) -> str | None:
    """The message that this one replies to: by Discord's own reference, else by the link that proxies put in."""
    reference = message.get("reference")
    if message.get("type") == "Reply":
        return (str(reference.get("messageId") or "") if isinstance(reference, dict) else "") or "unknown"
    embeds = message.get("embeds")
    for embed in embeds if isinstance(embeds, list) else ():
        described = embed.get("description") if isinstance(embed, dict) else None
        if isinstance(described, str) and (found := _REPLY_LINK.search(described)):
            return found[1]
    return None


def _consent(policy: ChatLogPolicy, guild: str) -> ConsentLedger:
    """The ledger to go by; whoever the server's own has as revoked stays so in one that was brought along."""
    policy.consent.check(guild, policy.consent_name)
    own = policy.own_ledger(guild)
    return policy.consent.minding(own) if own else policy.consent


def _name(value: dict[str, Any], key: str) -> str:
    holder = value.get(key)
    return str(holder.get("name") or "") if isinstance(holder, dict) else ""


def _first_word(name: str) -> str:
    return (fold(name).split() or [""])[0]


def _is_account(author: dict[str, Any]) -> bool:
    """Whether a bot has an account. Exports tell no webhook from a bot, but a bot has a discriminator."""
    return bool(author.get("isBot")) and str(author.get("discriminator") or "").strip("0") != ""


def _seconds(timestamp: Any) -> float | None:
    try:
        moment = datetime.fromisoformat(timestamp)
    except (TypeError, ValueError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
