from collections.abc import Callable

import pytest

from contract import tasks
from service.domain.experiment import ExperimentSpec
from service.domain.plan import plan_experiment
from service.domain.space import Point
from service.domain.work import evaluation_work, range_test_work, training_work, trial_work

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


def test_a_trial_says_whether_it_may_be_pruned_and_a_fit_never_is(understand: Understand) -> None:
    for pruner, pruned in (("asha", True), ("none", False)):
        spec = understand(search={"pruner": pruner})
        search = plan_experiment(spec).searches[0]
        assert trial_work(spec, search, [], Point(0.01, 0.001), seed=0).pruned is pruned
        assert not training_work(spec, search, [], Point(0.01, 0.001), seed=0).pruned


def test_a_range_test_carries_its_rates_and_one_regularization(understand: Understand) -> None:
    spec = understand(search={"range_test": True})
    search = plan_experiment(spec).searches[0]
    work = range_test_work(spec, search, [], spec.search.space, seed=3)

    sent = tasks.TaskWork.model_validate(work, from_attributes=True)
    assert (sent.learning_rates[0], sent.learning_rates[-1], len(sent.learning_rates)) == (1e-4, 0.2, 16)
    assert sent.rate_steps == 100
    assert sent.hyperparameters is not None
    assert sent.hyperparameters.regularization == pytest.approx((1e-6 * 0.1) ** 0.5)
    assert sent.seed == 3
