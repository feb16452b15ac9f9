"""A variant on one seed: its searches and what was trained."""

from dataclasses import dataclass

from service.domain.errors import Conflict
from service.domain.networks import ChosenNetwork, NetworkChoice, choose
from service.domain.notation import write
from service.domain.states import SearchState, TaskKind
from service.storage import Transaction, results, searches
from service.storage.experiments import ExperimentRow
from service.storage.results import TrainingResult
from service.storage.searches import SearchRow


@dataclass(frozen=True, slots=True)
class FoundStage:
    """A stage's search, and its training on the seed with the checkpoint that came of it."""

    search: SearchRow
    trained: TrainingResult
    checkpoint: str


@dataclass(frozen=True, slots=True)
class FoundNetwork:
    """A trained network, its stages first to last."""

    chosen: ChosenNetwork
    stages: tuple[FoundStage, ...]

    @property
    def leaf(self) -> FoundStage:
        return self.stages[-1]

    @property
    def prefix_checkpoints(self) -> list[str]:
        return [stage.checkpoint for stage in self.stages[:-1]]


def find_network(tx: Transaction, experiment: ExperimentRow, choice: NetworkChoice) -> FoundNetwork:
    """The chosen variant, trained.

    Raises:
        InvalidRequest: the experiment has no such variant, phase or seed.
        Conflict: a stage of it is not decided, or not trained on the seed.
    """
    chosen = choose(experiment.spec, experiment.plan, choice)
    rows = {row.key: row for row in searches.of_experiment(tx, experiment.id)}
    path = [rows[key] for key in chosen.path]
    trained = {
        # A search has its incumbents on its own seed alone; fits bring the others.
        (item.search_id, item.seed): item
        for item in results.trainings(tx, [row.id for row in path])
        if item.kind in (TaskKind.TRIAL, TaskKind.FIT) and item.checkpoint is not None
    }
    stages = []
    for row in path:
        label, stage = chosen.planned.variant.label, write(row.planned.stage.layers)
        if row.state is not SearchState.DECIDED:
            raise Conflict(f"{label} is not finished: the search of its stage {stage} is {row.state}")
        found = trained.get((row.id, chosen.seed))
        if found is None or found.checkpoint is None:
            raise Conflict(f"{label} is not finished: its stage {stage} has not been trained on seed {chosen.seed}")
        stages.append(FoundStage(row, found, found.checkpoint))
    return FoundNetwork(chosen, tuple(stages))
