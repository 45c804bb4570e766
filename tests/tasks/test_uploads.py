"""Fetching what members attached, from a real server that lies, breaks off and points elsewhere."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from tasks import uploads
from tasks.settings import TaskSettings
from tasks.uploads import Fetcher, UploadGone, UploadUnreachable
from training.data.schema import Upload
from training.errors import RunStopped, UploadRefused

MIB = 2**20


class Files(BaseHTTPRequestHandler):
    """Answers by the last part of the path."""

    def do_GET(self) -> None:
        name = self.path.split("?")[0].rpartition("/")[2]
        if name == "moved":
            self.send_response(302)
            self.send_header("Location", "https://127.0.0.1/elsewhere")
            self.end_headers()
        elif name == "gone":
            self.send_error(404)
        elif name == "chatty":
            self.wfile.write(b"<b>words of the server</b>\r\n\r\n")
        elif name == "slow":
            self._trickle()
        else:
            self.send_response(200)
            size = {"endless": None, "short": 20}.get(name, 10)
            if size is not None:
                self.send_header("Content-Length", str(size))
            self.end_headers()
            self._body(name)

    def _trickle(self) -> None:
        """Headers without an end."""
        try:
            self.send_response(200)
            while True:
                self.send_header("X-More", "y")
                self.flush_headers()
                time.sleep(0.02)
        except OSError:
            return

    def _body(self, name: str) -> None:
        try:
            while name == "endless":
                self.wfile.write(bytes(MIB))
            self.wfile.write(b"0123456789")
        except OSError:  # whoever asked has heard enough
            return

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of the server, and the certificate to trust it by."""
    authority = trustme.CA()
    ca = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as httpd:
        httpd.daemon_threads = True
        httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"https://127.0.0.1:{httpd.server_address[1]}/files/", ca
        httpd.shutdown()


@pytest.fixture
def fetch(server: tuple[str, Path], task_settings: TaskSettings) -> Fetcher:
    changes = {"upload_sources": (server[0],), "upload_ca": server[1], "upload_max_mib": 1}
    return Fetcher(task_settings.model_copy(update=changes))


def upload(server: tuple[str, Path], name: str, size: int = 10) -> Upload:
    return Upload(url=f"{server[0]}{name}?ex=1&is=2", filename="rows.jsonl", size=size)


def test_a_file_is_fetched_whole(fetch: Fetcher, server: tuple[str, Path], tmp_path: Path) -> None:
    for name in ("rows", "r%20ö 🎲s"):
        fetch(upload(server, name), tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == b"0123456789"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("endless", (UploadRefused, "it is larger than 1 MiB")),
        ("moved", (UploadUnreachable, "its server answered 302")),
        ("gone", (UploadGone, "its link has expired, or the message was deleted. Upload it again")),
        ("short", (UploadUnreachable, "only a part of it came")),
        ("chatty", (UploadUnreachable, "rows.jsonl could not be fetched: its server's answer makes no sense. Upload")),
    ],
)
def test_what_cannot_be_fetched_is_told(
    fetch: Fetcher, server: tuple[str, Path], tmp_path: Path, name: str, told: tuple[type[Exception], str]
) -> None:
    with pytest.raises(told[0], match=told[1]):
        fetch(upload(server, name), tmp_path / "file")


def test_a_file_that_says_it_is_too_large_is_not_asked_for(
    fetch: Fetcher, server: tuple[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(UploadRefused, match="it is larger than 1 MiB"):
        fetch(upload(server, "rows", size=MIB + 1), tmp_path / "file")


@pytest.mark.parametrize(
    "address",
    [
        "https://127.0.0.1/files/x",
        "http://127.0.0.1/files/x",
        "file:///etc/passwd",
        "https://cdn.discordapp.com.example/attachments/1/2/x",
        "https://cdn.discordapp.com@127.0.0.1/attachments/1/2/x",
        "HTTPS://cdn.discordapp.com/attachments/1/2/x",
    ],
)
def test_only_allowed_addresses_are_asked(
    fetch: Fetcher, task_settings: TaskSettings, tmp_path: Path, address: str
) -> None:
    told = Upload(url=address, filename="x", size=1)
    for fetcher in (fetch, Fetcher(task_settings)):
        with pytest.raises(UploadRefused, match="it does not lie where this server fetches uploads from"):
            fetcher(told, tmp_path / "file")


def test_a_server_that_nobody_vouches_for_is_not_trusted(
    server: tuple[str, Path], task_settings: TaskSettings, tmp_path: Path
) -> None:
    fetch = Fetcher(task_settings.model_copy(update={"upload_sources": (server[0],)}))
    with pytest.raises(UploadUnreachable, match="certificate"):
        fetch(upload(server, "rows"), tmp_path / "file")


@pytest.mark.parametrize("name", ["endless", "slow"])
def test_a_slow_trickle_meets_the_deadline(
    fetch: Fetcher, server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(uploads, "FETCH_SECONDS", 0)
    with pytest.raises(UploadUnreachable, match="it took over 0 seconds"):
        fetch(upload(server, name), tmp_path / "file")


def test_a_fetch_is_stopped_while_it_waits(
    server: tuple[str, Path], task_settings: TaskSettings, tmp_path: Path
) -> None:
    settings = task_settings.model_copy(update={"upload_sources": (server[0],), "upload_ca": server[1]})
    with pytest.raises(RunStopped):
        Fetcher(settings, lambda: True)(upload(server, "slow"), tmp_path / "file")


def test_what_the_disk_refuses_is_not_the_servers_fault(
    fetch: Fetcher, server: tuple[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        fetch(upload(server, "rows"), tmp_path / "nowhere" / "file")
