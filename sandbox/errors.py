"""Discord's refusals: a status, a numeric code, and for bad forms the field that is wrong."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
Path = tuple[str | int, ...]


class Refusal(Exception):
    """One of Discord's error answers, as the bot will see it."""

    def __init__(self, status: int, code: int, message: str, errors: Json | None = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.body: Json = {"message": message, "code": code}
        if errors:
            self.body["errors"] = errors


def not_found(code: int, what: str) -> Refusal:
    """404: one of Discord's "Unknown …" errors."""
    return Refusal(404, code, f"Unknown {what}")


def unknown_channel() -> Refusal:
    """No such channel."""
    return not_found(10003, "Channel")


def unknown_guild() -> Refusal:
    """No such guild."""
    return not_found(10004, "Guild")


def unknown_member() -> Refusal:
    """No such member."""
    return not_found(10007, "Member")


def unknown_message() -> Refusal:
    """No such message, or not one that the asker may know of."""
    return not_found(10008, "Message")


def unknown_emoji() -> Refusal:
    """Not an emoji."""
    return not_found(10014, "Emoji")


def unknown_webhook() -> Refusal:
    """No such webhook, or an interaction that was not answered yet."""
    return not_found(10015, "Webhook")


def unknown_interaction() -> Refusal:
    """The interaction's three seconds are over, or it never was."""
    return not_found(10062, "interaction")


def unbuilt() -> Refusal:
    """What Discord answers for a route that does not exist; the sandbox says it of what it has not built."""
    return Refusal(404, 0, "404: Not Found")


def unauthorized() -> Refusal:
    """A wrong or missing bot token."""
    return Refusal(401, 0, "401: Unauthorized")


def missing_access() -> Refusal:
    """The bot may not see the channel or guild."""
    return Refusal(403, 50001, "Missing Access")


def missing_permissions() -> Refusal:
    """The bot may not do that."""
    return Refusal(403, 50013, "Missing Permissions")


def foreign_message() -> Refusal:
    """Somebody else's message."""
    return Refusal(403, 50005, "Cannot edit a message authored by another user")


def empty_message() -> Refusal:
    """Nothing to send."""
    return Refusal(400, 50006, "Cannot send an empty message")


def wrong_channel_type() -> Refusal:
    """Something that this kind of channel cannot have, such as a thread in a thread."""
    return Refusal(400, 50024, "Cannot execute action on this channel type")


def thread_archived() -> Refusal:
    """An edit in a thread that is in the archive."""
    return Refusal(400, 50083, "Thread is archived")


def thread_exists() -> Refusal:
    """A second thread under one message."""
    return Refusal(400, 160004, "A thread has already been created for this message")


def thread_locked() -> Refusal:
    """A message in a thread that moderators locked."""
    return Refusal(403, 160005, "Thread is locked")


def invalid_webhook_token() -> Refusal:
    """The interaction's fifteen minutes are over, or the webhook's token is wrong."""
    return Refusal(401, 50027, "Invalid Webhook Token")


def already_acknowledged() -> Refusal:
    """A second answer to one interaction."""
    return Refusal(400, 40060, "Interaction has already been acknowledged.")


def too_large() -> Refusal:
    """A file or request over the size limit."""
    return Refusal(413, 40005, "Request entity too large")


def too_many_webhooks(most: int) -> Refusal:
    """The channel is full of webhooks."""
    return Refusal(400, 30007, f"Maximum number of webhooks reached ({most})")


def too_many_command_creates(most: int) -> Refusal:
    """The day's share of new commands is used up."""
    return Refusal(429, 30034, f"Max number of daily application command creates has been reached ({most})")


def bad_json() -> Refusal:
    """A body that is not JSON."""
    return Refusal(400, 50109, "The request body contains invalid JSON.")


class Problems:
    """Gathers what is wrong with a form, field by field, and refuses it once with all of it."""

    def __init__(self) -> None:
        self._errors: Json = {}

    def add(self, path: Path, code: str, message: str) -> None:
        """Note one wrong field."""
        place = self._errors
        for step in path:
            place = place.setdefault(str(step), {})
        place.setdefault("_errors", []).append({"code": code, "message": message})

    def required(self, path: Path) -> None:
        """Note a field that must be there."""
        self.add(path, "BASE_TYPE_REQUIRED", "This field is required")

    def longer(self, path: Path, value: object, most: int) -> bool:
        """Note a text that is longer than `most`, or is no text; True if it is fine or absent."""
        if value is None:
            return True
        if not isinstance(value, str):
            self.add(path, "STRING_TYPE_CONVERT", f"Could not interpret {value!r} as string.")
            return False
        if len(value) > most:
            self.add(path, "BASE_TYPE_MAX_LENGTH", f"Must be {most} or fewer in length.")
            return False
        return True

    def between(self, path: Path, value: object, least: int, most: int) -> bool:
        """Note a text or list whose length is outside the bounds; True if it is fine."""
        if not isinstance(value, str | list):
            self.required(path)
            return False
        if not least <= len(value) <= most:
            self.add(path, "BASE_TYPE_BAD_LENGTH", f"Must be between {least} and {most} in length.")
            return False
        return True

    def choice(self, path: Path, value: object, allowed: tuple[object, ...]) -> bool:
        """Note a value that is not among the allowed ones; True if it is."""
        if value in allowed:
            return True
        named = ", ".join(map(str, allowed))
        self.add(path, "BASE_TYPE_CHOICES", f"Value must be one of {{{named}}}.")
        return False

    def refuse_if_any(self) -> None:
        """Raise 50035 if anything was noted."""
        if self._errors:
            raise Refusal(400, 50035, "Invalid Form Body", self._errors)
