"""Settings in, bot out: `python -m bot`."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import discord

from bot.app import Understudy
from bot.ballot_box import Ballots
from bot.errors import DiscordAway, IntentsRefused, SecondInstance, TokenRefused
from bot.ledger import Ledger
from bot.relay import ended
from bot.settings import BotSettings
from tasks.alive import keep_beating
from tasks.client import Client
from tasks.errors import SettingsWrong
from tasks.settings import TaskSettings, load_settings
from training.errors import UnderstudyError

REFUSED = 2
TOKEN_NO_LONGER_VALID = 4004


def main() -> int:
    """Run the bot until it is told to stop; 2 where it cannot start, after one plain sentence on stderr."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("discord").setLevel(logging.WARNING)
    # At every start it warns that voice chat is not installed, which this bot has no use for.
    discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False
    try:
        asyncio.run(_until_stopped(*_settings()))
    except UnderstudyError as error:
        print(error, file=sys.stderr)
        return REFUSED
    return 0


def _settings() -> tuple[BotSettings, TaskSettings]:
    """Both settings classes, with the problems of both in one error."""
    problems = []
    try:
        bot = load_settings(BotSettings)
    except SettingsWrong as error:
        problems.append(str(error.details["problems"]))
    try:
        tasks = load_settings(TaskSettings)
    except SettingsWrong as error:
        problems.append(str(error.details["problems"]))
    if problems:
        raise SettingsWrong(problems="".join(problems))
    return bot, tasks


async def _until_stopped(settings: BotSettings, tasks: TaskSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    token = settings.discord_token.get_secret_value()
    with _only_instance(tasks.made("STATE_DIR"), token):
        queue = Client(tasks, tasks.state_dir / "bot-accepted.sqlite3")
        await queue.start()
        ledger = Ledger(tasks.state_dir / "bot-ledger.sqlite3")
        ballots = Ballots(tasks.state_dir / "bot-ballots.sqlite3")
        alive = keep_beating(tasks.state_dir, "bot")
        bot = Understudy(settings, queue, ledger, ballots)
        address = settings.discord_sandbox or "https://discord.com"
        speaking = asyncio.create_task(_speak(bot, token, address), name="discord")
        stopping = asyncio.create_task(_heard(stop), name="stop")
        try:
            await asyncio.wait({speaking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if speaking.done():
                speaking.result()
        finally:
            await bot.close()
            await ended(speaking, stopping)
            await queue.close()
            ledger.close()
            ballots.close()
            alive.set()


async def _heard(stop: asyncio.Event) -> None:
    await stop.wait()
    logging.getLogger(__name__).info("Stopping.")


async def _speak(bot: Understudy, token: str, address: str) -> None:
    try:
        await bot.start(token)
    except discord.LoginFailure as error:
        raise TokenRefused from error
    except discord.PrivilegedIntentsRequired as error:
        raise IntentsRefused from error
    except discord.ConnectionClosed as error:
        if error.code == TOKEN_NO_LONGER_VALID:
            raise TokenRefused from error
        raise DiscordAway(address=address, reason=str(error)) from error
    except (discord.HTTPException, discord.GatewayNotFound, aiohttp.ClientError, OSError) as error:
        raise DiscordAway(address=address, reason=str(error) or type(error).__name__) from error


@contextmanager
def _only_instance(state_dir: Path, token: str) -> Iterator[None]:
    """Hold the lock of this token: two bots with one token would answer everything twice."""
    path = state_dir / f"bot-{hashlib.sha256(token.encode()).hexdigest()[:12]}.lock"
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SecondInstance(path=path) from error
        yield


if __name__ == "__main__":
    sys.exit(main())
