"""The life of one embedded server.

The wheel's own lifecycle code is left alone: it trusts process numbers, which repeat in containers and after a reboot,
and authenticates nobody. Here the truth about a server's life is a lock, the *fence*, that the postmaster inherits: the
kernel holds it until the last process of that server is gone, whatever its number and whoever started it.
"""

import contextlib
import fcntl
import os
import secrets
import shlex
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import filelock
import psycopg2

from service.durable import sync_folder
from service.postgres import places, programs
from service.postgres.errors import PostgresError
from service.postgres.locks import disarm, process_exists, try_lock

USER = "stagetune"
DATABASE = "stagetune"
_INCOMING, _OUTGOING = "stagetune_incoming", "stagetune_outgoing"  # in the middle of a restore only
# Nobody who has logged out is to be let in again by a restore.
_ENDING = ("stagetune.session", "stagetune.login_code")

_START_SECONDS = 120  # crash recovery replays the log before the first connection
_STOP_SECONDS = 60
_LARGEST_LOG = 16 * 1024 * 1024  # bytes
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    "jit": "off",
}
# Commits stay synchronous: a kill -9 of the server must lose none of them, only a power cut may.
_WITHOUT_FSYNC = {"fsync": "off", "full_page_writes": "off"}


class EmbeddedPostgres:
    """One PostgreSQL server for one home directory, shared by every process that uses this home.

    As root the server runs under an unprivileged account, by default the first of `postgres` and `nobody` that exists,
    with its files where that account can reach them. `fsync=False` trades the data's safety in a power cut for speed
    and is meant for tests. Every failure is a PostgresError.
    """

    def __init__(self, home: Path, *, fsync: bool = True, account: str | None = None) -> None:
        self._home = home.absolute()
        self._fsync = fsync
        self._account = account
        self._membership: int | None = None
        self._thread_lock = threading.RLock()
        self._given_up = threading.Event()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            with contextlib.suppress(PostgresError):
                self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The SQLAlchemy URL of the server's database; raises before the first start."""
        place = f"host={quote(str(self._sockets))}&port={places.SOCKET_PORT}"
        return f"postgresql+psycopg2://{USER}:{self._password()}@/{DATABASE}?{place}"

    @property
    def log(self) -> Path:
        return self._root / "postgres.log"

    @property
    def data(self) -> Path:
        return self._root / "data"

    @property
    def pid(self) -> int | None:
        """The process number that the last postmaster wrote down; it may be stale."""
        try:
            return int((self.data / "postmaster.pid").read_text().partition("\n")[0])
        except (FileNotFoundError, ValueError):
            return None

    def start(self) -> str:
        """Start the server, or adopt the one that runs already, and return its URL."""
        with self._alone():
            places.make_socket_folder(places.settle(self._record, self._account))
            if not self.data.exists():
                self._initialise()
            self._check_version()
            fence = self._fence_unless_served()
            if fence is not None:
                try:
                    self._launch(fence)
                finally:
                    os.close(fence)
            self._create_database()
            if self._membership is None:
                self._membership = try_lock(self._users, fcntl.LOCK_SH)
        return self.url

    def give_up_starting(self) -> None:
        """End a start that another thread waits for, with a PostgresError there; nothing is started from now on.

        What has been started so far is left for ``stop``.
        """
        self._given_up.set()

    def stop(self) -> None:
        """Stop the server, unless another process still uses it. Stopping a stopped server is no error."""
        if not self._record.exists():
            return
        with self._alone():
            if self._leave_as_last() and self.running():
                timeout = ["-w", "-t", str(_STOP_SECONDS)]
                self._run("pg_ctl", "stop", "-D", str(self.data), "-m", "fast", *timeout, timeout=_STOP_SECONDS + 10)
                if self._sockets.parent != self._root:
                    shutil.rmtree(self._sockets, ignore_errors=True)

    def running(self) -> bool:
        """Whether a postmaster of this data directory is alive (it may still be recovering)."""
        if not self._record.exists() or not self._root.is_dir():
            return False
        fence = try_lock(self._fence, fcntl.LOCK_SH)
        if fence is not None:
            os.close(fence)
            return False
        pid = self.pid
        return pid is not None and process_exists(pid)

    def ensure(self) -> str:
        """Start the server again if its postmaster died; return its URL."""
        return self.url if self.running() else self.start()

    def backup(self, target: Path) -> None:
        """Dump the database in pg_dump's custom format, for ``restore``; `target` appears only when it is whole.

        Logins to the page stay out of it.
        """
        partial = target.absolute().with_name(f"{target.name}.partial")
        without = (f"--exclude-table-data={table}" for table in _ENDING)
        failure = self._client("pg_dump", "--format=custom", *without, f"--file={partial}", DATABASE)
        if failure is not None:
            partial.unlink(missing_ok=True)
            raise PostgresError(f"The backup to {target} failed: {failure}; check the free space and that it runs.")
        with partial.open("rb") as content:
            os.fsync(content.fileno())
        partial.replace(target)
        sync_folder(target.absolute().parent)

    def restore(self, source: Path) -> None:
        """Put a dump in the place of the database, as a whole or not at all; nobody may be connected to it."""
        with self._alone():
            for leftover in (_INCOMING, _OUTGOING):
                self._query(f"DROP DATABASE IF EXISTS {leftover} WITH (FORCE)")
            self._query(f"CREATE DATABASE {_INCOMING}")
            options = ("--exit-on-error", "--single-transaction", "--no-owner", f"--dbname={_INCOMING}")
            failure = self._client("pg_restore", *options, str(source.absolute()))
            if failure is not None:
                self._query(f"DROP DATABASE {_INCOMING} WITH (FORCE)")
                raise PostgresError(f"{source} cannot be restored: {failure}; the database is as it was.")
            try:
                # One transaction: a crash leaves either database under its name, never none.
                self._query(
                    f"ALTER DATABASE {DATABASE} RENAME TO {_OUTGOING}; ALTER DATABASE {_INCOMING} RENAME TO {DATABASE}"
                )
            except psycopg2.errors.ObjectInUse:
                self._query(f"DROP DATABASE {_INCOMING} WITH (FORCE)")
                raise PostgresError("The database is in use: stop the server, then restore again.") from None
            self._query(f"DROP DATABASE {_OUTGOING} WITH (FORCE)")

    @property
    def _record(self) -> Path:
        return self._home / "postgres.json"

    @property
    def _password_file(self) -> Path:
        return self._home / "postgres.password"

    @property
    def _users(self) -> Path:
        """Every process that uses the server holds a shared lock on this file, which a kill -9 releases too."""
        return self._home / "postgres.users"

    @property
    def _root(self) -> Path:
        return places.find_root(self._record)

    @property
    def _fence(self) -> Path:
        return self._root / "fence"

    @property
    def _sockets(self) -> Path:
        return places.socket_folder(self._root)

    def _password(self) -> str:
        try:
            return self._password_file.read_text().strip()
        except FileNotFoundError:
            raise PostgresError(f"The password file {self._password_file} is missing; restore it.") from None

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One thread of one process at a time starts or stops the server of a home."""
        lock = filelock.FileLock(self._home / "postgres.lock", timeout=_START_SECONDS + _STOP_SECONDS)
        try:
            self._home.mkdir(parents=True, exist_ok=True, mode=0o711 if os.geteuid() == 0 else 0o700)
            with self._thread_lock, lock:
                yield
        except filelock.Timeout:
            raise PostgresError(
                f"Another process has been starting or stopping the database in {self._home} for minutes; stop it."
            ) from None
        except (OSError, psycopg2.Error) as error:
            raise PostgresError(
                f"The database in {self._home} cannot be used ({programs.one_line(str(error))}); "
                "check the free space and the owner of that folder."
            ) from error

    def _initialise(self) -> None:
        if not self._password_file.exists():
            places.write_private(self._password_file, secrets.token_urlsafe(24) + "\n")
        # Made beside its place and renamed, so that a crash in the middle leaves no half directory to be trusted.
        unfinished, secret = self._root / "data.new", self._root / "secret"
        shutil.rmtree(unfinished, ignore_errors=True)
        owner = self._root.stat()
        places.write_private(secret, self._password(), (owner.st_uid, owner.st_gid))
        arguments = [
            f"--pgdata={unfinished}",
            f"--username={USER}",
            f"--pwfile={secret}",
            "--auth=scram-sha-256",
            # The built-in provider sorts alike on every system and after every upgrade of the C library.
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            *(f"--set={name}={value}" for name, value in _SETTINGS.items()),
            f"--set=unix_socket_directories={self._sockets}",
        ]
        if not self._fsync:
            arguments.append("--no-sync")
        try:
            self._run("initdb", *arguments, timeout=_START_SECONDS)
        finally:
            secret.unlink()
        unfinished.rename(self.data)

    def _check_version(self) -> None:
        try:
            version = (self.data / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            raise PostgresError(f"{self.data} is no PostgreSQL data; restore it, or move it aside.") from None
        if version != str(programs.MAJOR_VERSION):
            raise PostgresError(
                f"The data in {self.data} is of PostgreSQL {version}, this release runs {programs.MAJOR_VERSION}; "
                f"dump it with PostgreSQL {version}, then restore the dump into a new home."
            )

    def _fence_unless_served(self) -> int | None:
        """Wait until the server answers (None) or no process of it is left (the fence, to start a new one under)."""
        deadline = time.monotonic() + _START_SECONDS
        while (refusal := self._refusal()) is not None:
            fence = try_lock(self._fence, fcntl.LOCK_EX)
            if fence is not None:
                return fence
            if time.monotonic() > deadline:
                raise PostgresError(
                    f"PostgreSQL is alive in {self.data} but does not answer ({refusal}); "
                    f"wait if it is recovering, and see {self.log}, which ends with: {programs.tail(self.log)}"
                )
            if self._given_up.wait(0.05):
                raise PostgresError(f"PostgreSQL in {self.data} was not waited for: it is to stop.")
        return None

    def _refusal(self) -> str | None:
        """Why our server does not answer now; None if it does. Raises if that cannot change by waiting."""
        try:
            directory = self._query("SHOW data_directory")
        except psycopg2.OperationalError as error:
            reason = programs.one_line(str(error))
            if "authentication failed" in reason:
                raise PostgresError(
                    f"PostgreSQL refuses the password in {self._password_file}; restore that file."
                ) from None
            return reason
        if Path(str(directory)).resolve() != self.data.resolve():
            raise PostgresError(f"The server in {self._sockets} serves {directory}, not {self.data}; stop it first.")
        return None

    def _launch(self, fence: int) -> None:
        disarm(self.data / "postmaster.pid")
        disarm(self._sockets / f".s.PGSQL.{places.SOCKET_PORT}.lock")
        if self.log.exists() and self.log.stat().st_size > _LARGEST_LOG:
            self.log.replace(self.log.with_suffix(".log.1"))
        settings = {"unix_socket_directories": str(self._sockets)} | ({} if self._fsync else _WITHOUT_FSYNC)
        options = shlex.join(part for name, value in settings.items() for part in ("-c", f"{name}={value}"))
        arguments = ["-D", str(self.data), "-l", str(self.log), "-w", "-t", str(_START_SECONDS), "-o", options]
        self._run("pg_ctl", "start", *arguments, timeout=_START_SECONDS + 10, fence=fence)
        refusal = self._refusal()
        if refusal is not None:
            raise PostgresError(f"PostgreSQL started but does not answer ({refusal}); see {self.log}.")

    def _run(self, program: str, *arguments: str, timeout: float, fence: int | None = None) -> None:
        """Run a program as the owner of the data; one that starts the server, under its fence, may be given up."""
        root = self._root
        status = root.stat()
        owner = (status.st_uid, status.st_gid) if os.geteuid() == 0 else None
        inherit = () if fence is None else (fence,)
        given_up = None if fence is None else self._given_up
        failure = programs.run(
            program, arguments, folder=root, owner=owner, inherit=inherit, timeout=timeout, given_up=given_up
        )
        if failure is not None:
            raise PostgresError(
                f"{program} failed: {failure}; see {self.log}, which ends with: {programs.tail(self.log)}"
            )

    def _client(self, program: str, *arguments: str) -> str | None:
        """Run a program that connects to the server, as ourselves; what it said if it failed."""
        place = [f"--host={self._sockets}", f"--port={places.SOCKET_PORT}", f"--username={USER}", "--no-password"]
        secret = {"PGPASSWORD": self._password()}
        return programs.run(program, [*place, *arguments], folder=self._home, extra_environment=secret)

    def _create_database(self) -> None:
        if self._query("SELECT 1 FROM pg_database WHERE datname = %s", DATABASE) is None:
            self._query(f"CREATE DATABASE {DATABASE}")

    def _query(self, sql: str, *values: str) -> object:
        """The first value of the answer, over a connection of its own."""
        connection = psycopg2.connect(
            host=str(self._sockets),
            port=places.SOCKET_PORT,
            user=USER,
            password=self._password(),
            dbname="postgres",
            connect_timeout=5,
        )
        with contextlib.closing(connection):
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql, values)
                row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None

    def _leave_as_last(self) -> bool:
        if self._membership is not None:
            os.close(self._membership)
            self._membership = None
        alone = try_lock(self._users, fcntl.LOCK_EX)
        if alone is None:
            return False
        os.close(alone)
        return True
