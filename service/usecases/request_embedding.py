"""A t-SNE of every stage of a trained network: asked for, and looked at."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID, uuid4

from service.domain.errors import Conflict, NotFound
from service.domain.networks import EmbeddingStageView, EmbeddingView, NetworkChoice, embedding_points
from service.domain.notation import write
from service.domain.plan import PlannedVariant
from service.domain.states import ExperimentState, TaskKind, TaskState
from service.domain.work import EmbeddingUse, evaluation_work
from service.storage import Storage, Transaction, experiments, networks, searches, tasks
from service.storage.experiments import ExperimentRow
from service.storage.networks import EmbeddingRow
from service.storage.tasks import NewTask
from service.usecases.find_network import find_network

_STATES = {
    TaskState.READY: "waiting", TaskState.LEASED: "running", TaskState.DONE: "finished", TaskState.FAILED: "failed",
    TaskState.CANCELLED: "cancelled",
}  # fmt: skip


def request_embedding(
    store: Storage, experiment_id: UUID, choice: NetworkChoice, points: int | None, perplexity: float
) -> EmbeddingView:
    """Make a task of it. The same request again gives the same one, unless it failed or was cancelled.

    The variant has to be trained, the experiment need not have ended; while it is paused the task waits.

    Raises:
        InvalidRequest: there is no such variant, or there cannot be such an embedding of it.
        Conflict: the network is not trained, or the experiment is cancelled.
        NotFound: there is no such experiment.
    """
    with store.transaction() as tx:
        experiment = experiments.get(tx, experiment_id)
        network = find_network(tx, experiment, choice)
        if experiment.state is ExperimentState.CANCELLED:
            raise Conflict("a cancelled experiment gets no worker; submit it again: what it has decided is taken over")
        count = embedding_points(experiment.spec.dataset.test, points, perplexity)
        search, seed = network.leaf.search, network.chosen.seed
        evaluation = evaluation_work(
            search.spec, search.planned, network.prefix_checkpoints, network.leaf.checkpoint, seed
        )
        # It tells requests of one network apart.
        label = f"{search.name} t-SNE seed {seed}, {count} points, perplexity {perplexity!r}"
        work = replace(evaluation, embedding=EmbeddingUse(count, perplexity))
        tasks.add(tx, [NewTask(uuid4(), TaskKind.EMBED, search.id, seed, label, work)])
        rows = networks.embeddings(tx, [search.id])
        (row,) = (
            row
            for row in rows
            if (row.label, row.seed) == (label, seed) and row.state not in (TaskState.FAILED, TaskState.CANCELLED)
        )
        return _view(row, _ends(experiment, search.key))


def list_embeddings(store: Storage, experiment_id: UUID) -> tuple[EmbeddingView, ...]:
    """The embeddings of an experiment's networks, oldest first. Raises NotFound."""
    with store.reading() as tx:
        return _of_experiment(tx, experiments.get(tx, experiment_id))


def get_embedding(store: Storage, experiment_id: UUID, embedding: UUID) -> EmbeddingView:
    """One embedding. Raises NotFound."""
    for view in list_embeddings(store, experiment_id):
        if view.id == embedding:
            return view
    raise NotFound(f"there is no embedding {embedding} of this experiment")


def _of_experiment(tx: Transaction, experiment: ExperimentRow) -> tuple[EmbeddingView, ...]:
    keys = {row.id: row.key for row in searches.of_experiment(tx, experiment.id)}
    views = []
    for row in networks.embeddings(tx, keys):
        ends = _ends(experiment, keys[row.search_id])
        if ends and row.seed in experiment.spec.seeds:
            views.append(_view(row, ends))
    return tuple(views)


def _ends(experiment: ExperimentRow, key: str) -> list[PlannedVariant]:
    """The variants whose networks end with a search."""
    return [planned for planned in experiment.plan.variants if any(path[-1] == key for path in planned.paths)]


def _view(row: EmbeddingRow, ends: Sequence[PlannedVariant]) -> EmbeddingView:
    outcome = row.outcome or {}
    layers = [frozen.stage.layers for frozen in row.work.prefix] + [row.work.stage.layers]
    figures = outcome.get("stages", [{}] * len(layers))
    assert row.work.embedding is not None
    return EmbeddingView(
        id=row.id,
        variants=tuple(planned.variant.label for planned in ends),
        phase=ends[0].phase,
        seed=row.seed,
        points=row.work.embedding.points,
        perplexity=row.work.embedding.perplexity,
        state=_STATES[row.state],
        created_at=row.created_at,
        stages=tuple(
            EmbeddingStageView(write(stage), told.get("dimensions"), told.get("components"), told.get("seconds"))
            for stage, told in zip(layers, figures, strict=False)
        ),
        seconds=outcome.get("total_seconds"),
        failure=row.failure,
        checkpoint=outcome.get("checkpoint"),
        class_names=tuple(outcome.get("class_names", ())),
    )
