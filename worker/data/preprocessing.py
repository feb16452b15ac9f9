"""How pixels become a network's inputs: the mean to subtract and the deviation to divide by, in units of 0..255."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from worker.data.store import Images

Preprocessing = Literal["standardize", "mean-image", "none"]
CHUNK = 1000


def input_mean_and_std(images: Images, preprocessing: Preprocessing) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean, (C, 1, 1) or (C, H, W), and deviation, (C, 1, 1), of training images (N, H, W, C).

    ``standardize`` is zero mean and unit deviation for each channel. ``mean-image`` subtracts the mean image and does
    not divide: inputs reach from -255 to 255, as in CS231n. ``none`` only scales to [0, 1].
    """
    count, height, width, channels = images.shape
    mean, scale = np.zeros((channels, 1, 1)), np.ones((channels, 1, 1))
    if preprocessing == "none":
        return mean, 255.0 * scale
    total = np.zeros((height, width, channels))
    squares = np.zeros(channels)
    for start in range(0, count, CHUNK):
        values = images[start : start + CHUNK].astype(np.float64)
        total += values.sum(0)
        squares += np.einsum("nhwc,nhwc->c", values, values)
    if preprocessing == "mean-image":
        return (total / count).transpose(2, 0, 1), scale
    pixels = count * height * width
    channel_mean = total.sum((0, 1)) / pixels
    variance = np.maximum(squares / pixels - channel_mean**2, 0.0)
    deviation = np.where(variance > 1e-12, np.sqrt(variance), 1.0)
    return channel_mean.reshape(channels, 1, 1), deviation.reshape(channels, 1, 1)
