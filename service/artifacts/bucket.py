"""Artifacts in a bucket of S3 or of anything that speaks its language: ``prefix``/ab/<sha256>.

Keys, region and endpoint come from the variables that other S3 programs read as well: AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL, and AWS_ALLOW_HTTP for an endpoint without TLS.
"""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from service.artifacts.place import FoundFile, StoredFile
from service.domain.errors import NotFound, StorageUnavailable

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult
    from obstore.store import S3Store

log = logging.getLogger(__name__)

_CHUNK = 8 * 1024**2
_UPLOADS_AT_ONCE = 4
_RETRY_SECONDS = 10
_NAME = re.compile(r"[0-9a-f]{64}")
_PROBE = "0" * 64


class Bucket:
    """A place in a bucket. An object there is whole or not there, which S3 itself promises."""

    def __init__(self, url: str) -> None:
        """``url`` is s3://bucket/prefix. Raises StorageUnavailable without the library or for what cannot be meant."""
        self.url = url
        self._store = _connect(url)

    def put(self, file: Path, sha256: str) -> None:
        """Upload in parts, a few at once; an upload cut off leaves no object."""
        import obstore

        with self._translated():
            obstore.put(self._store, _key(sha256), file, chunk_size=_CHUNK, max_concurrency=_UPLOADS_AT_ONCE)
        file.unlink(missing_ok=True)

    def find(self, sha256: str) -> StoredFile | None:
        """What is there under a name."""
        import obstore

        with self._translated():
            try:
                meta = obstore.head(self._store, _key(sha256))
            except FileNotFoundError:
                return None
        return StoredFile(sha256, meta["size"], f"{meta['e_tag']}-{meta['last_modified'].timestamp()}")

    def read(self, sha256: str, part: range | None = None) -> Iterator[bytes]:
        """The bytes in pieces of some megabytes, or those of a part, which alone travel.

        Raises NotFound or StorageUnavailable, at once or between two pieces.
        """
        import obstore

        options: GetOptions = {} if part is None else {"range": (part.start, part.stop)}
        with self._translated():
            try:
                found = obstore.get(self._store, _key(sha256), options=options)
            except FileNotFoundError:
                raise NotFound("there is no artifact of this name") from None
        return self._pieces(found)

    def _pieces(self, found: "GetResult") -> Iterator[bytes]:
        with self._translated():
            for chunk in found.stream(min_chunk_size=_CHUNK):
                yield bytes(chunk)

    def path(self, sha256: str) -> None:
        """A bucket has no files."""

    def remove(self, sha256: str) -> None:
        """Remove what is there."""
        import obstore

        with self._translated():
            try:
                obstore.delete(self._store, _key(sha256))
            except FileNotFoundError:
                return

    def listing(self) -> Iterator[FoundFile]:
        """Everything that is there, a page at a time; objects of other names are none of ours."""
        import obstore

        now = datetime.now(UTC)
        with self._translated():
            for page in obstore.list(self._store):
                for meta in page:
                    name = meta["path"].rpartition("/")[2]
                    if _NAME.fullmatch(name) and meta["path"].endswith(_key(name)):
                        age: timedelta = now - meta["last_modified"]
                        yield FoundFile(name, meta["size"], age.total_seconds())

    def trouble(self) -> str | None:
        """Why the bucket cannot be used at the moment, or None."""
        try:
            self.find(_PROBE)
        except StorageUnavailable as error:
            log.warning("not ready: %s", error.message)
            return error.told
        return None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        # What is asked for by name and not there was answered before: here it is the bucket that is missing.
        except (BaseError, FileNotFoundError, PermissionError) as error:
            raise StorageUnavailable(f"the bucket {self.url} does not answer as it should: {_first(error)}") from error


def _connect(url: str) -> "S3Store":
    try:
        from obstore.exceptions import BaseError
        from obstore.store import S3Store
    except ModuleNotFoundError:
        raise StorageUnavailable("artifacts in a bucket need the extra s3: pip install 'stagetune[s3]'") from None
    try:
        return S3Store.from_url(
            url,
            client_options={"connect_timeout": "5s", "timeout": "120s", "allow_http": _without_tls()},
            retry_config={"max_retries": 5, "retry_timeout": timedelta(seconds=_RETRY_SECONDS)},
        )
    except (BaseError, ValueError) as error:
        raise StorageUnavailable(f"{url} cannot be used as a bucket: {_first(error)}") from error


def _without_tls() -> bool:
    # The library reads the other variables itself, but not this one once it is given options.
    return os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true", "yes")


def _key(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256}"


def _first(error: Exception) -> str:
    # The first line names the cause; the rest is the library's own account of its retries.
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
