"""The life of an interaction: three seconds to acknowledge, fifteen minutes to follow up."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sandbox import errors, limits
from sandbox.asked import TOLD, Answers, Asker, Asks, Interaction, command_data
from sandbox.commands import Misused, Registry, check_choices, fill_in, may_use
from sandbox.components import LINK, Kind, walk
from sandbox.errors import Json, Problems
from sandbox.forms import ALLOWED_IN_ANSWER, SETTABLE_IN_ANSWER, Draft, Flag, Upload, check_message
from sandbox.messages import Attachment, Message
from sandbox.modals import check_choice, check_modal, filled
from sandbox.people import BOT_ID, GUILD_ID, Channel, Member
from sandbox.state import World
from sandbox.wire import wire_message

NO_ANSWER = "The application did not respond"


@dataclass(frozen=True)
class OpenModal:
    """A modal that a member's client shows, and the interaction that it answered."""

    form: Json
    opener: Interaction


class Interactions:
    """All interactions, by token. `deliver` hands a new one's payload to the gateway."""

    def __init__(self, world: World, registry: Registry, deliver: Callable[[Json], None]) -> None:
        self._world = world
        self._registry = registry
        self._deliver = deliver
        self._by_token: dict[str, Interaction] = {}
        self._modals: dict[Asker, OpenModal] = {}
        self._deadlines: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Stop waiting for answers."""
        for deadline in self._deadlines:
            deadline.cancel()
        await asyncio.gather(*self._deadlines, return_exceptions=True)

    @property
    def waiting(self) -> bool:
        """Whether the app still has to acknowledge one, in time."""
        return any(not interaction.acknowledged for interaction in self._by_token.values())

    # --- what members do ------------------------------------------------------------------------------------------

    def commands_for(self, member: Member, channel: Channel | None = None) -> list[Json]:
        """The slash commands that a member may use."""
        granted = self._world.guild.permissions(member, channel)
        return self._registry.usable(GUILD_ID, lambda command: may_use(command, granted))

    def slash(
        self,
        member: Member,
        channel: Channel,
        asker: Asker,
        frame: Json,
    ) -> None:
        """Use a slash command, or ask for an option's choices if the frame names a focused one; raises Misused."""
        name, focused = str(frame.get("command")), frame.get("focused")
        command = next((c for c in self.commands_for(member, channel) if c["name"] == name), None)
        if command is None:
            known = any(c["name"] == name for c in self._registry.usable(GUILD_ID, lambda _: True))
            raise Misused(f"You may not use /{name} here." if known else f"There is no command /{name}.")
        used = fill_in(command, list(frame.get("sub") or []), dict(frame.get("options") or {}), focused=focused)
        asks = Asks.COMMAND if focused is None else Asks.AUTOCOMPLETE
        interaction = self._new(asks, member, channel, asker, str(frame.get("nonce")))
        interaction.data = command_data(used, self._world, member)
        interaction.name = used.full_name
        self._send(interaction)

    def press(self, member: Member, channel: Channel, asker: Asker, frame: Json) -> None:
        """Press a button of a message; raises Misused."""
        message, button = self._component(member, channel, frame, Kind.BUTTON, "button")
        if button.get("style") == LINK:
            raise Misused("That message has no such button.")
        self._use(self._new(Asks.COMPONENT, member, channel, asker, str(frame.get("nonce"))), message, button)

    def choose(self, member: Member, channel: Channel, asker: Asker, frame: Json) -> None:
        """Choose from a string select of a message; raises Misused."""
        message, select = self._component(member, channel, frame, Kind.STRING_SELECT, "menu")
        values = [str(value) for value in frame.get("values") or []]
        check_choice(select, values, select.get("placeholder") or "The menu")
        interaction = self._new(Asks.COMPONENT, member, channel, asker, str(frame.get("nonce")))
        self._use(interaction, message, select, values=values)

    def _component(
        self, member: Member, channel: Channel, frame: Json, kind: Kind, called: str
    ) -> tuple[Message, Json]:
        """The message and component that a frame names, if the member may use it; raises Misused."""
        message = next((m for m in self._world.messages(channel.id) if m.id == str(frame.get("message_id"))), None)
        if message is None or not message.visible_to(member.user.id):
            raise Misused("That message is gone.")
        custom_id = frame.get("custom_id")
        found = next((c for c in walk(message.components) if custom_id and c.get("custom_id") == custom_id), None)
        if found is None or found["type"] != kind:
            raise Misused(f"That message has no such {called}.")
        if found.get("disabled"):
            raise Misused(f"That {called} is disabled.")
        if BOT_ID not in {message.author.id, message.application_id}:
            raise Misused(f"That {called} belongs to no application here.")
        return message, found

    def _use(self, interaction: Interaction, message: Message, used: Json, **more: list[str]) -> None:
        interaction.pressed = message
        about = {"custom_id": used["custom_id"], "component_type": int(used["type"]), "id": used["id"]}
        interaction.data = about | more
        self._send(interaction)

    def submit(self, asker: Asker, frame: Json) -> None:
        """Send the modal that a client shows; it stays until the app acknowledges it. Raises Misused."""
        modal = self._modals.get(asker)
        if modal is None or modal.opener.id != frame.get("modal_id"):
            raise Misused("That form is closed.")
        opener = modal.opener
        data = filled(modal.form, dict(frame.get("values") or {}))
        interaction = self._new(Asks.MODAL, opener.member, opener.channel, asker, str(frame.get("nonce")))
        interaction.data, interaction.opener, interaction.pressed = data, opener, opener.pressed
        self._send(interaction)

    def dismiss(self, asker: Asker) -> None:
        """Close the modal that a client shows, if it shows one; the app never hears of it."""
        self._modals.pop(asker, None)

    def _new(self, asks: Asks, member: Member, channel: Channel, asker: Asker, nonce: str) -> Interaction:
        clock = self._world.clock
        token = secrets.token_urlsafe(90)
        return Interaction(clock.snowflake(), token, asks, member, channel, asker, nonce, clock.now(), {})

    def _send(self, interaction: Interaction) -> None:
        # A token that died is as good as unknown, so nothing is lost by forgetting it.
        now = self._world.clock.now()
        alive = {t: i for t, i in self._by_token.items() if now - i.created <= limits.TOKEN_LIVES_S}
        self._by_token = {**alive, interaction.token: interaction}
        deadline = asyncio.create_task(self._expect(interaction))
        self._deadlines.add(deadline)
        deadline.add_done_callback(self._deadlines.discard)
        self._deliver(interaction.wire(self._world))

    async def _expect(self, interaction: Interaction) -> None:
        await self._world.clock.until(interaction.created + limits.ANSWER_WITHIN_S)
        if not interaction.acknowledged:
            interaction.asker.failed(interaction.nonce, NO_ANSWER)

    # --- what the app answers -------------------------------------------------------------------------------------

    def callback(self, interaction_id: str, token: str, body: Json, uploads: Sequence[Upload]) -> Json:
        """Acknowledge an interaction; raises 10062, 40060 or 50035. Returns what `with_response` shows."""
        interaction = self._by_token.get(token)
        if interaction is None or interaction.id != interaction_id:
            raise errors.unknown_interaction()
        if interaction.acknowledged:
            raise errors.already_acknowledged()
        if self._world.clock.now() - interaction.created > limits.ANSWER_WITHIN_S:
            raise errors.unknown_interaction()
        problems = Problems()
        problems.choice(("type",), body.get("type"), tuple(map(int, interaction.fitting())))
        problems.refuse_if_any()
        answer = Answers(int(body["type"]))
        data = body.get("data") or {}
        if answer is Answers.MODAL:
            self._show(interaction, check_modal(data))
        elif answer is Answers.CHOICES:
            interaction.asker.suggested(interaction.nonce, self._choices(interaction, data))
        else:
            self._answer_with_message(interaction, answer, data, uploads)
        interaction.acknowledged = True
        if interaction.opener and self._shown_for(interaction.asker) is interaction.opener:
            self.dismiss(interaction.asker)
        interaction.asker.answered(interaction.nonce, TOLD[answer])
        return self._response(interaction, answer)

    def _show(self, interaction: Interaction, form: Json) -> None:
        self._modals[interaction.asker] = OpenModal(form, interaction)
        interaction.asker.shown({"id": interaction.id, "channel_id": interaction.channel.id, **form})

    def _shown_for(self, asker: Asker) -> Interaction | None:
        modal = self._modals.get(asker)
        return modal.opener if modal else None

    def _choices(self, interaction: Interaction, data: Json) -> list[Json]:
        problems = Problems()
        options = interaction.data["options"]
        while options and "options" in options[0]:
            options = options[0]["options"]
        focused = next(option for option in options if option.get("focused"))
        choices: list[Json] = data.get("choices") or []
        check_choices(problems, ("data", "choices"), choices, focused["type"])
        problems.refuse_if_any()
        return choices

    def _answer_with_message(
        self, interaction: Interaction, answer: Answers, data: Json, uploads: Sequence[Upload]
    ) -> None:
        if answer is Answers.DEFERRED_UPDATE:
            interaction.original = interaction.pressed
        elif answer is Answers.UPDATE:
            assert interaction.pressed is not None
            pressed = self._world.message(interaction.pressed.channel_id, interaction.pressed.id)
            interaction.original = self._edit(pressed, data, uploads, path=("data",))
        elif answer is Answers.DEFERRED_MESSAGE:
            # Of a deferral's flags Discord heeds only the one that hides it.
            flags = Flag.LOADING | (Flag(int(data.get("flags") or 0)) & Flag.EPHEMERAL)
            draft = Draft("", [], [], flags, ALLOWED_IN_ANSWER, (), None)
            interaction.original = self._post(interaction, draft, answers=interaction.pressed)
        else:
            draft = self._checked(data, uploads, path=("data",))
            interaction.original = self._post(interaction, draft, answers=interaction.pressed)

    def _checked(self, body: Json, uploads: Sequence[Upload], path: tuple[str, ...] = ()) -> Draft:
        return check_message(body, uploads, settable=SETTABLE_IN_ANSWER, allowed=ALLOWED_IN_ANSWER, path=path)

    def _post(self, interaction: Interaction, draft: Draft, answers: Message | None) -> Message:
        world = self._world
        message = world.new_message(interaction.channel, world.bot.user, draft)
        message.flags = draft.flags
        message.kind = 20 if answers is None else 19
        message.answers = answers
        message.webhook_id = message.application_id = BOT_ID
        message.interaction_id, message.metadata = interaction.id, interaction.metadata()
        if interaction.original:
            message.metadata["original_response_message_id"] = interaction.original.id
        if Flag.EPHEMERAL in draft.flags:
            message.only_for = interaction.member.user.id
        return world.post(message)

    def _response(self, interaction: Interaction, answer: Answers) -> Json:
        about: Json = {"id": interaction.id, "type": int(interaction.asks)}
        about |= {"channel_id": interaction.channel.id, "guild_id": GUILD_ID}
        response: Json = {"interaction": about}
        message = interaction.original
        if message is None:
            return response
        about["response_message_id"] = message.id
        about["response_message_loading"] = Flag.LOADING in message.flags
        about["response_message_ephemeral"] = message.only_for is not None
        if answer in {Answers.MESSAGE, Answers.UPDATE}:
            wire = wire_message(message, Attachment.cdn_url, BOT_ID)
            response["resource"] = {"type": int(answer), "message": wire}
        return response

    # --- what follows within fifteen minutes ----------------------------------------------------------------------

    def open(self, token: str) -> Interaction:
        """The acknowledged interaction of a token; raises 50027 when it is too old, 10015 when it is not open."""
        interaction = self._by_token.get(token)
        if interaction is None:
            raise errors.invalid_webhook_token()
        if self._world.clock.now() - interaction.created > limits.TOKEN_LIVES_S:
            raise errors.invalid_webhook_token()
        if not interaction.acknowledged or interaction.asks is Asks.AUTOCOMPLETE:
            raise errors.unknown_webhook()
        return interaction

    def follow_up(self, token: str, body: Json, uploads: Sequence[Upload]) -> Message:
        """Post a follow-up; the first one after a deferral fills the waiting message instead."""
        interaction = self.open(token)
        original = interaction.original
        if original and Flag.LOADING in original.flags:
            return self._edit(original, {**body, "flags": int(body.get("flags") or 0)}, uploads)
        return self._post(interaction, self._checked(body, uploads), answers=original)

    def message(self, token: str, message_id: str) -> Message:
        """The message that a token may read, edit and delete; raises 10008."""
        interaction = self.open(token)
        message = interaction.original
        if message_id == "@original" or (message and message.id == message_id):
            if message is None:
                raise errors.unknown_message()
            return self._world.message(message.channel_id, message.id)
        found = self._world.message(interaction.channel.id, message_id)
        if found.interaction_id != interaction.id:
            raise errors.unknown_message()
        return found

    def _edit(self, message: Message, body: Json, uploads: Sequence[Upload], path: tuple[str, ...] = ()) -> Message:
        draft = check_message(
            body,
            uploads,
            settable=SETTABLE_IN_ANSWER & ~Flag.EPHEMERAL,
            allowed=ALLOWED_IN_ANSWER,
            path=path,
            before=message.before(),
        )
        return self._world.edit(message, draft)
