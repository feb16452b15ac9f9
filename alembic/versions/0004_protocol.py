"""Draining workers, failed attempts to be found, trials that get another chance"""

import sqlalchemy as sa
from alembic import op

SCHEMA = "stagetune"

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "worker",
        sa.Column(
            "draining_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="since when it is told to hand back and leave",
        ),
        schema=SCHEMA,
    )
    op.add_column(
        "trial",
        sa.Column(
            "chance", sa.Integer(), server_default="0", nullable=False, comment="how often it was given another one"
        ),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_attempt_unfinished",
        "attempt",
        ["task_id"],
        schema=SCHEMA,
        postgresql_where=sa.text("outcome IN ('lost', 'failed')"),
    )


def downgrade() -> None:
    op.drop_index("ix_attempt_unfinished", "attempt", schema=SCHEMA)
    op.drop_column("trial", "chance", schema=SCHEMA)
    op.drop_column("worker", "draining_at", schema=SCHEMA)
