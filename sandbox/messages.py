"""What is kept of a message, its files, and the webhooks that may speak in a channel."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import quote

from sandbox.errors import Json
from sandbox.forms import NO_FLAGS, Before, Flag
from sandbox.people import BOT_ID, GUILD_ID, Thread, User


@dataclass(frozen=True)
class Attachment:
    """A stored file of a message."""

    id: str
    channel_id: str
    filename: str
    content_type: str
    data: bytes = field(repr=False)
    description: str | None = None
    ephemeral: bool = False

    def cdn_url(self) -> str:
        """The address that the bot sees; what goes with a command lies apart from what goes with a message."""
        folder = f"ephemeral-attachments/{BOT_ID}" if self.ephemeral else f"attachments/{self.channel_id}"
        return f"https://cdn.discordapp.com/{folder}/{self.id}/{quote(self.filename)}"

    def page_url(self) -> str:
        """The address that the sandbox's page sees."""
        return f"/attachments/{self.id}/{quote(self.filename)}"


@dataclass
class Message:
    """One message of a channel. `only_for` is the id of the one user who sees it, if it is ephemeral."""

    id: str
    channel_id: str
    author: User
    timestamp: str
    content: str = ""
    embeds: list[Json] = field(default_factory=list)
    components: list[Json] = field(default_factory=list)
    attachments: dict[str, Attachment] = field(default_factory=dict)
    flags: Flag = NO_FLAGS
    kind: int = 0
    edited: str | None = None
    nonce: str | int | None = None
    only_for: str | None = None
    mentions: list[User] = field(default_factory=list)
    mention_roles: list[str] = field(default_factory=list)
    mention_everyone: bool = False
    webhook_id: str | None = None
    application_id: str | None = None
    interaction_id: str | None = None
    metadata: Json | None = None
    answers: Message | None = None
    reactions: dict[str, list[str]] = field(default_factory=dict)
    thread: Thread | None = None
    """The thread below it."""
    announces: Thread | None = None
    """The thread that a message of type 18 tells of."""
    removed: bool = False

    def visible_to(self, user_id: str) -> bool:
        """Whether the user sees the message."""
        return self.only_for is None or self.only_for == user_id

    def open_to_app(self) -> bool:
        """Whether the app may read it without the MESSAGE_CONTENT intent: its own, and those that mention it."""
        return BOT_ID in {self.author.id, self.application_id, *(user.id for user in self.mentions)}

    def before(self) -> Before:
        """What an edit starts from."""
        names = {attachment.id: attachment.filename for attachment in self.attachments.values()}
        return Before(self.content, self.embeds, self.components, self.flags, names)

    def shown_in_embeds(self) -> set[str]:
        """Names of the files that an embed shows, which Discord then does not list as attachments."""
        urls = [str((embed.get(key) or {}).get("url")) for embed in self.embeds for key in ("image", "thumbnail")]
        urls += [str((e.get(k) or {}).get("icon_url")) for e in self.embeds for k in ("author", "footer")]
        return {url.removeprefix("attachment://") for url in urls if url.startswith("attachment://")}


@dataclass
class Webhook:
    """An incoming webhook that the app made in a channel."""

    id: str
    token: str
    channel_id: str
    name: str

    def wire(self, bot: User) -> Json:
        """The webhook as Discord writes it."""
        return {
            "id": self.id,
            "type": 1,
            "guild_id": GUILD_ID,
            "channel_id": self.channel_id,
            "name": self.name,
            "avatar": None,
            "token": self.token,
            "application_id": BOT_ID,
            "user": bot.wire(),
        }
