"""Everything that can be set from outside, read once at start."""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "STAGETUNE_"


# A database that is opened up with one of these is as good as open.
DEFAULT_PASSWORDS = frozenset({"", "postgres", "password", "changeme", "secret", "example", "stagetune", "admin"})


class SettingsError(Exception):
    """A setting that cannot be used; the message is one line for a terminal."""


def default_home() -> Path:
    """Where state lives when STAGETUNE_HOME is not set."""
    return Path.home() / ".stagetune"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Settings(BaseSettings):
    """The server's settings; each is an environment variable with the prefix STAGETUNE_."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore")

    home: Path = Field(default_factory=default_home, description="database, artifacts, tokens, caches")

    database_url: SecretStr | None = Field(None, description="PostgreSQL; without it an embedded one runs in home")
    database_password_file: Path | None = Field(None, description="file with the password that database_url leaves out")

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535, description="0 takes a free one")
    allow_remote: bool = Field(False, description="permit a host other machines can reach")
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="names and addresses, comma separated, under which browsers and workers reach the server"
    )
    head_seconds: float = Field(20, ge=0.1, le=600, description="a connection may take for the head of a request")
    body_seconds: float = Field(60, ge=0.1, le=600, description="a body may pause in all, beyond 1,000 bytes a second")
    threads: int = Field(16, ge=2, le=256, description="request threads; the database pool has 10 connections more")

    admin_token_file: Path = Field(Path(), description="default: home/admin-token")
    worker_token_file: Path = Field(Path(), description="default: home/worker-token")
    tls_certificate: Path | None = Field(None, description="PEM file, the chain included; the server then speaks TLS")
    tls_key: Path | None = Field(None, description="PEM file with the certificate's private key")
    secure_cookies: bool = Field(False, description="behind a TLS proxy; under TLS of its own cookies always are")
    session_hours: float = Field(12, gt=0, le=24 * 90, description="how long a login to the page lasts")

    lease_seconds: float = Field(45, ge=1, le=3600)
    heartbeat_seconds: float = Field(10, ge=0.1, le=600)
    reaper_seconds: float = Field(5, ge=0.1, le=600)
    planner_seconds: float = Field(1, ge=0.05, le=60)
    max_strikes: int = Field(3, ge=1, le=100)

    requests_per_minute: int = Field(600, ge=0, description="of a token or a session; 0: any number, here and below")
    worker_requests_per_minute: int = Field(3_000, ge=0, description="more, for every slot of a token's live workers")
    claims_per_minute: int = Field(60, ge=0, description="of a slot, that bring no task")
    logins_per_minute: int = Field(10, ge=0, description="of an address, with a code that is not valid")
    guesses_per_minute: int = Field(60, ge=0, description="of an address, with a token or session that is not valid")
    open_streams: int = Field(200, ge=0, description="of events, of a token or a session at once")
    open_experiments: int = Field(100, ge=0, description="running or paused at once; 0: any number")
    audit_days: float = Field(90, gt=0, description="how long the audit trail goes back")
    audit_entries: int = Field(100_000, ge=1_000, description="and how many lines it has at most, about")

    artifacts: str | None = Field(None, description="a folder or s3://bucket/prefix; default: home/artifacts")
    artifact_bytes: int = Field(2 * 1024**3, ge=1024, description="largest artifact accepted")
    artifact_spare_bytes: int = Field(
        256 * 1024**2, ge=0, description="what uploads leave free on the disk, which may be the database's as well"
    )
    artifact_grace_seconds: float = Field(
        3600, ge=60, le=365 * 86400, description="how long an artifact is kept that nothing names, not yet or no more"
    )
    collector_seconds: float = Field(600, ge=0.1, le=86400, description="between two collections of such artifacts")
    dashboard: bool = Field(True, description="serve optuna-dashboard at /dashboard")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read the environment; ``overrides`` (command line options) win over it.

        Raises SettingsError: one line naming the variables and what is wrong with them.
        """
        try:
            return cls(**overrides)
        except ValidationError as error:
            raise SettingsError("; ".join(_explain(item) for item in error.errors(include_url=False))) from None

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip().lower() for part in value.split(",") if part.strip())
        return value

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("artifacts")
    @classmethod
    def _folder_or_bucket(cls, value: str | None) -> str | None:
        if value is None or re.fullmatch(r"s3://[^/?#\s]+(/[^?#\s]*)?", value):
            return value
        if "://" in value:
            raise ValueError("a folder or s3://bucket/prefix is meant")
        return str(Path(value).expanduser().absolute())

    @field_validator("database_url")
    @classmethod
    def _postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        url = value.get_secret_value()
        if not url.startswith(("postgresql://", "postgresql+", "postgres://")):
            raise ValueError("only PostgreSQL works: postgresql://user@host:5432/name")
        try:
            urlsplit(url).port  # noqa: B018 - reading it checks it
        except ValueError:
            raise ValueError("its host or port cannot be read: postgresql://user@host:5432/name is the form") from None
        return value

    @model_validator(mode="before")
    @classmethod
    def _token_files(cls, values: dict[str, Any]) -> dict[str, Any]:
        home = Path(values.get("home") or default_home()).expanduser().absolute()
        values.setdefault("admin_token_file", home / "admin-token")
        values.setdefault("worker_token_file", home / "worker-token")
        return values

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError(f"{PREFIX}TLS_CERTIFICATE and {PREFIX}TLS_KEY need each other")
        for name, file in (("TLS_CERTIFICATE", self.tls_certificate), ("TLS_KEY", self.tls_key)):
            if file is not None and not os.access(file, os.R_OK):
                raise ValueError(f"{PREFIX}{name} is {file}, which cannot be read")
        if is_loopback(self.host):
            return self
        if not self.allow_remote and self.tls_certificate is None:
            raise ValueError(
                f"{PREFIX}HOST is {self.host}, which other machines can reach. Tokens guard every route, but travel "
                f"unencrypted without TLS: set {PREFIX}TLS_CERTIFICATE and {PREFIX}TLS_KEY, or {PREFIX}ALLOW_REMOTE=1 "
                "if a TLS proxy stands in front or you trust the network"
            )
        if any(password.strip().lower() in DEFAULT_PASSWORDS for password in self._database_passwords()):
            raise ValueError(
                f"{PREFIX}DATABASE_URL has a password that everybody knows, and {PREFIX}HOST is {self.host}, which "
                "other machines can reach: give the database a password of its own"
            )
        return self

    def _database_passwords(self) -> list[str]:
        """Wherever a password for the database may come from; a URL has it in two places, and libpq in its variable."""
        if self.database_url is None:
            return []
        parts = urlsplit(self.database_url.get_secret_value())
        found = parse_qs(parts.query, keep_blank_values=True).get("password", [])
        if parts.password is not None:
            found.append(unquote(parts.password))
        if self.database_password_file is not None:
            try:
                found.append(self.database_password_file.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError):
                raise ValueError(
                    f"{PREFIX}DATABASE_PASSWORD_FILE is {self.database_password_file}, which cannot be read"
                ) from None
        return found or [password for password in [os.environ.get("PGPASSWORD")] if password]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.lease_seconds < 2 * self.heartbeat_seconds:
            raise ValueError(
                f"{PREFIX}LEASE_SECONDS ({self.lease_seconds:g}) must be at least twice "
                f"{PREFIX}HEARTBEAT_SECONDS ({self.heartbeat_seconds:g}), or one late heartbeat loses a lease"
            )
        return self

    @property
    def scheme(self) -> Literal["http", "https"]:
        """How the server is spoken to."""
        return "http" if self.tls_certificate is None else "https"


def _explain(item: Any) -> str:
    message = str(item["msg"]).removeprefix("Value error, ")
    return f"{PREFIX}{str(item['loc'][0]).upper()}: {message}" if item["loc"] else message
