"""Files that are there whole or not at all."""

import errno
import os
import tempfile
from pathlib import Path

# No room, no right to write, no answer: the disk's trouble, whatever the file was for.
_DISK_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE}


def disk_trouble(error: BaseException | None) -> OSError | None:
    """The trouble of this machine's disk that an error comes from, if it does."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK_TROUBLE:
            return error
        error = error.__cause__
    return None


def write_whole(path: Path, content: bytes) -> None:
    """Write and make durable under a temporary name, then rename: readers and crashes see all of it or nothing."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".incoming-", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except OSError:
            Path(file.name).unlink()
            raise
