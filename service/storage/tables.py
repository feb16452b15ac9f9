"""The tables. What must never happen is forbidden here first; use cases only put it kindly."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

from service.domain.states import (
    AttemptOutcome,
    ExperimentState,
    SearchState,
    TaskKind,
    TaskState,
    TrialOrigin,
    TrialState,
)
from service.storage.access_tables import token
from service.storage.columns import fraction, moment, one_of, state, unique
from service.storage.columns import metadata as metadata

experiment = Table(
    "experiment",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("name", Text, nullable=False),
    *state(ExperimentState),
    Column("submission", JSONB, nullable=False),
    Column("spec", JSONB, nullable=False),
    Column("plan", JSONB, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("idempotency_key", Text, unique=True),
    Column("body_digest", Text, nullable=False),
    moment("created_at", nullable=False),
    moment("finished_at"),
    CheckConstraint("(state IN ('running', 'paused')) = (finished_at IS NULL)", name="finished"),
    Index(None, "created_at", "id"),
    Index("ix_experiment_live", "state", postgresql_where=text("state IN ('running', 'paused')")),
)

# Apart from the experiment, so that a claim never waits for someone who holds the experiment's row and wants tasks.
experiment_turn = Table(
    "experiment_turn",
    metadata,
    Column("experiment_id", UUID, ForeignKey(experiment.c.id, ondelete="CASCADE"), primary_key=True),
    moment("claimed_at"),
)

search = Table(
    "search",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("key", Text, nullable=False),
    Column("name", Text, nullable=False),
    *state(SearchState),
    Column("spec", JSONB, nullable=False, comment="of the experiment that brought it, without its architectures"),
    Column("planned", JSONB, nullable=False),
    Column("seed", Integer, nullable=False, server_default="0"),
    Column("budget", Integer, nullable=False, comment="trials; a second round adds some"),
    Column("round", Integer, nullable=False, server_default="1"),
    Column("space", JSONB, comment="instead of the submission's: bounded by a range test, widened by a second round"),
    Column("seconds", Double, comment="search seconds it may spend, in place of trials"),
    Column("match_ids", ARRAY(UUID), nullable=False, server_default="{}", comment="whose seconds these are"),
    Column("dataset_digest", Text, nullable=False),
    Column("parent_id", UUID, ForeignKey("search.id")),
    Column("earlier_id", UUID, ForeignKey("search.id")),
    Column("incumbent_id", UUID, ForeignKey("trial.id", use_alter=True)),
    Column("projected", Boolean, nullable=False, server_default="false", comment="whether Optuna has its study"),
    moment("created_at", nullable=False),
    moment("opened_at"),
    moment("decided_at"),
    CheckConstraint("budget > 0", name="budget"),
    CheckConstraint("(state = 'decided') = (incumbent_id IS NOT NULL)", name="incumbent"),
    # A search that ended without an incumbent or was cancelled is no obstacle to trying again.
    Index("uq_search_key", "key", unique=True, postgresql_where=text("state IN ('waiting', 'open', 'decided')")),
    Index(None, "key"),
    Index("ix_search_unprojected", "id", postgresql_where=text("NOT projected")),
    Index("ix_search_live", "state", postgresql_where=text("state IN ('waiting', 'open')")),
    Index(None, "parent_id"),
)

experiment_search = Table(
    "experiment_search",
    metadata,
    Column("experiment_id", UUID, ForeignKey(experiment.c.id, ondelete="CASCADE"), primary_key=True),
    Column("search_id", UUID, ForeignKey(search.c.id), primary_key=True),
    Column("position", Integer, nullable=False, comment="in the plan: parents stand before children"),
    Column("name", Text, nullable=False),
    Column("phase", Integer, nullable=False),
    Column("used_by", JSONB, nullable=False, comment="labels of the variants standing on it"),
    Column("leaf", Boolean, nullable=False, comment="last stage of a variant: evaluated on the test set"),
    Column("seeds", ARRAY(Integer), nullable=False, comment="its own, and those that it is fitted with"),
    Column("reused", Boolean, nullable=False),
    UniqueConstraint("experiment_id", "position"),
    Index(None, "search_id"),
)

trial = Table(
    "trial",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("search_id", UUID, ForeignKey(search.c.id), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("learning_rate", Double, nullable=False),
    Column("regularization", Double, nullable=False),
    Column("more", JSONB, nullable=False, server_default="[]", comment="axes of the scheme: [name, value]"),
    *state(TrialOrigin, "origin"),
    *state(TrialState),
    Column(
        "value", Double, comment="validation accuracy as samplers see it: chance when diverged, the last when pruned"
    ),
    Column("diverged", Boolean, nullable=False, server_default="false"),
    Column("failure", Text),
    Column("projected", Text, comment="the state that Optuna's tables show"),
    Column("chance", Integer, nullable=False, server_default="0", comment="how often it was given another one"),
    moment("suggested_at", nullable=False),
    moment("finished_at"),
    UniqueConstraint("search_id", "ordinal"),
    fraction("value"),
    CheckConstraint("(state = 'running') = (finished_at IS NULL)", name="finished"),
    CheckConstraint("(state IN ('complete', 'pruned')) = (value IS NOT NULL)", name="told"),
    CheckConstraint("NOT diverged OR state = 'complete'", name="diverged"),
    Index("ix_trial_unprojected", "search_id", postgresql_where=text("projected IS DISTINCT FROM state")),
)

artifact = Table(
    "artifact",
    metadata,
    Column("sha256", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("stored", Boolean, nullable=False, server_default="true", comment="false while its bytes are on their way"),
    moment("created_at", nullable=False),
    moment("touched_at", nullable=False),
    Index(None, "touched_at"),
    CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="sha256"),
    CheckConstraint("size >= 0", name="size"),
)

worker = Table(
    "worker",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("name", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("info", JSONB, nullable=False),
    moment("registered_at", nullable=False),
    moment("last_seen_at", nullable=False),
    moment("departed_at"),
    Column("draining_at", DateTime(timezone=True), comment="since when it is told to hand back and leave"),
    Column("token_id", UUID, ForeignKey(token.c.id), comment="that announced it; nobody else speaks for it"),
    CheckConstraint("slots BETWEEN 1 AND 256", name="slots"),
)

worker_dataset = Table(
    "worker_dataset",
    metadata,
    Column("worker_id", UUID, ForeignKey(worker.c.id, ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("shape", ARRAY(Integer), nullable=False),
    Column("classes", Integer, nullable=False),
    Column("train", Integer, nullable=False),
    Column("test", Integer, nullable=False),
    Index(None, "digest"),
)

task = Table(
    "task",
    metadata,
    Column("id", UUID, primary_key=True),
    *state(TaskKind, "kind"),
    *state(TaskState),
    Column("search_id", UUID, ForeignKey(search.c.id), nullable=False),
    Column("trial_id", UUID, ForeignKey(trial.c.id), unique=True),
    Column("candidate_id", UUID, ForeignKey(trial.c.id), comment="the trial that this fit confirms with another seed"),
    Column("seed", Integer, nullable=False),
    Column("label", Text, nullable=False),
    Column("work", JSONB, nullable=False),
    Column("dataset_digest", Text, nullable=False),
    Column("attempt", Integer, nullable=False, server_default="0", comment="fencing token; only grows"),
    Column("strikes", Integer, nullable=False, server_default="0"),
    Column("worker_id", UUID, ForeignKey(worker.c.id)),
    Column("fraction", Double),
    Column("progress", Double, comment="the furthest fraction that any snapshot reached"),
    moment("not_before", nullable=False),
    moment("leased_at"),
    moment("lease_expires_at"),
    moment("created_at", nullable=False),
    moment("finished_at"),
    Column("failure", Text),
    CheckConstraint("(kind = 'trial') = (trial_id IS NOT NULL)", name="trial"),
    CheckConstraint("kind = 'fit' OR candidate_id IS NULL", name="candidate"),
    CheckConstraint(
        "(state = 'leased') = (worker_id IS NOT NULL) AND (state = 'leased') = (lease_expires_at IS NOT NULL)",
        name="lease",
    ),
    CheckConstraint("(state IN ('done', 'failed', 'cancelled')) = (finished_at IS NOT NULL)", name="finished"),
    CheckConstraint("attempt >= 0 AND strikes >= 0", name="counts"),
    fraction("fraction"),
    fraction("progress"),
    unique("uq_task_fit", "search_id", "seed", where="kind = 'fit' AND candidate_id IS NULL AND state <> 'cancelled'"),
    unique("uq_task_confirmation", "candidate_id", "seed", where="candidate_id IS NOT NULL AND state <> 'cancelled'"),
    unique("uq_task_range_test", "search_id", where="kind = 'range-test' AND state <> 'cancelled'"),
    unique(
        "uq_task_embed", "search_id", "seed", "label", where="kind = 'embed' AND state NOT IN ('failed', 'cancelled')"
    ),
    unique("uq_task_evaluate", "search_id", "seed", where="kind = 'evaluate' AND state <> 'cancelled'"),
    Index(None, "search_id", "kind"),
    Index("ix_task_ready", "search_id", "created_at", postgresql_where=text("state = 'ready'")),
    Index("ix_task_leased", "lease_expires_at", postgresql_where=text("state = 'leased'")),
    Index("ix_task_worker", "worker_id", postgresql_where=text("state = 'leased'")),
)

attempt = Table(
    "attempt",
    metadata,
    Column("task_id", UUID, ForeignKey(task.c.id), primary_key=True),
    Column("n", Integer, primary_key=True),
    Column("worker_id", UUID, ForeignKey(worker.c.id), nullable=False),
    Column("request_id", UUID, nullable=False),
    moment("started_at", nullable=False),
    moment("ended_at"),
    Column("outcome", Text),
    Column("reason", Text),
    Column("message", Text),
    Column("log", Text),
    Column("seconds", Double),
    Column("progressed", Boolean, nullable=False, server_default="false", comment="further than any snapshot before"),
    UniqueConstraint("worker_id", "request_id"),
    one_of("outcome", AttemptOutcome),
    CheckConstraint("(outcome IS NULL) = (ended_at IS NULL)", name="ended"),
    Index("ix_attempt_unfinished", "task_id", postgresql_where=text("outcome IN ('lost', 'failed')")),
)

snapshot = Table(
    "snapshot",
    metadata,
    Column("task_id", UUID, ForeignKey(task.c.id, ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("sha256", Text, ForeignKey(artifact.c.sha256), nullable=False),
    Column("fraction", Double, nullable=False),
    moment("stored_at", nullable=False),
    fraction("fraction"),
    Index(None, "sha256"),
)

result = Table(
    "result",
    metadata,
    Column("task_id", UUID, primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("digest", Text, nullable=False, comment="of the payload: the same result may be sent again"),
    Column("payload", JSONB, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("checkpoint", Text, ForeignKey(artifact.c.sha256), comment="or the coordinates of an embedding"),
    Column("validation_accuracy", Double),
    Column("training_accuracy", Double),
    Column("test_accuracy", Double),
    Column("training_seconds", Double),
    Column("feature_seconds", Double),
    Column("total_seconds", Double, nullable=False),
    Column("memory_bytes", BigInteger),
    Column("analytic_memory_bytes", BigInteger),
    Column("resident_bytes", BigInteger),
    Column("memory_method", Text),
    moment("accepted_at", nullable=False),
    ForeignKeyConstraint(["task_id", "attempt"], ["attempt.task_id", "attempt.n"]),
    one_of("outcome", ("complete", "pruned", "diverged", "evaluated", "ranged", "embedded")),
    CheckConstraint("outcome NOT IN ('complete', 'embedded') OR checkpoint IS NOT NULL", name="checkpoint"),
    CheckConstraint("(outcome = 'evaluated') = (test_accuracy IS NOT NULL)", name="evaluated"),
    CheckConstraint(
        "(outcome IN ('evaluated', 'ranged', 'embedded')) = (validation_accuracy IS NULL)", name="validated"
    ),
    Index(None, "checkpoint"),
)

report = Table(
    "report",
    metadata,
    Column("task_id", UUID, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("step", BigInteger, primary_key=True),
    Column("epoch", Double, nullable=False),
    Column("value", Double, nullable=False),
    Column("loss", Double),
    ForeignKeyConstraint(["task_id", "attempt"], ["attempt.task_id", "attempt.n"]),
    fraction("value"),
)

event = Table(
    "event",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("experiment_id", UUID, ForeignKey(experiment.c.id, ondelete="CASCADE"), nullable=False),
    moment("at", nullable=False),
    Column("kind", Text, nullable=False),
    Column("data", JSONB, nullable=False),
    Index(None, "experiment_id", "id"),
)

# Optuna's studies of searches that are gone; the projector deletes them, and then the line.
purged_study = Table("purged_study", metadata, Column("name", Text, primary_key=True))

server_heartbeat = Table(
    "server_heartbeat",
    metadata,
    Column("name", Text, primary_key=True),
    moment("beat_at", nullable=False),
)
