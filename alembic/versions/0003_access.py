"""Workers belong to the tokens that announced them; the audit trail; studies of purged searches"""

import sqlalchemy as sa
from alembic import op

SCHEMA = "stagetune"

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def _moment(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)


def upgrade() -> None:
    op.add_column(
        "worker",
        sa.Column(
            "token_id",
            sa.UUID(),
            sa.ForeignKey(f"{SCHEMA}.token.id", name=op.f("fk_worker_token_id")),
            nullable=True,
            comment="that announced it; nobody else speaks for it",
        ),
        schema=SCHEMA,
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        _moment("at"),
        _moment("last_at"),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), server_default="1", nullable=False, comment="refusals told together"),
        sa.CheckConstraint("count > 0", name=op.f("ck_audit_count")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        schema=SCHEMA,
    )
    op.create_table(
        "purged_study",
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_purged_study")),
        schema=SCHEMA,
    )


def downgrade() -> None:
    op.drop_table("purged_study", schema=SCHEMA)
    op.drop_table("audit", schema=SCHEMA)
    op.drop_column("worker", "token_id", schema=SCHEMA)
