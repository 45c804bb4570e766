"""Files that members use a command with: how they reach the app, and which a client would not send."""

from __future__ import annotations

import io

import discord
import pytest

from sandbox import limits
from sandbox.messages import Attachment
from sandbox.people import BOT_ID
from sandbox.server import Sandbox
from sandbox.state import stored_name
from sandbox.visitor import File, Refused, Visitor
from sandbox.wire import wire_attachment
from tests.sandbox.app import App
from tests.sandbox.conftest import Call
from tests.sandbox.openapi import mistakes, violations


async def test_the_app_gets_a_file_of_a_command_and_may_read_it(app: App, mara: Visitor) -> None:
    data = "灯台守🐟\n".encode() * 100
    await mara.slash("workshop", "lab", "read", file=File("../ my rows?.jsonl", data), note="with love")
    await mara.until(lambda m: m["content"] == f"my_rows_.jsonl: {len(data)} bytes with love")
    file = next(seen for kind, seen in app.seen if kind == "file")
    assert isinstance(file, discord.Attachment)
    assert (file.size, file.ephemeral) == (len(data), True)
    assert file.url == f"https://cdn.discordapp.com/ephemeral-attachments/{BOT_ID}/{file.id}/my_rows_.jsonl"


async def test_a_file_is_written_as_the_document_says(sandbox: Sandbox) -> None:
    channel = sandbox.world.channel("1200000000000000020")
    stored = sandbox.world.upload(channel, "rows.jsonl", "application/octet-stream", b"{}")
    assert mistakes("AttachmentResponse", wire_attachment(stored, Attachment.cdn_url)) == []


async def test_one_message_carries_several_files_and_embeds_that_show_them(
    app: App, sandbox: Sandbox, mara: Visitor
) -> None:
    names = ("matrix.png", "radar.png", "report.json")
    embeds = [discord.Embed(title=name).set_image(url=f"attachment://{name}") for name in names[:2]]
    sent = await app.channel().send(
        "checked", embeds=embeds, files=[discord.File(io.BytesIO(name.encode()), name) for name in names]
    )
    seen = await mara.until(lambda m: m["content"] == "checked")
    assert [await mara.download(embed["image"]["url"]) for embed in seen["embeds"]] == [b"matrix.png", b"radar.png"]
    assert [file["filename"] for file in seen["attachments"]] == ["report.json"]
    assert await mara.download(seen["attachments"][0]["url"]) == b"report.json"
    newer = discord.File(io.BytesIO(b"newer"), "radar.png")
    await sent.edit(embeds=embeds[1:], attachments=[*sent.attachments, newer])
    await mara.until(lambda m: m["edited_timestamp"])
    (embed,) = mara.messages()[-1]["embeds"]
    assert await mara.download(embed["image"]["url"]) == b"newer"
    assert [file["filename"] for file in mara.messages()[-1]["attachments"]] == ["report.json"]
    assert violations(sandbox.requests) == []


async def test_a_worker_that_is_told_the_sandboxs_address_may_fetch_it(sandbox: Sandbox, call: Call) -> None:
    channel = sandbox.world.channel("1200000000000000020")
    stored = sandbox.world.upload(channel, "rows.json", "application/json", b"[7]")
    path = stored.cdn_url().removeprefix("https://cdn.discordapp.com")
    answer = await call("GET", f"/../..{path}")
    assert (answer.status, answer.body) == (200, [7])
    assert (await call("GET", f"/../..{path.replace(stored.id, '12')}/")).status == 404


async def test_what_a_client_would_not_send_is_refused(app: App, mara: Visitor) -> None:
    with pytest.raises(Refused, match="at most 10 MiB"):
        await mara.slash("workshop", "lab", "read", file=File("big", bytes(limits.FILE_BYTES + 1)))
    with pytest.raises(Refused, match="file of the option file is gone"):
        await mara.slash("workshop", "lab", "read", file="12")
    with pytest.raises(Refused, match="file is required"):
        await mara.slash("workshop", "lab", "read")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a b.txt", "a_b.txt"),
        ("C:\\x\\y.json", "y.json"),
        ("??", "file"),
        ("数据.jsonl", "数据.jsonl"),
        ("a" * 300, "a" * 260),
    ],
)
def test_a_files_name_is_kept_as_discord_keeps_it(given: str, kept: str) -> None:
    assert stored_name(given) == kept
