"""The HTTP API's routes whose token stands in the path: interaction answers, follow-ups and webhooks."""

from __future__ import annotations

from sandbox import errors, limits
from sandbox.components import check_url
from sandbox.errors import Json, Path, Problems
from sandbox.forms import ALLOWED_IN_ANSWER, SETTABLE_IN_CHANNEL, check_message
from sandbox.interactions import Interactions
from sandbox.messages import Attachment, Message, Webhook
from sandbox.people import BOT_ID, Channel, Permission, Thread, User
from sandbox.rest import Answer, Call, Route, refuse_unbuilt
from sandbox.state import World
from sandbox.wire import wire_message


class Hooks:
    """Webhooks of channels, and the app's own one, which is how interactions are followed up."""

    def __init__(self, world: World, interactions: Interactions) -> None:
        self._world = world
        self._interactions = interactions

    def routes(self) -> list[Route]:
        """Every route of this part."""
        callback = "/interactions/{interaction_id}/{interaction_token}/callback"
        of_channel = "/channels/{channel_id}/webhooks"
        own, tokened = "/webhooks/{webhook_id}", "/webhooks/{webhook_id}/{webhook_token}"
        # Discord's own document lists @original apart from other ids, and it must be matched first.
        original, message = f"{tokened}/messages/@original", f"{tokened}/messages/{{message_id}}"
        open_routes = [
            ("POST", callback, self._callback),
            ("GET", tokened, self._show),
            ("PATCH", tokened, self._rename),
            ("DELETE", tokened, self._delete),
            ("POST", tokened, self._execute),
            *(("GET", path, self._read) for path in (original, message)),
            *(("PATCH", path, self._edit) for path in (original, message)),
            *(("DELETE", path, self._remove) for path in (original, message)),
        ]
        return [
            Route("GET", of_channel, self._list),
            Route("POST", of_channel, self._create),
            Route("GET", own, self._show),
            Route("PATCH", own, self._rename),
            Route("DELETE", own, self._delete),
            *(Route(method, path, answer, needs_token=False) for method, path, answer in open_routes),
        ]

    # --- interactions ---------------------------------------------------------------------------------------------

    def _callback(self, call: Call) -> Answer:
        refuse_unbuilt(call.form.get("data") or {})
        token = call.params["interaction_token"]
        response = self._interactions.callback(call.params["interaction_id"], token, call.form, call.uploads)
        return response if _yes(call.query.get("with_response")) else None

    # --- webhooks of a channel ------------------------------------------------------------------------------------

    def _list(self, call: Call) -> Answer:
        channel = self._world.channel(call.params["channel_id"])
        self._world.require(channel, Permission.MANAGE_WEBHOOKS)
        return [self._wire(webhook) for webhook in self._of(channel.id)]

    def _of(self, channel_id: str) -> list[Webhook]:
        return [webhook for webhook in self._world.webhooks.values() if webhook.channel_id == channel_id]

    def _wire(self, webhook: Webhook) -> Json:
        return webhook.wire(self._world.bot.user)

    def _create(self, call: Call) -> Answer:
        channel = self._world.channel(call.params["channel_id"])
        self._world.require(channel, Permission.MANAGE_WEBHOOKS)
        if isinstance(channel, Thread):
            raise errors.wrong_channel_type()
        name = _checked_name(call.form.get("name"), ("name",))
        if len(self._of(channel.id)) >= limits.WEBHOOKS_A_CHANNEL:
            raise errors.too_many_webhooks(limits.WEBHOOKS_A_CHANNEL)
        return self._wire(self._world.new_webhook(channel, name))

    def _webhook(self, call: Call) -> Webhook:
        """The webhook of a call; raises 10015, 50027 for a wrong token, or 50013 without token and permission."""
        webhook = self._world.webhooks.get(call.params["webhook_id"])
        if webhook is None:
            raise errors.unknown_webhook()
        if "webhook_token" not in call.params:
            self._world.require(self._world.channel(webhook.channel_id), Permission.MANAGE_WEBHOOKS)
        elif call.params["webhook_token"] != webhook.token:
            raise errors.invalid_webhook_token()
        return webhook

    def _place(self, webhook: Webhook, call: Call) -> Channel:
        """The webhook's channel, or the thread of it that the query names; raises 10003."""
        channel = self._world.channel(call.query.get("thread_id", webhook.channel_id))
        if channel.id != webhook.channel_id and getattr(channel, "parent_id", None) != webhook.channel_id:
            raise errors.unknown_channel()
        return channel

    def _show(self, call: Call) -> Answer:
        return self._wire(self._webhook(call))

    def _rename(self, call: Call) -> Answer:
        webhook = self._webhook(call)
        if "name" in call.form:
            webhook.name = _checked_name(call.form["name"], ("name",))
        return self._wire(webhook)

    def _delete(self, call: Call) -> Answer:
        del self._world.webhooks[self._webhook(call).id]
        return None

    # --- messages through either kind of token --------------------------------------------------------------------

    def _answer(self, message: Message) -> Json:
        return wire_message(message, Attachment.cdn_url, BOT_ID)

    def _execute(self, call: Call) -> Answer:
        refuse_unbuilt(call.form)
        if call.params["webhook_id"] == BOT_ID:
            # A follow-up always shows its message, whether or not it was asked to wait.
            return self._answer(self._interactions.follow_up(call.params["webhook_token"], call.form, call.uploads))
        message = self._speak(self._webhook(call), call)
        return self._answer(message) if _yes(call.query.get("wait")) else None

    def _speak(self, webhook: Webhook, call: Call) -> Message:
        problems = Problems()
        check_url(problems, ("avatar_url",), call.form.get("avatar_url"), ("http", "https"))
        problems.refuse_if_any()
        given = call.form.get("username")
        name = webhook.name if given is None else _checked_name(given, ("username",))
        draft = check_message(call.form, call.uploads, settable=SETTABLE_IN_CHANNEL, allowed=ALLOWED_IN_ANSWER)
        channel = self._place(webhook, call)
        message = self._world.new_message(channel, User(webhook.id, name, None, bot=True), draft)
        message.webhook_id, message.application_id = webhook.id, BOT_ID
        return self._world.post(message)

    def _message(self, call: Call) -> Message:
        message_id = call.params.get("message_id", "@original")
        if call.params["webhook_id"] == BOT_ID:
            return self._interactions.message(call.params["webhook_token"], message_id)
        webhook = self._webhook(call)
        message = self._world.message(self._place(webhook, call).id, message_id)
        if message.webhook_id != webhook.id:
            raise errors.unknown_message()
        return message

    def _read(self, call: Call) -> Answer:
        return self._answer(self._message(call))

    def _edit(self, call: Call) -> Answer:
        message = self._world.changeable(self._message(call))
        draft = check_message(
            call.form,
            call.uploads,
            settable=SETTABLE_IN_CHANNEL,
            allowed=ALLOWED_IN_ANSWER,
            before=message.before(),
        )
        return self._answer(self._world.edit(message, draft))

    def _remove(self, call: Call) -> Answer:
        self._world.remove(self._world.changeable(self._message(call)))
        return None


def _yes(value: str | None) -> bool:
    return (value or "").lower() in {"1", "true"}


def _checked_name(name: object, path: Path) -> str:
    """A webhook's name or user name: 1 to 80 characters, none of Discord's own names in it."""
    problems = Problems()
    text = name.strip() if isinstance(name, str) else name
    if problems.between(path, text, 1, limits.WEBHOOK_NAME):
        for banned in limits.WEBHOOK_NAME_BANS:
            if banned in str(text).lower():
                problems.add(path, "USERNAME_INVALID_CONTAINS", f'Username cannot contain "{banned}"')
    problems.refuse_if_any()
    return str(text)
