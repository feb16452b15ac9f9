"""Range tests, second rounds, confirmations, seconds to spend, more axes, embeddings"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

SCHEMA = "stagetune"

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

CHECKS = {
    ("search", "state"): (
        "state IN ('waiting', 'open', 'decided', 'dead', 'cancelled')",
        "state IN ('waiting', 'open', 'decided', 'dead', 'infeasible', 'cancelled')",
    ),
    ("task", "kind"): (
        "kind IN ('trial', 'fit', 'embed', 'evaluate')",
        "kind IN ('trial', 'fit', 'range-test', 'embed', 'evaluate')",
    ),
    ("result", "outcome"): (
        "outcome IN ('complete', 'pruned', 'diverged', 'evaluated')",
        "outcome IN ('complete', 'pruned', 'diverged', 'evaluated', 'ranged', 'embedded')",
    ),
    ("result", "checkpoint"): (
        "outcome <> 'complete' OR checkpoint IS NOT NULL",
        "outcome NOT IN ('complete', 'embedded') OR checkpoint IS NOT NULL",
    ),
    ("result", "validated"): (
        "(outcome = 'evaluated') = (validation_accuracy IS NULL)",
        "(outcome IN ('evaluated', 'ranged', 'embedded')) = (validation_accuracy IS NULL)",
    ),
}


def _check(new: bool) -> None:
    for (table, name), texts in CHECKS.items():
        full = op.f(f"ck_{table}_{name}")
        op.drop_constraint(full, table, schema=SCHEMA, type_="check")
        op.create_check_constraint(full, table, texts[new], schema=SCHEMA)


def _index_fits(condition: str) -> None:
    op.drop_index("uq_task_fit", "task", schema=SCHEMA)
    op.create_index(
        "uq_task_fit",
        "task",
        ["search_id", "seed"],
        schema=SCHEMA,
        unique=True,
        postgresql_where=sa.text(f"kind = 'fit' AND {condition}state <> 'cancelled'"),
    )


def upgrade() -> None:
    _check(new=True)
    op.add_column("search", sa.Column("seed", sa.Integer(), server_default="0", nullable=False), schema=SCHEMA)
    op.execute("UPDATE stagetune.search SET seed = CAST(spec #>> '{seeds,0}' AS integer)")
    op.execute("COMMENT ON COLUMN stagetune.search.budget IS 'trials; a second round adds some'")
    op.add_column(
        "experiment_search",
        sa.Column("seeds", sa.ARRAY(sa.Integer()), nullable=True, comment="its own, and those that it is fitted with"),
        schema=SCHEMA,
    )
    op.execute(
        "UPDATE stagetune.experiment_search es SET seeds = e.seeds FROM stagetune.experiment e"
        " WHERE e.id = es.experiment_id"
    )
    op.alter_column("experiment_search", "seeds", nullable=False, schema=SCHEMA)
    op.drop_column("experiment", "seeds", schema=SCHEMA)
    op.add_column("search", sa.Column("round", sa.Integer(), server_default="1", nullable=False), schema=SCHEMA)
    op.add_column(
        "search",
        sa.Column(
            "space",
            postgresql.JSONB(),
            nullable=True,
            comment="instead of the submission's: bounded by a range test, widened by a second round",
        ),
        schema=SCHEMA,
    )
    op.add_column(
        "search",
        sa.Column("seconds", sa.Double(), nullable=True, comment="search seconds it may spend, in place of trials"),
        schema=SCHEMA,
    )
    op.add_column(
        "search",
        sa.Column(
            "match_ids", sa.ARRAY(sa.UUID()), server_default="{}", nullable=False, comment="whose seconds these are"
        ),
        schema=SCHEMA,
    )
    op.add_column(
        "search",
        sa.Column(
            "projected",
            sa.Boolean(),
            server_default="false",
            nullable=False,
            comment="whether Optuna has its study",
        ),
        schema=SCHEMA,
    )
    op.create_index("ix_search_unprojected", "search", ["id"], schema=SCHEMA, postgresql_where=sa.text("NOT projected"))
    op.add_column(
        "trial",
        sa.Column(
            "more", postgresql.JSONB(), server_default="[]", nullable=False, comment="axes of the scheme: [name, value]"
        ),
        schema=SCHEMA,
    )
    op.add_column(
        "task",
        sa.Column(
            "candidate_id", sa.UUID(), nullable=True, comment="the trial that this fit confirms with another seed"
        ),
        schema=SCHEMA,
    )
    op.create_foreign_key(
        "fk_task_candidate_id",
        "task",
        "trial",
        ["candidate_id"],
        ["id"],
        source_schema=SCHEMA,
        referent_schema=SCHEMA,
    )
    op.create_check_constraint(op.f("ck_task_candidate"), "task", "kind = 'fit' OR candidate_id IS NULL", schema=SCHEMA)
    _index_fits("candidate_id IS NULL AND ")
    op.create_index(
        "uq_task_confirmation",
        "task",
        ["candidate_id", "seed"],
        schema=SCHEMA,
        unique=True,
        postgresql_where=sa.text("candidate_id IS NOT NULL AND state <> 'cancelled'"),
    )
    op.create_index(
        "uq_task_range_test",
        "task",
        ["search_id"],
        schema=SCHEMA,
        unique=True,
        postgresql_where=sa.text("kind = 'range-test' AND state <> 'cancelled'"),
    )
    op.create_index(
        "uq_task_embed",
        "task",
        ["search_id", "seed", "label"],
        schema=SCHEMA,
        unique=True,
        postgresql_where=sa.text("kind = 'embed' AND state NOT IN ('failed', 'cancelled')"),
    )
    op.execute("COMMENT ON COLUMN stagetune.result.checkpoint IS 'or the coordinates of an embedding'")


def downgrade() -> None:
    # What the older version cannot say goes; what it can say stays as it was.
    for name in ("uq_task_embed", "uq_task_range_test", "uq_task_confirmation"):
        op.drop_index(name, "task", schema=SCHEMA)
    newer = "t.candidate_id IS NOT NULL OR t.kind IN ('range-test', 'embed')"
    for table in ("result", "report", "attempt"):
        op.execute(f"DELETE FROM stagetune.{table} x USING stagetune.task t WHERE x.task_id = t.id AND ({newer})")
    op.execute(f"DELETE FROM stagetune.task t WHERE {newer}")
    op.execute("UPDATE stagetune.search SET state = 'dead' WHERE state = 'infeasible'")
    _index_fits("")
    op.drop_constraint(op.f("ck_task_candidate"), "task", schema=SCHEMA, type_="check")
    op.drop_constraint("fk_task_candidate_id", "task", schema=SCHEMA, type_="foreignkey")
    op.drop_column("task", "candidate_id", schema=SCHEMA)
    op.drop_column("trial", "more", schema=SCHEMA)
    for name in ("projected", "match_ids", "seconds", "space", "round", "seed"):
        op.drop_column("search", name, schema=SCHEMA)
    op.add_column("experiment", sa.Column("seeds", sa.ARRAY(sa.Integer()), nullable=True), schema=SCHEMA)
    op.execute(
        "UPDATE stagetune.experiment"
        " SET seeds = ARRAY(SELECT CAST(jsonb_array_elements_text(spec -> 'seeds') AS integer))"
    )
    op.alter_column("experiment", "seeds", nullable=False, schema=SCHEMA)
    op.drop_column("experiment_search", "seeds", schema=SCHEMA)
    op.execute("COMMENT ON COLUMN stagetune.search.budget IS NULL")
    op.execute("COMMENT ON COLUMN stagetune.result.checkpoint IS NULL")
    _check(new=False)
