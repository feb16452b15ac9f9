import torch

from worker.training.data import Labelled, TensorSource
from worker.training.evaluate import accuracy, classified_rightly, evenly_spaced
from worker.training.memory import LiveBytes, training_memory
from worker.training.network import InputStatistics, build_network
from worker.training.spec import Conv, Pool, Recipe, Stage


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


def test_the_batch_changes_no_answer_and_no_more_memory_is_taken_than_for_training_on_it() -> None:
    stage = Stage((Conv(3, 32), Conv(3, 32), Pool(2)), (3, 32, 32), (32, 16, 16))
    network = build_network(stage, 10, "linear", "torch", 0, InputStatistics.identity(3))
    labels = torch.randint(10, (400,))
    images = torch.randint(256, (400, 32, 32, 3), dtype=torch.uint8)
    data = Labelled(TensorSource(images, torch.device("cpu")), labels)
    step = training_memory(network, Recipe(batch_size=50), torch.uint8, torch.float32, torch.device("cpu"), None)
    answers, taken = [], []
    for size in (50, 400):
        with LiveBytes([*network.parameters(), *network.buffers(), images, labels]) as counted:
            answers.append(classified_rightly(network, data, torch.float32, batch_size=size))
        taken.append(counted.peak)
    assert torch.equal(*answers)
    assert taken[0] < step.activation_bytes < taken[1]


def test_evenly_spaced_numbers_reach_through_everything() -> None:
    assert evenly_spaced(5, 10).tolist() == [0, 1, 2, 3, 4]
    picked = evenly_spaced(49_000, 10_000)
    assert len(set(picked.tolist())) == 10_000
    assert picked[-1] > 48_990
