"""Discord's limits, each written once. Lengths are characters, sizes are bytes, times are seconds."""

from __future__ import annotations

from dataclasses import dataclass

DISCORD_EPOCH_MS = 1_420_070_400_000

# Messages
CONTENT = 2_000
NONCE = 25
NONCE_REMEMBERED_S = 300.0
FILES = 10
FILE_BYTES = 10 * 1024 * 1024
FILENAME = 260
REQUEST_BYTES = 25 * 1024 * 1024
MENTIONED_IDS = 100
HISTORY = 100
HISTORY_DEFAULT = 50

# Embeds
EMBEDS = 10
EMBED_CHARACTERS = 6_000
EMBED_TITLE = 256
EMBED_DESCRIPTION = 4_096
EMBED_FIELDS = 25
EMBED_FIELD_NAME = 256
EMBED_FIELD_VALUE = 1_024
EMBED_FOOTER = 2_048
EMBED_AUTHOR = 256
EMBED_COLOUR = 0xFFFFFF
URL = 2_048

# Components
ROWS = 5
ROW_BUTTONS = 5
BUTTON_LABEL = 80
BUTTON_URL = 512
CUSTOM_ID = 100
SELECT_OPTIONS = 25
SELECT_TEXT = 100
SELECT_PLACEHOLDER = 150
V2_COMPONENTS = 40
V2_TEXT = 4_000

# Interactions
ANSWER_WITHIN_S = 3.0
TOKEN_LIVES_S = 15 * 60.0
CHOICES = 25
CHOICE_TEXT = 100

# Commands
COMMAND_NAME = 32
COMMAND_DESCRIPTION = 100
COMMAND_OPTIONS = 25
COMMAND_CHARACTERS = 8_000
COMMANDS_OF_TYPE = {1: 100, 2: 15, 3: 15}
COMMAND_CREATES_A_DAY = 200
STRING_OPTION = 6_000

# Modals
MODAL_TITLE = 45
MODAL_COMPONENTS = 5
MODAL_LABEL = 45
MODAL_DESCRIPTION = 100
INPUT_TEXT = 4_000
INPUT_PLACEHOLDER = 100

# Threads
THREAD_NAME = 100
THREAD_SLOWMODE_S = 21_600
THREAD_ARCHIVE_AFTER = (60, 1_440, 4_320, 10_080)
THREAD_ARCHIVE_DEFAULT = 1_440

# Webhooks
WEBHOOKS_A_CHANNEL = 15
WEBHOOK_NAME = 80
WEBHOOK_NAME_BANS = ("clyde", "discord")

# Gateway
HEARTBEAT_INTERVAL_S = 41.25
GATEWAY_PAYLOAD_BYTES = 4_096
GATEWAY_SENDS = 120
GATEWAY_SENDS_S = 60.0
IDENTIFIES_A_DAY = 1_000
# Not documented by Discord: long enough for a bot's restart of its socket, short enough to bound what is kept.
RESUME_WINDOW_S = 300.0
RESUME_EVENTS = 2_000


@dataclass(frozen=True)
class Rate:
    """So many requests within so many seconds."""

    requests: int
    seconds: float


GLOBAL_RATE = Rate(50, 1.0)
# Discord publishes no route's rate; these are the ones observed in practice, and the default is lenient.
DEFAULT_RATE = Rate(50, 5.0)
ROUTE_RATES = {
    ("POST", "/channels/{channel_id}/messages"): Rate(5, 5.0),
    ("PATCH", "/channels/{channel_id}/messages/{message_id}"): Rate(5, 5.0),
    ("DELETE", "/channels/{channel_id}/messages/{message_id}"): Rate(5, 1.0),
    ("POST", "/channels/{channel_id}/typing"): Rate(5, 5.0),
    ("PUT", "/channels/{channel_id}/messages/{message_id}/reactions/{emoji}/@me"): Rate(1, 0.25),
    ("POST", "/webhooks/{webhook_id}/{webhook_token}"): Rate(5, 2.0),
    ("PATCH", "/webhooks/{webhook_id}/{webhook_token}/messages/@original"): Rate(5, 5.0),
    ("PATCH", "/webhooks/{webhook_id}/{webhook_token}/messages/{message_id}"): Rate(5, 5.0),
    ("PUT", "/applications/{application_id}/commands"): Rate(5, 20.0),
    ("PUT", "/applications/{application_id}/guilds/{guild_id}/commands"): Rate(5, 20.0),
}
