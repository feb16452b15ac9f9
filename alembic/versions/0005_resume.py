"""Snapshots of trainings in the middle, progress that spares strikes, artifacts that can be collected"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

SCHEMA = "stagetune"

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "artifact",
        sa.Column(
            "stored",
            sa.Boolean(),
            server_default="true",
            nullable=False,
            comment="false while its bytes are on their way",
        ),
        schema=SCHEMA,
    )
    op.add_column(
        "artifact",
        sa.Column(
            "touched_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        schema=SCHEMA,
    )
    op.create_index(op.f("ix_artifact_touched_at"), "artifact", ["touched_at"], schema=SCHEMA)
    op.add_column(
        "task",
        sa.Column("progress", sa.Double(), nullable=True, comment="the furthest fraction that any snapshot reached"),
        schema=SCHEMA,
    )
    op.create_check_constraint(op.f("ck_task_progress"), "task", "progress BETWEEN 0 AND 1", schema=SCHEMA)
    op.add_column(
        "attempt",
        sa.Column(
            "progressed",
            sa.Boolean(),
            server_default="false",
            nullable=False,
            comment="further than any snapshot before",
        ),
        schema=SCHEMA,
    )
    op.create_table(
        "snapshot",
        sa.Column("task_id", postgresql.UUID(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("fraction", sa.Double(), nullable=False),
        sa.Column("stored_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("fraction BETWEEN 0 AND 1", name=op.f("ck_snapshot_fraction")),
        sa.ForeignKeyConstraint(
            ["task_id"], ["stagetune.task.id"], name=op.f("fk_snapshot_task_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["sha256"], ["stagetune.artifact.sha256"], name=op.f("fk_snapshot_sha256")),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_snapshot")),
        schema=SCHEMA,
    )
    op.create_index(op.f("ix_snapshot_sha256"), "snapshot", ["sha256"], schema=SCHEMA)


def downgrade() -> None:
    op.drop_table("snapshot", schema=SCHEMA)
    op.drop_column("attempt", "progressed", schema=SCHEMA)
    op.drop_constraint(op.f("ck_task_progress"), "task", schema=SCHEMA, type_="check")
    op.drop_column("task", "progress", schema=SCHEMA)
    op.drop_index(op.f("ix_artifact_touched_at"), "artifact", schema=SCHEMA)
    op.drop_column("artifact", "touched_at", schema=SCHEMA)
    op.drop_column("artifact", "stored", schema=SCHEMA)
