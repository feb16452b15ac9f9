"""The tables of access: tokens, logins and the audit trail."""

from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, ForeignKey, Identity, Integer, Table, Text
from sqlalchemy.dialects.postgresql import UUID

from service.storage.columns import metadata, moment, one_of

_BEHIND = "that made the code; what came of it ends with it"

token = Table(
    "token",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("hash", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("scope", Text, nullable=False),
    moment("created_at", nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    moment("revoked_at"),
    moment("last_used_at"),
    one_of("scope", ("admin", "submit", "read", "worker")),
)

login_code = Table(
    "login_code",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    moment("used_at"),
    Column("token_id", UUID, ForeignKey(token.c.id), nullable=False, comment=_BEHIND),
)

session = Table(
    "session",
    metadata,
    Column("hash", Text, primary_key=True),
    moment("created_at", nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("token_id", UUID, ForeignKey(token.c.id), nullable=False, comment=_BEHIND),
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    moment("at", nullable=False),
    moment("last_at", nullable=False),
    Column("actor", Text, nullable=False),
    Column("scope", Text),
    Column("action", Text, nullable=False),
    Column("object", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("count", Integer, nullable=False, server_default="1", comment="refusals told together"),
    CheckConstraint("count > 0", name="count"),
)
