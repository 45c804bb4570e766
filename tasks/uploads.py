"""Fetches what members attached: from the allowed addresses only, and no more than an upload may have."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

from tasks.settings import TaskSettings
from training.data.schema import Upload
from training.errors import RunStopped, UnderstudyError, UploadRefused

ANSWER_SECONDS = 10.0
FETCH_SECONDS = 120.0
CHUNK_BYTES = 64 * 1024
LOOK_SECONDS = 0.25
EXPIRED = (401, 403, 404, 410)
_AS_IT_IS = "%/:=&?~+!$,;'@()*[]"
_REASONS: dict[type[Exception], str] = {
    ssl.SSLCertVerificationError: "its server's certificate is not trusted",
    ssl.SSLError: "its server does not speak TLS as it should",
    TimeoutError: f"its server was silent for {ANSWER_SECONDS:.0f} seconds",
    socket.gaierror: "its server was not found",
    http.client.HTTPException: "its server's answer makes no sense",
}


class UploadGone(UnderstudyError):
    """{name} can no longer be fetched: its link has expired, or the message was deleted. Upload it again."""


class UploadUnreachable(UnderstudyError):
    """{name} could not be fetched: {reason}. Upload it again in a moment."""


class Fetcher:
    """Brings an upload into a file. It follows no redirect and sends nothing that is ours."""

    def __init__(self, settings: TaskSettings, should_stop: Callable[[], bool] = lambda: False) -> None:
        self._sources = settings.upload_sources
        self._ca = settings.upload_ca
        self._limit = settings.upload_max_mib * 2**20
        self._should_stop = should_stop

    def __call__(self, upload: Upload, target: Path) -> None:
        """Write the upload to `target`.

        Raises UploadRefused, UploadGone, UploadUnreachable, RunStopped, or OSError for what the disk refuses.
        """
        if not upload.url.startswith(self._sources):
            raise UploadRefused(name=upload.filename, reason="it does not lie where this server fetches uploads from")
        if upload.size > self._limit:
            raise self._too_large(upload)
        with target.open("wb") as file:
            for piece in self._pieces(upload):
                file.write(piece)

    def _pieces(self, upload: Upload) -> Iterator[bytes]:
        """The body, counted: what was said of its size beforehand is not relied on."""
        watch = Watch(self._should_stop)
        size = 0
        try:
            with self._answer(upload, watch) as answer:
                said = answer.length
                # read1 returns with what has come, so that a slow trickle meets the deadline.
                while part := answer.read1(CHUNK_BYTES):
                    size += len(part)
                    if size > self._limit:
                        raise self._too_large(upload)
                    if watch.look():
                        break
                    yield part
        except (OSError, http.client.HTTPException) as error:
            watch.end(upload)
            raise UploadUnreachable(name=upload.filename, reason=_in_words(error)) from error
        watch.end(upload)
        if said is not None and size != said:
            raise UploadUnreachable(name=upload.filename, reason="only a part of it came")

    @contextmanager
    def _answer(self, upload: Upload, watch: Watch) -> Iterator[http.client.HTTPResponse]:
        """Its server's answer, once it has begun to send the file."""
        url = urlsplit(upload.url)
        host, port = url.hostname or "", url.port or 443
        trust = ssl.create_default_context(cafile=self._ca)
        raw = socket.create_connection((host, port), timeout=ANSWER_SECONDS)
        # The watch must be able to end the greeting too, so that it is not part of connecting.
        secure = trust.wrap_socket(raw, server_hostname=host, do_handshake_on_connect=False)
        connection = http.client.HTTPSConnection(host, port, timeout=ANSWER_SECONDS, context=trust)
        connection.sock = secure
        with closing(connection), watch.over(secure):
            secure.do_handshake()
            path = quote(url._replace(scheme="", netloc="", fragment="").geturl(), safe=_AS_IT_IS)
            connection.request("GET", path)
            answer = connection.getresponse()
            if answer.status in EXPIRED:
                raise UploadGone(name=upload.filename)
            if answer.status != 200:
                raise UploadUnreachable(name=upload.filename, reason=f"its server answered {answer.status}")
            yield answer

    def _too_large(self, upload: Upload) -> UploadRefused:
        return UploadRefused(name=upload.filename, reason=f"it is larger than {self._limit // 2**20} MiB")


class Watch:
    """Cuts a connection off when its time is up or the work is to stop, whatever it is waiting for."""

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self._should_stop = should_stop
        self._deadline = time.monotonic() + FETCH_SECONDS
        self._done = threading.Event()
        self._stopped = self._late = False

    @contextmanager
    def over(self, connection: socket.socket) -> Iterator[None]:
        """Watch over a connection."""
        watcher = threading.Thread(target=self._watch, args=(connection,), name="upload watch", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            self._done.set()
            watcher.join()

    def look(self) -> bool:
        """Whether it is to end."""
        self._stopped = self._stopped or self._should_stop()
        self._late = self._late or time.monotonic() > self._deadline
        return self._stopped or self._late

    def end(self, upload: Upload) -> None:
        """Raise RunStopped or UploadUnreachable if it was to end."""
        if self._stopped:
            raise RunStopped(step=0)
        if self._late:
            raise UploadUnreachable(name=upload.filename, reason=f"it took over {FETCH_SECONDS:.0f} seconds")

    def _watch(self, connection: socket.socket) -> None:
        while not self._done.wait(LOOK_SECONDS):
            if self.look():
                # The plain socket's: the secure one's would change what the other thread is reading with.
                with suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
                return


def _in_words(error: OSError | http.client.HTTPException) -> str:
    """What went wrong on the way, without a word of the server's own."""
    for kind, words in _REASONS.items():
        if isinstance(error, kind):
            return words
    return (isinstance(error, OSError) and error.strerror) or "the connection broke"
