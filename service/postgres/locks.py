"""Locks that the kernel drops with the last process that holds them, and PostgreSQL's lock files, which outlive it."""

import contextlib
import fcntl
import os
from pathlib import Path

from service.postgres.errors import PostgresError

_NO_PROCESS = 2**22 + 1  # above the largest process number of Linux and macOS


def try_lock(path: Path, kind: int) -> int | None:
    """Lock a file at once (LOCK_SH or LOCK_EX): the open descriptor that holds the lock, or None if others hold it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise PostgresError(f"The lock file {path} cannot be opened: {error.strerror}; check its owner.") from error
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as error:
        os.close(descriptor)
        raise PostgresError(f"{path.parent} lies on a file system without locks; choose another home.") from error
    return descriptor


def process_exists(pid: int) -> bool:
    """Whether any process has this number now, be it ours or not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def disarm(lock_file: Path) -> None:
    """Point a PostgreSQL lock file whose server is known to be dead at no process.

    Its process number may by now be another program's, and PostgreSQL would refuse to start. The file is not deleted,
    because the rest of it lets PostgreSQL look for shared memory that is still in use.
    """
    with contextlib.suppress(FileNotFoundError):
        _, _, rest = lock_file.read_text().partition("\n")
        if rest:
            lock_file.write_text(f"{_NO_PROCESS}\n{rest}")
        else:
            lock_file.unlink()
