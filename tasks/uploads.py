"""Fetches what members attached: from the allowed addresses only, and no more than an upload may have."""

from __future__ import annotations

import http.client
import ssl
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from tasks.settings import TaskSettings
from training.data.schema import Upload
from training.errors import UnderstudyError, UploadRefused

ANSWER_SECONDS = 10.0
FETCH_SECONDS = 120.0
CHUNK_BYTES = 64 * 1024
EXPIRED = (401, 403, 404, 410)


class UploadGone(UnderstudyError):
    """{name} can no longer be fetched: its link has expired, or the message was deleted. Upload it again."""


class UploadUnreachable(UnderstudyError):
    """{name} could not be fetched: {reason}. Upload it again in a moment."""


class Fetcher:
    """Brings an upload into a file. It follows no redirect and sends nothing that is ours."""

    def __init__(self, settings: TaskSettings) -> None:
        self._sources = settings.upload_sources
        self._ca = settings.upload_ca
        self._limit = settings.upload_max_mib * 2**20

    def __call__(self, upload: Upload, target: Path) -> None:
        """Write the upload to `target`; raises UploadRefused, UploadGone or UploadUnreachable."""
        if not upload.url.startswith(self._sources):
            raise UploadRefused(name=upload.filename, reason="it does not lie where this server fetches uploads from")
        if upload.size > self._limit:
            raise self._too_large(upload)
        try:
            self._fetch(upload, target)
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise UploadUnreachable(name=upload.filename, reason=reason) from error

    def _fetch(self, upload: Upload, target: Path) -> None:
        url = urlsplit(upload.url)
        trust = ssl.create_default_context(cafile=self._ca)
        connection = http.client.HTTPSConnection(
            url.hostname or "", url.port or 443, timeout=ANSWER_SECONDS, context=trust
        )
        with closing(connection):
            connection.request("GET", url._replace(scheme="", netloc="", fragment="").geturl())
            answer = connection.getresponse()
            if answer.status in EXPIRED:
                raise UploadGone(name=upload.filename)
            if answer.status != 200:
                raise UploadUnreachable(name=upload.filename, reason=f"its server answered {answer.status}")
            self._copy(answer, upload, target)

    def _copy(self, answer: http.client.HTTPResponse, upload: Upload, target: Path) -> None:
        """Copy the body, counting: what was said of its size beforehand is not relied on."""
        said = answer.length
        deadline = time.monotonic() + FETCH_SECONDS
        size = 0
        with target.open("wb") as file:
            # read1 returns with what has come, so that a slow trickle meets the deadline.
            while part := answer.read1(CHUNK_BYTES):
                size += len(part)
                if size > self._limit:
                    raise self._too_large(upload)
                if time.monotonic() > deadline:
                    raise UploadUnreachable(name=upload.filename, reason=f"it took over {FETCH_SECONDS:.0f} seconds")
                file.write(part)
        if said is not None and size != said:
            raise UploadUnreachable(name=upload.filename, reason="only a part of it came")

    def _too_large(self, upload: Upload) -> UploadRefused:
        return UploadRefused(name=upload.filename, reason=f"it is larger than {self._limit // 2**20} MiB")
