"""What a figure was measured on."""

import os
import platform
from importlib.metadata import version
from statistics import median

import torch

from client.connection import datasets_folder, stagetune_home
from worker.data import Dataset, open_dataset


def describe(*packages: str) -> str:
    """Processor, threads and versions, on one line."""
    processor = str(torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine())
    if torch.cuda.is_available():
        processor += f", {torch.cuda.get_device_name()}"
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return f"{processor}, {os.cpu_count()} cores; Python {platform.python_version()}, {versions}"


def cifar10() -> Dataset:
    """CIFAR-10, where a worker on this machine would find it."""
    return open_dataset("cifar10", stagetune_home(), datasets_folder())


def against(ours: list[float], theirs: list[float], unit: str) -> str:
    """Two rows of a table and their ratio, each the median of runs that took turns."""
    first, second = median(ours), median(theirs)
    return (
        f"| ours | {first:.2f} {unit} | {min(ours):.2f} to {max(ours):.2f} |\n"
        f"| instead | {second:.2f} {unit} | {min(theirs):.2f} to {max(theirs):.2f} |\n"
        f"| ratio | {max(first, second) / min(first, second):.2f} | |"
    )
