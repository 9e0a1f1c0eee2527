"""Signals of worn sensors: resampling, features, spectrograms, augmentation, and what is refused."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from kinema.clip import Clip, InertialSequence
from kinema.errors import DataError, RecipeError
from kinema.transforms import inertial
from kinema.transforms.inertial_config import FEATURES, InertialAugment, InertialInput
from kinema.transforms.inertial_samples import InertialSamples

CHANNELS = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")
PLAIN = InertialInput(samples=64, acc_scale=1, gyro_scale=1)
ALL = InertialAugment(rotate=20, scale=0.1, jitter=0.05, crop=0.7, warp=0.2, tempo=0.2, permute=3, drop_channels=0.3, drop_time=0.2)


def clip(signals, name="a", label=0, channels=CHANNELS, rate=50.0):
    return Clip(name, {"inertial": InertialSequence(np.asarray(signals), channels, rate)}, label=label)


def motion(samples, seed=0):
    """(samples, 6): the same smooth motion, however many samples were taken of it."""
    random = np.random.default_rng(seed)
    u = np.linspace(0, 1, samples)[:, None]
    return sum(random.normal(0, 1, 6) * np.sin(2 * np.pi * k * u + random.uniform(0, 6, 6)) for k in (0.5, 1, 2, 3))


def made(*clips, input=PLAIN, **options):
    samples = InertialSamples.from_clips(clips, input)
    return samples.batch(range(len(samples)), **options).inputs["inertial"]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# Resampling


@pytest.mark.parametrize("samples", [2, 5, 64, 300])
def test_a_constant_signal_stays_constant(samples):
    x = made(clip(np.tile([0.5, -1, 2, 100, 0, -7], (samples, 1))))
    torch.testing.assert_close(x, torch.tensor([0.5, -1, 2, 100, 0, -7])[None, :, None].expand(1, 6, 64))


@pytest.mark.parametrize("samples", [107, 200, 326])
def test_recordings_of_one_motion_agree_whatever_their_rate(samples):
    torch.testing.assert_close(made(clip(motion(samples))), made(clip(motion(160))), atol=0.01, rtol=0)


def test_first_and_last_samples_are_kept_and_length_64_stays_as_it_is():
    x = made(clip(motion(100)))
    torch.testing.assert_close(x[0, :, [0, -1]].double().T, torch.from_numpy(motion(100)[[0, -1]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(made(clip(motion(64)))[0].double().T, torch.from_numpy(motion(64)), atol=1e-6, rtol=0)


def test_scales_are_of_physics_not_of_the_data():
    small, large = (
        made(clip(motion(80)), input=InertialInput()),
        made(clip(3 * motion(80)), clip(50 * motion(90), "b"), input=InertialInput()),
    )
    torch.testing.assert_close(large[0], 3 * small[0])
    torch.testing.assert_close(
        made(clip(np.tile([4.0, 0, 0, 0, 500, 0], (9, 1))), input=InertialInput())[0, :, 0], torch.tensor([2.0, 0, 0, 0, 2, 0])
    )


# Features


def test_channels_in_the_order_asked_for_and_of_the_shape_told():
    samples = InertialSamples.from_clips([clip(motion(90)), clip(motion(120), "b", None)], replace(PLAIN, channels=FEATURES))
    batch = samples.batch([1, 0])
    x = batch.inputs["inertial"]
    assert x.shape == (2, samples.shape.channels, samples.shape.samples) and x.dtype == torch.float32 and x.isfinite().all()
    assert batch.labels.tolist() == [-1, 0] and samples.clip_ids == ("a", "b") and samples.lengths.tolist() == [90, 120]
    both = made(clip(motion(90)), input=replace(PLAIN, channels=("gyro_norm", "acc")))
    torch.testing.assert_close(both, torch.cat([x[1:, 3:6].norm(dim=1, keepdim=True), x[1:, :3]], 1))


def test_gravity_and_motion_add_up_to_the_acceleration():
    x = made(clip(motion(90)), input=replace(PLAIN, channels=("acc", "gravity", "motion")))
    torch.testing.assert_close(x[:, 3:6] + x[:, 6:], x[:, :3])
    held = made(clip(np.tile([0, 1.0, 0, 0, 0, 0], (90, 1))), input=replace(PLAIN, channels=("gravity", "motion")))
    torch.testing.assert_close(held, torch.tensor([0, 1.0, 0, 0, 0, 0])[None, :, None].expand(1, 6, 64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("samples", [101, 301])
def test_turn_counts_quarter_turns_however_fast(samples):
    """A quarter turn about y, in two seconds or in six: rate times duration is 90 degrees."""
    rate = 90 / ((samples - 1) / 50)
    turn = made(clip(np.tile([0, 0, 1.0, 0, rate, 0], (samples, 1))), input=replace(PLAIN, channels=("turn",)))[0]
    torch.testing.assert_close(turn[:, -1] - turn[:, 0], torch.tensor([0.0, 1, 0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(turn.mean(1), torch.zeros(3), atol=1e-6, rtol=0)


def turning_sensor(samples=201, axis=1, degrees=120.0):
    """Signals of a sensor that turns evenly while it feels gravity alone."""
    angle = torch.linspace(0, math.radians(degrees), samples, dtype=torch.float64)
    matrices = inertial.rotation(torch.eye(3, dtype=torch.float64)[axis] * angle[:, None])
    gravity = torch.tensor([0.3, 0.4, math.sqrt(0.75)], dtype=torch.float64)
    gyro = torch.zeros(samples, 3)
    gyro[:, axis] = degrees / ((samples - 1) / 50)
    return torch.cat([matrices.transpose(1, 2) @ gravity, gyro], 1), matrices


def test_world_axes_do_not_turn_with_the_sensor():
    for axis in range(3):
        signals, _ = turning_sensor(axis=axis)
        x = made(clip(signals), input=replace(PLAIN, channels=("world",)))
        torch.testing.assert_close(x, torch.tensor([0, 0, 1.0])[None, :, None].expand_as(x), atol=1e-3, rtol=0)


def test_orientations_are_those_that_the_sensor_had():
    signals, matrices = turning_sensor()
    found = inertial.orientations(signals[:, 3:].T[None].double(), torch.tensor([1 / 50], dtype=torch.float64))
    torch.testing.assert_close(found[0], matrices, atol=1e-5, rtol=0)


@pytest.mark.parametrize("vector", [(0.0, 0, 1), (0.0, 0, -1), (1.0, 0, 0), (0.2, -3, 0.1), (0.0, 0, 0)])
def test_upright_takes_any_direction_to_z(vector):
    matrix = inertial.upright(torch.tensor([vector]))[0]
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(matrix @ torch.tensor(vector), torch.tensor([0, 0, math.hypot(*vector)]), atol=1e-5, rtol=0)


# Spectrograms


@pytest.mark.parametrize(("window", "hop", "bins", "frames"), [(16, 4, 0, 13), (32, 8, 10, 5), (64, 1, 0, 1), (9, 3, 2, 19)])
def test_shape_of_a_spectrogram(window, hop, bins, frames):
    input = replace(PLAIN, spectrogram=True, window=window, hop=hop, bins=bins)
    samples = InertialSamples.from_clips([clip(motion(90))], input)
    x = samples.batch([0]).inputs["inertial"]
    assert x.shape == (1, 6 * (bins or window // 2 + 1), frames) == (1, samples.shape.channels, samples.shape.samples)


@pytest.mark.parametrize("cycles", [2, 5, 11])
def test_a_sine_shows_in_its_bin_with_its_amplitude(cycles):
    x = torch.stack([torch.zeros(128), 0.7 * torch.sin(2 * math.pi * cycles * torch.arange(128) / 32 + 0.4)])[None]
    spectrum = inertial.spectrogram(x, 32, 4, log=False).unflatten(1, (2, 17))
    assert (spectrum[0, 0] == 0).all() and (spectrum[0, 1].argmax(0) == cycles).all()
    torch.testing.assert_close(spectrum[0, 1, cycles], torch.full((25,), 0.7), atol=1e-4, rtol=0)
    far = [k for k in range(17) if abs(k - cycles) > 1]
    assert spectrum[0, 1, far].max() < 1e-3
    torch.testing.assert_close(inertial.spectrogram(x, 32, 4, 3), spectrum[:, :, :3].flatten(1, 2).log1p())


# Augmentation and views


def test_without_augmentation_nothing_is_random():
    clips = [clip(motion(90, i), str(i)) for i in range(3)]
    assert torch.equal(made(*clips, generator=seeded(0)), made(*clips, generator=seeded(1)))
    # Nor with one whose settings change nothing.
    assert torch.equal(made(*clips, augment=InertialAugment(), generator=seeded(0)), made(*clips))


def test_the_same_seed_gives_the_same_augmentation():
    clips, input = [clip(motion(90, i), str(i)) for i in range(3)], replace(PLAIN, channels=FEATURES)
    first, again, other = (made(*clips, input=input, augment=ALL, generator=seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other) and first.isfinite().all()


CHANGES = {"crop": 0.5, "permute": 4} | {field.name: 0.3 for field in fields(InertialAugment) if field.name not in ("crop", "permute")}


@pytest.mark.parametrize("name", CHANGES)
def test_each_setting_changes_every_sample_but_not_its_shape(name):
    clips = [clip(motion(90, i), str(i)) for i in range(40)]
    plain, changed = made(*clips), made(*clips, augment=InertialAugment(**{name: CHANGES[name]}), generator=seeded())
    assert changed.shape == plain.shape and changed.isfinite().all()
    share = (changed != plain).any((1, 2)).float().mean()
    assert share > (0.2 if name == "drop_channels" else 0.4 if name == "permute" else 0.9)


def test_turning_the_axes_keeps_the_size_of_what_they_measure():
    clips = [clip(motion(90, i), str(i)) for i in range(20)]
    plain, turned = made(*clips), made(*clips, augment=InertialAugment(rotate=30), generator=seeded())
    for sensor in (slice(0, 3), slice(3, 6)):
        torch.testing.assert_close(turned[:, sensor].norm(dim=1), plain[:, sensor].norm(dim=1), atol=1e-5, rtol=1e-5)
        cosine = torch.cosine_similarity(turned[:, sensor], plain[:, sensor], dim=1)
        assert (cosine > math.cos(math.radians(30)) - 1e-4).all()
    # Both sensors sit in one case: the angle between what they measure stays.
    torch.testing.assert_close((turned[:, :3] * turned[:, 3:]).sum(1), (plain[:, :3] * plain[:, 3:]).sum(1), atol=1e-4, rtol=1e-4)


def test_a_dropped_sensor_is_gone_from_all_that_is_made_of_it_and_one_is_left():
    clips = [clip(motion(90, i), str(i)) for i in range(60)]
    x = made(
        *clips,
        input=replace(PLAIN, channels=("acc", "gyro", "acc_norm", "turn")),
        augment=InertialAugment(drop_channels=0.9),
        generator=seeded(),
    )
    acc, gyro, norm, turn = ((part != 0).any((1, 2)) for part in x.split([3, 3, 1, 3], 1))
    assert torch.equal(acc, norm) and torch.equal(gyro, turn)
    assert (acc | gyro).all() and not acc.all() and not gyro.all()


def test_shuffled_parts_keep_every_sample():
    order = inertial.shuffled_parts(50, 64, 4, seeded())
    assert torch.equal(order.sort(1).values, torch.arange(64).expand(50, 64))
    assert ((order.diff(dim=1) != 1).sum(1) <= 3).all()


def test_a_faster_clip_turns_faster_by_the_same_angle():
    input = replace(PLAIN, channels=("gyro", "turn"))
    clips = [clip(motion(90, i), str(i)) for i in range(10)]
    plain, faster = made(*clips, input=input), made(*clips, input=input, augment=InertialAugment(tempo=0.3), generator=seeded())
    torch.testing.assert_close(faster[:, 3:], plain[:, 3:], atol=1e-4, rtol=1e-4)
    factor = (faster[:, :3] / plain[:, :3]).flatten(1)
    torch.testing.assert_close(factor, factor[:, :1].expand_as(factor), atol=1e-3, rtol=1e-3)
    assert ((factor > 0.69) & (factor < 1.31)).all()


def test_views_are_crops_from_the_start_to_the_end():
    signal = np.tile(np.linspace(0, 1, 101)[:, None], (1, 6))
    ends = [made(clip(signal), view=view, views=4)[0, 0, [0, -1]].tolist() for view in range(4)]
    np.testing.assert_allclose(ends, [[0, 1], [0, 0.9], [0.05, 0.95], [0.1, 1]], atol=1e-6)
    with pytest.raises(RecipeError, match="view 4 is not one of 4"):
        made(clip(signal), view=4, views=4)


# What is used and what is refused


def test_saturated_signals_are_used_and_reported():
    turning, shaken = motion(90), motion(90)
    turning[40:45, 3], shaken[10, 1] = -1000.5, 8.0
    samples = InertialSamples.from_clips([clip(motion(90)), clip(turning, "b"), clip(shaken, "c")], PLAIN)
    assert len(samples) == 3 and samples.saturated == ("b", "c") and not samples.skipped
    # Where the turning rate is not used, it is of no interest either.
    only = InertialSamples.from_clips([clip(turning, "b"), clip(shaken, "c")], replace(PLAIN, channels=("acc",)))
    assert only.saturated == ("c",)


def test_clips_that_cannot_be_used_are_named_or_left_out():
    short, poor = clip(motion(1), "short"), clip(motion(90)[:, :3], "poor", channels=CHANNELS[:3])
    with pytest.raises(DataError, match="'short' has 1 sample"):
        InertialSamples.from_clips([short], PLAIN)
    with pytest.raises(DataError, match="'poor' has no channel gyro_x; it has acc_x, acc_y, acc_z"):
        InertialSamples.from_clips([poor], PLAIN)
    with pytest.raises(DataError, match="'none' has no inertial"):
        InertialSamples.from_clips([Clip("none")], PLAIN)
    samples = InertialSamples.from_clips([short, clip(motion(90)), poor], PLAIN, on_error="skip")
    assert samples.clip_ids == ("a",) and len(samples.skipped) == 2
    with pytest.raises(DataError, match=r"none of 2 clips can be used; the first one: .*short"):
        InertialSamples.from_clips([short, poor], PLAIN, on_error="skip")
    assert made(poor, input=replace(PLAIN, channels=("acc",))).shape == (1, 3, 64)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"samples": 1}, "inertial.samples is 1"),
        ({"acc_scale": 0}, "inertial.acc_scale is 0"),
        ({"gyro_scale": float("nan")}, "inertial.gyro_scale is nan"),
        ({"channels": ()}, "inertial.channels is empty"),
        ({"channels": ("gyros",)}, "'gyros'.*'gyro'"),
        ({"spectrogram": True, "window": 65}, "inertial.window is 65"),
        ({"spectrogram": True, "hop": 0}, "inertial.hop is 0"),
        ({"spectrogram": True, "bins": 18}, "inertial.bins is 18"),
    ],
)
def test_settings_that_cannot_be_are_refused(setting, message):
    with pytest.raises(RecipeError, match=message):
        InertialSamples.from_clips([clip(motion(90))], replace(PLAIN, **setting))


def test_recordings_of_utd_mhad(data_root):
    from kinema.datasets.utd_mhad import read

    clips = read(data_root("utd-mhad")).clips
    samples = InertialSamples.from_clips(clips, InertialInput())
    x = samples.batch(range(len(samples))).inputs["inertial"]
    assert len(samples) == 861 and x.shape == (861, 6, 128) and x.isfinite().all()
    assert len(samples.saturated) == 31 and "a15_s3_t1" in samples.saturated
    assert x[:, :3].norm(dim=1).mean().item() == pytest.approx(0.5, abs=0.2)  # about 1 g, of the 2 that become 1
