"""Skeletons at other moments: on straight lines between what was observed, and nowhere else."""

import numpy as np
import pytest

from kinema.recognition.resample import resample


@pytest.mark.parametrize("seed", range(8))
def test_where_everything_is_observed_it_is_what_numpy_interpolates(seed):
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, 2, rng.integers(1, 40)).round(rng.integers(1, 4)))  # some times occur twice
    points = rng.normal(size=(len(times), 5, 3)).astype(np.float32)
    moments = np.concatenate([np.linspace(-0.5, 2.5, 31), times])
    out, mask = resample(times, points, np.ones(points.shape[:2], bool), moments, reach=0.2)
    near = np.abs(times[:, None] - moments).min(0) <= 0.2
    assert (mask == near[:, None]).all()
    for joint in range(5):
        for axis in range(3):
            expected = np.interp(moments, times, points[:, joint, axis]).astype(np.float32)
            np.testing.assert_array_equal(out[:, joint, axis], np.where(near, expected, 0))


def test_what_is_far_from_any_observation_is_missing():
    times, observed = np.arange(10) / 10, np.ones((10, 2), bool)
    observed[3:8, 1] = False
    points = np.arange(10, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)
    out, mask = resample(times, points, observed, np.array([0.1, 0.25, 0.5]), reach=0.16)
    assert mask.tolist() == [[True, True], [True, True], [True, False]]
    np.testing.assert_allclose(out[:, :, 0], [[1, 1], [2.5, 2.5], [5, 0]], atol=1e-6)
