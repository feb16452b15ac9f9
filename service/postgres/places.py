"""Where the server's files lie, and the account that owns them."""

import hashlib
import json
import os
import pwd
import re
import secrets
from pathlib import Path

from service.postgres.errors import PostgresError

SYSTEM_PLACE = Path("/var/lib/stagetune")
SOCKET_PORT = 5432  # only part of the socket's name: nothing listens on TCP

_LONGEST_SOCKET_PATH = 103  # bytes; Linux takes 107, macOS 103
_ACCOUNTS = ("postgres", "nobody")


def reachable(path: Path, uid: int, gid: int) -> bool:
    """Whether an account without privileges may enter (a folder) or execute (a file) this path."""
    for place in (path, *path.parents):
        status = place.stat()
        if status.st_uid == uid:
            bits = status.st_mode >> 6
        elif status.st_gid == gid:
            bits = status.st_mode >> 3
        else:
            bits = status.st_mode
        if not bits & 0o1:
            return False
    return True


def find_root(record: Path) -> Path:
    """The folder of the server's files as recorded in the home."""
    try:
        # An absolute path replaces the home, a relative one moves with it.
        return record.parent / str(json.loads(record.read_text())["root"])
    except FileNotFoundError:
        raise PostgresError(f"There is no database in {record.parent} yet; start the server first.") from None
    except (ValueError, KeyError, TypeError):
        raise PostgresError(f"{record} is damaged; restore it, or delete it to begin anew.") from None


def settle(record: Path, account: str | None) -> Path:
    """Choose and record the folder at the first start; afterwards check that it is there and ours to use."""
    if not record.exists():
        root = _make_root(record.parent, account)
        write_private(record, json.dumps({"root": str(root)}) + "\n")
    root = find_root(record)
    if not root.is_dir():
        raise PostgresError(f"The database folder {root} is gone; restore it, or delete {record} to begin anew.")
    owner = root.stat().st_uid
    if os.geteuid() not in (0, owner):
        raise PostgresError(f"The database in {root} belongs to user {owner}; run as that user.")
    if owner == 0:
        raise PostgresError(f"The database folder {root} belongs to root; give it to an unprivileged account.")
    return root


def _make_root(home: Path, account: str | None) -> Path:
    inside = Path("postgres")
    if os.geteuid() != 0:
        (home / inside).mkdir(mode=0o700, exist_ok=True)
        return inside
    entry = _unprivileged(account)
    # The parents of the home are not ours to open: a home that this account cannot reach gets its data elsewhere.
    root = inside if reachable(home, entry.pw_uid, entry.pw_gid) else SYSTEM_PLACE / secrets.token_hex(4)
    (home / root).parent.mkdir(parents=True, exist_ok=True)
    (home / root).mkdir(mode=0o700, exist_ok=True)
    os.chown(home / root, entry.pw_uid, entry.pw_gid)
    return root


def _unprivileged(account: str | None) -> pwd.struct_passwd:
    for name in (account,) if account else _ACCOUNTS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    wanted = account or " or ".join(_ACCOUNTS)
    raise PostgresError(
        f"PostgreSQL does not run as root and there is no account {wanted}; "
        "run as an ordinary user, or set STAGETUNE_DATABASE_URL."
    )


def socket_folder(root: Path) -> Path:
    """The folder of the server's socket: beside the data, or in /tmp when the socket's path would be too long."""
    inside = root / "socket"
    socket = os.fsencode(inside / f".s.PGSQL.{SOCKET_PORT}")
    # PostgreSQL reads the folder as a list and libpq takes some first characters for something else.
    if len(socket) <= _LONGEST_SOCKET_PATH and re.fullmatch(r"[\w/.+-]+", str(inside)):
        return inside
    return Path("/tmp") / f"stagetune-{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]}"  # noqa: S108 - make_socket_folder checks its owner


def make_socket_folder(root: Path) -> None:
    """Make the socket's folder for the owner of the root; raises if somebody else made one there."""
    owner = root.stat()
    folder = socket_folder(root)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        # In /tmp anybody may have made it first: a server must not be looked for in a stranger's folder.
        status = folder.lstat()
        if status.st_uid not in (os.geteuid(), owner.st_uid) or status.st_mode & 0o177077 != 0o040000:
            raise PostgresError(f"{folder} is not a private folder of user {owner.st_uid}; remove it.") from None
    if os.geteuid() == 0:
        os.chown(folder, owner.st_uid, owner.st_gid)


def write_private(path: Path, text: str, owner: tuple[int, int] | None = None) -> None:
    """Write a 0600 file that is there whole or not at all, even after a power cut."""
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
        if owner:
            os.fchown(descriptor, *owner)
    unfinished.replace(path)
