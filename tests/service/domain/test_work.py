from collections.abc import Callable

from contract import tasks
from service.domain.experiment import ExperimentSpec
from service.domain.plan import plan_experiment
from service.domain.space import Point
from service.domain.work import evaluation_work, training_work

Understand = Callable[..., ExperimentSpec]


def test_a_training_carries_its_prefix_and_goes_over_the_wire(understand: Understand) -> None:
    spec = understand(limits={"memory": "1GiB", "time": "1h"})
    search = plan_experiment(spec).searches[2]
    work = training_work(spec, search, ["a" * 64], Point(0.01, 0.001), seed=7)

    sent = tasks.TaskWork.model_validate(work, from_attributes=True)
    assert sent.dataset.train == 49_000
    assert [stage.checkpoint for stage in sent.prefix] == ["a" * 64]
    assert sent.prefix[0].stage.layers == [tasks.ConvLayer(size=3, filters=32)]
    assert sent.stage.layers == [tasks.ConvLayer(size=3, filters=32), tasks.PoolLayer(size=2)]
    assert (sent.stage.input_shape, sent.stage.output_shape) == ((32, 32, 32), (32, 16, 16))
    assert (sent.epochs, sent.seed, sent.memory_limit, sent.time_limit) == (1, 7, 2**30, 3600.0)
    assert sent.hyperparameters is not None
    assert sent.checkpoint is None


def test_an_evaluation_carries_a_checkpoint_instead_of_hyperparameters(understand: Understand) -> None:
    spec = understand()
    search = plan_experiment(spec).searches[0]
    sent = tasks.TaskWork.model_validate(evaluation_work(spec, search, [], "b" * 64, seed=0), from_attributes=True)
    assert (sent.prefix, sent.hyperparameters, sent.checkpoint) == ([], None, "b" * 64)
