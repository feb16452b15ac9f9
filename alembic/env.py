"""How Alembic reaches our schema; Optuna's is left alone."""

import os

from alembic import context
from sqlalchemy import Connection, text

from service.storage.engine import SCHEMA, Storage
from service.storage.migrations import create_schemas
from service.storage.tables import metadata


def include_name(name: str | None, kind: str, _parents: object) -> bool:
    """Only our schema is compared: otherwise autogenerate proposes to drop Optuna's tables."""
    return kind != "schema" or name == SCHEMA


def run(connection: Connection) -> None:
    """Each migration is a transaction, and waits for locks only so long."""
    create_schemas(connection)
    connection.execute(text("SET lock_timeout = '15s'"))
    connection.execute(text("SET statement_timeout = 0"))
    # With its own schema in the search path, reflection would report our tables as if they had no schema.
    connection.execute(text("SET search_path = public"))
    connection.commit()
    connection.dialect.default_schema_name = "public"
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table_schema=SCHEMA,
        include_schemas=True,
        include_name=include_name,
        compare_type=True,
        compare_server_default=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    storage = Storage.connect(os.environ["STAGETUNE_DATABASE_URL"], pool_size=1)
    with storage.engine.connect() as connection:
        run(connection)
    storage.close()
