"""Samples of several modalities at once: the same clips in each, or a word about which one is not."""

import numpy as np
import pytest
import torch

from kinema.clip import Clip, DepthSequence, InertialSequence, PoseSequence
from kinema.errors import DataError, RecipeError
from kinema.training.recipe import Recipe
from kinema.transforms.config import PoseAugment, PoseInput
from kinema.transforms.depth_config import DepthAugment, DepthInput
from kinema.transforms.inertial_config import InertialAugment, InertialInput
from kinema.transforms.joined import samples_of

CHANNELS = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")
ALL = ("pose", "depth", "inertial")
INPUTS = Recipe(input=PoseInput("utd-mhad", 8), depth=DepthInput(form="video", size=24, frames=4), inertial=InertialInput(samples=32))


def clip(name: str, label: int = 0, frames: int = 20, depths: int | None = None, without: str = "") -> Clip:
    random = np.random.default_rng(len(name))
    images = np.zeros((depths or frames, 60, 80), np.uint16)
    images[:, 20:50, 30:50] = 2000
    modalities = {
        "pose": PoseSequence(random.normal(size=(1, frames, 20, 3)), "utd-mhad"),
        "depth": DepthSequence(images),
        "inertial": InertialSequence(random.normal(size=(50, 6)), CHANNELS),
    }
    return Clip(name, {key: value for key, value in modalities.items() if key != without}, label)


def test_every_modality_gives_its_input_of_the_same_clips():
    samples = samples_of([clip("one"), clip("another", 1), clip("third", 2)], ALL, INPUTS)
    batch = samples.batch([2, 0])
    assert batch.labels.tolist() == [2, 0] and samples.clip_ids == ("one", "another", "third")
    assert batch.x.shape == (2, 1, 8, 20, 3) and batch.inputs["depth"].shape == (2, 1, 4, 24, 24)
    assert batch.inputs["inertial"].shape == (2, 6, 32)
    for name, value in samples.shape.example(2).items():
        assert batch.inputs[name].shape == value.shape


def test_each_modality_is_changed_by_its_own_settings_and_by_the_same_seed_alike():
    samples = samples_of([clip("one"), clip("another", 1)], ALL, INPUTS)
    augment = {"pose": PoseAugment(rotate=30), "depth": DepthAugment(noise=0.1), "inertial": InertialAugment(jitter=0.1)}
    still = samples.batch([0, 1])
    one, two = (samples.batch([0, 1], augment=augment, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    for name in ("x", "depth", "inertial"):
        assert torch.equal(one.inputs[name], two.inputs[name]) and not torch.equal(one.inputs[name], still.inputs[name])


@pytest.mark.parametrize("name", ALL)
def test_a_clip_that_lacks_a_modality_is_named_or_left_out_of_all(name):
    clips = [clip("whole"), clip("lacking", 1, without=name), clip("also whole", 2)]
    with pytest.raises(DataError, match=f"'lacking' has no {name}"):
        samples_of(clips, ALL, INPUTS)
    samples = samples_of(clips, ALL, INPUTS, on_error="skip")
    assert samples.clip_ids == ("whole", "also whole") and len(samples.skipped) == 1
    assert samples.batch([0, 1]).labels.tolist() == [0, 2]


def test_skeletons_and_depth_images_of_different_length_are_not_one_recording():
    clips = [clip("whole"), clip("cut", 1, depths=9), clip("also whole", 2)]
    with pytest.raises(DataError, match="'cut' has 20 frames of skeletons and 9 depth images"):
        samples_of(clips, ("pose", "depth"), INPUTS)
    samples = samples_of(clips, ("pose", "depth"), INPUTS, on_error="skip")
    assert samples.clip_ids == ("whole", "also whole") and [str(error)[:10] for error in samples.skipped] == ["clip 'cut'"]


@pytest.mark.parametrize(
    "inputs",
    [Recipe(input=PoseInput("utd-mhad", 8, window=10, stride=5)), Recipe(input=PoseInput("utd-mhad", 8), depth=DepthInput(form="frame"))],
    ids=["windows", "several frames of a clip"],
)
def test_one_sample_of_each_clip_is_expected(inputs):
    with pytest.raises(RecipeError, match="one sample of each clip"):
        samples_of([clip("one"), clip("another")], ("pose", "depth"), inputs)
