"""The built-in data sets: where their files come from, and what they hold. Pure data."""

from dataclasses import dataclass, field
from typing import Literal

Layout = Literal["digits", "idx", "parquet"]


@dataclass(frozen=True)
class CatalogueEntry:
    """One built-in data set. ``files`` are the known SHA-256 by file name, ``digest`` their content.

    ``class_names`` is empty where the classes are digits.
    """

    name: str
    layout: Layout
    shape: tuple[int, int, int]
    classes: int
    train: int
    test: int
    repository: str | None = None
    label_column: str = "label"
    folders: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    digest: str | None = None
    class_names: tuple[str, ...] = ()


IDX_FILES = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("test", "images"): "t10k-images-idx3-ubyte",
    ("test", "labels"): "t10k-labels-idx1-ubyte",
}
PARQUET_FILES = {"train": "train-00000-of-00001.parquet", "test": "test-00000-of-00001.parquet"}
FASHION_CLASSES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR100_CLASSES = (
    "apple", "aquarium fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest",
    "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn mower", "leopard", "lion", "lizard",
    "lobster", "man", "maple tree", "motorcycle", "mountain", "mouse", "mushroom", "oak tree", "orange", "orchid",
    "otter", "palm tree", "pear", "pickup truck", "pine tree", "plain", "plate", "poppy", "porcupine", "possum",
    "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper",
    "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet pepper", "table", "tank", "telephone",
    "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow tree", "wolf",
    "woman", "worm",
)  # fmt: skip

CATALOGUE = {
    entry.name: entry
    for entry in (
        CatalogueEntry(
            name="digits",
            layout="digits",
            shape=(1, 8, 8),
            classes=10,
            train=1437,
            test=360,
            digest="8e6e4d39d9e81ecab0292cd7fbed94441e78064e8e493c02009a5f8976375541",
        ),
        CatalogueEntry(
            name="mnist",
            layout="idx",
            shape=(1, 28, 28),
            classes=10,
            train=60_000,
            test=10_000,
            repository="ylecun/mnist",
        ),
        CatalogueEntry(
            name="fashion-mnist",
            layout="idx",
            shape=(1, 28, 28),
            classes=10,
            train=60_000,
            test=10_000,
            repository="zalando-datasets/fashion_mnist",
            # Where Debian's package dataset-fashion-mnist puts it.
            folders=("/usr/share/datasets/fashion-mnist",),
            files={
                "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
                "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
                "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
                "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
            },
            digest="fd8125baabf6093cc1ed2349286ac3e40088ffbe4753bb3cd8c8cb25918c293e",
            class_names=FASHION_CLASSES,
        ),
        CatalogueEntry(
            name="cifar10",
            layout="parquet",
            shape=(3, 32, 32),
            classes=10,
            train=50_000,
            test=10_000,
            repository="uoft-cs/cifar10",
            files={
                "train-00000-of-00001.parquet": "d96649c3072bd59e0a59433b2464f4c025efb926d404fd09d2ee5d713f0d7b4d",
                "test-00000-of-00001.parquet": "e973ede959167e250263d25d0ade628bf2a82b38412608b15f796ad9fa4f66d6",
            },
            digest="82aed8e4c48f40611fbd615c51f6addc80512c40d87d92f060492cf90b46a5f2",
            class_names=CIFAR10_CLASSES,
        ),
        CatalogueEntry(
            name="cifar100",
            layout="parquet",
            shape=(3, 32, 32),
            classes=100,
            train=50_000,
            test=10_000,
            repository="uoft-cs/cifar100",
            label_column="fine_label",
            class_names=CIFAR100_CLASSES,
        ),
    )
}
