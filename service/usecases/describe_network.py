"""Everything needed to build a finished network again."""

from uuid import UUID

from service.domain.networks import NetworkChoice, NetworkStageView, NetworkView
from service.domain.notation import write
from service.domain.work import dataset_use
from service.storage import Storage, experiments, networks, trials
from service.usecases.find_network import find_network


def describe_network(store: Storage, experiment_id: UUID, choice: NetworkChoice) -> NetworkView:
    """A trained variant on one seed.

    Raises:
        InvalidRequest: there is no such variant.
        Conflict: it is not trained.
        NotFound: there is no such experiment.
    """
    with store.reading() as tx:
        experiment = experiments.get(tx, experiment_id)
        network = find_network(tx, experiment, choice)
        points = trials.points(tx, [stage.search.incumbent_id for stage in network.stages])
        seed = network.chosen.seed
        tested = networks.test_of(tx, network.leaf.search.id, seed)
    spec = experiment.spec
    return NetworkView(
        experiment=experiment.id,
        name=experiment.name,
        variant=network.chosen.planned.variant.label,
        learning=network.chosen.planned.variant.learning,
        phase=network.chosen.planned.phase,
        seed=seed,
        dataset=dataset_use(spec.dataset, spec.split),
        shape=spec.dataset.shape,
        recipe=spec.recipe,
        stages=tuple(
            NetworkStageView(
                notation=write(stage.search.planned.stage.layers),
                stage=stage.search.planned.stage,
                checkpoint=stage.checkpoint,
                hyperparameters=points[stage.search.incumbent_id],
                epochs=stage.search.planned.budget.epochs,
                validation_accuracy=stage.trained.training.validation_accuracy,
                training_accuracy=stage.trained.training.training_accuracy,
                training_seconds=stage.trained.training.training_seconds,
                feature_seconds=stage.trained.training.feature_seconds,
                memory_bytes=stage.trained.training.memory_bytes,
            )
            for stage in network.stages
            if stage.search.incumbent_id is not None
        ),
        test_accuracy=tested.accuracy if tested else None,
        test_precision=tested.precision if tested else None,
        test_images=spec.dataset.test,
    )
