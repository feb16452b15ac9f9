"""States of experiments, searches, trials, tasks and attempts, with their named groups."""

from enum import StrEnum


class ExperimentState(StrEnum):
    """An experiment runs until every run of it is finished, or dead, or it is cancelled."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    FINISHED = "finished"
    FAILED = "failed"

    @classmethod
    def ended(cls) -> frozenset["ExperimentState"]:
        return frozenset({cls.CANCELLED, cls.FINISHED, cls.FAILED})


class SearchState(StrEnum):
    """A stage search waits for its prefix, is open, and ends decided or dead (no incumbent)."""

    WAITING = "waiting"
    OPEN = "open"
    DECIDED = "decided"
    DEAD = "dead"
    CANCELLED = "cancelled"

    @classmethod
    def ended(cls) -> frozenset["SearchState"]:
        return frozenset({cls.DECIDED, cls.DEAD, cls.CANCELLED})


class TrialState(StrEnum):
    """A trial is RUNNING from its suggestion on; a diverged one is COMPLETE, told at chance accuracy."""

    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @classmethod
    def finished(cls) -> frozenset["TrialState"]:
        return frozenset({cls.COMPLETE, cls.PRUNED, cls.FAILED, cls.CANCELLED})


class TaskKind(StrEnum):
    """What a worker leases; only trials belong to Optuna studies."""

    TRIAL = "trial"
    FIT = "fit"
    EMBED = "embed"
    EVALUATE = "evaluate"


class TaskState(StrEnum):
    """DONE has an accepted result; FAILED is a dead letter or an infeasible task."""

    READY = "ready"
    LEASED = "leased"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @classmethod
    def ended(cls) -> frozenset["TaskState"]:
        return frozenset({cls.DONE, cls.FAILED, cls.CANCELLED})


class AttemptOutcome(StrEnum):
    """How one lease of a task ended."""

    ACCEPTED = "accepted"
    LOST = "lost"
    FAILED = "failed"
    RELEASED = "released"
    CANCELLED = "cancelled"


class TrialOrigin(StrEnum):
    """Where a trial's hyperparameters come from."""

    ENQUEUED = "enqueued"
    INCUMBENT = "incumbent"
    SOBOL = "sobol"
    MODEL = "model"
    RANDOM = "random"


class Sampler(StrEnum):
    """The samplers a submission may name."""

    AUTO = "auto"
    GP = "gp"
    TPE = "tpe"
    CMAES = "cmaes"
    SOBOL = "sobol"
    RANDOM = "random"
    RANDOM_EXPONENTIAL = "random-exponential"


class Learning(StrEnum):
    """Total trains all stages as one, partial one after the other."""

    TOTAL = "total"
    PARTIAL = "partial"
