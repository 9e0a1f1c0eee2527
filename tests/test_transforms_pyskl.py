"""The pipeline of PYSKL: parity with its own output, and the rules that the reference files do not touch."""

import numpy as np
import pytest
import torch

from kinema.errors import DataError
from kinema.transforms import pyskl


def bodies(persons=1, frames=12, seed=0):
    return np.random.default_rng(seed).normal(0, 0.5, (persons, frames, 25, 3)).astype(np.float32) + np.array([0, 0, 3], np.float32)


def run(*clips, **options):
    return pyskl.skeleton_streams(*pyskl.pad_clips(clips), **options)


@pytest.mark.parametrize("persons", [1, 2])
def test_parity_with_the_reference(golden, persons):
    with np.load(golden(f"streams_3d_{persons}person.npz")) as stored:
        keypoint, expected = stored["keypoint"], torch.from_numpy(stored["streams"])
    out = run(keypoint, keypoint + np.float32(1.5))
    assert out.shape == (2, *expected.shape)
    assert (out[0] - expected).abs().max() < 1e-4
    assert (out[1] - expected).abs().max() < 1e-4  # wherever the person stands


def test_a_batch_of_different_lengths_and_persons_is_the_same_as_one_by_one():
    clips = [bodies(1, 12, 1), bodies(2, 30, 2), bodies(2, 9, 3)]
    together = run(*clips, frames=10, clips=2)
    assert together.shape == (3, 2, 2, 10, 25, 12)
    for one, clip in zip(together, clips, strict=True):
        torch.testing.assert_close(one, run(clip, frames=10, clips=2)[0], atol=1e-6, rtol=1e-5)


def test_frames_without_the_first_person_are_dropped():
    clip = bodies(2, 12)
    gaps = np.insert(clip, [0, 5, 5], 0, axis=1)
    torch.testing.assert_close(run(gaps, frames=12), run(clip, frames=12))


def test_the_person_in_more_frames_comes_first():
    clip = bodies(2, 12)
    clip[1, 8:] = 0
    torch.testing.assert_close(run(clip[::-1], frames=12), run(clip, frames=12))


def test_empty_joints_stay_at_the_origin():
    clip = bodies(1, 12)
    clip[0, 3, 7] = 0
    out = run(clip, frames=12)
    assert not out[0, 0, 0, 3, 7, :3].any() and out[0, 0, 0, 3, 6, :3].any()


def test_a_clip_without_anyone_is_an_error():
    with pytest.raises(DataError, match="clip 1 of the batch"):
        run(bodies(1), np.zeros((1, 12, 25, 3), np.float32))


def test_training_draws_one_frame_a_segment_by_the_generator():
    clip = bodies(1, 60)
    one, two, other = (run(clip, frames=20, training=True, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)
    every = run(clip, frames=60)[0, 0, 0, :, :, :3]
    for i, frame in enumerate(one[0, 0, 0, :, :, :3]):
        assert any(torch.allclose(frame, every[j], atol=1e-5) for j in range(3 * i, 3 * i + 3))
