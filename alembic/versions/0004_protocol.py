"""Draining workers, progress that a checkpoint secures, trials that get another chance"""

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
        "attempt",
        sa.Column("secured", sa.Double(), nullable=True, comment="share of the task that its newest checkpoint keeps"),
        schema=SCHEMA,
    )
    op.create_check_constraint(op.f("ck_attempt_secured"), "attempt", "secured BETWEEN 0 AND 1", schema=SCHEMA)
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
    op.drop_constraint(op.f("ck_attempt_secured"), "attempt", schema=SCHEMA, type_="check")
    op.drop_column("attempt", "secured", schema=SCHEMA)
    op.drop_column("worker", "draining_at", schema=SCHEMA)
