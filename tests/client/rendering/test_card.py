"""Model cards of networks whose layers have hyperparameters of their own."""

from client.rendering.card import write_card
from contract.networks import Network
from contract.submission import Point
from tests.client.builders import EXPERIMENT
from tests.client.rich import GEOMETRIC, LAYERED


def network(point: Point) -> Network:
    stage = {
        "notation": "Conv-3-8 Conv-3-8", "checkpoint": "c" * 64, "epochs": 1, "validation_accuracy": 0.9,
        "training_accuracy": 0.9, "training_seconds": 1.0, "feature_seconds": 0.1, "memory_bytes": 1000,
        "stage": {"layers": [{"kind": "conv", "size": 3, "filters": 8}] * 2, "input_shape": (1, 8, 8),
                  "output_shape": (8, 8, 8)},
        "hyperparameters": point,
    }  # fmt: skip
    return Network.model_validate({
        "experiment": EXPERIMENT, "name": "table-1", "variant": "A total", "learning": "total", "phase": 0, "seed": 0,
        "shape": (1, 8, 8), "stages": [stage], "test_accuracy": 0.9, "test_precision": "float32", "test_images": 360,
        "dataset": {"name": "digits", "digest": "d" * 64, "classes": 10, "train": 1200, "validation": 237,
                    "preprocessing": "standardize"},
        "recipe": {"batch_size": 20, "optimizer": "sgd", "momentum": 0.9, "precision": "auto", "initialization": "he",
                   "head": "linear", "standardize_inputs": True},
    })  # fmt: skip


def test_a_card_tells_what_every_layer_was_trained_with() -> None:
    layered, geometric = (write_card(network(point), None) for point in (LAYERED, GEOMETRIC))

    assert "| 3.4e-3, 1.0e-2, head 5.6e-2 | 2.0e-4, 3.0e-4, head 1.0e-3 |" in layered
    assert "one for each of its convolutions, then the head's.\n" in layered
    assert "| 1.2e-2 × 0.5^k | 3.0e-4 × 2^k |" in geometric


def test_a_card_explains_nothing_where_a_stage_has_one_pair() -> None:
    card = write_card(network(Point(learning_rate=0.1, regularization=0.01)), None)

    assert "| 1.0e-1 | 1.0e-2 |" in card
    assert "convolutions, then" not in card
    assert "\n\n\n" not in card
