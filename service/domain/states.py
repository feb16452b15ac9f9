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
    """A stage search waits for its prefix, is open, and ends decided or without an incumbent: dead or infeasible."""

    WAITING = "waiting"
    OPEN = "open"
    DECIDED = "decided"
    DEAD = "dead"
    INFEASIBLE = "infeasible"
    CANCELLED = "cancelled"

    @classmethod
    def ended(cls) -> frozenset["SearchState"]:
        return frozenset({cls.DECIDED, cls.DEAD, cls.INFEASIBLE, cls.CANCELLED})

    @classmethod
    def fruitless(cls) -> frozenset["SearchState"]:
        """Ended without a stage that another could stand on."""
        return cls.ended() - {cls.DECIDED}


class PlannedState(StrEnum):
    """What a submission would find of a search: nothing, one that another experiment is at, or one that has ended."""

    NEW = "new"
    UNDER_WAY = "under-way"
    TAKEN_OVER = "taken-over"


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
    RANGE_TEST = "range-test"
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


class Scheme(StrEnum):
    """What is searched: a pair for the stage, a pair for every layer, or a base and what multiplies it per layer."""

    PER_STAGE = "per-stage"
    PER_LAYER = "per-layer"
    GEOMETRIC = "geometric"


class Pruner(StrEnum):
    """What ends trials that fall behind."""

    NONE = "none"
    MEDIAN = "median"
    ASHA = "asha"
    HYPERBAND = "hyperband"


class BudgetRule(StrEnum):
    """What Total Learning may spend against the Partial variant of the same architecture."""

    EPOCHS = "epochs"
    PASSES = "passes"
    SECONDS = "seconds"


class Schedule(StrEnum):
    """What becomes of the learning rate during a training."""

    CONSTANT = "constant"
    COSINE = "cosine"


class FeaturePlace(StrEnum):
    """Where a worker kept the frozen features that a training read; recomputed: made again for every batch."""

    MEMORY = "memory"
    DISK = "disk"
    RECOMPUTED = "recomputed"


class Objective(StrEnum):
    """What a stage's layers are trained on; the last stage's always classify."""

    CLASSIFICATION = "classification"
    RECONSTRUCTION = "reconstruction"
    CONTRASTIVE = "contrastive"
