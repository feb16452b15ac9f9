"""The tables of the first release"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

SCHEMA = "stagetune"

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "artifact",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_artifact_sha256")),
        sa.CheckConstraint("size >= 0", name=op.f("ck_artifact_size")),
        sa.PrimaryKeyConstraint("sha256", name="pk_artifact"),
        schema=SCHEMA,
    )
    op.create_table(
        "experiment",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("submission", postgresql.JSONB(), nullable=False),
        sa.Column("spec", postgresql.JSONB(), nullable=False),
        sa.Column("plan", postgresql.JSONB(), nullable=False),
        sa.Column("seeds", sa.ARRAY(sa.Integer()), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("body_digest", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state IN ('running', 'paused')) = (finished_at IS NULL)", name=op.f("ck_experiment_finished")
        ),
        sa.CheckConstraint(
            "state IN ('running', 'paused', 'cancelled', 'finished', 'failed')", name=op.f("ck_experiment_state")
        ),
        sa.PrimaryKeyConstraint("id", name="pk_experiment"),
        sa.UniqueConstraint("idempotency_key", name="uq_experiment_idempotency_key"),
        schema=SCHEMA,
    )
    op.create_index("ix_experiment_created_at_id", "experiment", ["created_at", "id"], schema=SCHEMA)
    op.create_index(
        "ix_experiment_live",
        "experiment",
        ["state"],
        schema=SCHEMA,
        postgresql_where=sa.text("state IN ('running', 'paused')"),
    )
    op.create_table(
        "login_code",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("hash", name="pk_login_code"),
        schema=SCHEMA,
    )
    op.create_table(
        "search",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column(
            "spec",
            postgresql.JSONB(),
            nullable=False,
            comment="of the experiment that brought it, without its architectures",
        ),
        sa.Column("planned", postgresql.JSONB(), nullable=False),
        sa.Column("budget", sa.Integer(), nullable=False),
        sa.Column("dataset_digest", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.UUID(), nullable=True),
        sa.Column("earlier_id", sa.UUID(), nullable=True),
        sa.Column("incumbent_id", sa.UUID(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(state = 'decided') = (incumbent_id IS NOT NULL)", name=op.f("ck_search_incumbent")),
        sa.CheckConstraint(
            "state IN ('waiting', 'open', 'decided', 'dead', 'cancelled')", name=op.f("ck_search_state")
        ),
        sa.CheckConstraint("budget > 0", name=op.f("ck_search_budget")),
        sa.ForeignKeyConstraint(["earlier_id"], ["stagetune.search.id"], name="fk_search_earlier_id"),
        sa.ForeignKeyConstraint(["parent_id"], ["stagetune.search.id"], name="fk_search_parent_id"),
        sa.PrimaryKeyConstraint("id", name="pk_search"),
        schema=SCHEMA,
    )
    op.create_index("ix_search_key", "search", ["key"], schema=SCHEMA)
    op.create_index(
        "ix_search_live", "search", ["state"], schema=SCHEMA, postgresql_where=sa.text("state IN ('waiting', 'open')")
    )
    op.create_index("ix_search_parent_id", "search", ["parent_id"], schema=SCHEMA)
    op.create_index(
        "uq_search_key",
        "search",
        ["key"],
        unique=True,
        schema=SCHEMA,
        postgresql_where=sa.text("state IN ('waiting', 'open', 'decided')"),
    )
    op.create_table(
        "server_heartbeat",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("beat_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_server_heartbeat"),
        schema=SCHEMA,
    )
    op.create_table(
        "session",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_session"),
        schema=SCHEMA,
    )
    op.create_table(
        "token",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("scope IN ('admin', 'submit', 'read', 'worker')", name=op.f("ck_token_scope")),
        sa.PrimaryKeyConstraint("id", name="pk_token"),
        sa.UniqueConstraint("hash", name="uq_token_hash"),
        schema=SCHEMA,
    )
    op.create_table(
        "worker",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("info", postgresql.JSONB(), nullable=False),
        sa.Column("registered_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("departed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("slots BETWEEN 1 AND 256", name=op.f("ck_worker_slots")),
        sa.PrimaryKeyConstraint("id", name="pk_worker"),
        schema=SCHEMA,
    )
    op.create_table(
        "event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("experiment_id", sa.UUID(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["stagetune.experiment.id"], name="fk_event_experiment_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_event"),
        schema=SCHEMA,
    )
    op.create_index("ix_event_experiment_id_id", "event", ["experiment_id", "id"], schema=SCHEMA)
    op.create_table(
        "experiment_search",
        sa.Column("experiment_id", sa.UUID(), nullable=False),
        sa.Column("search_id", sa.UUID(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False, comment="in the plan: parents stand before children"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("phase", sa.Integer(), nullable=False),
        sa.Column("used_by", postgresql.JSONB(), nullable=False, comment="labels of the variants standing on it"),
        sa.Column("leaf", sa.Boolean(), nullable=False, comment="last stage of a variant: evaluated on the test set"),
        sa.Column("reused", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_id"],
            ["stagetune.experiment.id"],
            name="fk_experiment_search_experiment_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["search_id"], ["stagetune.search.id"], name="fk_experiment_search_search_id"),
        sa.PrimaryKeyConstraint("experiment_id", "search_id", name="pk_experiment_search"),
        sa.UniqueConstraint("experiment_id", "position", name="uq_experiment_search_experiment_id_position"),
        schema=SCHEMA,
    )
    op.create_index("ix_experiment_search_search_id", "experiment_search", ["search_id"], schema=SCHEMA)
    op.create_table(
        "experiment_turn",
        sa.Column("experiment_id", sa.UUID(), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["stagetune.experiment.id"], name="fk_experiment_turn_experiment_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("experiment_id", name="pk_experiment_turn"),
        schema=SCHEMA,
    )
    op.create_table(
        "trial",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("search_id", sa.UUID(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("learning_rate", sa.Double(), nullable=False),
        sa.Column("regularization", sa.Double(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column(
            "value",
            sa.Double(),
            nullable=True,
            comment="validation accuracy as samplers see it: chance when diverged, the last when pruned",
        ),
        sa.Column("diverged", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("projected", sa.Text(), nullable=True, comment="the state that Optuna's tables show"),
        sa.Column("suggested_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(state = 'running') = (finished_at IS NULL)", name=op.f("ck_trial_finished")),
        sa.CheckConstraint("(state IN ('complete', 'pruned')) = (value IS NOT NULL)", name=op.f("ck_trial_told")),
        sa.CheckConstraint("NOT diverged OR state = 'complete'", name=op.f("ck_trial_diverged")),
        sa.CheckConstraint(
            "origin IN ('enqueued', 'incumbent', 'sobol', 'model', 'random')", name=op.f("ck_trial_origin")
        ),
        sa.CheckConstraint(
            "state IN ('running', 'complete', 'pruned', 'failed', 'cancelled')", name=op.f("ck_trial_state")
        ),
        sa.CheckConstraint("value BETWEEN 0 AND 1", name=op.f("ck_trial_value")),
        sa.ForeignKeyConstraint(["search_id"], ["stagetune.search.id"], name="fk_trial_search_id"),
        sa.PrimaryKeyConstraint("id", name="pk_trial"),
        sa.UniqueConstraint("search_id", "ordinal", name="uq_trial_search_id_ordinal"),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_trial_unprojected",
        "trial",
        ["search_id"],
        schema=SCHEMA,
        postgresql_where=sa.text("projected IS DISTINCT FROM state"),
    )
    op.create_table(
        "worker_dataset",
        sa.Column("worker_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("shape", sa.ARRAY(sa.Integer()), nullable=False),
        sa.Column("classes", sa.Integer(), nullable=False),
        sa.Column("train", sa.Integer(), nullable=False),
        sa.Column("test", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["worker_id"], ["stagetune.worker.id"], name="fk_worker_dataset_worker_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("worker_id", "name", name="pk_worker_dataset"),
        schema=SCHEMA,
    )
    op.create_index("ix_worker_dataset_digest", "worker_dataset", ["digest"], schema=SCHEMA)
    op.create_table(
        "task",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("search_id", sa.UUID(), nullable=False),
        sa.Column("trial_id", sa.UUID(), nullable=True),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("work", postgresql.JSONB(), nullable=False),
        sa.Column("dataset_digest", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False, comment="fencing token; only grows"),
        sa.Column("strikes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("worker_id", sa.UUID(), nullable=True),
        sa.Column("fraction", sa.Double(), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("leased_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.CheckConstraint("(kind = 'trial') = (trial_id IS NOT NULL)", name=op.f("ck_task_trial")),
        sa.CheckConstraint(
            "(state = 'leased') = (worker_id IS NOT NULL) AND (state = 'leased') = (lease_expires_at IS NOT NULL)",
            name=op.f("ck_task_lease"),
        ),
        sa.CheckConstraint(
            "(state IN ('done', 'failed', 'cancelled')) = (finished_at IS NOT NULL)", name=op.f("ck_task_finished")
        ),
        sa.CheckConstraint("kind IN ('trial', 'fit', 'embed', 'evaluate')", name=op.f("ck_task_kind")),
        sa.CheckConstraint("state IN ('ready', 'leased', 'done', 'failed', 'cancelled')", name=op.f("ck_task_state")),
        sa.CheckConstraint("attempt >= 0 AND strikes >= 0", name=op.f("ck_task_counts")),
        sa.CheckConstraint("fraction BETWEEN 0 AND 1", name=op.f("ck_task_fraction")),
        sa.ForeignKeyConstraint(["search_id"], ["stagetune.search.id"], name="fk_task_search_id"),
        sa.ForeignKeyConstraint(["trial_id"], ["stagetune.trial.id"], name="fk_task_trial_id"),
        sa.ForeignKeyConstraint(["worker_id"], ["stagetune.worker.id"], name="fk_task_worker_id"),
        sa.PrimaryKeyConstraint("id", name="pk_task"),
        sa.UniqueConstraint("trial_id", name="uq_task_trial_id"),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_task_leased", "task", ["lease_expires_at"], schema=SCHEMA, postgresql_where=sa.text("state = 'leased'")
    )
    op.create_index(
        "ix_task_ready", "task", ["search_id", "created_at"], schema=SCHEMA, postgresql_where=sa.text("state = 'ready'")
    )
    op.create_index("ix_task_search_id_kind", "task", ["search_id", "kind"], schema=SCHEMA)
    op.create_index(
        "ix_task_worker", "task", ["worker_id"], schema=SCHEMA, postgresql_where=sa.text("state = 'leased'")
    )
    op.create_index(
        "uq_task_evaluate",
        "task",
        ["search_id", "seed"],
        unique=True,
        schema=SCHEMA,
        postgresql_where=sa.text("kind = 'evaluate' AND state <> 'cancelled'"),
    )
    op.create_index(
        "uq_task_fit",
        "task",
        ["search_id", "seed"],
        unique=True,
        schema=SCHEMA,
        postgresql_where=sa.text("kind = 'fit' AND state <> 'cancelled'"),
    )
    op.create_table(
        "attempt",
        sa.Column("task_id", sa.UUID(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("worker_id", sa.UUID(), nullable=False),
        sa.Column("request_id", sa.UUID(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("log", sa.Text(), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('accepted', 'lost', 'failed', 'released', 'cancelled')", name=op.f("ck_attempt_outcome")
        ),
        sa.CheckConstraint("(outcome IS NULL) = (ended_at IS NULL)", name=op.f("ck_attempt_ended")),
        sa.ForeignKeyConstraint(["task_id"], ["stagetune.task.id"], name="fk_attempt_task_id"),
        sa.ForeignKeyConstraint(["worker_id"], ["stagetune.worker.id"], name="fk_attempt_worker_id"),
        sa.PrimaryKeyConstraint("task_id", "n", name="pk_attempt"),
        sa.UniqueConstraint("worker_id", "request_id", name="uq_attempt_worker_id_request_id"),
        schema=SCHEMA,
    )
    op.create_table(
        "report",
        sa.Column("task_id", sa.UUID(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Double(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("loss", sa.Double(), nullable=True),
        sa.CheckConstraint("value BETWEEN 0 AND 1", name=op.f("ck_report_value")),
        sa.ForeignKeyConstraint(
            ["task_id", "attempt"],
            ["stagetune.attempt.task_id", "stagetune.attempt.n"],
            name="fk_report_task_id_attempt",
        ),
        sa.PrimaryKeyConstraint("task_id", "attempt", "step", name="pk_report"),
        schema=SCHEMA,
    )
    op.create_table(
        "result",
        sa.Column("task_id", sa.UUID(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False, comment="of the payload: the same result may be sent again"),
        sa.Column("payload", postgresql.JSONB(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("checkpoint", sa.Text(), nullable=True),
        sa.Column("validation_accuracy", sa.Double(), nullable=True),
        sa.Column("training_accuracy", sa.Double(), nullable=True),
        sa.Column("test_accuracy", sa.Double(), nullable=True),
        sa.Column("training_seconds", sa.Double(), nullable=True),
        sa.Column("feature_seconds", sa.Double(), nullable=True),
        sa.Column("total_seconds", sa.Double(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("analytic_memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("resident_bytes", sa.BigInteger(), nullable=True),
        sa.Column("memory_method", sa.Text(), nullable=True),
        sa.Column("accepted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(outcome = 'evaluated') = (test_accuracy IS NOT NULL)", name=op.f("ck_result_evaluated")),
        sa.CheckConstraint("(outcome = 'evaluated') = (validation_accuracy IS NULL)", name=op.f("ck_result_validated")),
        sa.CheckConstraint("outcome <> 'complete' OR checkpoint IS NOT NULL", name=op.f("ck_result_checkpoint")),
        sa.CheckConstraint(
            "outcome IN ('complete', 'pruned', 'diverged', 'evaluated')", name=op.f("ck_result_outcome")
        ),
        sa.ForeignKeyConstraint(["checkpoint"], ["stagetune.artifact.sha256"], name="fk_result_checkpoint"),
        sa.ForeignKeyConstraint(
            ["task_id", "attempt"],
            ["stagetune.attempt.task_id", "stagetune.attempt.n"],
            name="fk_result_task_id_attempt",
        ),
        sa.PrimaryKeyConstraint("task_id", name="pk_result"),
        schema=SCHEMA,
    )
    op.create_index("ix_result_checkpoint", "result", ["checkpoint"], schema=SCHEMA)
    # A search names its incumbent and a trial its search: one of the two has to come afterwards.
    op.create_foreign_key(
        "fk_search_incumbent_id",
        "search",
        "trial",
        ["incumbent_id"],
        ["id"],
        source_schema=SCHEMA,
        referent_schema=SCHEMA,
    )


def downgrade() -> None:
    op.drop_constraint("fk_search_incumbent_id", "search", schema=SCHEMA)
    for table in (
        "result",
        "report",
        "attempt",
        "task",
        "worker_dataset",
        "trial",
        "experiment_turn",
        "experiment_search",
        "event",
        "worker",
        "token",
        "session",
        "server_heartbeat",
        "search",
        "login_code",
        "experiment",
        "artifact",
    ):
        op.drop_table(table, schema=SCHEMA)
