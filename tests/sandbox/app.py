"""An unmodified discord.py client pointed at the sandbox: the small app that the sandbox's tests drive."""

from __future__ import annotations

import asyncio
import io
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import discord
from aiohttp.abc import AbstractResolver, ResolveResult
from discord import app_commands

from sandbox.people import GUILD_ID

HOSTS = ("discord.com", "gateway.discord.gg", "cdn.discordapp.com")
GUILD = discord.Object(int(GUILD_ID))


class ToSandbox(AbstractResolver):
    """Sends Discord's hosts to the sandbox's port on loopback, and nothing anywhere else."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        if host not in HOSTS:
            raise OSError(f"{host} is not Discord")
        found = ResolveResult(hostname=host, host="127.0.0.1", port=self._port, family=socket.AF_INET, proto=0, flags=0)
        return [found]

    async def close(self) -> None:
        pass


def connector(discord_url: str, ca_path: Path) -> aiohttp.TCPConnector:
    port = urlsplit(discord_url).port
    assert port
    context = ssl.create_default_context(cafile=str(ca_path))
    return aiohttp.TCPConnector(resolver=ToSandbox(port), ssl=context, limit=0)


class Pinned(discord.ui.DynamicItem[discord.ui.Button[Any]], template=r"pin:(?P<number>\d+)"):
    """A button that works after a restart, since its id says all."""

    def __init__(self, number: int) -> None:
        super().__init__(discord.ui.Button(label="Pin", custom_id=f"pin:{number}"))
        self.number = number

    @classmethod
    async def from_custom_id(cls, interaction: Any, item: Any, match: re.Match[str], /) -> Self:
        return cls(int(match["number"]))

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        await interaction.response.edit_message(content=f"pinned {self.number}", view=None)


def pinned_view(number: int) -> discord.ui.View:
    view = discord.ui.View(timeout=None)
    view.add_item(Pinned(number))
    return view


class Rubric(discord.ui.Modal, title="How was it?"):
    """A form with all kinds of fields; whoever calls themselves silent gets no answer."""

    words = discord.ui.TextDisplay("Say what you think.")
    score = discord.ui.Label(
        text="In character",
        description="1 is not at all",
        component=discord.ui.Select(
            custom_id="score", options=[discord.SelectOption(label=f"{n} of 5", value=str(n)) for n in range(1, 6)]
        ),
    )
    why = discord.ui.Label(
        text="Why", component=discord.ui.TextInput(custom_id="why", style=discord.TextStyle.paragraph, max_length=20)
    )
    nick = discord.ui.TextInput(label="Nickname", custom_id="nick", required=False, min_length=2, default="Anon")

    def __init__(self, app: App) -> None:
        super().__init__(custom_id="rubric", timeout=None)
        self.app = app

    async def on_submit(self, interaction: discord.Interaction[Any]) -> None:
        self.app.interactions.append(interaction)
        if self.nick.value == "silent":
            raise TimeoutError("it never answers")
        said = f"{self.score.component.values} {self.why.component.value} {self.nick.value}"
        if interaction.message:
            await interaction.response.edit_message(content=said)
        else:
            await interaction.response.send_message(said)


class Desk(discord.ui.View):
    """A button that opens the form, and a menu."""

    def __init__(self, app: App) -> None:
        super().__init__(timeout=None)
        self.app = app

    @discord.ui.button(label="Judge", custom_id="judge")
    async def judge(self, interaction: discord.Interaction[Any], _: Any) -> None:
        await interaction.response.send_modal(Rubric(self.app))

    @discord.ui.select(
        placeholder="Pick one or two",
        custom_id="pick",
        max_values=2,
        options=[discord.SelectOption(label=name.title(), value=name) for name in ("elio", "glordon", "grigon")],
    )
    async def pick(self, interaction: discord.Interaction[Any], select: discord.ui.Select[Any]) -> None:
        await interaction.response.send_message(f"{interaction.user.name} picked {select.values}")


class App(discord.Client):
    """A bot with one command group; it remembers what reached it."""

    def __init__(self, connector: aiohttp.TCPConnector, intents: discord.Intents, **options: Any) -> None:
        super().__init__(
            intents=intents,
            connector=connector,
            allowed_mentions=discord.AllowedMentions.none(),
            guild_ready_timeout=0.05,
            **options,
        )
        self.tree = app_commands.CommandTree(self)
        self.tree.add_command(_lab(self), guild=GUILD)
        self.tree.add_command(_held(), guild=GUILD)
        self.seen: list[tuple[str, Any]] = []
        self.errors: list[BaseException] = []
        self.interactions: list[discord.Interaction[Any]] = []
        self.release = asyncio.Event()
        self.tree.error(self._failed)

    async def setup_hook(self) -> None:
        self.add_dynamic_items(Pinned)
        await self.tree.sync(guild=GUILD)

    async def _failed(self, interaction: discord.Interaction[Any], error: app_commands.AppCommandError) -> None:
        self.errors.append(getattr(error, "original", error))

    async def on_message(self, message: discord.Message) -> None:
        self.seen.append(("message", message))

    async def on_raw_reaction_add(self, event: discord.RawReactionActionEvent) -> None:
        self.seen.append(("reaction", event))

    async def on_thread_create(self, thread: discord.Thread) -> None:
        self.seen.append(("thread", thread))

    async def on_thread_update(self, before: discord.Thread, after: discord.Thread) -> None:
        self.seen.append(("thread update", (before.archived, after.archived)))

    async def on_resumed(self) -> None:
        self.seen.append(("resumed", None))

    def channel(self, name: str = "workshop") -> discord.TextChannel:
        found = discord.utils.get(self.get_all_channels(), name=name)
        assert isinstance(found, discord.TextChannel)
        return found


def _lab(app: App) -> app_commands.Group:
    group = app_commands.Group(name="lab", description="Try things")

    @group.command(description="Answer at once")
    @app_commands.choices(tone=[app_commands.Choice(name="Loud", value="loud")])
    async def echo(
        interaction: discord.Interaction[Any],
        text: str,
        times: app_commands.Range[int, 1, 3] = 1,
        tone: app_commands.Choice[str] | None = None,
        quiet: bool = False,
    ) -> None:
        said = " ".join([text.upper() if tone else text] * times)
        await interaction.response.send_message(said, ephemeral=quiet)

    @echo.autocomplete("text")
    async def _texts(interaction: discord.Interaction[Any], current: str) -> list[app_commands.Choice[str]]:
        words = ["alpha", "beta", interaction.namespace.times and f"times {interaction.namespace.times}"]
        return [app_commands.Choice(name=word, value=word) for word in words if word and current in word]

    @group.command(description="Defer, then edit and follow up")
    async def defer(interaction: discord.Interaction[Any], quiet: bool = False) -> None:
        app.interactions.append(interaction)
        await interaction.response.defer(ephemeral=quiet, thinking=True)
        await app.release.wait()
        await interaction.edit_original_response(content="done")
        await interaction.followup.send("and more", ephemeral=quiet)

    @group.command(description="Answer late")
    async def late(interaction: discord.Interaction[Any]) -> None:
        await app.release.wait()
        await interaction.response.send_message("too late")

    @group.command(description="Answer twice")
    async def twice(interaction: discord.Interaction[Any]) -> None:
        await interaction.response.send_message("once")
        interaction.response._response_type = None
        await interaction.response.send_message("twice")

    @group.command(description="Show a button")
    async def button(interaction: discord.Interaction[Any], number: int) -> None:
        await interaction.response.send_message("press it", view=pinned_view(number))

    @group.command(description="Read a file")
    async def read(interaction: discord.Interaction[Any], file: discord.Attachment, note: str = "") -> None:
        app.seen.append(("file", file))
        await interaction.response.send_message(f"{file.filename}: {len(await file.read())} bytes {note}".strip())

    @group.command(description="Where is this?")
    async def where(interaction: discord.Interaction[Any]) -> None:
        app.interactions.append(interaction)
        await interaction.response.send_message(f"in {interaction.channel}")

    @group.command(description="Open a form")
    async def form(interaction: discord.Interaction[Any]) -> None:
        await interaction.response.send_modal(Rubric(app))

    @group.command(description="Show a button for a form, and a menu")
    async def desk(interaction: discord.Interaction[Any]) -> None:
        await interaction.response.send_message("what do you think?", view=Desk(app))

    @group.command(description="Show a chart")
    async def chart(interaction: discord.Interaction[Any]) -> None:
        embed = discord.Embed(title="Loss").set_image(url="attachment://loss.png")
        files = [
            discord.File(io.BytesIO(b"\x89PNG picture"), "loss.png"),
            discord.File(io.BytesIO(b"{}"), "report.json", description="The report"),
        ]
        await interaction.response.send_message(embed=embed, files=files)

    return group


def _held() -> app_commands.Command[Any, Any, Any]:
    @app_commands.command(name="held", description="For moderators")
    @app_commands.default_permissions(moderate_members=True)
    async def held(interaction: discord.Interaction[Any]) -> None:
        await interaction.response.send_message("yes")

    return held


@asynccontextmanager
async def running(sandbox: Any, intents: discord.Intents | None = None, **options: Any) -> AsyncIterator[App]:
    """The app, logged in and ready; closed at the end."""
    app = App(connector(sandbox.discord_url, sandbox.ca_path), intents or discord.Intents.default(), **options)
    life = asyncio.create_task(app.start(sandbox.token))
    ready = asyncio.create_task(_ready(app))
    try:
        await asyncio.wait({life, ready}, timeout=15, return_when=asyncio.FIRST_COMPLETED)
        if life.done():
            life.result()
        assert ready.done(), "the app was not ready within 15 s"
        yield app
    finally:
        ready.cancel()
        await app.close()
        await asyncio.gather(life, return_exceptions=True)


async def _ready(app: App) -> None:
    while True:
        try:
            await app.wait_until_ready()
        except RuntimeError:
            # discord.py has no event to wait on before login() ran.
            await asyncio.sleep(0.01)
        else:
            return
