import numpy as np

from worker.data.preprocessing import input_mean_and_std

IMAGES = np.random.default_rng(0).integers(0, 256, (2300, 5, 4, 3), dtype=np.uint8)


def test_standardize_gives_every_channel_mean_zero_and_deviation_one() -> None:
    mean, std = input_mean_and_std(IMAGES, "standardize")
    values = (IMAGES.transpose(0, 3, 1, 2) - mean) / std
    assert mean.shape == std.shape == (3, 1, 1)
    np.testing.assert_allclose(values.mean((0, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(values.std((0, 2, 3)), 1)


def test_a_channel_without_contrast_is_not_divided_by_zero() -> None:
    assert (input_mean_and_std(np.full((10, 2, 2, 1), 7, np.uint8), "standardize")[1] == 1).all()


def test_mean_image_subtracts_and_does_not_divide() -> None:
    mean, std = input_mean_and_std(IMAGES, "mean-image")
    np.testing.assert_allclose(mean, IMAGES.mean(0).transpose(2, 0, 1))
    assert (std == 1).all()


def test_none_scales_to_one() -> None:
    mean, std = input_mean_and_std(IMAGES, "none")
    assert not mean.any()
    assert (std == 255).all()
