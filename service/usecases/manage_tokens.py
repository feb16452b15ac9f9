"""Tokens: issue, list, revoke, and the two that a server makes for itself at its first start."""

import os
import secrets
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from uuid import UUID, uuid4

from service.domain.access import NewToken, Scope, TokenView, fingerprint, weakness
from service.domain.errors import NotFound, StagetuneError
from service.storage import Storage, access

# The first tokens live as long as the installation: nobody could renew them without one.
FIRST_TOKEN_SECONDS = 3650 * 86_400.0


class UnusableTokenFile(StagetuneError):
    """A token file cannot be read or written."""


def new_secret(kind: str) -> str:
    """A fresh secret of 32 random bytes; the prefix lets scanners recognise one that leaked."""
    return f"stagetune_{kind}_{secrets.token_urlsafe(32)}"


def issue_token(store: Storage, name: str, scope: Scope, seconds: float) -> NewToken:
    """A new token that expires after so many seconds; its secret is in this answer and nowhere else."""
    secret = new_secret(scope)
    with store.transaction() as transaction:
        view = access.add_token(transaction, uuid4(), fingerprint(secret), name, scope, seconds)
    return NewToken(**asdict(view), token=secret)


def list_tokens(store: Storage) -> tuple[TokenView, ...]:
    """All tokens, newest first, without secrets."""
    with store.reading() as transaction:
        return access.tokens(transaction)


def revoke_token(store: Storage, token: UUID) -> None:
    """End a token now. Raises NotFound."""
    with store.transaction() as transaction:
        if not access.revoke_token(transaction, token):
            raise NotFound("there is no such token")


def ensure_token_file(store: Storage, path: Path, name: str, scope: Scope) -> bool:
    """See that the file at ``path`` holds a valid token, and whether it had to be written.

    A secret that an operator put there is taken over. One that was revoked or has expired stays so and is replaced.

    Raises:
        UnusableTokenFile: it cannot be read or written, or what it holds is no secret: too short, or out of an example.
    """
    secret = _read(path)
    with store.transaction() as transaction:
        if secret is not None:
            if access.token_holder(transaction, fingerprint(secret)) is not None:
                return False
            if not access.knows_token(transaction, fingerprint(secret)):
                access.add_token(transaction, uuid4(), fingerprint(secret), name, scope, FIRST_TOKEN_SECONDS)
                return False
        secret = new_secret(scope)
        access.add_token(transaction, uuid4(), fingerprint(secret), name, scope, FIRST_TOKEN_SECONDS)
        # Before the commit: a token that nobody can read is worth nothing.
        _write(path, secret)
    return True


def _read(path: Path) -> str | None:
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableTokenFile(f"the token file {path} cannot be read: {error}") from error
    if not secret:
        return None
    fault = weakness(secret)
    if fault is not None:
        raise UnusableTokenFile(f"the token in {path} {fault}; empty the file to get a new one")
    return secret


def _write(path: Path, secret: str) -> None:
    """Readable by its owner only, and never half written."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{secret}\n")
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise UnusableTokenFile(f"the token file {path} cannot be written: {error}") from error
