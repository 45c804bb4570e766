"""The sandbox as a process, and the door of its page."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from sandbox.server import Sandbox
from sandbox.visitor import Visitor
from tests.sandbox.app import connector

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "sandbox", *arguments]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        try:
            yield child
        finally:
            child.kill()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
async def test_the_process_says_ready_serves_and_stops_cleanly(tmp_path: Path, ending: signal.Signals) -> None:
    with process("--token", "of-my-own", "--data", str(tmp_path)) as child:
        assert child.stdout
        word, _, rest = child.stdout.readline().partition(" ")
        ready = json.loads(rest)
        assert (word, ready["process"], ready["ca"]) == ("READY", "sandbox", str(tmp_path / "ca.pem"))
        async with Visitor.connect(ready["page"]) as mara:
            await mara.say("workshop", "hello")
            assert not mara.bot_online
        headers = {"Authorization": "Bot of-my-own"}
        async with (
            aiohttp.ClientSession(connector=connector(ready["discord"], Path(ready["ca"]))) as session,
            session.get("https://discord.com/api/v10/users/@me", headers=headers) as response,
        ):
            assert response.status == 200
        child.send_signal(ending)
        assert child.wait(timeout=10) == 0
        assert child.stderr
        assert "Traceback" not in child.stderr.read()


@pytest.mark.parametrize("flag", ["--page-port", "--discord-port"])
def test_a_taken_port_is_one_plain_sentence(tmp_path: Path, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with process(flag, str(port), "--data", str(tmp_path)) as child:
            out, err = child.communicate(timeout=20)
    assert child.returncode == 2
    assert out == ""
    assert err.strip() == "A port of the sandbox is in use: choose others with --page-port and --discord-port."


async def test_the_page_answers_its_own_host_and_origin_only(sandbox: Sandbox) -> None:
    async with aiohttp.ClientSession() as session:

        async def status(path: str, **headers: str) -> int:
            async with session.get(sandbox.page_url + path, headers=headers) as response:
                return response.status

        own = sandbox.page_url.rstrip("/")
        assert await status("") == 200
        assert await status("", Origin=own) == 200
        assert await status("", Host="evil.test") == 403
        assert await status("", Origin="https://evil.test") == 403
        assert await status("", Origin=own.replace("http:", "https:")) == 403
        assert await status("live", Origin="null") == 403
        assert await status("attachments/1/a.png") == 404
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(f"{own}/live", headers={"Origin": "https://evil.test"})
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(f"{own}/live?as=nobody")


async def test_a_senseless_frame_is_refused_and_the_line_stays_open(sandbox: Sandbox) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{sandbox.page_url}live") as live,
    ):
        assert [(await live.receive_json())["t"] for _ in range(2)] == ["hello", "bot"]
        workshop = {"channel_id": "1200000000000000020"}
        frames = [
            "[]",
            "{",
            '{"t":"say"}',
            json.dumps({"t": "fly", **workshop}),
            json.dumps({"t": "slash", "sub": 5, **workshop}),
        ]
        for frame in frames:
            await live.send_str(frame)
            answer = await live.receive_json(timeout=5)
            assert answer["t"] == "refused"
            assert answer["sentence"].endswith(".")


async def test_uploads_cannot_act_as_pages(sandbox: Sandbox) -> None:
    context = ssl.create_default_context(cafile=str(sandbox.ca_path))
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("payload_json", "{}")
    form.add_field("files[0]", b"<script>alert(1)</script>", filename="page.html")
    async with aiohttp.ClientSession() as session:
        url = f"{sandbox.discord_url}/api/v10/channels/1200000000000000020/messages"
        headers = {"Authorization": f"Bot {sandbox.token}"}
        async with session.post(url, data=form, headers=headers, ssl=context) as response:
            assert response.status == 200
        async with Visitor.connect(sandbox.page_url) as mara:
            address = mara.messages()[0]["attachments"][0]["url"]
        async with session.get(sandbox.page_url.rstrip("/") + address) as response:
            assert response.content_type == "application/octet-stream"
            assert response.headers["Content-Disposition"] == "attachment"
            assert "sandbox" in response.headers["Content-Security-Policy"]
