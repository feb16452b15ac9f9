import torch

from worker.training.data import Labelled, TensorSource
from worker.training.evaluate import accuracy, classified_rightly, evenly_spaced
from worker.training.network import InputStatistics, build_network
from worker.training.spec import Pool, Stage


def test_accuracy_is_the_fraction_classified_rightly() -> None:
    network = build_network(Stage((Pool(1),), (1, 1, 2), (1, 1, 2)), 2, "linear", "he", 0, InputStatistics.identity(1))
    with torch.no_grad():
        network.head.linear.weight.copy_(torch.eye(2))  # type: ignore[union-attr,operator]
    values = torch.rand(1201, 1, 2, 1)
    labels = values.flatten(1).argmax(1)
    labels[:300] = 1 - labels[:300]
    data = Labelled(TensorSource(values, torch.device("cpu")), labels)
    network.train()
    assert accuracy(network, data, torch.float32) == 901 / 1201
    assert accuracy(network, data, torch.float32, torch.arange(200, 800)) == 500 / 600
    assert network.training
    assert classified_rightly(network, data, torch.float32).nonzero().flatten().tolist() == list(range(300, 1201))
    few = classified_rightly(network, data, torch.float32, torch.tensor([700, 3, 299, 300]))
    assert few.tolist() == [True, False, False, True]


def test_evenly_spaced_numbers_reach_through_everything() -> None:
    assert evenly_spaced(5, 10).tolist() == [0, 1, 2, 3, 4]
    picked = evenly_spaced(49_000, 10_000)
    assert len(set(picked.tolist())) == 10_000
    assert picked[-1] > 48_990
