"""Sampling in time: which frames, interpolation with gaps, and random time that stays within the window."""

import numpy as np
import pytest
import torch

from kinema.transforms import sampling

STARTS, LENGTHS = torch.tensor([0, 10, 5, 0]), torch.tensor([2, 7, 64, 301])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("frames", [1, 2, 16, 64])
def test_resizing_runs_from_the_first_frame_to_the_last(frames):
    positions = sampling.resize_positions(STARTS, LENGTHS, frames)
    assert positions.shape == (4, frames)
    if frames > 1:
        assert torch.equal(positions[:, 0], STARTS.double())
        torch.testing.assert_close(positions[:, -1], (STARTS + LENGTHS - 1).double())


def test_a_window_of_the_wanted_length_is_resized_to_itself():
    positions = sampling.resize_positions(torch.tensor([3]), torch.tensor([20]), 20)
    torch.testing.assert_close(positions[0], torch.arange(3, 23).double())


def test_interpolation_is_linear_and_exact_at_frames():
    x = torch.arange(5.0).view(1, 1, 5, 1, 1) * torch.tensor([1.0, -2.0])
    y, mask = sampling.interpolate(x, None, torch.tensor([[0, 0.25, 3.5, 4]], dtype=torch.float64))
    assert mask is None
    torch.testing.assert_close(y[0, 0, :, 0], torch.tensor([[0, 0], [0.25, -0.5], [3.5, -7], [4, -8]]))


def test_interpolation_never_mixes_in_an_unobserved_joint():
    x = torch.tensor([2.0, 0.0, 4.0]).view(1, 1, 3, 1, 1)
    mask = torch.tensor([True, False, True]).view(1, 1, 3, 1)
    positions = torch.tensor([[0, 0.25, 0.75, 1, 1.25, 1.75, 2]], dtype=torch.float64)
    y, seen = sampling.interpolate(x, mask, positions)
    assert seen.flatten().tolist() == [True, True, False, False, False, True, True]
    assert y.flatten().tolist() == [2, 2, 0, 0, 0, 4, 4]


def test_segments_take_their_centre_when_testing_and_any_frame_of_theirs_when_training():
    frames = 8
    centre = sampling.segment_frames(torch.tensor([0]), torch.tensor([80]), frames)
    assert centre.tolist() == [[5, 15, 25, 35, 45, 55, 65, 75]]
    drawn = torch.cat(
        [sampling.segment_frames(torch.tensor([0]), torch.tensor([80]), frames, generator=generator(i), training=True) for i in range(200)]
    )
    assert torch.equal(drawn // 10, torch.arange(frames).expand(200, frames))
    assert len(drawn[:, 0].unique()) == 10


@pytest.mark.parametrize("warp", [0.0, 0.5])
@pytest.mark.parametrize("share", [None, 0.4])
def test_random_time_stays_within_the_window_and_runs_forwards(share, warp):
    starts, lengths = STARTS.repeat(50), LENGTHS.repeat(50)
    crop = None if share is None else sampling.random_crop(len(starts), share, generator())
    positions = sampling.resize_positions(starts, lengths, 32, crop, warp, generator())
    frames = sampling.segment_frames(starts, lengths, 32, crop, warp, generator(), training=True)
    for times in (positions, frames):
        assert (times >= starts[:, None]).all() and (times <= (starts + lengths - 1)[:, None]).all()
        assert (times.diff(dim=1) >= 0).all()
    if share is not None:
        kept = (positions[:, -1] - positions[:, 0]) / (lengths - 1)
        assert kept.min() >= 0.4 - 1e-9 and kept.max() <= 1 and kept.std() > 0.1


def test_warping_changes_speed_by_no_more_than_asked():
    u = torch.linspace(0, 1, 1001, dtype=torch.float64).expand(100, 1001)
    speed = sampling.time_warp(u, 0.3, generator()).diff(dim=1) * 1000
    assert 0.7 - 1e-6 < speed.min() < 0.75 and 1.25 < speed.max() < 1.3 + 1e-6


def test_skipping_takes_every_third_frame_and_repeats_the_last():
    starts, lengths = torch.tensor([50, 0]), torch.tensor([100, 20])
    taken = sampling.skip_frames(starts, lengths, 32, 3, torch.tensor([2, 0]))
    assert taken[0].tolist() == list(range(52, 148, 3))
    assert taken[1].tolist() == [0, 3, 6, 9, 12, 15, 18] + [19] * 25


def test_pyskl_sampling_follows_its_rule_at_every_length():
    assert set(range(103)) - set(sampling.pyskl_frames(103, 100)) == {1, 3, 79}
    np.testing.assert_array_equal(sampling.pyskl_frames(5, 8, clips=2), [0, 1, 2, 3, 4, 0, 1, 2, 2, 3, 4, 0, 1, 2, 3, 4])
    long = sampling.pyskl_frames(1000, 100, clips=3).reshape(3, 100)
    assert (long // 10 == np.arange(100)).all() and (long[0] != long[1]).any()
    np.testing.assert_array_equal(sampling.pyskl_frames(100, 100), np.arange(100))
    with pytest.raises(ValueError, match="read-only"):
        sampling.pyskl_frames(100, 100)[0] = 1
