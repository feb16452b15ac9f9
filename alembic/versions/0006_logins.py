"""Login codes and sessions end with the token behind them"""

import sqlalchemy as sa
from alembic import op

SCHEMA = "stagetune"

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("login_code", "session"):
        # Whose these were is not known, so everybody logs in anew.
        op.execute(f"DELETE FROM {SCHEMA}.{table}")
        op.add_column(
            table,
            sa.Column(
                "token_id",
                sa.UUID(),
                sa.ForeignKey(f"{SCHEMA}.token.id", name=op.f(f"fk_{table}_token_id")),
                nullable=False,
                comment="that made the code; what came of it ends with it",
            ),
            schema=SCHEMA,
        )


def downgrade() -> None:
    for table in ("session", "login_code"):
        op.drop_column(table, "token_id", schema=SCHEMA)
