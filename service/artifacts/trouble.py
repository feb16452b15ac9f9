"""What goes wrong with disks, in the service's words."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from service.domain.errors import StorageFull


@contextmanager
def storage_errors() -> Iterator[None]:
    """No room and no right to write become StorageFull, which workers wait out."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise StorageFull("the server cannot store artifacts: no space left or read-only") from error
        raise
