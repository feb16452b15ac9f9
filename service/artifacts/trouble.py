"""What goes wrong with disks, in the service's words."""

import errno
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.domain.errors import StorageFull, StorageUnavailable

log = logging.getLogger(__name__)

# No room: of the disk, of a quota, of a limit on this process. No answer: the disk is broken, or the mount is gone. No
# folder to write to: read-only, not ours, gone.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_ANSWER = {errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV, errno.ETIMEDOUT}
_NO_FOLDER = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR}


@contextmanager
def storage_errors() -> Iterator[None]:
    """No room and no right to write become StorageFull, no answer StorageUnavailable: workers wait both out."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StorageFull from error
        if error.errno in _NO_FOLDER:
            raise StorageFull("the server's artifact folder cannot be written to") from error
        if error.errno in _NO_ANSWER:
            raise StorageUnavailable("the server's artifact folder does not answer") from error
        raise


@contextmanager
def reading_errors() -> Iterator[None]:
    """What cannot be read, or removed, becomes StorageUnavailable; what is not there stays FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        log.error("the artifact folder cannot be used: %s", error)
        raise StorageUnavailable("the server's artifact folder does not answer") from error


def refuses_files(folder: Path) -> bool:
    """Whether no file can be made in it; tried, not asked for, since root may be refused what it may do."""
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return True
    return False
